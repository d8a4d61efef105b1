/* The packets without a type that begin a connection: requests for encryption, cancel requests, and
 * the StartupMessage with its parameters.
 *
 * Nothing of it can be trusted yet: every length is checked against its bound, and views point into
 * the packet, which the caller keeps. Texts and codes of errors are those that PostgreSQL or
 * PgBouncer give for the same mistake. */
#ifndef MP_PG_STARTUP_H
#define MP_PG_STARTUP_H

#include "pg/view.h"
#include "pg/wire.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_STARTUP_SIZE_MAX 10000u    /* of a packet, with its length: PostgreSQL's bound */
#define MP_STARTUP_USER_SIZE_MAX 127u /* of names: PgBouncer's bounds */
#define MP_STARTUP_DATABASE_SIZE_MAX 63u
#define MP_STARTUP_VERSION 0x00030000u /* 3.0, which is what we speak */

typedef enum mp_startup_kind {
    MP_STARTUP_SSL,    /* SSLRequest */
    MP_STARTUP_GSSENC, /* GSSENCRequest */
    MP_STARTUP_CANCEL,
    MP_STARTUP_LOGIN
} mp_startup_kind;

typedef enum mp_startup_replication {
    MP_STARTUP_NO_REPLICATION,
    MP_STARTUP_PHYSICAL,
    MP_STARTUP_LOGICAL /* replication=database */
} mp_startup_replication;

/* A packet that has been read. */
typedef struct mp_startup {
    mp_startup_kind kind;

    /* a login */
    uint32_t version;       /* as asked for: 3.0 or newer within 3 */
    mp_view user, database; /* the database is the user's name if none is named */
    mp_view options;        /* the parameter of this name; no view at all without one */
    mp_startup_replication replication;
    uint32_t extensions_count; /* parameters of the protocol, "_pq_.name": we know none */
    const uint8_t *params;     /* all parameters, for mp_startup_next_param() */
    uint32_t params_size;

    /* a cancel request */
    uint32_t cancel_pid;
    mp_view cancel_key; /* 4 bytes; up to 256 from version 3.2 of the protocol on */
} mp_startup;

/* ---- reading ---- */

typedef enum mp_startup_found {
    MP_STARTUP_MORE, /* it has not all come yet */
    MP_STARTUP_DONE,
    MP_STARTUP_BAD /* the error has what to tell the client, which cannot go on */
} mp_startup_found;

/* Read the packet that data begins with. *packet_size is what it takes up, known from its first
 * four bytes on (0 before): MORE asks for as much, never for more than MP_STARTUP_SIZE_MAX.
 *
 * Whoever answers a request for encryption must then have nothing more in the buffer: bytes that
 * came before the answer were not encrypted, and are somebody else's (CVE-2021-3935).
 * Errors  INVALID: 08P01 28000 3D000 0A000 22023 */
mp_startup_found mp_startup_parse(const uint8_t *data, size_t size, mp_startup *out,
                                  size_t *packet_size, mantis_error *error);

/* One parameter, other than user, database, options, replication and extensions, after the place at
 * *at, which begins as 0. False: there is none. */
bool mp_startup_next_param(const mp_startup *startup, uint32_t *at, mp_view *name, mp_view *value);

/* Must the client be told that it is given 3.0 without extensions? */
static inline bool mp_startup_must_negotiate(const mp_startup *startup) {
    return startup->version != MP_STARTUP_VERSION || startup->extensions_count > 0;
}

/* Write the NegotiateProtocolVersion that tells it: 3.0, and the names of the extensions. */
void mp_startup_write_negotiation(const mp_startup *startup, mp_wire_out *out);

/* ---- the parameter "options" ---- */

/* One setting of "-c name=value --other-name=value", from which the backslashes are taken away. */
typedef struct mp_startup_setting {
    char text[512];      /* the name's and value's memory */
    mp_view name, value; /* a '-' in the name has become '_' */
} mp_startup_setting;

typedef enum mp_startup_option {
    MP_STARTUP_OPTION_END,
    MP_STARTUP_OPTION_SETTING,
    MP_STARTUP_OPTION_BAD /* the error says why */
} mp_startup_option;

/* The setting after the place at *at, which begins as 0. Blanks part words, and a backslash takes
 * their meaning from what follows it, as libpq's users write it.
 * Errors  INVALID: 08P01, with PgBouncer's texts */
mp_startup_option mp_startup_next_option(mp_view options, size_t *at, mp_startup_setting *out,
                                         mantis_error *error);

/* ---- writing, as a client of a server ---- */

/* Begin a StartupMessage of version 3.0, add its parameters, commit it. */
void mp_startup_begin(mp_wire_out *out);
void mp_startup_write_param(mp_wire_out *out, mp_view name, mp_view value);
void mp_startup_commit(mp_wire_out *out);

/* SSLRequest. */
void mp_startup_write_ssl(mp_wire_out *out);

void mp_startup_write_cancel(mp_wire_out *out, uint32_t pid, mp_view key);

#endif
