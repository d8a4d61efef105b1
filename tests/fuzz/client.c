/* Anything as what a client sends after its login. */
#include "fuzz/frames.h"

#include "pg/request.h"

static void look_at_rename(const mp_message *message) {
    static uint8_t head[70000], back_head[70000];
    mp_wire_out out = {.data = head, .size = sizeof head};
    mp_wire_out back = {.data = back_head, .size = sizeof back_head};
    mp_view name = {"MANTIS_4711", 11};
    uint32_t rest_at = 0, rest_again = 0;
    if (!mp_request_rename(message, name, &out, &rest_at)) {
        expect(out.length == 0);
        return;
    }
    expect(rest_at <= message->have && out.length >= MP_WIRE_HEAD + name.size + 1);
    uint32_t length = mp_wire_get_u32(head + 1);
    expect(head[0] == message->type && length - 4 == message->size - rest_at + out.length - 5);
    /* the beginning is a message too, which can be renamed */
    uint32_t have = (uint32_t)out.length - MP_WIRE_HEAD;
    mp_message renamed = {head + MP_WIRE_HEAD, have, length - 4, head[0]};
    expect(mp_request_rename(&renamed, name, &back, &rest_again));
    expect(back.length == out.length && memcmp(head, back_head, out.length) == 0);
}

/* What is read and written again must be the message as it was. */
static uint8_t again[70000];

static mp_wire_out *start_again(void) {
    static mp_wire_out out;
    out = (mp_wire_out){.data = again, .size = sizeof again};
    return &out;
}

static void expect_same(const mp_message *message, const mp_wire_out *out) {
    if (out->is_full) return;
    expect(out->length == (size_t)message->size + MP_WIRE_HEAD);
    expect(memcmp(again + MP_WIRE_HEAD, message->body, message->size) == 0);
}

static void look_at_parse(const mp_message *message) {
    static uint32_t types[65535];
    mp_request_parse parse;
    mp_wire_out *out = start_again();
    if (!mp_request_parse_parse(message, &parse)) return;
    touch(parse.name);
    touch(parse.sql);
    touch((mp_view){(const char *)parse.types, (size_t)parse.types_count * 4});
    if (parse.is_cut) return;
    for (uint32_t i = 0; i < parse.types_count; i++)
        types[i] = mp_wire_get_u32(parse.types + 4 * i);
    mp_request_write_parse(out, parse.name, parse.sql, types, parse.types_count);
    expect_same(message, out);
}

static void look_at_bind(const mp_message *message) {
    mp_request_bind bind, found;
    mp_wire_out *out = start_again();
    if (!mp_request_parse_bind(message, &bind)) return;
    mp_view params[] = {bind.portal, {0}};
    mp_request_write_bind(out, bind, params, 2);
    if (out->is_full) return;
    uint32_t size = (uint32_t)out->length - MP_WIRE_HEAD;
    mp_message written = {again + MP_WIRE_HEAD, size, size, 'B'};
    expect(mp_request_parse_bind(&written, &found));
    expect(found.portal.size == bind.portal.size && found.statement.size == bind.statement.size);
}

static void look_at_small_ones(const mp_message *message) {
    mp_request_target target;
    mp_request_execute execute;
    mp_view first, second;
    if (mp_request_parse_target(message, &target)) {
        mp_wire_out *out = start_again();
        if (message->type == 'C') mp_request_write_close(out, target);
        else mp_request_write_describe(out, target);
        expect_same(message, out);
    }
    if (mp_request_parse_execute(message, &execute)) {
        mp_wire_out *out = start_again();
        mp_request_write_execute(out, execute);
        expect_same(message, out);
    }
    if (mp_request_parse_password(message, &first)) {
        mp_wire_out *out = start_again();
        if (message->type == 'f') mp_request_write_copy_fail(out, first);
        else mp_request_write_password(out, first);
        expect_same(message, out);
    }
    if (mp_request_parse_sasl(message, &first, &second)) {
        mp_wire_out *out = start_again();
        mp_request_write_sasl(out, first, second);
        expect_same(message, out);
    }
}

static void look(const mp_message *message) {
    mp_view sql;
    mantis_error error;
    if (mp_request_parse_query(message, &sql)) {
        touch(sql);
        mp_wire_out *out = start_again();
        mp_request_write_query(out, sql);
        if (message->have == message->size) expect_same(message, out);
    }
    if (message->have == message->size) {
        mp_wire_out *out = start_again();
        mp_request_write_sasl_next(out, (mp_view){(const char *)message->body, message->size});
        expect_same(message, out);
    } else {
        mp_request_write_sync(start_again());
    }
    look_at_parse(message);
    look_at_bind(message);
    look_at_small_ones(message);
    look_at_rename(message);
    expect(mp_wire_explain(message, MP_WIRE_CLIENT, &error) != MANTIS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_frames(MP_WIRE_CLIENT, "dFHBCDEPQSXcfp", data, size, look);
    return 0;
}
