/* Stored secrets, the file they stand in, and logging in to servers that may be hostile. */
#include "lib/tap.h"

#include "pg/bytes.h"
#include "pg/login.h"
#include "pg/request.h"
#include "pg/secret.h"
#include "pg/userlist.h"

#define VERIFIER                                                                                   \
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="     \
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
/* md5("pencil" "alice") */
#define MD5 "md5ee69efad287c7423caf0b3229d71f567"

static const mp_view none = {0};
static const mp_view alice = BYTES("alice");
static const uint8_t salt[MP_ANSWER_SALT_SIZE] = {'s', 'a', 'l', 't'};

/* ---- secrets ---- */

TEST(the_kinds_of_secrets_are_told_apart) {
    static const struct {
        const char *secret;
        mp_secret_kind kind;
    } rows[] = {{"", MP_SECRET_NONE},
                {"pencil", MP_SECRET_PLAIN},
                {"md5", MP_SECRET_PLAIN},
                {MD5, MP_SECRET_MD5},
                {MD5 "0", MP_SECRET_PLAIN},
                {"md50123456789abcdef0123456789abcdeF", MP_SECRET_PLAIN},
                {"md50123456789abcdef0123456789abcdeg", MP_SECRET_PLAIN},
                {"MD50123456789abcdef0123456789abcdef", MP_SECRET_PLAIN},
                {VERIFIER, MP_SECRET_SCRAM},
                {VERIFIER "=", MP_SECRET_PLAIN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_equal(mp_secret_kind_of(mp_view_of(rows[i].secret)), rows[i].kind);
    check_equal(mp_secret_kind_of(none), MP_SECRET_NONE);
}

TEST(a_password_is_checked_against_each_kind_of_secret) {
    static const char *const secrets[] = {"pencil", MD5, VERIFIER};
    for (size_t i = 0; i < 3; i++) {
        mp_view secret = mp_view_of(secrets[i]);
        check(mp_secret_check_password(secret, alice, BYTES("pencil")));
        check(!mp_secret_check_password(secret, alice, BYTES("pencil ")));
        check(!mp_secret_check_password(secret, alice, BYTES("penci")));
        check(!mp_secret_check_password(secret, alice, BYTES("")));
        check(!mp_secret_check_password(secret, alice, secret) || i == 0);
        check_equal(mp_secret_check_password(secret, BYTES("bob"), BYTES("pencil")), i != 1);
    }
    check(!mp_secret_check_password(none, alice, BYTES("")));
    check(!mp_secret_check_password(BYTES(""), alice, BYTES("")));
    check(!mp_secret_check_password(none, alice, BYTES("pencil")));
}

TEST(an_md5_answer_is_the_same_from_a_password_and_from_its_md5) {
    char answer[MP_SECRET_MD5_SIZE], other[MP_SECRET_MD5_SIZE];
    check(mp_secret_make_md5(BYTES("pencil"), alice, salt, answer));
    check(mp_secret_make_md5(BYTES(MD5), alice, salt, other));
    check(memcmp(answer, other, sizeof answer) == 0);
    mp_view view = {answer, sizeof answer};
    check_view(view, "md5b49de27f011469d6386d334319e95a6a");
    check(!mp_secret_make_md5(BYTES(VERIFIER), alice, salt, other));
    check(!mp_secret_make_md5(none, alice, salt, other));
    check(mp_secret_check_md5(BYTES("pencil"), alice, salt, view));
    check(mp_secret_check_md5(BYTES(MD5), alice, salt, view));
    check(!mp_secret_check_md5(BYTES("pencil"), BYTES("bob"), salt, view));
    check(!mp_secret_check_md5(BYTES(VERIFIER), alice, salt, view));
    check(!mp_secret_check_md5(BYTES("pencil"), alice, (const uint8_t *)"tlas", view));
    check(!mp_secret_check_md5(BYTES("pencil"), alice, salt, (mp_view){answer, 34}));
    check(!mp_secret_check_md5(BYTES("pencil"), alice, salt, BYTES("")));
    check(!mp_secret_check_md5(BYTES(MD5), alice, salt, BYTES(MD5))); /* the hash is not enough */
}

/* What an empty password would answer lets nobody in whose secret is not there, or cannot do MD5.
 * */
TEST(the_answer_of_no_secret_is_wrong) {
    char stored[MP_SECRET_MD5_SIZE] = "md5", answer[MP_SECRET_MD5_SIZE] = "md5";
    mp_view digits = {stored + 3, 32}, salt_view = {(const char *)salt, 4};
    check(mp_crypto_md5(BYTES(""), alice, stored + 3) &&
          mp_crypto_md5(digits, salt_view, answer + 3));
    mp_view view = {answer, sizeof answer};
    check(!mp_secret_check_md5(none, alice, salt, view));
    check(!mp_secret_check_md5(BYTES(""), alice, salt, view));
    check(mp_crypto_md5(BYTES(VERIFIER), alice, stored + 3) &&
          mp_crypto_md5(digits, salt_view, answer + 3));
    check(!mp_secret_check_md5(BYTES(VERIFIER), alice, salt, view));
}

/* ---- the file ---- */

/* The users of a file, as "name=secret;", or "!line" for a line that is refused. */
static const char *list_users(const char *file, size_t size) {
    static char text[4096], copy[4096];
    size_t length = 0;
    memcpy(copy, file, size);
    mp_userlist list = {.text = copy, .size = size};
    mp_userlist_user user;
    mantis_error error = {0};
    text[0] = 0;
    for (;;) {
        mantis_status status = mp_userlist_read(&list, &user, &error);
        if (status == MANTIS_NOT_FOUND) return text;
        char line[32];
        snprintf(line, sizeof line, "line %u: ", list.line);
        if (status == MANTIS_INVALID) check_contains(error.text, line);
        if (status == MANTIS_INVALID)
            length += (size_t)snprintf(text + length, sizeof text - length, "!%u;", list.line);
        else
            length += (size_t)snprintf(text + length, sizeof text - length, "%.*s=%.*s;",
                                       (int)user.name.size, user.name.data, (int)user.secret.size,
                                       user.secret.data);
    }
}

TEST(users_are_read_with_their_quoting) {
    static const struct {
        mp_view file;
        const char *users;
    } rows[] = {
        {BYTES(""), ""},
        {BYTES("\n\n  \n"), ""},
        {BYTES("\"a\" \"b\""), "a=b;"},
        {BYTES("\"a\" \"b\"\n\"c\" \"d\"\n"), "a=b;c=d;"},
        {BYTES("\"a\" \"b\"\r\n\"c\" \"d\"\r\n"), "a=b;c=d;"},
        {BYTES("; \"no\" \"body\"\n  ;x\n\"a\" \"b\" ; the rest \"is\" not read\n"), "a=b;"},
        {BYTES("  \t\"a\"\"b\""), "!1;"}, /* a quote in a name, and no secret */
        {BYTES("\"a\"  \t \"b\""), "a=b;"},
        {BYTES("\"a\"\"\"\"b\" \"c\"\"\""), "a\"\"b=c\";"},
        {BYTES("\"a\"\"b\" \"\"\"c\"\"\""), "a\"b=\"c\";"},
        {BYTES("\"a\" \"\""), "a=;"},
        {BYTES("\"\" \"b\""), "!1;"},
        {BYTES("a b\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\"a\" b\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\"a\"\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\"a\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\"a\" \"b\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\"a\" \"b\\\"\n"), "a=b\\;"},
        {BYTES("\"a\0\" \"b\"\n\"c\" \"d\""), "!1;c=d;"},
        {BYTES("\n\"a\" \"" VERIFIER "\""), "a=" VERIFIER ";"},
        {BYTES("\n\n\"a\" \"SCRAM-SHA-256$4096:x\"\n\"c\" \"d\""), "!3;c=d;"},
        {BYTES("\"r\xc3\xa9mi\" \"b\""), "r\xc3\xa9mi=b;"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *users = list_users(rows[i].file.data, rows[i].file.size);
        if (strcmp(users, rows[i].users) != 0)
            tap_fail(__FILE__, __LINE__, "row %zu is \"%s\", not \"%s\"", i, rows[i].users, users);
    }
}

TEST(a_file_that_breaks_off_anywhere_is_read_without_leaving_it) {
    static const char file[] = "; x\n\"a\"\"b\" \"\"\"c\"\"\"\n\"d\" \"e\" f\n";
    for (size_t size = 0; size < sizeof file; size++) {
        char *copy = malloc(size + 1);
        memcpy(copy + 1, file, size);
        mp_userlist list = {.text = copy + 1, .size = size};
        mp_userlist_user user;
        while (mp_userlist_read(&list, &user, NULL) != MANTIS_NOT_FOUND) continue;
        check_equal(list.at, size);
        free(copy);
    }
}

TEST(names_and_secrets_in_the_file_have_bounds) {
    static char file[70000], copy[70000];
    mp_userlist_user user;
    for (size_t size = 120; size < 135; size++) {
        int length = snprintf(file, sizeof file, "\"%0*d\" \"x\"", (int)size, 1);
        memcpy(copy, file, (size_t)length);
        mp_userlist list = {.text = copy, .size = (size_t)length};
        mantis_status status = mp_userlist_read(&list, &user, NULL);
        check_equal(status, size <= 127 ? MANTIS_OK : MANTIS_INVALID);
    }
    for (size_t size = 65525; size < 65540; size++) {
        int length = snprintf(file, sizeof file, "\"x\" \"%0*d\"", (int)size, 1);
        memcpy(copy, file, (size_t)length);
        mp_userlist list = {.text = copy, .size = (size_t)length};
        mantis_status status = mp_userlist_read(&list, &user, NULL);
        check_equal(status, size <= 65530 ? MANTIS_OK : MANTIS_INVALID);
    }
}

TEST(a_refused_line_says_what_would_be_right_and_no_secret) {
    char file[] = "\"a\" \"SCRAM-SHA-256$secret\"";
    mp_userlist list = {.text = file, .size = sizeof file - 1};
    mp_userlist_user user;
    mantis_error error = {0};
    check_equal(mp_userlist_read(&list, &user, &error), MANTIS_INVALID);
    check_contains(error.text, "broken auth file: line 1: the SCRAM secret is damaged");
    check_contains(error.text, "(a line is \"user\" \"secret\")");
    check(!strstr(error.text, "$secret"));
}

/* ---- logging in to a server ---- */

static sheet paper;

/* Say one thing to the login, as a server would; answers the outcome. */
static mantis_status say(mp_login *login, uint32_t kind, mp_view data, mp_wire_out *out,
                         mantis_error *error) {
    mp_answer_write_authentication(start(&paper), (mp_answer_authentication){kind, data});
    mp_message message = message_of(written(&paper));
    return mp_login_answer(login, &message, BYTES("nonce"), out, error);
}

static mp_login login_with(mp_view secret, uint32_t methods) {
    return (mp_login){.user = alice, .secret = secret, .methods = methods};
}

TEST(a_login_answers_what_the_server_asks_for) {
    uint8_t data[256];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_login login = login_with(none, MP_LOGIN_ANY);
    check_equal(say(&login, MP_ANSWER_AUTH_OK, BYTES(""), &out, NULL), MANTIS_OK);
    check_equal(login.stage, MP_LOGIN_DONE);
    check_equal(out.length, 0);

    login = login_with(BYTES("pencil"), MP_LOGIN_ANY);
    check_equal(say(&login, MP_ANSWER_AUTH_CLEARTEXT, BYTES(""), &out, NULL), MANTIS_OK);
    check_bytes(((mp_view){(char *)data, out.length}), "p\0\0\0\x0bpencil\0");
    check_equal(say(&login, MP_ANSWER_AUTH_OK, BYTES(""), &out, NULL), MANTIS_OK);
    check_equal(login.stage, MP_LOGIN_DONE);

    login = login_with(BYTES(MD5), MP_LOGIN_ANY);
    out.length = 0;
    check_equal(say(&login, MP_ANSWER_AUTH_MD5, BYTES("salt"), &out, NULL), MANTIS_OK);
    check_bytes(((mp_view){(char *)data, out.length}),
                "p\0\0\0\x28md5b49de27f011469d6386d334319e95a6a\0");
    check_equal(say(&login, MP_ANSWER_AUTH_OK, BYTES(""), &out, NULL), MANTIS_OK);

    login = login_with(BYTES("pencil"), MP_LOGIN_ANY);
    out.length = 0;
    check_equal(say(&login, MP_ANSWER_AUTH_SASL, BYTES("SCRAM-SHA-256"), &out, NULL), MANTIS_OK);
    check_bytes(((mp_view){(char *)data, out.length}),
                "p\0\0\0\x23SCRAM-SHA-256\0\0\0\0\x0dn,,n=,r=nonce");
    mp_login_finish(&login);
    check_equal(login.secret.size, 0);
}

TEST(a_login_refuses_what_is_not_allowed_or_not_possible) {
    static const struct {
        const char *secret;
        uint32_t methods, kind;
        const char *data, *sqlstate, *text;
    } rows[] = {
        {"pencil", MP_LOGIN_SCRAM, MP_ANSWER_AUTH_OK, "", "28000", "no authentication"},
        {"pencil", MP_LOGIN_SCRAM, MP_ANSWER_AUTH_CLEARTEXT, "", "28000", "cleartext"},
        {"pencil", MP_LOGIN_SCRAM, MP_ANSWER_AUTH_MD5, "salt", "28000", "MD5"},
        {"pencil", MP_LOGIN_MD5, MP_ANSWER_AUTH_SASL, "SCRAM-SHA-256", "28000", "SASL"},
        {MD5, MP_LOGIN_ANY, MP_ANSWER_AUTH_CLEARTEXT, "", "28P01", "no fitting secret"},
        {MD5, MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL, "SCRAM-SHA-256", "28P01", "no fitting secret"},
        {VERIFIER, MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL, "SCRAM-SHA-256", "28P01", "no fitting"},
        {VERIFIER, MP_LOGIN_ANY, MP_ANSWER_AUTH_MD5, "salt", "28P01", "no fitting secret"},
        {"", MP_LOGIN_ANY, MP_ANSWER_AUTH_CLEARTEXT, "", "28P01", "no fitting secret"},
        {"pencil", MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL, "SCRAM-SHA-1", "0A000", "SCRAM-SHA-256 is"},
        {"pencil", MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL, "SCRAM-SHA-256-PLUS", "0A000", "none of"},
        {"pencil", MP_LOGIN_ANY, 7, "", "0A000", "method 7"},
        {"pencil", MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL_CONTINUE, "r=x", "08P01", "out of turn"},
        {"pencil", MP_LOGIN_ANY, MP_ANSWER_AUTH_SASL_FINAL, "v=x", "08P01", "out of turn"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t data[256];
        mp_wire_out out = {.data = data, .size = sizeof data};
        mantis_error error = {0};
        mp_login login = login_with(mp_view_of(rows[i].secret), rows[i].methods);
        check_equal(say(&login, rows[i].kind, mp_view_of(rows[i].data), &out, &error),
                    MANTIS_INVALID);
        check_view(mp_view_of(error.sqlstate), rows[i].sqlstate);
        check_contains(error.text, rows[i].text);
        check_equal(out.length, 0);
        check(login.stage != MP_LOGIN_DONE);
    }
}

/* A server that asked for SASL may neither leave it for something weaker nor end it without its
 * proof. */
TEST(a_login_that_began_with_sasl_is_not_talked_out_of_it) {
    static const struct {
        uint32_t kind;
        const char *data;
    } rows[] = {{MP_ANSWER_AUTH_OK, ""},
                {MP_ANSWER_AUTH_CLEARTEXT, ""},
                {MP_ANSWER_AUTH_MD5, "salt"},
                {MP_ANSWER_AUTH_SASL, "SCRAM-SHA-256"}};
    for (int is_proven = 0; is_proven < 2; is_proven++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            uint8_t data[512];
            mp_wire_out out = {.data = data, .size = sizeof data};
            mantis_error error = {0};
            mp_login login = login_with(BYTES("pencil"), MP_LOGIN_ANY);
            check_equal(say(&login, MP_ANSWER_AUTH_SASL, BYTES("SCRAM-SHA-256"), &out, NULL),
                        MANTIS_OK);
            if (is_proven)
                check_equal(say(&login, MP_ANSWER_AUTH_SASL_CONTINUE,
                                BYTES("r=nonceserver,s=c2FsdA==,i=1"), &out, NULL),
                            MANTIS_OK);
            size_t before = out.length;
            check_equal(say(&login, rows[i].kind, mp_view_of(rows[i].data), &out, &error),
                        MANTIS_INVALID);
            check_view(mp_view_of(error.sqlstate), "08P01");
            check_equal(out.length, before);
            check(login.stage != MP_LOGIN_DONE);
        }
    }
}

TEST(a_login_takes_every_step_of_scram) {
    uint8_t data[2048], stored[MP_SCRAM_KEY_SIZE] = {7};
    mp_wire_out out = {.data = data, .size = sizeof data};
    static mp_scram_server server;
    mp_scram_verifier verifier;
    mp_view mechanism, response, answer;
    check(mp_scram_verifier_init(&verifier, alice, BYTES("pencil"), 10, stored));
    mp_login login = login_with(BYTES("pencil"), MP_LOGIN_SCRAM);
    check_equal(say(&login, MP_ANSWER_AUTH_SASL, BYTES(MP_SCRAM_MECHANISM), &out, NULL), MANTIS_OK);
    mp_message message = message_of((mp_view){(char *)data, out.length});
    check(mp_request_parse_sasl(&message, &mechanism, &response));
    check_equal(mp_scram_server_first(&server, &verifier, BYTES("more"), mechanism, response,
                                      &answer, NULL),
                MANTIS_OK);
    out.length = 0;
    check_equal(say(&login, MP_ANSWER_AUTH_SASL_CONTINUE, answer, &out, NULL), MANTIS_OK);
    message = message_of((mp_view){(char *)data, out.length});
    mp_view final = {(const char *)message.body, message.size};
    check_equal(mp_scram_server_final(&server, final, &answer, NULL), MANTIS_OK);
    check_equal(say(&login, MP_ANSWER_AUTH_SASL_FINAL, answer, &out, NULL), MANTIS_OK);
    check_equal(login.stage, MP_LOGIN_SASL_CHECKED);
    check_equal(say(&login, MP_ANSWER_AUTH_OK, BYTES(""), &out, NULL), MANTIS_OK);
    check_equal(login.stage, MP_LOGIN_DONE);
    check_equal(say(&login, MP_ANSWER_AUTH_OK, BYTES(""), &out, NULL), MANTIS_INVALID);
}

TEST(a_damaged_authentication_message_ends_the_login) {
    uint8_t data[64];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_login login = login_with(BYTES("pencil"), MP_LOGIN_ANY);
    mantis_error error = {0};
    mp_message message = message_of(BYTES("R\0\0\0\x0a\0\0\0\5ab"));
    check_equal(mp_login_answer(&login, &message, BYTES("nonce"), &out, &error), MANTIS_INVALID);
    check_view(mp_view_of(error.sqlstate), "08P01");
}

TAP_MAIN
