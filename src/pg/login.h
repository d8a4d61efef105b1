/* Logging in to a server: what to answer to its Authentication messages with what is known of the
 * user, and when to refuse to. A state machine without a socket.
 *
 * A server is not believed until it has shown what it must: once SASL has begun, its own proof has
 * to come before it may say that all is well, and it may not fall back to another method. A server
 * that gets a password in clear, or by MD5, could be anybody: `methods` says which are allowed. */
#ifndef MP_PG_LOGIN_H
#define MP_PG_LOGIN_H

#include "pg/answer.h"
#include "pg/scram.h"
#include "pg/view.h"
#include "pg/wire.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>

/* Ways of logging in, for a set of them. */
#define MP_LOGIN_NOTHING 1u /* the server asks for nothing */
#define MP_LOGIN_CLEARTEXT 2u
#define MP_LOGIN_MD5 4u
#define MP_LOGIN_SCRAM 8u
#define MP_LOGIN_ANY 15u

typedef enum mp_login_stage {
    MP_LOGIN_BEGUN,
    MP_LOGIN_ANSWERED, /* a password or its MD5 is sent */
    MP_LOGIN_SASL_BEGUN,
    MP_LOGIN_SASL_PROVEN,  /* our proof is sent */
    MP_LOGIN_SASL_CHECKED, /* so is the server's, and it is right */
    MP_LOGIN_DONE          /* AuthenticationOk; the server goes on with its parameters */
} mp_login_stage;

typedef struct mp_login {
    /* set by the caller, then const */
    mp_view user;
    mp_view secret; /* a password or its MD5; none: only what needs none */
    const mp_scram_keys
        *keys;        /* of the same user, if there are any; then SCRAM needs no password */
    uint32_t methods; /* the allowed ones */

    mp_login_stage stage;
    mp_scram_client scram;
} mp_login;

/* Take an Authentication message; write the answer, if it wants one. nonce is used if SCRAM begins.
 * Errors  INVALID: 08P01, 28000, 28P01, 0A000, XX000; the login is over */
mantis_status mp_login_answer(mp_login *login, const mp_message *message, mp_view nonce,
                              mp_wire_out *out, mantis_error *error);

/* Wipe what it knows. */
void mp_login_finish(mp_login *login);

#endif
