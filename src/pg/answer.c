/* What a server sends, read and written. */
#include "pg/answer.h"

#define FORMAT_BINARY 1u

/* ---- errors and notices ---- */

bool mp_answer_parse_error(const mp_message *message, mp_answer_error *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_answer_error found = {0};
    mp_view translated = {0};
    for (uint8_t field = mp_wire_read_u8(&in); field; field = mp_wire_read_u8(&in)) {
        mp_view value = mp_wire_read_string(&in);
        switch (field) {
        case 'S': translated = value; break;
        case 'V': found.severity = value; break;
        case 'C': found.sqlstate = value; break;
        case 'M': found.text = value; break;
        case 'D': found.detail = value; break;
        case 'H': found.hint = value; break;
        default: break;
        }
    }
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    if (!found.severity.data) found.severity = translated;
    *out = found;
    return true;
}

static void write_field(mp_wire_out *out, uint8_t field, mp_view value) {
    if (!value.data) return;
    if (value.size > MP_ANSWER_FIELD_SIZE_MAX) {
        value.size = MP_ANSWER_FIELD_SIZE_MAX;
        while (value.size && ((uint8_t)value.data[value.size] & 0xc0) == 0x80) value.size--;
    }
    mp_wire_write_u8(out, field);
    mp_wire_write_string(out, value);
}

static void write_fields(mp_wire_out *out, uint8_t type, const mp_answer_error *error) {
    mp_wire_begin(out, type);
    write_field(out, 'S', error->severity);
    write_field(out, 'V', error->severity);
    write_field(out, 'C', error->sqlstate);
    write_field(out, 'M', error->text);
    write_field(out, 'D', error->detail);
    write_field(out, 'H', error->hint);
    mp_wire_write_u8(out, 0);
    mp_wire_commit(out, type);
}

void mp_answer_write_error(mp_wire_out *out, const mp_answer_error *error) {
    write_fields(out, MP_ANSWER_ERROR, error);
}

void mp_answer_write_notice(mp_wire_out *out, const mp_answer_error *notice) {
    write_fields(out, MP_ANSWER_NOTICE, notice);
}

/* ---- the login ---- */

/* Is it a list of strings, each with its zero, that ends with an empty one? */
static bool is_list(mp_view list) {
    mp_wire_in in = {(const uint8_t *)list.data, (const uint8_t *)list.data + list.size, false};
    while (mp_wire_read_string(&in).size) continue;
    return mp_wire_is_read(&in);
}

bool mp_answer_parse_authentication(const mp_message *message, mp_answer_authentication *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_answer_authentication found = {.kind = mp_wire_read_u32(&in)};
    found.data = mp_wire_read_bytes(&in, (size_t)(in.end - in.at));
    if (in.is_bad || message->have < message->size) return false;
    switch (found.kind) {
    case MP_ANSWER_AUTH_OK:
    case MP_ANSWER_AUTH_CLEARTEXT:
        if (found.data.size) return false;
        break;
    case MP_ANSWER_AUTH_MD5:
        if (found.data.size != MP_ANSWER_SALT_SIZE) return false;
        break;
    case MP_ANSWER_AUTH_SASL:
        if (!is_list(found.data)) return false;
        break;
    default: break;
    }
    *out = found;
    return true;
}

bool mp_answer_has_mechanism(mp_view mechanisms, const char *name) {
    mp_wire_in in = {(const uint8_t *)mechanisms.data,
                     (const uint8_t *)mechanisms.data + mechanisms.size, false};
    for (mp_view one = mp_wire_read_string(&in); one.size; one = mp_wire_read_string(&in))
        if (mp_view_is(one, name)) return true;
    return false;
}

void mp_answer_write_authentication(mp_wire_out *out, mp_answer_authentication authentication) {
    mp_wire_begin(out, MP_ANSWER_AUTHENTICATION);
    mp_wire_write_u32(out, authentication.kind);
    if (authentication.kind == MP_ANSWER_AUTH_SASL) {
        mp_wire_write_string(out, authentication.data);
        mp_wire_write_u8(out, 0);
    } else {
        mp_wire_write_bytes(out, authentication.data.data, authentication.data.size);
    }
    mp_wire_commit(out, MP_ANSWER_AUTHENTICATION);
}

bool mp_answer_parse_parameter(const mp_message *message, mp_answer_parameter *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_answer_parameter found = {.name = mp_wire_read_string(&in)};
    found.value = mp_wire_read_string(&in);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *out = found;
    return true;
}

void mp_answer_write_parameter(mp_wire_out *out, mp_answer_parameter parameter) {
    mp_wire_begin(out, MP_ANSWER_PARAMETER_STATUS);
    mp_wire_write_string(out, parameter.name);
    mp_wire_write_string(out, parameter.value);
    mp_wire_commit(out, MP_ANSWER_PARAMETER_STATUS);
}

bool mp_answer_parse_backend_key(const mp_message *message, mp_answer_backend_key *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_answer_backend_key found = {.pid = mp_wire_read_u32(&in)};
    found.key = mp_wire_read_bytes(&in, (size_t)(in.end - in.at));
    if (in.is_bad || message->have < message->size) return false;
    if (found.key.size < MP_ANSWER_KEY_SIZE_MIN || found.key.size > MP_ANSWER_KEY_SIZE_MAX)
        return false;
    *out = found;
    return true;
}

void mp_answer_write_backend_key(mp_wire_out *out, mp_answer_backend_key backend_key) {
    mp_wire_begin(out, MP_ANSWER_BACKEND_KEY);
    mp_wire_write_u32(out, backend_key.pid);
    mp_wire_write_bytes(out, backend_key.key.data, backend_key.key.size);
    mp_wire_commit(out, MP_ANSWER_BACKEND_KEY);
}

/* ---- queries ---- */

bool mp_answer_parse_ready(const mp_message *message, uint8_t *status) {
    if (message->size != 1 || message->have != 1) return false;
    uint8_t found = message->body[0];
    if (found != MP_ANSWER_IDLE && found != MP_ANSWER_IN_TRANSACTION &&
        found != MP_ANSWER_FAILED_TRANSACTION)
        return false;
    *status = found;
    return true;
}

void mp_answer_write_ready(mp_wire_out *out, uint8_t status) {
    mp_wire_begin(out, MP_ANSWER_READY);
    mp_wire_write_u8(out, status);
    mp_wire_commit(out, MP_ANSWER_READY);
}

bool mp_answer_parse_complete(const mp_message *message, mp_view *tag) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_view found = mp_wire_read_string(&in);
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *tag = found;
    return true;
}

void mp_answer_write_complete(mp_wire_out *out, mp_view tag) {
    mp_wire_begin(out, MP_ANSWER_COMMAND_COMPLETE);
    mp_wire_write_string(out, tag);
    mp_wire_commit(out, MP_ANSWER_COMMAND_COMPLETE);
}

bool mp_answer_parse_copy(const mp_message *message, mp_answer_copy *out) {
    mp_wire_in in = mp_wire_in_of(message);
    mp_answer_copy found = {.is_binary = mp_wire_read_u8(&in) == FORMAT_BINARY};
    found.columns_count = mp_wire_read_u16(&in);
    mp_wire_read_bytes(&in, (size_t)found.columns_count * 2); /* a format each */
    if (!mp_wire_is_read(&in) || message->have < message->size) return false;
    *out = found;
    return true;
}

void mp_answer_write_description(mp_wire_out *out, const mp_answer_column *columns,
                                 uint16_t count) {
    mp_wire_begin(out, MP_ANSWER_ROW_DESCRIPTION);
    mp_wire_write_u16(out, count);
    for (uint16_t i = 0; i < count; i++) {
        mp_wire_write_string(out, mp_view_of(columns[i].name));
        mp_wire_write_u32(out, 0); /* of no table */
        mp_wire_write_u16(out, 0);
        mp_wire_write_u32(out, columns[i].type);
        mp_wire_write_u16(out, (uint16_t)columns[i].type_size);
        mp_wire_write_u32(out, UINT32_MAX); /* no modifier */
        mp_wire_write_u16(out, 0);          /* text */
    }
    mp_wire_commit(out, MP_ANSWER_ROW_DESCRIPTION);
}

void mp_answer_write_row(mp_wire_out *out, const mp_view *cells, uint16_t count) {
    mp_wire_begin(out, MP_ANSWER_DATA_ROW);
    mp_wire_write_u16(out, count);
    for (uint16_t i = 0; i < count; i++) mp_wire_write_value(out, cells[i]);
    mp_wire_commit(out, MP_ANSWER_DATA_ROW);
}

void mp_answer_write_parameter_types(mp_wire_out *out, const uint32_t *types, uint16_t count) {
    mp_wire_begin(out, MP_ANSWER_PARAMETER_DESCRIPTION);
    mp_wire_write_u16(out, count);
    for (uint16_t i = 0; i < count; i++) mp_wire_write_u32(out, types[i]);
    mp_wire_commit(out, MP_ANSWER_PARAMETER_DESCRIPTION);
}

void mp_answer_write_bare(mp_wire_out *out, uint8_t type) {
    mp_wire_begin(out, type);
    mp_wire_commit(out, type);
}
