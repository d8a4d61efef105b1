/* What a client sends, read and written. */
#include "pg/request.h"

#define NO_RESPONSE UINT32_MAX /* the length of what is not there: -1 on the wire */

/* ---- reading ---- */

/* A string that may go on beyond what has come: then as much of it as is there. */
static bool read_long_string(mp_wire_in *in, const mp_message *message, mp_view *string,
                             bool *is_cut) {
    mp_wire_in before = *in;
    *string = mp_wire_read_string(in);
    *is_cut = in->is_bad && !before.is_bad && message->have < message->size;
    if (*is_cut) *string = mp_wire_read_bytes(&before, (size_t)(before.end - before.at));
    return *is_cut || !in->is_bad;
}

bool mp_request_parse_query(const mp_message *message, mp_view *sql) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_view found;
    bool is_cut;
    if (!read_long_string(&in, message, &found, &is_cut)) return false;
    if (!is_cut && (!mp_wire_is_read(&in) || message->have < message->size)) return false;
    *sql = found;
    return true;
}

bool mp_request_parse_parse(const mp_message *message, mp_request_parse *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_request_parse found = {.name = mp_wire_read_string(&in)};
    if (in.is_bad || !read_long_string(&in, message, &found.sql, &found.is_cut)) return false;
    if (!found.is_cut) {
        found.types_count = mp_wire_read_u16(&in);
        found.types = (const uint8_t *)mp_wire_read_bytes(&in, (size_t)found.types_count * 4).data;
        bool is_whole = message->have == message->size;
        if (is_whole ? !mp_wire_is_read(&in) : !in.is_bad) return false;
        if (!is_whole) {
            found.is_cut = true;
            found.types = NULL;
            found.types_count = 0;
        }
    }
    *out = found;
    return true;
}

bool mp_request_parse_bind(const mp_message *message, mp_request_bind *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_request_bind found = {.portal = mp_wire_read_string(&in)};
    found.statement = mp_wire_read_string(&in);
    if (in.is_bad) return false;
    *out = found;
    return true;
}

bool mp_request_parse_target(const mp_message *message, mp_request_target *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_request_target found = {.kind = mp_wire_read_u8(&in)};
    found.name = mp_wire_read_string(&in);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    if (found.kind != MP_REQUEST_STATEMENT && found.kind != MP_REQUEST_PORTAL) return false;
    *out = found;
    return true;
}

bool mp_request_parse_execute(const mp_message *message, mp_request_execute *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_request_execute found = {.portal = mp_wire_read_string(&in)};
    found.rows_max = mp_wire_read_u32(&in);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *out = found;
    return true;
}

bool mp_request_parse_password(const mp_message *message, mp_view *password) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_view found = mp_wire_read_string(&in);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *password = found;
    return true;
}

bool mp_request_parse_sasl(const mp_message *message, mp_view *mechanism, mp_view *response) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_view name = mp_wire_read_string(&in), data = {0};
    uint32_t size = mp_wire_read_u32(&in);
    if (size != NO_RESPONSE) data = mp_wire_read_bytes(&in, size);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *mechanism = name;
    *response = data;
    return true;
}

/* ---- the same message with another statement's name ---- */

/* Step over what stands before the statement's name: that part, or no view if there is no name. */
static mp_view read_before_name(mp_wire_in *in, uint8_t type) {
    const uint8_t *begin = in->at;
    if (type == MP_REQUEST_BIND) mp_wire_read_string(in);
    else if (type == MP_REQUEST_DESCRIBE || type == MP_REQUEST_CLOSE) {
        if (mp_wire_read_u8(in) != MP_REQUEST_STATEMENT) return (mp_view){0};
    } else if (type != MP_REQUEST_PARSE) return (mp_view){0};
    return (mp_view){(const char *)begin, (size_t)(in->at - begin)};
}

bool mp_request_rename(const mp_message *message, mp_view name, mp_wire_out *out,
                       uint32_t *rest_at) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_view before = read_before_name(&in, message->type);
    mp_view old_name = mp_wire_read_string(&in);
    if (in.is_bad || !before.data || out->is_full) return false;
    uint64_t length = (uint64_t)message->size + 4 - old_name.size + name.size;
    size_t wanted = MP_WIRE_HEAD + before.size + name.size + 1;
    if (length > MP_WIRE_LENGTH_MAX || out->size - out->length < wanted) return false;
    mp_wire_write_u8(out, message->type);
    mp_wire_write_u32(out, (uint32_t)length);
    mp_wire_write_bytes(out, before.data, before.size);
    mp_wire_write_bytes(out, name.data, name.size);
    mp_wire_write_u8(out, 0);
    *rest_at = (uint32_t)(in.at - message->body);
    return true;
}

/* ---- writing ---- */

static void write_empty(mp_wire_out *out, uint8_t type) {
    mp_wire_begin(out, type);
    mp_wire_commit(out, type);
}

static void write_one_string(mp_wire_out *out, uint8_t type, mp_view string) {
    mp_wire_begin(out, type);
    mp_wire_write_string(out, string);
    mp_wire_commit(out, type);
}

void mp_request_write_query(mp_wire_out *out, mp_view sql) {
    write_one_string(out, MP_REQUEST_QUERY, sql);
}

void mp_request_write_literal(mp_wire_out *out, mp_view value) {
    if (value.size && memchr(value.data, '\\', value.size)) mp_wire_write_u8(out, 'E');
    mp_wire_write_u8(out, '\'');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = (uint8_t)value.data[i];
        if (byte == '\'' || byte == '\\') mp_wire_write_u8(out, byte);
        mp_wire_write_u8(out, byte);
    }
    mp_wire_write_u8(out, '\'');
}

void mp_request_write_parse(mp_wire_out *out, mp_view name, mp_view sql, const uint32_t *types,
                            uint16_t types_count) {
    mp_wire_begin(out, MP_REQUEST_PARSE);
    mp_wire_write_string(out, name);
    mp_wire_write_string(out, sql);
    mp_wire_write_u16(out, types_count);
    for (uint16_t i = 0; i < types_count; i++) mp_wire_write_u32(out, types[i]);
    mp_wire_commit(out, MP_REQUEST_PARSE);
}

void mp_request_write_bind(mp_wire_out *out, mp_request_bind names, const mp_view *params,
                           uint16_t params_count) {
    mp_wire_begin(out, MP_REQUEST_BIND);
    mp_wire_write_string(out, names.portal);
    mp_wire_write_string(out, names.statement);
    mp_wire_write_u16(out, 0); /* all parameters are text */
    mp_wire_write_u16(out, params_count);
    for (uint16_t i = 0; i < params_count; i++) mp_wire_write_value(out, params[i]);
    mp_wire_write_u16(out, 0); /* all of the result is text */
    mp_wire_commit(out, MP_REQUEST_BIND);
}

static void write_target(mp_wire_out *out, uint8_t type, mp_request_target target) {
    mp_wire_begin(out, type);
    mp_wire_write_u8(out, target.kind);
    mp_wire_write_string(out, target.name);
    mp_wire_commit(out, type);
}

void mp_request_write_describe(mp_wire_out *out, mp_request_target target) {
    write_target(out, MP_REQUEST_DESCRIBE, target);
}

void mp_request_write_close(mp_wire_out *out, mp_request_target target) {
    write_target(out, MP_REQUEST_CLOSE, target);
}

void mp_request_write_execute(mp_wire_out *out, mp_request_execute execute) {
    mp_wire_begin(out, MP_REQUEST_EXECUTE);
    mp_wire_write_string(out, execute.portal);
    mp_wire_write_u32(out, execute.rows_max);
    mp_wire_commit(out, MP_REQUEST_EXECUTE);
}

void mp_request_write_sync(mp_wire_out *out) { write_empty(out, MP_REQUEST_SYNC); }

void mp_request_write_terminate(mp_wire_out *out) { write_empty(out, MP_REQUEST_TERMINATE); }

void mp_request_write_copy_fail(mp_wire_out *out, mp_view reason) {
    write_one_string(out, MP_REQUEST_COPY_FAIL, reason);
}

void mp_request_write_password(mp_wire_out *out, mp_view password) {
    write_one_string(out, MP_REQUEST_PASSWORD, password);
}

void mp_request_write_sasl(mp_wire_out *out, mp_view mechanism, mp_view response) {
    mp_wire_begin(out, MP_REQUEST_PASSWORD);
    mp_wire_write_string(out, mechanism);
    mp_wire_write_value(out, response);
    mp_wire_commit(out, MP_REQUEST_PASSWORD);
}

void mp_request_write_sasl_next(mp_wire_out *out, mp_view response) {
    mp_wire_begin(out, MP_REQUEST_PASSWORD);
    mp_wire_write_bytes(out, response.data, response.size);
    mp_wire_commit(out, MP_REQUEST_PASSWORD);
}
