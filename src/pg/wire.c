/* Frames, and the numbers and strings inside them. */
#include "pg/wire.h"

#include "pg/sqlstate.h"

/* The bounds are those of PostgreSQL's own two ends, so nothing is refused here that would be taken
 * there: a server takes SHORT or LONG messages; a client SHORT_ANSWERs, but of some types any. */
#define LONG 0x3ffffffeu
#define SHORT 10000u
#define TOKEN 65535u
#define SHORT_ANSWER 30000u
#define PARAMETERS (4u + 2u + 4u * 65535u) /* as many types as a statement can have parameters */
#define ANY ((uint32_t)MP_WIRE_LENGTH_MAX)

static const uint32_t lengths_max[2][MP_WIRE_TYPES] = {
    [MP_WIRE_CLIENT] = {['B'] = LONG,
                        ['C'] = SHORT,
                        ['D'] = SHORT,
                        ['E'] = SHORT,
                        ['F'] = LONG,
                        ['H'] = SHORT,
                        ['P'] = LONG,
                        ['Q'] = LONG,
                        ['S'] = SHORT,
                        ['X'] = SHORT,
                        ['c'] = SHORT,
                        ['d'] = LONG,
                        ['f'] = SHORT,
                        ['p'] = TOKEN},
    [MP_WIRE_SERVER] =
        {['1'] = SHORT_ANSWER, ['2'] = SHORT_ANSWER, ['3'] = SHORT_ANSWER, ['A'] = ANY,
         ['C'] = SHORT_ANSWER, ['D'] = ANY,          ['E'] = ANY,          ['G'] = PARAMETERS,
         ['H'] = PARAMETERS,   ['I'] = SHORT_ANSWER, ['K'] = SHORT_ANSWER, ['N'] = ANY,
         ['R'] = TOKEN,        ['S'] = SHORT_ANSWER, ['T'] = ANY,          ['V'] = ANY,
         ['W'] = PARAMETERS,   ['Z'] = SHORT_ANSWER, ['c'] = SHORT_ANSWER, ['d'] = ANY,
         ['n'] = SHORT_ANSWER, ['s'] = SHORT_ANSWER, ['t'] = PARAMETERS,   ['v'] = SHORT_ANSWER},
};

void mp_wire_rules_init(mp_wire_rules *rules, mp_wire_side from, uint32_t length_max,
                        const char *wanted) {
    for (uint32_t type = 0; type < MP_WIRE_TYPES; type++) {
        uint32_t own_max = lengths_max[from][type];
        rules->types[type] = own_max < length_max ? own_max : length_max;
    }
    for (; *wanted; wanted++) {
        uint8_t type = (uint8_t)*wanted;
        if (type < MP_WIRE_TYPES && rules->types[type]) rules->types[type] |= MP_WIRE_WANTED;
    }
    if (!(rules->types['p'] & MP_WIRE_WANTED)) rules->types['p'] = 0;
}

/* Is there no message that begins with this byte? */
static inline bool is_unknown(const mp_wire_rules *rules, uint8_t type) {
    return type >= MP_WIRE_TYPES || rules->types[type] == 0;
}

static mp_wire_found found_bad(mp_message *message, const uint8_t *data, size_t have) {
    *message = (mp_message){.type = data[0]};
    if (have >= MP_WIRE_HEAD) message->size = mp_wire_get_u32(data + 1); /* for the explanation */
    return MP_WIRE_BAD;
}

mp_wire_found mp_wire_scan(mp_wire *wire, const mp_wire_rules *rules, const uint8_t *data,
                           size_t size, size_t *at, mp_message *message) {
    size_t place = *at, left = size - place;
    size_t passed = wire->rest < left ? wire->rest : left;
    wire->rest -= (uint32_t)passed;
    place += passed;
    left -= passed;
    while (left >= MP_WIRE_HEAD) {
        uint8_t type = data[place];
        uint32_t rule = type < MP_WIRE_TYPES ? rules->types[type] : 0;
        uint32_t length = mp_wire_get_u32(data + place + 1);
        *at = place;
        if (length < 4 || length > (rule & ~MP_WIRE_WANTED))
            return found_bad(message, data + place, left);
        size_t whole = (size_t)length + 1;
        if (rule & MP_WIRE_WANTED) {
            *message = (mp_message){data + place + MP_WIRE_HEAD, length - 4, length - 4, type};
            if (whole > left) {
                message->have = (uint32_t)(left - MP_WIRE_HEAD);
                return MP_WIRE_PART;
            }
            *at = place + whole;
            return MP_WIRE_WHOLE;
        }
        if (whole > left) {
            wire->rest = (uint32_t)(whole - left);
            *at = size;
            return MP_WIRE_END;
        }
        place += whole;
        left -= whole;
    }
    *at = place;
    if (left && is_unknown(rules, data[place])) return found_bad(message, data + place, left);
    return MP_WIRE_END;
}

void mp_wire_pass(mp_wire *wire, const mp_message *message, size_t *at) {
    wire->rest = message->size - message->have;
    *at += MP_WIRE_HEAD + message->have;
}

mantis_status mp_wire_explain(const mp_message *message, mp_wire_side from, mantis_error *error) {
    uint8_t type = message->type;
    if (from == MP_WIRE_SERVER)
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "lost synchronization with server: got message type 0x%02x, "
                                "length %u",
                                type, message->size);
    if (type >= MP_WIRE_TYPES || !lengths_max[from][type])
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "invalid frontend message type %u", type);
    return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                            "invalid message length: %u in a message of type \"%c\"", message->size,
                            type);
}

/* ---- reading bodies ---- */

/* Step over size bytes: where they begin, or NULL if they are not all there. */
static const uint8_t *step(mp_wire_in *in, size_t size) {
    const uint8_t *place = in->at;
    if (in->is_bad || (size_t)(in->end - place) < size) {
        in->is_bad = true;
        return NULL;
    }
    in->at += size;
    return place;
}

uint8_t mp_wire_read_u8(mp_wire_in *in) {
    const uint8_t *place = step(in, 1);
    return place ? *place : 0;
}

uint16_t mp_wire_read_u16(mp_wire_in *in) {
    const uint8_t *place = step(in, 2);
    if (!place) return 0;
    return (uint16_t)(place[0] << 8 | place[1]);
}

uint32_t mp_wire_read_u32(mp_wire_in *in) {
    const uint8_t *place = step(in, 4);
    return place ? mp_wire_get_u32(place) : 0;
}

mp_view mp_wire_read_bytes(mp_wire_in *in, size_t size) {
    const uint8_t *place = step(in, size);
    return place ? (mp_view){(const char *)place, size} : (mp_view){"", 0};
}

mp_view mp_wire_read_string(mp_wire_in *in) {
    const uint8_t *place = in->at;
    size_t left = (size_t)(in->end - place);
    const uint8_t *zero = in->is_bad || !left ? NULL : memchr(place, 0, left);
    if (!zero) {
        in->is_bad = true;
        return (mp_view){"", 0};
    }
    in->at = zero + 1;
    return (mp_view){(const char *)place, (size_t)(zero - place)};
}

/* ---- writing ---- */

static void put_u32(uint8_t *data, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(data, &value, sizeof value);
}

void mp_wire_begin(mp_wire_out *out, uint8_t type) {
    out->begun = out->length;
    if (type) mp_wire_write_u8(out, type);
    mp_wire_write_u32(out, 0); /* mp_wire_commit() writes it again */
}

void mp_wire_write_bytes(mp_wire_out *out, const void *data, size_t size) {
    if (out->is_full || out->size - out->length < size) {
        out->is_full = true;
        return;
    }
    if (size) memcpy(out->data + out->length, data, size);
    out->length += size;
}

void mp_wire_write_u8(mp_wire_out *out, uint8_t value) { mp_wire_write_bytes(out, &value, 1); }

void mp_wire_write_u16(mp_wire_out *out, uint16_t value) {
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    mp_wire_write_bytes(out, bytes, sizeof bytes);
}

void mp_wire_write_u32(mp_wire_out *out, uint32_t value) {
    uint8_t bytes[4];
    put_u32(bytes, value);
    mp_wire_write_bytes(out, bytes, sizeof bytes);
}

void mp_wire_write_string(mp_wire_out *out, mp_view string) {
    size_t size = string.data ? strnlen(string.data, string.size) : 0;
    mp_wire_write_bytes(out, string.data, size);
    mp_wire_write_u8(out, 0);
}

void mp_wire_write_value(mp_wire_out *out, mp_view value) {
    if (value.size > MP_WIRE_LENGTH_MAX) out->is_full = true;
    mp_wire_write_u32(out, value.data ? (uint32_t)value.size : UINT32_MAX);
    mp_wire_write_bytes(out, value.data, value.data ? value.size : 0);
}

void mp_wire_commit(mp_wire_out *out, uint8_t type) {
    size_t head = type ? 1 : 0;
    size_t length = out->length - out->begun - head;
    if (!out->is_full && length > MP_WIRE_LENGTH_MAX) out->is_full = true;
    if (out->is_full) out->length = out->begun;
    else put_u32(out->data + out->begun + head, (uint32_t)length);
}
