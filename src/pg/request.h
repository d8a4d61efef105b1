/* What a client sends: read where a pooler has to know, written where it speaks to a server itself.
 *
 * A reader answers false when the body is not what its type promises, or when what it needs of it
 * has not come yet, which the caller tells apart by have < size. Views point into the message.
 * Writers add one whole message to the caller's buffer, or set is_full. */
#ifndef MP_PG_REQUEST_H
#define MP_PG_REQUEST_H

#include "pg/view.h"
#include "pg/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- the types ---- */

#define MP_REQUEST_BIND 'B'
#define MP_REQUEST_CLOSE 'C'
#define MP_REQUEST_DESCRIBE 'D'
#define MP_REQUEST_EXECUTE 'E'
#define MP_REQUEST_FUNCTION_CALL 'F'
#define MP_REQUEST_FLUSH 'H'
#define MP_REQUEST_PARSE 'P'
#define MP_REQUEST_QUERY 'Q'
#define MP_REQUEST_SYNC 'S'
#define MP_REQUEST_TERMINATE 'X'
#define MP_REQUEST_COPY_DONE 'c'
#define MP_REQUEST_COPY_DATA 'd'
#define MP_REQUEST_COPY_FAIL 'f'
#define MP_REQUEST_PASSWORD 'p' /* and the messages of SASL */

/* What Describe and Close are about. */
#define MP_REQUEST_STATEMENT 'S'
#define MP_REQUEST_PORTAL 'P'

/* ---- reading ---- */

/* Query: the statements, or as much of them as has come. */
bool mp_request_parse_query(const mp_message *message, mp_view *sql);

/* Parse. While is_cut, sql is what has come of it, and there are no types. */
typedef struct mp_request_parse {
    mp_view name, sql;
    const uint8_t *types; /* types_count numbers of four bytes, big-endian */
    uint16_t types_count;
    bool is_cut;
} mp_request_parse;

bool mp_request_parse_parse(const mp_message *message, mp_request_parse *out);

/* Bind: its two names. The parameters are the server's to judge. */
typedef struct mp_request_bind {
    mp_view portal, statement;
} mp_request_bind;

bool mp_request_parse_bind(const mp_message *message, mp_request_bind *out);

/* Describe, Close: a statement or a portal, and which. */
typedef struct mp_request_target {
    uint8_t kind; /* MP_REQUEST_STATEMENT or MP_REQUEST_PORTAL */
    mp_view name;
} mp_request_target;

bool mp_request_parse_target(const mp_message *message, mp_request_target *out);

/* Execute: which portal, and how many rows at most; 0 for all. */
typedef struct mp_request_execute {
    mp_view portal;
    uint32_t rows_max;
} mp_request_execute;

bool mp_request_parse_execute(const mp_message *message, mp_request_execute *out);

/* A password, or a hash of one. */
bool mp_request_parse_password(const mp_message *message, mp_view *password);

/* The first message of SASL: the mechanism that the client chose, and what it says in it. Without
 * data, response is no view at all. The next ones are their whole body. */
bool mp_request_parse_sasl(const mp_message *message, mp_view *mechanism, mp_view *response);

/* ---- the same message with another statement's name ---- */

/* Write the beginning of a Parse, Bind, Describe or Close, its head and its names, with name for
 * the statement's. *rest_at is where in the old body the rest begins, which follows unchanged: a
 * gathered write of the two is the new message. The rest need not have come yet. False: there is no
 * statement's name in what has come, the new message would be too long, or it does not fit; then
 * nothing is written. */
bool mp_request_rename(const mp_message *message, mp_view name, mp_wire_out *out,
                       uint32_t *rest_at);

/* ---- writing ---- */

void mp_request_write_query(mp_wire_out *out, mp_view sql);

/* A string constant of SQL, as part of a query that is being written: 'it''s', or E'a\\b' if there
 * is a backslash, so that standard_conforming_strings does not matter. */
void mp_request_write_literal(mp_wire_out *out, mp_view value);

/* types are numbers in the machine's order. */
void mp_request_write_parse(mp_wire_out *out, mp_view name, mp_view sql, const uint32_t *types,
                            uint16_t types_count);

/* Bind with parameters and a result as text. A parameter that is no view at all is NULL. */
void mp_request_write_bind(mp_wire_out *out, mp_request_bind names, const mp_view *params,
                           uint16_t params_count);

void mp_request_write_describe(mp_wire_out *out, mp_request_target target);
void mp_request_write_close(mp_wire_out *out, mp_request_target target);
void mp_request_write_execute(mp_wire_out *out, mp_request_execute execute);
void mp_request_write_sync(mp_wire_out *out);
void mp_request_write_terminate(mp_wire_out *out);
void mp_request_write_copy_fail(mp_wire_out *out, mp_view reason);
void mp_request_write_password(mp_wire_out *out, mp_view password);
void mp_request_write_sasl(mp_wire_out *out, mp_view mechanism, mp_view response);
void mp_request_write_sasl_next(mp_wire_out *out, mp_view response);

#endif
