/* The frames of PostgreSQL's protocol, version 3: where messages begin and end in a receive buffer,
 * and the numbers and strings inside them.
 *
 *     +------+--------+--------+--------+--------+ - - - - - - - +
 *     | type | length, big-endian, without type  |     body      |
 *     +------+--------+--------+--------+--------+ - - - - - - - +
 *            |<------------------ length ----------------------->|
 *
 * Nothing here allocates, copies a message, or reads beyond the buffer that it is given. What comes
 * from the other side is never believed: a length is checked before it is used. Any thread may call
 * anything here on objects of its own. */
#ifndef MP_PG_WIRE_H
#define MP_PG_WIRE_H

#include "pg/view.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MP_WIRE_HEAD 5u              /* bytes before the body */
#define MP_WIRE_TYPES 128u           /* every type is a letter or a digit */
#define MP_WIRE_LENGTH_MAX INT32_MAX /* what a length may be at all */

/* ---- finding messages ---- */

typedef enum mp_wire_side { MP_WIRE_CLIENT, MP_WIRE_SERVER } mp_wire_side;

/* What one direction may carry: which types there are, how long each may be, and which of them
 * mp_wire_scan() stops at. Written once, then shared by every connection. */
typedef struct mp_wire_rules {
    uint32_t types[MP_WIRE_TYPES]; /* the largest length, and MP_WIRE_WANTED; 0: no such type */
} mp_wire_rules;

#define MP_WIRE_WANTED 0x80000000u

/* One direction of one connection. A zeroed one stands at the beginning of a message. */
typedef struct mp_wire {
    uint32_t rest; /* bytes that are still to come of a message that is passed on unseen */
} mp_wire;

/* A message, or as much of it as has come. */
typedef struct mp_message {
    const uint8_t *body;
    uint32_t have; /* bytes of the body that are there */
    uint32_t size; /* bytes of the body */
    uint8_t type;
} mp_message;

typedef enum mp_wire_found {
    MP_WIRE_END,   /* the buffer has been walked; less than a head may be left */
    MP_WIRE_WHOLE, /* a wanted message, all of it */
    MP_WIRE_PART,  /* a wanted message, of which more is to come */
    MP_WIRE_BAD    /* no such type, or a length that it cannot have */
} mp_wire_found;

/* Fill in what a side may send: PostgreSQL's own bounds, and none above length_max. wanted names
 * the types to stop at, one character each. A password is no message that may come unless it is
 * wanted. */
void mp_wire_rules_init(mp_wire_rules *rules, mp_wire_side from, uint32_t length_max,
                        const char *wanted);

/* Walk on from *at, over all messages that are not wanted, to the first that is.
 *     END    *at is where the walk ended: size, or less than a head before it. Those bytes must
 *            come again, with more behind them; what has been walked over need not.
 *     WHOLE  *at is behind the message.
 *     PART   *at is at its head. Come again with more bytes from there, or mp_wire_pass() it.
 *     BAD    *at is at its head; mp_wire_explain() says what is wrong. There is no way on.
 * *message is filled for all but END. Costs a few nanoseconds a message. */
mp_wire_found mp_wire_scan(mp_wire *wire, const mp_wire_rules *rules, const uint8_t *data,
                           size_t size, size_t *at, mp_message *message);

/* The rest of a message found in PART goes by unseen. *at becomes the end of the buffer. */
void mp_wire_pass(mp_wire *wire, const mp_message *message, size_t *at);

/* Say what is wrong with a message found BAD. Returns INVALID.
 * Errors  INVALID: 08P01, with PostgreSQL's words for it */
mantis_status mp_wire_explain(const mp_message *message, mp_wire_side from, mantis_error *error);

/* ---- reading bodies ---- */

/* A place in a body. Reading beyond its end answers zero or an empty string, and is remembered. */
typedef struct mp_wire_in {
    const uint8_t *at, *end;
    bool is_bad; /* something was not there */
} mp_wire_in;

static inline uint32_t mp_wire_get_u32(const uint8_t *data) {
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return __builtin_bswap32(value);
}

static inline mp_wire_in mp_wire_in_of(const mp_message *message) {
    return (mp_wire_in){message->body, message->body + message->have, false};
}

uint8_t mp_wire_read_u8(mp_wire_in *in);
uint16_t mp_wire_read_u16(mp_wire_in *in);
uint32_t mp_wire_read_u32(mp_wire_in *in);

/* The next size bytes. */
mp_view mp_wire_read_bytes(mp_wire_in *in, size_t size);

/* A string up to its zero byte, which is skipped. */
mp_view mp_wire_read_string(mp_wire_in *in);

/* Was everything there, and nothing is left? */
static inline bool mp_wire_is_read(const mp_wire_in *in) {
    return !in->is_bad && in->at == in->end;
}

/* ---- writing ---- */

/* A buffer of the caller that messages are added to. A message that does not fit is left out, and
 * so are all after it: what is in the buffer can always be sent. */
typedef struct mp_wire_out {
    uint8_t *data;
    size_t size;
    size_t length; /* of what is written */
    size_t begun;  /* where the message being written begins */
    bool is_full;  /* something did not fit */
} mp_wire_out;

/* Begin a message of this type; 0 is one without a type, as they are before the login. */
void mp_wire_begin(mp_wire_out *out, uint8_t type);

void mp_wire_write_u8(mp_wire_out *out, uint8_t value);
void mp_wire_write_u16(mp_wire_out *out, uint16_t value);
void mp_wire_write_u32(mp_wire_out *out, uint32_t value);
void mp_wire_write_bytes(mp_wire_out *out, const void *data, size_t size);

/* A string and its zero byte; no string is written as an empty one. A zero byte inside ends it. */
void mp_wire_write_string(mp_wire_out *out, mp_view string);

/* The length of a value, then its bytes; for one that is no view at all the length -1: NULL. */
void mp_wire_write_value(mp_wire_out *out, mp_view value);

/* End the message, which was begun with this type: its length is known now. */
void mp_wire_commit(mp_wire_out *out, uint8_t type);

#endif
