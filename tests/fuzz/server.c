/* Anything as what a server sends: it may be hostile. */
#include "fuzz/frames.h"

#include "pg/answer.h"

static void look_at_error(const mp_message *message) {
    static uint8_t data[MP_ANSWER_ERROR_SIZE_MAX];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_answer_error error, again;
    if (!mp_answer_parse_error(message, &error)) return;
    mp_answer_write_error(&out, &error);
    expect(!out.is_full);
    uint32_t size = (uint32_t)out.length - MP_WIRE_HEAD;
    mp_message written = {data + MP_WIRE_HEAD, size, size, 'E'};
    expect(mp_answer_parse_error(&written, &again));
    expect((again.sqlstate.data != NULL) == (error.sqlstate.data != NULL));
    expect(again.text.size == error.text.size || again.text.size <= MP_ANSWER_FIELD_SIZE_MAX);
}

static uint8_t again[70000];

static mp_wire_out *start_again(void) {
    static mp_wire_out out;
    out = (mp_wire_out){.data = again, .size = sizeof again};
    return &out;
}

/* What is read and written again must be the message as it was. */
static void expect_same(const mp_message *message, const mp_wire_out *out) {
    expect(out->is_full || (out->length == (size_t)message->size + MP_WIRE_HEAD &&
                            memcmp(again + MP_WIRE_HEAD, message->body, message->size) == 0));
}

static void look_at_login(const mp_message *message) {
    mp_answer_authentication authentication;
    mp_answer_parameter parameter;
    mp_answer_backend_key key;
    if (mp_answer_parse_authentication(message, &authentication)) {
        touch(authentication.data);
        mp_wire_out *out = start_again();
        if (authentication.kind == MP_ANSWER_AUTH_SASL)
            mp_answer_has_mechanism(authentication.data, "SCRAM-SHA-256");
        mp_answer_write_authentication(out, authentication);
        if (authentication.kind != MP_ANSWER_AUTH_SASL) expect_same(message, out);
    }
    if (mp_answer_parse_parameter(message, &parameter)) {
        mp_wire_out *out = start_again();
        mp_answer_write_parameter(out, parameter);
        expect_same(message, out);
    }
    if (mp_answer_parse_backend_key(message, &key)) {
        mp_wire_out *out = start_again();
        mp_answer_write_backend_key(out, key);
        expect_same(message, out);
    }
}

static void look_at_result(const mp_message *message) {
    uint8_t status;
    mp_view tag;
    mp_answer_copy copy;
    if (mp_answer_parse_ready(message, &status)) {
        expect(strchr("ITE", status));
        mp_wire_out *out = start_again();
        mp_answer_write_ready(out, status);
        expect_same(message, out);
    }
    if (mp_answer_parse_complete(message, &tag)) {
        mp_wire_out *out = start_again();
        mp_answer_write_complete(out, tag);
        expect_same(message, out);
    }
    if (mp_answer_parse_copy(message, &copy))
        expect(message->size == 3 + 2 * (uint32_t)copy.columns_count);
}

/* Cells of what a console might show: as many messages as fit, and each whole. */
static void write_result(const mp_message *message) {
    mp_view cells[] = {{(const char *)message->body, message->have}, {0}};
    mp_answer_column columns[] = {{"name", 25, -1}, {"id", 23, 4}};
    uint32_t types[] = {25, 23};
    mp_wire_out out = {.data = again, .size = message->size % 600};
    mp_wire wire = {0};
    static mp_wire_rules rules;
    size_t at = 0;
    mp_message found;
    mp_answer_write_description(&out, columns, 2);
    mp_answer_write_row(&out, cells, 2);
    mp_answer_write_parameter_types(&out, types, 2);
    mp_answer_write_bare(&out, MP_ANSWER_NO_DATA);
    if (!rules.types['T']) mp_wire_rules_init(&rules, MP_WIRE_SERVER, MP_WIRE_LENGTH_MAX, "TDtn");
    while (mp_wire_scan(&wire, &rules, again, out.length, &at, &found) == MP_WIRE_WHOLE) continue;
    expect(at == out.length && wire.rest == 0);
}

static void look(const mp_message *message) {
    mantis_error error;
    look_at_error(message);
    look_at_login(message);
    look_at_result(message);
    write_result(message);
    expect(mp_wire_explain(message, MP_WIRE_SERVER, &error) != MANTIS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_frames(MP_WIRE_SERVER, "DTd123ACEGHIKNRSVWZcnstv", data, size, look);
    return 0;
}
