/* Hashes, random numbers and base64. */
#include "pg/crypto.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool mp_crypto_sha256(mp_view data, uint8_t out[MP_CRYPTO_SHA256_SIZE]) {
    return EVP_Digest(data.data, data.size, out, NULL, EVP_sha256(), NULL) == 1;
}

bool mp_crypto_hmac(const uint8_t key[MP_CRYPTO_SHA256_SIZE], mp_view data,
                    uint8_t out[MP_CRYPTO_SHA256_SIZE]) {
    return HMAC(EVP_sha256(), key, (int)MP_CRYPTO_SHA256_SIZE, (const uint8_t *)data.data,
                data.size, out, NULL) != NULL;
}

bool mp_crypto_pbkdf2(mp_view password, mp_view salt, uint32_t iterations,
                      uint8_t out[MP_CRYPTO_SHA256_SIZE]) {
    if (password.size > INT_MAX || salt.size > INT_MAX || iterations > INT_MAX) return false;
    return PKCS5_PBKDF2_HMAC(password.data, (int)password.size, (const uint8_t *)salt.data,
                             (int)salt.size, (int)iterations, EVP_sha256(),
                             (int)MP_CRYPTO_SHA256_SIZE, out) == 1;
}

bool mp_crypto_md5(mp_view first, mp_view second, char out[MP_CRYPTO_MD5_HEX_SIZE]) {
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[MP_CRYPTO_MD5_HEX_SIZE / 2];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_done = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1 &&
                   EVP_DigestUpdate(context, first.data, first.size) == 1 &&
                   EVP_DigestUpdate(context, second.data, second.size) == 1 &&
                   EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    for (size_t i = 0; is_done && i < sizeof digest; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    mp_crypto_wipe(digest, sizeof digest);
    return is_done;
}

bool mp_crypto_random(void *out, size_t size) {
    return size <= INT_MAX && RAND_bytes(out, (int)size) == 1;
}

bool mp_crypto_nonce(char out[MP_CRYPTO_NONCE_SIZE]) {
    uint8_t bytes[MP_CRYPTO_NONCE_SIZE / 4 * 3];
    if (!mp_crypto_random(bytes, sizeof bytes)) return false;
    mp_crypto_write_base64(bytes, sizeof bytes, out);
    return true;
}

bool mp_crypto_is_equal(const void *left, const void *right, size_t size) {
    return CRYPTO_memcmp(left, right, size) == 0;
}

bool mp_crypto_is_same(mp_view left, mp_view right) {
    uint8_t left_hash[MP_CRYPTO_SHA256_SIZE], right_hash[MP_CRYPTO_SHA256_SIZE];
    bool is_same = mp_crypto_sha256(left, left_hash) && mp_crypto_sha256(right, right_hash) &&
                   mp_crypto_is_equal(left_hash, right_hash, sizeof left_hash);
    mp_crypto_wipe(left_hash, sizeof left_hash);
    mp_crypto_wipe(right_hash, sizeof right_hash);
    return is_same;
}

void mp_crypto_wipe(void *data, size_t size) { OPENSSL_cleanse(data, size); }

/* ---- base64 ---- */

size_t mp_crypto_write_base64(const void *data, size_t size, char *out) {
    const uint8_t *in = data;
    char *at = out;
    for (; size >= 3; in += 3, size -= 3, at += 4) {
        at[0] = digits[in[0] >> 2];
        at[1] = digits[(in[0] & 3) << 4 | in[1] >> 4];
        at[2] = digits[(in[1] & 15) << 2 | in[2] >> 6];
        at[3] = digits[in[2] & 63];
    }
    if (size) {
        uint8_t second = size == 2 ? in[1] : 0;
        at[0] = digits[in[0] >> 2];
        at[1] = digits[(in[0] & 3) << 4 | second >> 4];
        at[2] = size == 2 ? digits[(second & 15) << 2] : '=';
        at[3] = '=';
        at += 4;
    }
    return (size_t)(at - out);
}

/* What a digit stands for; 64 and more: it is none. */
static uint32_t value_of(char digit) {
    if (digit >= 'A' && digit <= 'Z') return (uint32_t)(digit - 'A');
    if (digit >= 'a' && digit <= 'z') return (uint32_t)(digit - 'a') + 26;
    if (digit >= '0' && digit <= '9') return (uint32_t)(digit - '0') + 52;
    if (digit == '+') return 62;
    return digit == '/' ? 63 : 64;
}

bool mp_crypto_parse_base64(mp_view text, uint8_t *out, size_t size_max, size_t *size) {
    size_t padding = 0;
    if (text.size % 4) return false;
    while (padding < 2 && padding < text.size && text.data[text.size - padding - 1] == '=')
        padding++;
    size_t whole = text.size / 4 * 3 - padding, written = 0;
    if (whole > size_max) return false;
    uint32_t bits = 0, count = 0;
    for (size_t i = 0; i < text.size - padding; i++) {
        uint32_t value = value_of(text.data[i]);
        if (value > 63) return false;
        bits = (bits << 6 | value) & 0xfff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[written++] = (uint8_t)(bits >> count);
        }
    }
    if (bits & ((1u << count) - 1)) return false; /* left over */
    *size = written;
    return true;
}
