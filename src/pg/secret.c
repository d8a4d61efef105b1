/* Stored secrets, and the logins that send something made of a password. */
#include "pg/secret.h"

#include "pg/scram.h"

#define MD5_PREFIX "md5"
#define MD5_PREFIX_SIZE 3u

static bool is_md5(mp_view secret) {
    if (secret.size != MP_SECRET_MD5_SIZE || !mp_view_begins(secret, MD5_PREFIX)) return false;
    for (size_t i = MD5_PREFIX_SIZE; i < secret.size; i++) {
        char c = secret.data[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
    }
    return true;
}

mp_secret_kind mp_secret_kind_of(mp_view secret) {
    mp_scram_verifier verifier;
    if (!secret.data || secret.size == 0) return MP_SECRET_NONE;
    if (is_md5(secret)) return MP_SECRET_MD5;
    bool is_scram = mp_scram_parse_verifier(secret, &verifier);
    mp_crypto_wipe(&verifier, sizeof verifier);
    return is_scram ? MP_SECRET_SCRAM : MP_SECRET_PLAIN;
}

/* "md5" and the digits of two texts. */
static bool make_md5(mp_view first, mp_view second, char out[MP_SECRET_MD5_SIZE]) {
    memcpy(out, MD5_PREFIX, MD5_PREFIX_SIZE);
    return mp_crypto_md5(first, second, out + MD5_PREFIX_SIZE);
}

static mp_view view_of(const char md5[MP_SECRET_MD5_SIZE]) {
    return (mp_view){md5, MP_SECRET_MD5_SIZE};
}

static bool check_verifier(mp_view secret, mp_view password) {
    mp_scram_verifier verifier;
    bool is_right = mp_scram_parse_verifier(secret, &verifier) &&
                    mp_scram_verifier_check(&verifier, password);
    mp_crypto_wipe(&verifier, sizeof verifier);
    return is_right;
}

bool mp_secret_check_password(mp_view secret, mp_view user, mp_view password) {
    mp_secret_kind kind = mp_secret_kind_of(secret);
    char md5[MP_SECRET_MD5_SIZE];
    if (kind == MP_SECRET_SCRAM) return check_verifier(secret, password);
    if (kind == MP_SECRET_MD5)
        return make_md5(password, user, md5) && mp_crypto_is_same(secret, view_of(md5));
    return mp_crypto_is_same(secret, password) && kind != MP_SECRET_NONE;
}

/* The answer of a secret; that of one which is not there is of an empty password. */
static bool make_answer(mp_view secret, mp_view user, const uint8_t salt[MP_ANSWER_SALT_SIZE],
                        char out[MP_SECRET_MD5_SIZE]) {
    char stored[MP_SECRET_MD5_SIZE];
    if (is_md5(secret)) memcpy(stored, secret.data, sizeof stored);
    else if (!make_md5(secret, user, stored)) return false;
    mp_view digits = {stored + MD5_PREFIX_SIZE, MP_CRYPTO_MD5_HEX_SIZE};
    bool is_made = make_md5(digits, (mp_view){(const char *)salt, MP_ANSWER_SALT_SIZE}, out);
    mp_crypto_wipe(stored, sizeof stored);
    return is_made;
}

/* Can it answer, and check, MD5? */
static bool is_for_md5(mp_view secret) {
    mp_secret_kind kind = mp_secret_kind_of(secret);
    return kind == MP_SECRET_PLAIN || kind == MP_SECRET_MD5;
}

bool mp_secret_check_md5(mp_view secret, mp_view user, const uint8_t salt[MP_ANSWER_SALT_SIZE],
                         mp_view answer) {
    char expected[MP_SECRET_MD5_SIZE];
    bool is_right = make_answer(secret, user, salt, expected) &&
                    mp_crypto_is_same(view_of(expected), answer);
    return is_right && is_for_md5(secret);
}

bool mp_secret_make_md5(mp_view secret, mp_view user, const uint8_t salt[MP_ANSWER_SALT_SIZE],
                        char out[MP_SECRET_MD5_SIZE]) {
    return is_for_md5(secret) && make_answer(secret, user, salt, out);
}
