/* Stored secrets of users, as they stand in auth_file and in pg_authid: a password, its MD5, or a
 * SCRAM verifier; and answering, and checking, the login methods that send something made of a
 * password. SCRAM's exchange is in scram.h.
 *
 * Whatever is compared is compared in constant time. A secret that is no view at all is that of a
 * user who is not there: it is checked like another, and never right. */
#ifndef MP_PG_SECRET_H
#define MP_PG_SECRET_H

#include "pg/answer.h"
#include "pg/crypto.h"
#include "pg/view.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum mp_secret_kind {
    MP_SECRET_NONE, /* no view at all, or empty, which PostgreSQL takes for no password too */
    MP_SECRET_PLAIN,
    MP_SECRET_MD5,  /* "md5" and 32 hexadecimal digits: of the password and the user's name */
    MP_SECRET_SCRAM /* "SCRAM-SHA-256$…" that can be read */
} mp_secret_kind;

mp_secret_kind mp_secret_kind_of(mp_view secret);

/* "md5" and the digits. */
#define MP_SECRET_MD5_SIZE (3u + MP_CRYPTO_MD5_HEX_SIZE)

/* Is this the user's password? Takes as long as mp_crypto_pbkdf2() if the secret is a verifier. */
bool mp_secret_check_password(mp_view secret, mp_view user, mp_view password);

/* Is this the answer to AuthenticationMD5Password with this salt? Never, if the secret is a
 * verifier: MD5 cannot be checked by it. */
bool mp_secret_check_md5(mp_view secret, mp_view user, const uint8_t salt[MP_ANSWER_SALT_SIZE],
                         mp_view answer);

/* Make that answer.
 * Errors  false: the secret is a verifier or none, or OpenSSL failed */
bool mp_secret_make_md5(mp_view secret, mp_view user, const uint8_t salt[MP_ANSWER_SALT_SIZE],
                        char out[MP_SECRET_MD5_SIZE]);

#endif
