/* Frames: found wherever a buffer is cut, refused when their lengths lie, never read beyond. */
#include "lib/tap.h"

#include "pg/answer.h"
#include "pg/bytes.h"
#include "pg/request.h"

#include <stdlib.h>

/* ---- a conversation with a message of every type ---- */

static const mp_view none = {"", 0};

static void write_requests(mp_wire_out *out) {
    uint32_t types[] = {23, 25};
    mp_view params[] = {BYTES("42"), {0}};
    mp_request_bind names = {BYTES("portal"), BYTES("statement")};
    mp_request_target statement = {MP_REQUEST_STATEMENT, BYTES("statement")};
    mp_request_write_query(out, BYTES("SELECT 1"));
    mp_request_write_parse(out, BYTES("statement"), BYTES("SELECT $1, $2"), types, 2);
    mp_request_write_bind(out, names, params, 2);
    mp_request_write_describe(out, statement);
    mp_request_write_execute(out, (mp_request_execute){BYTES("portal"), 7});
    mp_request_write_close(out, statement);
    mp_request_write_sync(out);
    mp_request_write_password(out, BYTES("secret"));
    mp_request_write_sasl(out, BYTES("SCRAM-SHA-256"), BYTES("n,,n=,r=abc"));
    mp_request_write_sasl_next(out, BYTES("c=biws"));
    mp_request_write_copy_fail(out, BYTES("no more"));
    static const char bare[] = "FHcd"; /* of these only the type matters here */
    for (const char *type = bare; *type; type++) mp_answer_write_bare(out, (uint8_t)*type);
    mp_request_write_terminate(out);
}

static void write_answers(mp_wire_out *out) {
    mp_answer_error error = {BYTES("ERROR"), BYTES("42601"), BYTES("syntax error"), {0}, {0}};
    mp_answer_column columns[] = {{"id", 23, 4}, {"name", 25, -1}};
    mp_view cells[] = {BYTES("1"), {0}};
    uint32_t types[] = {23, 25};
    mp_answer_write_authentication(out, (mp_answer_authentication){MP_ANSWER_AUTH_OK, none});
    mp_answer_write_parameter(out, (mp_answer_parameter){BYTES("TimeZone"), BYTES("UTC")});
    mp_answer_write_backend_key(out, (mp_answer_backend_key){4711, BYTES("\1\2\3\4")});
    mp_answer_write_error(out, &error);
    mp_answer_write_notice(out, &error);
    mp_answer_write_description(out, columns, 2);
    mp_answer_write_row(out, cells, 2);
    mp_answer_write_complete(out, BYTES("SELECT 1"));
    mp_answer_write_parameter_types(out, types, 2);
    mp_answer_write_ready(out, MP_ANSWER_IDLE);
    static const char bare[] = "123AGHIVWcdnsv";
    for (const char *type = bare; *type; type++) mp_answer_write_bare(out, (uint8_t)*type);
}

/* What a walk over a conversation came to: a hash over the wanted messages, all bytes of them. */
typedef struct walked {
    uint32_t count;
    uint64_t hash;
    size_t bytes; /* of the conversation that were walked over */
} walked;

static void count_bytes(walked *walk, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) walk->hash = (walk->hash ^ data[i]) * UINT64_C(0x100000001b3);
}

/* One turn over what is there: answers how many bytes are done with. */
static size_t walk_over(walked *walk, mp_wire *wire, const mp_wire_rules *rules,
                        const uint8_t *data, size_t size) {
    size_t at = 0;
    mp_message message;
    for (;;) {
        size_t before = at;
        mp_wire_found found = mp_wire_scan(wire, rules, data, size, &at, &message);
        check(found != MP_WIRE_BAD);
        check(at >= before && at <= size);
        if (found != MP_WIRE_WHOLE) return at;
        walk->count++;
        count_bytes(walk, &message.type, 1);
        count_bytes(walk, message.body, message.size);
    }
}

/* Walk over the conversation in pieces: the first of first bytes, the rest of step each. What is
 * not done with comes again, in a buffer of just the size. */
static walked walk_in_pieces(const mp_wire_rules *rules, mp_view whole, size_t first, size_t step) {
    walked walk = {0};
    mp_wire wire = {0};
    size_t done = 0, there = first;
    for (;;) {
        uint8_t *piece = malloc(there - done + 1);
        memcpy(piece, whole.data + done, there - done);
        done += walk_over(&walk, &wire, rules, piece, there - done);
        free(piece);
        if (there == whole.size) break;
        there = there + step < whole.size ? there + step : whole.size;
    }
    walk.bytes = done;
    check_equal(wire.rest, 0);
    return walk;
}

static void check_every_cut(mp_wire_side side, const char *wanted, mp_view whole) {
    mp_wire_rules rules;
    mp_wire_rules_init(&rules, side, MP_WIRE_LENGTH_MAX, wanted);
    walked expected = walk_in_pieces(&rules, whole, whole.size, 1);
    check_equal(expected.bytes, whole.size);
    for (size_t step = 1; step < 40; step++) {
        for (size_t first = 0; first <= whole.size; first++) {
            if (step > 1 && first > step) break;
            walked found = walk_in_pieces(&rules, whole, first, step);
            check_equal(found.count, expected.count);
            check(found.hash == expected.hash);
            check_equal(found.bytes, whole.size);
        }
    }
    for (size_t first = 0; first <= whole.size; first++) { /* in two pieces */
        walked found = walk_in_pieces(&rules, whole, first, whole.size);
        check(found.hash == expected.hash);
        check_equal(found.count, expected.count);
    }
}

#define ALL_REQUESTS "BCDEFHPQSXcdfp"
#define ALL_ANSWERS "123ACDEGHIKNRSTVWZcdnstv"

TEST(requests_are_found_wherever_they_are_cut) {
    static sheet buffer;
    write_requests(start(&buffer));
    check_every_cut(MP_WIRE_CLIENT, ALL_REQUESTS, written(&buffer));
    check_every_cut(MP_WIRE_CLIENT, "QSp", written(&buffer));
}

TEST(answers_are_found_wherever_they_are_cut) {
    static sheet buffer;
    write_answers(start(&buffer));
    check_every_cut(MP_WIRE_SERVER, ALL_ANSWERS, written(&buffer));
    check_every_cut(MP_WIRE_SERVER, "EZ", written(&buffer));
    check_every_cut(MP_WIRE_SERVER, "", written(&buffer));
}

TEST(each_type_is_found_once_and_in_order) {
    static sheet buffer;
    mp_wire_rules rules;
    mp_message message;
    mp_wire wire = {0};
    size_t at = 0;
    write_answers(start(&buffer));
    mp_wire_rules_init(&rules, MP_WIRE_SERVER, MP_WIRE_LENGTH_MAX, ALL_ANSWERS);
    for (const char *type = "RSKENTDCtZ123AGHIVWcdnsv"; *type; type++) {
        check_equal(mp_wire_scan(&wire, &rules, buffer.data, buffer.out.length, &at, &message),
                    MP_WIRE_WHOLE);
        check_equal(message.type, *type);
        check_equal(message.have, message.size);
    }
    check_equal(mp_wire_scan(&wire, &rules, buffer.data, buffer.out.length, &at, &message),
                MP_WIRE_END);
    check_equal(at, buffer.out.length);
}

/* ---- parts of messages ---- */

TEST(a_wanted_message_in_part_says_how_much_is_there) {
    static sheet buffer;
    mp_wire_rules rules;
    mp_wire wire = {0};
    mp_message message;
    mp_request_write_sync(start(&buffer));
    mp_request_write_query(&buffer.out, BYTES("SELECT 1"));
    mp_wire_rules_init(&rules, MP_WIRE_CLIENT, MP_WIRE_LENGTH_MAX, "Q");
    for (size_t size = 10; size < buffer.out.length; size++) {
        size_t at = 0;
        check_equal(mp_wire_scan(&wire, &rules, buffer.data, size, &at, &message), MP_WIRE_PART);
        check_equal(at, 5);
        check_equal(message.size, 9);
        check_equal(message.have, size - 10);
        check(message.body == buffer.data + 10);
    }
}

TEST(a_long_message_is_passed_on_in_a_state_of_four_bytes) {
    static uint8_t data[100000];
    mp_wire_rules rules;
    mp_wire wire = {0};
    mp_message message;
    check_equal(sizeof wire, 4);
    mp_wire_rules_init(&rules, MP_WIRE_CLIENT, MP_WIRE_LENGTH_MAX, "QS");
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_wire_begin(&out, 'Q');
    for (int i = 0; i < 70000; i++) mp_wire_write_u8(&out, 'x');
    mp_wire_commit(&out, 'Q');
    mp_request_write_sync(&out);
    check(!out.is_full);

    size_t at = 0;
    check_equal(mp_wire_scan(&wire, &rules, data, 16384, &at, &message), MP_WIRE_PART);
    mp_wire_pass(&wire, &message, &at);
    check_equal(at, 16384);
    check_equal(wire.rest, 70005 - 16384);
    for (size_t place = at; place < out.length; place += 1000) {
        size_t size = out.length - place < 1000 ? out.length - place : 1000;
        at = 0;
        mp_wire_found found = mp_wire_scan(&wire, &rules, data + place, size, &at, &message);
        check_equal(found, place + size == out.length ? MP_WIRE_WHOLE : MP_WIRE_END);
        check_equal(at, size);
    }
    check_equal(message.type, 'S');
}

/* ---- what cannot be ---- */

/* One message's head, as the scan takes it. */
static mp_wire_found found_head(mp_wire_side side, uint32_t length_max, uint8_t type,
                                uint32_t length, mp_message *message) {
    uint8_t *head = malloc(MP_WIRE_HEAD);
    mp_wire wire = {0};
    mp_wire_rules rules;
    mp_wire_rules_init(&rules, side, length_max, ALL_REQUESTS ALL_ANSWERS);
    head[0] = type;
    for (int i = 0; i < 4; i++) head[1 + i] = (uint8_t)(length >> (24 - 8 * i));
    size_t at = 0;
    mp_wire_found found = mp_wire_scan(&wire, &rules, head, MP_WIRE_HEAD, &at, message);
    free(head);
    return found;
}

TEST(lengths_that_cannot_be_are_refused_for_every_type) {
    static const uint32_t lengths[] = {0,          1,           2,           3,
                                       0x7fffffff, 0x80000000u, 0xfffffffbu, 0xffffffffu};
    static const char *const any = "ADENTVd"; /* which a server may make as long as it likes */
    mp_message message;
    for (int side = MP_WIRE_CLIENT; side <= MP_WIRE_SERVER; side++) {
        for (const char *type = side == MP_WIRE_CLIENT ? ALL_REQUESTS : ALL_ANSWERS; *type;
             type++) {
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                bool is_fine = lengths[i] == 0x7fffffff && side == MP_WIRE_SERVER &&
                               strchr(any, *type);
                mp_wire_found found = found_head((mp_wire_side)side, MP_WIRE_LENGTH_MAX,
                                                 (uint8_t)*type, lengths[i], &message);
                check_equal(found, is_fine ? MP_WIRE_PART : MP_WIRE_BAD);
            }
            check(found_head((mp_wire_side)side, MP_WIRE_LENGTH_MAX, (uint8_t)*type, 4, &message) ==
                  MP_WIRE_WHOLE);
        }
    }
}

TEST(each_type_has_postgresqls_own_bound) {
    static const struct {
        char type;
        uint32_t length_max;
    } rows[] = {{'Q', 0x3ffffffe}, {'B', 0x3ffffffe}, {'d', 0x3ffffffe},
                {'S', 10000},      {'E', 10000},      {'p', 65535}};
    mp_message message;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t type = (uint8_t)rows[i].type;
        uint32_t length = rows[i].length_max;
        check(found_head(MP_WIRE_CLIENT, UINT32_MAX, type, length, &message) == MP_WIRE_PART);
        check(found_head(MP_WIRE_CLIENT, UINT32_MAX, type, length + 1, &message) == MP_WIRE_BAD);
    }
    check(found_head(MP_WIRE_SERVER, UINT32_MAX, 'Z', 30001, &message) == MP_WIRE_BAD);
    check(found_head(MP_WIRE_SERVER, UINT32_MAX, 't', 6 + 4 * 65535, &message) == MP_WIRE_PART);
}

TEST(a_bound_of_ones_own_holds_for_all_types) {
    mp_message message;
    check(found_head(MP_WIRE_CLIENT, 5000, 'Q', 5000, &message) == MP_WIRE_PART);
    check(found_head(MP_WIRE_CLIENT, 5000, 'Q', 5001, &message) == MP_WIRE_BAD);
    check(found_head(MP_WIRE_SERVER, 5000, 'D', 5001, &message) == MP_WIRE_BAD);
}

TEST(an_unknown_type_is_refused_before_its_length_has_come) {
    mp_wire_rules rules;
    mp_message message;
    mantis_error error = {0};
    mp_wire_rules_init(&rules, MP_WIRE_CLIENT, MP_WIRE_LENGTH_MAX, "Q");
    for (int type = 0; type < 256; type++) {
        uint8_t byte = (uint8_t)type;
        mp_wire wire = {0};
        size_t at = 0;
        bool is_known = byte && strchr("BCDEFHPQSXcdf", byte);
        mp_wire_found found = mp_wire_scan(&wire, &rules, &byte, 1, &at, &message);
        check_equal(found, is_known ? MP_WIRE_END : MP_WIRE_BAD);
        check_equal(at, 0);
    }
    check_equal(mp_wire_explain(&message, MP_WIRE_CLIENT, &error), MANTIS_INVALID);
    check_view(mp_view_of(error.sqlstate), "08P01");
    check_contains(error.text, "invalid frontend message type 255");
}

TEST(a_bad_length_is_explained_with_the_length) {
    mantis_error error = {0};
    mp_message message;
    found_head(MP_WIRE_CLIENT, UINT32_MAX, 'Q', 3, &message);
    mp_wire_explain(&message, MP_WIRE_CLIENT, &error);
    check_contains(error.text, "invalid message length: 3 in a message of type \"Q\"");
    found_head(MP_WIRE_SERVER, UINT32_MAX, 'Z', 0xffffffffu, &message);
    mp_wire_explain(&message, MP_WIRE_SERVER, &error);
    check_contains(error.text, "got message type 0x5a, length 4294967295");
    check_equal(mp_wire_explain(&message, MP_WIRE_SERVER, NULL), MANTIS_INVALID);
}

TEST(a_password_is_no_message_unless_it_is_wanted) {
    mp_wire_rules rules;
    mp_wire_rules_init(&rules, MP_WIRE_CLIENT, MP_WIRE_LENGTH_MAX, "Q");
    check_equal(rules.types['p'], 0);
    mp_wire_rules_init(&rules, MP_WIRE_CLIENT, MP_WIRE_LENGTH_MAX, "p");
    check(rules.types['p'] != 0);
    mp_wire_rules_init(&rules, MP_WIRE_SERVER, MP_WIRE_LENGTH_MAX, "p\xff");
    check_equal(rules.types['p'], 0);
}

/* ---- reading and writing ---- */

TEST(a_reader_never_leaves_its_body) {
    static const uint8_t body[] = {1, 2, 3, 'a', 0, 'b'};
    mp_message message = {body, sizeof body, sizeof body, 'x'};
    mp_wire_in in = mp_wire_in_of(&message);
    check_equal(mp_wire_read_u8(&in), 1);
    check_equal(mp_wire_read_u16(&in), 0x0203);
    check_view(mp_wire_read_string(&in), "a");
    check(!mp_wire_is_read(&in));
    check_equal(mp_wire_read_string(&in).size, 0); /* "b" does not end */
    check(in.is_bad);
    check_equal(mp_wire_read_u8(&in), 0); /* and so does nothing after it */
    check_equal(mp_wire_read_u32(&in), 0);
    check_equal(mp_wire_read_bytes(&in, SIZE_MAX).size, 0);
    check(!mp_wire_is_read(&in));
}

TEST(a_message_that_does_not_fit_is_left_out_and_so_are_those_after_it) {
    uint8_t data[32];
    for (size_t size = 0; size <= sizeof data; size++) {
        mp_wire_out out = {.data = data, .size = size};
        memset(data, 'x', sizeof data);
        mp_request_write_sync(&out);
        mp_request_write_query(&out, BYTES("SELECT 1"));
        mp_request_write_sync(&out);
        size_t expected = size < 5 ? 0 : size < 19 ? 5 : size < 24 ? 19 : 24;
        check_equal(out.length, expected);
        check_equal(out.is_full, size < 24);
        for (size_t i = size; i < sizeof data; i++) check(data[i] == 'x');
    }
}

TEST(a_zero_byte_ends_a_string_that_is_written) {
    static sheet buffer;
    mp_request_write_query(start(&buffer), BYTES("SELECT 1\0; DROP TABLE t"));
    check_bytes(written(&buffer), "Q\0\0\0\x0dSELECT 1\0");
    mp_request_write_query(start(&buffer), (mp_view){0});
    check_bytes(written(&buffer), "Q\0\0\0\5\0");
}

TAP_MAIN
