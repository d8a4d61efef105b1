/* What authentication needs of cryptography, from OpenSSL: hashes, random numbers, comparing and
 * wiping secrets; and base64, in which SCRAM and its stored secrets are written.
 *
 * A function that answers false has no result: OpenSSL had no memory, or lacks the algorithm (MD5
 * where only approved ones are allowed). */
#ifndef MP_PG_CRYPTO_H
#define MP_PG_CRYPTO_H

#include "pg/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_CRYPTO_SHA256_SIZE 32u
#define MP_CRYPTO_MD5_HEX_SIZE 32u /* as text, without a zero */
#define MP_CRYPTO_NONCE_SIZE 24u   /* 18 random bytes as base64, without a zero */

bool mp_crypto_sha256(mp_view data, uint8_t out[MP_CRYPTO_SHA256_SIZE]);

bool mp_crypto_hmac(const uint8_t key[MP_CRYPTO_SHA256_SIZE], mp_view data,
                    uint8_t out[MP_CRYPTO_SHA256_SIZE]);

/* PBKDF2 with HMAC-SHA-256: about half a microsecond an iteration, 2 ms for the usual 4096. */
bool mp_crypto_pbkdf2(mp_view password, mp_view salt, uint32_t iterations,
                      uint8_t out[MP_CRYPTO_SHA256_SIZE]);

/* MD5 of two texts, one behind the other, as lower-case hexadecimal. */
bool mp_crypto_md5(mp_view first, mp_view second, char out[MP_CRYPTO_MD5_HEX_SIZE]);

/* Random bytes fit for secrets. */
bool mp_crypto_random(void *out, size_t size);

/* A nonce for SCRAM. */
bool mp_crypto_nonce(char out[MP_CRYPTO_NONCE_SIZE]);

/* The same bytes? Takes as long wherever they differ. */
bool mp_crypto_is_equal(const void *left, const void *right, size_t size);

/* The same text? Takes as long wherever, and at whichever length, they differ. */
bool mp_crypto_is_same(mp_view left, mp_view right);

/* Overwrite a secret, which the compiler cannot leave out. */
void mp_crypto_wipe(void *data, size_t size);

/* How much text base64 makes of this many bytes. */
#define MP_CRYPTO_BASE64_SIZE(size) (((size) + 2) / 3 * 4)

/* Write base64 with its padding, and no zero. Answers its size. */
size_t mp_crypto_write_base64(const void *data, size_t size, char *out);

/* Read base64: padded, without blanks, no bits left over. False: it is not that, or more than
 * size_max bytes. */
bool mp_crypto_parse_base64(mp_view text, uint8_t *out, size_t size_max, size_t *size);

#endif
