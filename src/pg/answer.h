/* What a server sends: read where a pooler has to know, written where it speaks to a client itself.
 *
 * A reader needs the whole message, and answers false when the body is not what its type promises.
 * Views point into the message. Writers add one whole message to the caller's buffer, or set
 * is_full. */
#ifndef MP_PG_ANSWER_H
#define MP_PG_ANSWER_H

#include "pg/view.h"
#include "pg/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- the types ---- */

#define MP_ANSWER_PARSE_COMPLETE '1'
#define MP_ANSWER_BIND_COMPLETE '2'
#define MP_ANSWER_CLOSE_COMPLETE '3'
#define MP_ANSWER_NOTIFICATION 'A'
#define MP_ANSWER_COMMAND_COMPLETE 'C'
#define MP_ANSWER_DATA_ROW 'D'
#define MP_ANSWER_ERROR 'E'
#define MP_ANSWER_COPY_IN 'G'
#define MP_ANSWER_COPY_OUT 'H'
#define MP_ANSWER_EMPTY_QUERY 'I'
#define MP_ANSWER_BACKEND_KEY 'K'
#define MP_ANSWER_NOTICE 'N'
#define MP_ANSWER_AUTHENTICATION 'R'
#define MP_ANSWER_PARAMETER_STATUS 'S'
#define MP_ANSWER_ROW_DESCRIPTION 'T'
#define MP_ANSWER_FUNCTION_RESULT 'V'
#define MP_ANSWER_COPY_BOTH 'W'
#define MP_ANSWER_READY 'Z'
#define MP_ANSWER_COPY_DONE 'c'
#define MP_ANSWER_COPY_DATA 'd'
#define MP_ANSWER_NO_DATA 'n'
#define MP_ANSWER_PORTAL_SUSPENDED 's'
#define MP_ANSWER_PARAMETER_DESCRIPTION 't'
#define MP_ANSWER_NEGOTIATE_VERSION 'v'

/* What ReadyForQuery says of the transaction. */
#define MP_ANSWER_IDLE 'I'
#define MP_ANSWER_IN_TRANSACTION 'T'
#define MP_ANSWER_FAILED_TRANSACTION 'E'

/* ---- errors and notices ---- */

/* Each field may be missing in what a server sends: then it is no view at all. */
typedef struct mp_answer_error {
    mp_view severity; /* "FATAL", never translated: V, or S from servers before 9.6 */
    mp_view sqlstate, text, detail, hint;
} mp_answer_error;

/* Read an ErrorResponse or NoticeResponse. Fields of other kinds are skipped. */
bool mp_answer_parse_error(const mp_message *message, mp_answer_error *out);

/* What a field is cut to when it is written, at the beginning of a character of UTF-8; an error
 * always fits into a buffer of MP_ANSWER_ERROR_SIZE_MAX. */
#define MP_ANSWER_FIELD_SIZE_MAX 1024u
#define MP_ANSWER_ERROR_SIZE_MAX (MP_WIRE_HEAD + 6u * (MP_ANSWER_FIELD_SIZE_MAX + 2u) + 1u)

/* Write an ErrorResponse or NoticeResponse. Fields that are no view are left out. */
void mp_answer_write_error(mp_wire_out *out, const mp_answer_error *error);
void mp_answer_write_notice(mp_wire_out *out, const mp_answer_error *notice);

/* ---- the login ---- */

typedef enum mp_answer_authentication_kind {
    MP_ANSWER_AUTH_OK = 0,
    MP_ANSWER_AUTH_CLEARTEXT = 3,
    MP_ANSWER_AUTH_MD5 = 5,
    MP_ANSWER_AUTH_SASL = 10,
    MP_ANSWER_AUTH_SASL_CONTINUE = 11,
    MP_ANSWER_AUTH_SASL_FINAL = 12
} mp_answer_authentication_kind;

#define MP_ANSWER_SALT_SIZE 4u

typedef struct mp_answer_authentication {
    uint32_t kind; /* one of the above, or one that is not known here */
    mp_view data;  /* MD5: the salt; SASL: the mechanisms; CONTINUE and FINAL: what is said */
} mp_answer_authentication;

bool mp_answer_parse_authentication(const mp_message *message, mp_answer_authentication *out);

/* Is this mechanism among those of an AuthenticationSASL? */
bool mp_answer_has_mechanism(mp_view mechanisms, const char *name);

/* kind and data as they are read; a SASL's mechanisms are one here, which must end in its zero. */
void mp_answer_write_authentication(mp_wire_out *out, mp_answer_authentication authentication);

typedef struct mp_answer_parameter {
    mp_view name, value;
} mp_answer_parameter;

bool mp_answer_parse_parameter(const mp_message *message, mp_answer_parameter *out);
void mp_answer_write_parameter(mp_wire_out *out, mp_answer_parameter parameter);

/* A cancel key is 4 bytes, and up to 256 from version 3.2 of the protocol on. */
#define MP_ANSWER_KEY_SIZE_MIN 4u
#define MP_ANSWER_KEY_SIZE_MAX 256u

typedef struct mp_answer_backend_key {
    uint32_t pid;
    mp_view key;
} mp_answer_backend_key;

bool mp_answer_parse_backend_key(const mp_message *message, mp_answer_backend_key *out);
void mp_answer_write_backend_key(mp_wire_out *out, mp_answer_backend_key backend_key);

/* ---- queries ---- */

/* ReadyForQuery: *status is one of the three. */
bool mp_answer_parse_ready(const mp_message *message, uint8_t *status);
void mp_answer_write_ready(mp_wire_out *out, uint8_t status);

/* CommandComplete: "SELECT 1". */
bool mp_answer_parse_complete(const mp_message *message, mp_view *tag);
void mp_answer_write_complete(mp_wire_out *out, mp_view tag);

/* CopyInResponse, CopyOutResponse, CopyBothResponse. */
typedef struct mp_answer_copy {
    bool is_binary;
    uint16_t columns_count;
} mp_answer_copy;

bool mp_answer_parse_copy(const mp_message *message, mp_answer_copy *out);

/* A column of a result that is written as text. */
typedef struct mp_answer_column {
    const char *name;
    uint32_t type;     /* the type's number in pg_type */
    int16_t type_size; /* as there; negative: it varies */
} mp_answer_column;

void mp_answer_write_description(mp_wire_out *out, const mp_answer_column *columns, uint16_t count);

/* A row. A cell that is no view at all is NULL. */
void mp_answer_write_row(mp_wire_out *out, const mp_view *cells, uint16_t count);

/* The types of a statement's parameters, in the machine's order. */
void mp_answer_write_parameter_types(mp_wire_out *out, const uint32_t *types, uint16_t count);

/* A message without a body: ParseComplete, BindComplete, CloseComplete, NoData, PortalSuspended,
 * EmptyQueryResponse, by its type. */
void mp_answer_write_bare(mp_wire_out *out, uint8_t type);

#endif
