/* SCRAM-SHA-256 (RFC 5802, 7677) without channel binding, as either side, the way PostgreSQL speaks
 * it: as a server to clients that log in, and as a client to servers.
 *
 *     client                                        server
 *       n,,n=,r=NONCE                         --->                       mp_scram_client_first
 *       <---   r=NONCE+MORE,s=SALT,i=ITERATIONS                          mp_scram_server_first
 *       c=biws,r=NONCE+MORE,p=PROOF           --->                       mp_scram_client_final
 *       <---                          v=SIGNATURE                        mp_scram_server_final
 *                                                                        mp_scram_client_check
 *
 * Who has checked a proof has seen the client's key, and can log in with it where the same secret
 * is stored: so a pooler needs no password of anybody (mp_scram_keys).
 *
 * The exchanges are structs in the caller's memory and hold secrets: whoever has one wipes it with
 * mp_crypto_wipe() in the end. What comes in is at most MP_SCRAM_MESSAGE_SIZE_MAX; what goes out
 * points into the struct. All failures answer INVALID with a SQLSTATE and a text for the log: a
 * client should be told only that its login failed. */
#ifndef MP_PG_SCRAM_H
#define MP_PG_SCRAM_H

#include "pg/crypto.h"
#include "pg/view.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_SCRAM_MECHANISM "SCRAM-SHA-256"
#define MP_SCRAM_KEY_SIZE MP_CRYPTO_SHA256_SIZE
#define MP_SCRAM_SALT_SIZE 16u
#define MP_SCRAM_SALT_SIZE_MAX 64u /* of a stored secret that somebody else made */
#define MP_SCRAM_MESSAGE_SIZE_MAX 1024u
#define MP_SCRAM_NONCE_SIZE_MAX 256u /* of one side; ours is of printable characters, no comma */
#define MP_SCRAM_ITERATIONS 4096u    /* PostgreSQL's */
/* What a server can make us compute: half a second. */
#define MP_SCRAM_ITERATIONS_MAX 1000000u

/* ---- what is stored of a user ---- */

typedef struct mp_scram_verifier {
    uint32_t iterations;
    uint32_t salt_size;
    uint8_t salt[MP_SCRAM_SALT_SIZE_MAX];
    uint8_t stored_key[MP_SCRAM_KEY_SIZE]; /* the hash of the client's key */
    uint8_t server_key[MP_SCRAM_KEY_SIZE];
    bool is_mock; /* of a user who is not there: no proof is right */
} mp_scram_verifier;

/* Read "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY". */
bool mp_scram_parse_verifier(mp_view text, mp_scram_verifier *out);

/* Make the verifier of a user whose password is known, or without one that of a user who is not
 * there. The salt is the same for one name and secret, so the two cannot be told apart; the secret
 * is the process's own and random. Takes as long as mp_crypto_pbkdf2() if there is a password: keep
 * what it makes.
 * Errors  false: OpenSSL failed */
bool mp_scram_verifier_init(mp_scram_verifier *verifier, mp_view user, mp_view password,
                            uint32_t iterations, const uint8_t secret[MP_SCRAM_KEY_SIZE]);

/* Is this the password that the verifier was made of? */
bool mp_scram_verifier_check(const mp_scram_verifier *verifier, mp_view password);

/* What logs a client in instead of its password, where the same verifier is stored. */
typedef struct mp_scram_keys {
    uint8_t client_key[MP_SCRAM_KEY_SIZE];
    uint8_t server_key[MP_SCRAM_KEY_SIZE];
} mp_scram_keys;

/* ---- the exchange ---- */

/* What is signed, of either side: first message of the client, that of the server, and the last of
 * the client without its proof, parted by commas. */
typedef struct mp_scram_exchange {
    char text[3 * MP_SCRAM_MESSAGE_SIZE_MAX];
    size_t size;
    size_t nonce_at, nonce_size; /* in text: the client's, then the whole one */
    char out[MP_SCRAM_MESSAGE_SIZE_MAX + 256];
} mp_scram_exchange;

typedef struct mp_scram_server {
    mp_scram_exchange exchange;
    mp_scram_verifier verifier;
    mp_scram_keys keys; /* of the client, once it has proven that it has them */
    char binding_flag;  /* 'n' or 'y'; 0: nothing has been said yet */
} mp_scram_server;

/* Take the client's first message and the mechanism it chose. nonce is what we add to the client's.
 * Errors  INVALID: 08P01 0A000 */
mantis_status mp_scram_server_first(mp_scram_server *server, const mp_scram_verifier *verifier,
                                    mp_view nonce, mp_view mechanism, mp_view in, mp_view *out,
                                    mantis_error *error);

/* Take its second message, with the proof. OK: it is who it says, and server->keys is filled.
 * Errors  INVALID: 28P01, if only the proof is wrong; 08P01; XX000 */
mantis_status mp_scram_server_final(mp_scram_server *server, mp_view in, mp_view *out,
                                    mantis_error *error);

typedef struct mp_scram_client {
    mp_scram_exchange exchange;
    uint8_t signature[MP_SCRAM_KEY_SIZE]; /* the one that the server must send */
    bool is_signed;                       /* there is one */
} mp_scram_client;

/* Begin: what to say first. */
mp_view mp_scram_client_first(mp_scram_client *client, mp_view nonce);

/* Take the server's first message, answer with the proof: by the keys if there are any, else by the
 * password.
 * Errors  INVALID: 08P01, also for more than MP_SCRAM_ITERATIONS_MAX; XX000 */
mantis_status mp_scram_client_final(mp_scram_client *client, mp_view password,
                                    const mp_scram_keys *keys, mp_view in, mp_view *out,
                                    mantis_error *error);

/* Take its second message. OK: it knows our secret too.
 * Errors  INVALID: 28P01, 08P01 */
mantis_status mp_scram_client_check(mp_scram_client *client, mp_view in, mantis_error *error);

#endif
