/* The messages of both sides: what is written is read again as it was, and what is damaged, cut off
 * or a lie is refused without a byte being read that is not there. */
#include "lib/tap.h"

#include "pg/answer.h"
#include "pg/bytes.h"
#include "pg/request.h"

static sheet paper;

/* A reader of any message, whose result does not matter. */
typedef bool (*reader)(const mp_message *message);

/* Of a whole message every proper beginning is refused, whether it claims to be all or says that
 * more is to come; and so is the message with a byte more. */
static void check_only_whole(mp_view bytes, reader read) {
    mp_message whole = message_of(bytes);
    check(read(&whole));
    for (uint32_t have = 0; have < whole.size; have++) {
        uint8_t *copy;
        mp_message cut = cut_message(bytes, have, &copy);
        check(!read(&cut)); /* more is to come */
        cut.size = have;
        check(!read(&cut)); /* that is all */
        free(copy);
    }
    uint8_t *longer = calloc(1, whole.size + 1);
    memcpy(longer, whole.body, whole.size);
    mp_message long_message = {longer, whole.size + 1, whole.size + 1, whole.type};
    check(!read(&long_message));
    free(longer);
}

/* ---- requests ---- */

TEST(a_query_is_read_whole_and_in_part) {
    mp_view sql;
    mp_request_write_query(start(&paper), BYTES("SELECT 1; SELECT 2"));
    mp_message message = message_of(written(&paper));
    check(mp_request_parse_query(&message, &sql));
    check_view(sql, "SELECT 1; SELECT 2");
    for (uint32_t have = 0; have < message.size; have++) {
        uint8_t *copy;
        mp_message cut = cut_message(written(&paper), have, &copy);
        check(mp_request_parse_query(&cut, &sql));
        check_same(__FILE__, __LINE__, "sql", sql, (mp_view){"SELECT 1; SELECT 2", have});
        cut.size = have;
        check(!mp_request_parse_query(&cut, &sql)); /* no end */
        free(copy);
    }
}

TEST(a_query_with_something_behind_its_end_is_refused) {
    static const uint8_t body[] = "SELECT 1\0DROP TABLE t";
    mp_view sql;
    mp_message message = {body, sizeof body, sizeof body, 'Q'};
    check(!mp_request_parse_query(&message, &sql));
    message.size += 100; /* also before all of it has come */
    check(!mp_request_parse_query(&message, &sql));
}

TEST(a_parse_is_read_whole_and_in_part) {
    uint32_t types[] = {23, 0x01020304};
    mp_request_parse found;
    mp_request_write_parse(start(&paper), BYTES("name"), BYTES("SELECT $1, $2"), types, 2);
    mp_message message = message_of(written(&paper));
    check(mp_request_parse_parse(&message, &found));
    check_view(found.name, "name");
    check_view(found.sql, "SELECT $1, $2");
    check(!found.is_cut);
    check_equal(found.types_count, 2);
    check_equal(mp_wire_get_u32(found.types + 4), 0x01020304);
    for (uint32_t have = 0; have < message.size; have++) {
        uint8_t *copy;
        mp_message cut = cut_message(written(&paper), have, &copy);
        check_equal(mp_request_parse_parse(&cut, &found), have >= 5); /* behind the name */
        if (have >= 5) {
            check(found.is_cut && !found.types && found.types_count == 0);
            check_same(__FILE__, __LINE__, "sql", found.sql,
                       (mp_view){"SELECT $1, $2", have - 5 < 13 ? have - 5 : 13});
        }
        cut.size = have;
        check(!mp_request_parse_parse(&cut, &found));
        free(copy);
    }
}

TEST(a_parse_that_lies_about_its_types_is_refused) {
    mp_request_parse found;
    mp_request_write_parse(start(&paper), BYTES(""), BYTES("SELECT 1"), NULL, 0);
    uint8_t *count = paper.data + paper.out.length - 2;
    for (uint32_t lie = 1; lie <= 0xffff; lie += 0x1111) {
        count[0] = (uint8_t)(lie >> 8);
        count[1] = (uint8_t)lie;
        uint8_t *copy;
        mp_message message = cut_message(written(&paper), (uint32_t)paper.out.length - 5, &copy);
        check(!mp_request_parse_parse(&message, &found));
        free(copy);
    }
}

TEST(the_names_of_a_bind_are_read_as_soon_as_they_are_there) {
    mp_view params[] = {BYTES("42"), {0}};
    mp_request_bind names = {BYTES("portal"), BYTES("statement")}, found;
    mp_request_write_bind(start(&paper), names, params, 2);
    check_bytes(written(&paper), "B\0\0\0\x25portal\0statement\0"
                                 "\0\0\0\2\0\0\0\2"
                                 "42\xff\xff\xff\xff\0\0");
    mp_message message = message_of(written(&paper));
    for (uint32_t have = 0; have <= message.size; have++) {
        uint8_t *copy;
        mp_message cut = cut_message(written(&paper), have, &copy);
        check_equal(mp_request_parse_bind(&cut, &found), have >= 17);
        if (have >= 17) {
            check_view(found.portal, "portal");
            check_view(found.statement, "statement");
        }
        free(copy);
    }
}

static bool read_target(const mp_message *message) {
    mp_request_target found;
    return mp_request_parse_target(message, &found);
}

TEST(describe_and_close_are_of_a_statement_or_a_portal) {
    mp_request_target found;
    mp_request_write_describe(start(&paper), (mp_request_target){MP_REQUEST_PORTAL, BYTES("p")});
    mp_message message = message_of(written(&paper));
    check_equal(message.type, 'D');
    check(mp_request_parse_target(&message, &found));
    check_equal(found.kind, MP_REQUEST_PORTAL);
    check_view(found.name, "p");
    check_only_whole(written(&paper), read_target);
    mp_request_write_close(start(&paper), (mp_request_target){MP_REQUEST_STATEMENT, BYTES("s")});
    check_bytes(written(&paper), "C\0\0\0\7Ss\0");
    check_only_whole(written(&paper), read_target);
    paper.data[5] = 'X';
    message = message_of(written(&paper));
    check(!read_target(&message));
}

static bool read_execute(const mp_message *message) {
    mp_request_execute found;
    return mp_request_parse_execute(message, &found);
}

TEST(an_execute_is_read_as_it_was_written) {
    mp_request_execute found;
    mp_request_write_execute(start(&paper), (mp_request_execute){BYTES("p"), 1000});
    mp_message message = message_of(written(&paper));
    check(mp_request_parse_execute(&message, &found));
    check_view(found.portal, "p");
    check_equal(found.rows_max, 1000);
    check_only_whole(written(&paper), read_execute);
}

static bool read_password(const mp_message *message) {
    mp_view found;
    return mp_request_parse_password(message, &found);
}

static bool read_sasl(const mp_message *message) {
    mp_view mechanism, response;
    return mp_request_parse_sasl(message, &mechanism, &response);
}

TEST(passwords_and_sasl_are_read_as_they_were_written) {
    mp_view mechanism, response;
    mp_request_write_password(start(&paper), BYTES("secret"));
    check_only_whole(written(&paper), read_password);
    mp_request_write_sasl(start(&paper), BYTES("SCRAM-SHA-256"), BYTES("n,,n=,r=x"));
    check_only_whole(written(&paper), read_sasl);
    mp_message message = message_of(written(&paper));
    check(mp_request_parse_sasl(&message, &mechanism, &response));
    check_view(mechanism, "SCRAM-SHA-256");
    check_view(response, "n,,n=,r=x");
    mp_request_write_sasl(start(&paper), BYTES("SCRAM-SHA-256"), (mp_view){0});
    message = message_of(written(&paper));
    check(mp_request_parse_sasl(&message, &mechanism, &response));
    check(response.data == NULL);
}

TEST(a_sasl_response_that_lies_about_its_length_is_refused) {
    static const uint32_t lies[] = {0, 1, 8, 10, 0x7fffffff, 0x80000000u, 0xfffffffeu, 0xffffffffu};
    mp_request_write_sasl(start(&paper), BYTES("SCRAM-SHA-256"), BYTES("n,,n=,r=x"));
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        for (int byte = 0; byte < 4; byte++)
            paper.data[5 + 14 + byte] = (uint8_t)(lies[i] >> (24 - 8 * byte));
        uint8_t *copy;
        mp_message message = cut_message(written(&paper), (uint32_t)paper.out.length - 5, &copy);
        check(!read_sasl(&message));
        free(copy);
    }
}

TEST(requests_without_a_body_are_written_as_they_are_on_the_wire) {
    mp_request_write_sync(start(&paper));
    mp_request_write_terminate(&paper.out);
    check_bytes(written(&paper), "S\0\0\0\4X\0\0\0\4");
    mp_request_write_copy_fail(start(&paper), BYTES("no"));
    check_bytes(written(&paper), "f\0\0\0\7no\0");
    mp_request_write_sasl_next(start(&paper), BYTES("c=biws"));
    check_bytes(written(&paper), "p\0\0\0\x0a"
                                 "c=biws");
}

TEST(a_literal_is_quoted_whatever_is_in_it) {
    static const struct {
        const char *value, *literal;
    } rows[] = {{"", "''"},
                {"it's", "'it''s'"},
                {"'", "''''"},
                {"a\\b'c", "E'a\\\\b''c'"},
                {"\xc3\xa4;--", "'\xc3\xa4;--'"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(&paper);
        mp_request_write_literal(&paper.out, mp_view_of(rows[i].value));
        check_view(written(&paper), rows[i].literal);
    }
}

/* ---- the same message with another statement's name ---- */

/* The renamed message: its new beginning, and the rest of the old one. */
static void check_renamed(mp_view old, const char *name, mp_view expected) {
    static uint8_t head[256], whole[BUFFER_SIZE];
    mp_wire_out out = {.data = head, .size = sizeof head};
    mp_message message = message_of(old);
    uint32_t rest_at = 0;
    check(mp_request_rename(&message, mp_view_of(name), &out, &rest_at));
    memcpy(whole, head, out.length);
    memcpy(whole + out.length, message.body + rest_at, message.size - rest_at);
    check_same(__FILE__, __LINE__, "renamed",
               (mp_view){(const char *)whole, out.length + message.size - rest_at}, expected);
}

TEST(a_renamed_message_is_the_one_with_the_other_name) {
    static sheet expected;
    static const char *const names[] = {"", "s", "a_longer_name_than_before"};
    mp_view params[] = {BYTES("42"), {0}};
    uint32_t type = 23;
    for (size_t i = 0; i < 9; i++) {
        mp_view old = mp_view_of(names[i % 3]), name = mp_view_of(names[i / 3]);
        mp_request_write_parse(start(&paper), old, BYTES("SELECT $1"), &type, 1);
        mp_request_write_parse(start(&expected), name, BYTES("SELECT $1"), &type, 1);
        check_renamed(written(&paper), name.data, written(&expected));
        mp_request_write_bind(start(&paper), (mp_request_bind){BYTES("portal"), old}, params, 2);
        mp_request_write_bind(start(&expected), (mp_request_bind){BYTES("portal"), name}, params,
                              2);
        check_renamed(written(&paper), name.data, written(&expected));
        mp_request_write_close(start(&paper), (mp_request_target){MP_REQUEST_STATEMENT, old});
        mp_request_write_close(start(&expected), (mp_request_target){MP_REQUEST_STATEMENT, name});
        check_renamed(written(&paper), name.data, written(&expected));
        mp_request_write_describe(start(&paper), (mp_request_target){MP_REQUEST_STATEMENT, old});
        mp_request_write_describe(start(&expected),
                                  (mp_request_target){MP_REQUEST_STATEMENT, name});
        check_renamed(written(&paper), name.data, written(&expected));
    }
}

TEST(a_long_bind_is_renamed_as_soon_as_its_names_are_there) {
    mp_view params[] = {BYTES("42"), {0}};
    uint8_t head[64];
    mp_request_write_bind(start(&paper), (mp_request_bind){BYTES("p"), BYTES("s")}, params, 2);
    mp_message message = message_of(written(&paper));
    for (uint32_t have = 0; have <= message.size; have++) {
        uint8_t *copy;
        uint32_t rest_at = 0;
        mp_wire_out out = {.data = head, .size = sizeof head};
        mp_message cut = cut_message(written(&paper), have, &copy);
        check_equal(mp_request_rename(&cut, BYTES("P_1"), &out, &rest_at), have >= 4);
        check_equal(out.length, have >= 4 ? 5 + 2 + 4 : 0);
        if (have >= 4) check_equal(mp_wire_get_u32(head + 1), message.size + 4 + 2);
        if (have >= 4) check_equal(rest_at, 4);
        free(copy);
    }
}

TEST(what_cannot_be_renamed_is_left_alone) {
    uint8_t head[16];
    uint32_t rest_at = 4711;
    for (size_t size = 0; size <= sizeof head; size++) { /* no room */
        mp_wire_out out = {.data = head, .size = size};
        mp_request_write_bind(start(&paper), (mp_request_bind){BYTES("p"), BYTES("s")}, NULL, 0);
        mp_message message = message_of(written(&paper));
        check_equal(mp_request_rename(&message, BYTES("12345678"), &out, &rest_at), size >= 16);
        check_equal(out.length, size >= 16 ? 16 : 0);
    }
    mp_wire_out out = {.data = head, .size = sizeof head};
    mp_request_write_close(start(&paper), (mp_request_target){MP_REQUEST_PORTAL, BYTES("p")});
    mp_message message = message_of(written(&paper));
    check(!mp_request_rename(&message, BYTES("s"), &out, &rest_at)); /* a portal */
    mp_request_write_query(start(&paper), BYTES("s"));
    message = message_of(written(&paper));
    check(!mp_request_rename(&message, BYTES("s"), &out, &rest_at));
    mp_request_write_parse(start(&paper), BYTES(""), BYTES(""), NULL, 0);
    message = message_of(written(&paper));
    message.size = MP_WIRE_LENGTH_MAX - 4; /* one more would be too long */
    check(mp_request_rename(&message, BYTES(""), &out, &rest_at));
    check(!mp_request_rename(&message, BYTES("s"), &out, &rest_at));
}

/* ---- answers ---- */

static bool read_error(const mp_message *message) {
    mp_answer_error found;
    return mp_answer_parse_error(message, &found);
}

TEST(an_error_is_read_as_it_was_written) {
    mp_answer_error error = {BYTES("FATAL"), BYTES("53300"), BYTES("too many"), BYTES("why"),
                             BYTES("what to do")};
    mp_answer_error found;
    mp_answer_write_error(start(&paper), &error);
    mp_message message = message_of(written(&paper));
    check_equal(message.type, 'E');
    check(mp_answer_parse_error(&message, &found));
    check_view(found.severity, "FATAL");
    check_view(found.sqlstate, "53300");
    check_view(found.text, "too many");
    check_view(found.detail, "why");
    check_view(found.hint, "what to do");
    check_only_whole(written(&paper), read_error);
    error.detail = error.hint = (mp_view){0};
    mp_answer_write_notice(start(&paper), &error);
    check_bytes(written(&paper), "N\0\0\0\x24SFATAL\0VFATAL\0C53300\0Mtoo many\0\0");
}

/* CVE-2026-6666: an error without a SQLSTATE. */
TEST(an_error_may_lack_any_field) {
    static const mp_view bodies[] = {
        BYTES("\0"),       BYTES("SERROR\0\0"),         BYTES("Mtext\0\0"),
        BYTES("C\0M\0\0"), BYTES("SERROR\0C42601\0\0"), BYTES("Pposition\0Wwhere\0\0")};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        mp_answer_error found;
        mp_message message = {(const uint8_t *)bodies[i].data, (uint32_t)bodies[i].size,
                              (uint32_t)bodies[i].size, 'E'};
        check(mp_answer_parse_error(&message, &found));
        check_equal(found.severity.data != NULL, bodies[i].data[0] == 'S');
        check_equal(found.detail.size, 0);
    }
}

TEST(an_error_of_any_length_fits_and_is_cut_between_characters) {
    static char text[3000];
    mp_answer_error found;
    for (size_t i = 0; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    mp_view euros = {text, sizeof text};
    mp_answer_error error = {euros, euros, euros, euros, euros};
    uint8_t *data = malloc(MP_ANSWER_ERROR_SIZE_MAX);
    mp_wire_out out = {.data = data, .size = MP_ANSWER_ERROR_SIZE_MAX};
    mp_answer_write_error(&out, &error);
    check(!out.is_full);
    mp_message message = message_of((mp_view){(const char *)data, out.length});
    check(mp_answer_parse_error(&message, &found));
    check_equal(found.text.size, MP_ANSWER_FIELD_SIZE_MAX / 3 * 3);
    free(data);
}

static bool read_authentication(const mp_message *message) {
    mp_answer_authentication found;
    return mp_answer_parse_authentication(message, &found);
}

TEST(authentication_messages_have_what_their_kind_needs) {
    static const struct {
        mp_view body;
        bool is_right;
    } rows[] = {{BYTES("\0\0\0\0"), true},        {BYTES("\0\0\0\0x"), false},
                {BYTES("\0\0\0\3"), true},        {BYTES("\0\0\0\3x"), false},
                {BYTES("\0\0\0\5salt"), true},    {BYTES("\0\0\0\5sal"), false},
                {BYTES("\0\0\0\5salty"), false},  {BYTES("\0\0\0\x0a\0"), true},
                {BYTES("\0\0\0\x0aX\0\0"), true}, {BYTES("\0\0\0\x0aX\0"), false},
                {BYTES("\0\0\0\x0aX"), false},    {BYTES("\0\0\0\x0a"), false},
                {BYTES("\0\0\0\x0b"), true},      {BYTES("\0\0\0\7anything"), true},
                {BYTES("\0\0\0"), false},         {BYTES("\0\0\0\x0aX\0\0Y"), false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t size = (uint32_t)rows[i].body.size;
        mp_message message = {(const uint8_t *)rows[i].body.data, size, size, 'R'};
        check_equal(read_authentication(&message), rows[i].is_right);
    }
}

TEST(a_mechanism_is_found_by_its_whole_name) {
    mp_answer_authentication found;
    mp_answer_write_authentication(
        start(&paper), (mp_answer_authentication){MP_ANSWER_AUTH_SASL, BYTES("SCRAM-SHA-256")});
    check_bytes(written(&paper), "R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
    mp_message message = message_of(written(&paper));
    check(mp_answer_parse_authentication(&message, &found));
    check(mp_answer_has_mechanism(found.data, "SCRAM-SHA-256"));
    check(!mp_answer_has_mechanism(found.data, "SCRAM-SHA-256-PLUS"));
    check(!mp_answer_has_mechanism(found.data, "SCRAM"));
    check(mp_answer_has_mechanism(BYTES("A-PLUS\0A\0\0"), "A"));
    check(!mp_answer_has_mechanism(BYTES("A-PLUS\0\0A\0"), "A"));
}

static bool read_parameter(const mp_message *message) {
    mp_answer_parameter found;
    return mp_answer_parse_parameter(message, &found);
}

static bool read_ready(const mp_message *message) {
    uint8_t status;
    return mp_answer_parse_ready(message, &status);
}

static bool read_complete(const mp_message *message) {
    mp_view tag;
    return mp_answer_parse_complete(message, &tag);
}

static bool read_copy(const mp_message *message) {
    mp_answer_copy found;
    return mp_answer_parse_copy(message, &found);
}

TEST(small_answers_are_read_as_they_were_written_and_only_whole) {
    mp_answer_write_parameter(start(&paper), (mp_answer_parameter){BYTES("a"), BYTES("b")});
    check_bytes(written(&paper), "S\0\0\0\x08"
                                 "a\0b\0");
    check_only_whole(written(&paper), read_parameter);
    mp_answer_write_complete(start(&paper), BYTES("DISCARD ALL"));
    check_only_whole(written(&paper), read_complete);
    mp_answer_write_ready(start(&paper), MP_ANSWER_IN_TRANSACTION);
    check_bytes(written(&paper), "Z\0\0\0\5T");
    check_only_whole(written(&paper), read_ready);
    check_only_whole(BYTES("G\0\0\0\x0b\1\0\2\0\1\0\0"), read_copy);
}

TEST(a_transaction_has_one_of_three_states) {
    for (int status = 0; status < 256; status++) {
        uint8_t body = (uint8_t)status;
        mp_message message = {&body, 1, 1, 'Z'};
        check_equal(read_ready(&message), body == 'I' || body == 'T' || body == 'E');
    }
}

TEST(a_copy_says_its_format_and_columns) {
    mp_answer_copy found;
    mp_message message = message_of(BYTES("G\0\0\0\x0b\1\0\2\0\1\0\0"));
    check(mp_answer_parse_copy(&message, &found));
    check(found.is_binary);
    check_equal(found.columns_count, 2);
}

TEST(a_backend_key_is_of_4_to_256_bytes) {
    static uint8_t body[4 + 300];
    for (uint32_t size = 0; size <= sizeof body; size++) {
        mp_answer_backend_key found;
        mp_message message = {body, size, size, 'K'};
        bool is_right = size >= 8 && size <= 260;
        check_equal(mp_answer_parse_backend_key(&message, &found), is_right);
        if (is_right) check_equal(found.key.size, size - 4);
    }
    mp_answer_write_backend_key(start(&paper), (mp_answer_backend_key){258, BYTES("abcd")});
    check_bytes(written(&paper), "K\0\0\0\x0c\0\0\1\2abcd");
}

TEST(results_are_written_as_they_are_on_the_wire) {
    mp_answer_column columns[] = {{"id", 23, 4}, {"name", 25, -1}};
    mp_view cells[] = {BYTES("1"), {0}};
    uint32_t types[] = {23, 25};
    mp_answer_write_description(start(&paper), columns, 2);
    check_bytes(written(&paper), "T\0\0\0\x32\0\2"
                                 "id\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
                                 "name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
    mp_answer_write_row(start(&paper), cells, 2);
    check_bytes(written(&paper), "D\0\0\0\x0f\0\2\0\0\0\1"
                                 "1\xff\xff\xff\xff");
    mp_answer_write_parameter_types(start(&paper), types, 2);
    check_bytes(written(&paper), "t\0\0\0\x0e\0\2\0\0\0\x17\0\0\0\x19");
    mp_answer_write_bare(start(&paper), MP_ANSWER_PARSE_COMPLETE);
    check_bytes(written(&paper), "1\0\0\0\4");
}

TAP_MAIN
