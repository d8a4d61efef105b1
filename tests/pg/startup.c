/* The packets that begin a connection, which anybody can send. */
#include "lib/tap.h"

#include "pg/answer.h"
#include "pg/bytes.h"
#include "pg/startup.h"

static sheet paper;

/* Parse a packet: first in a heap block of just its size, then where its views may stay. */
static mp_startup_found parse(mp_view packet, mp_startup *out, mantis_error *error) {
    size_t packet_size;
    uint8_t *copy = malloc(packet.size + 1);
    memcpy(copy + 1, packet.data, packet.size); /* and not aligned */
    mp_startup_found first = mp_startup_parse(copy + 1, packet.size, out, &packet_size, NULL);
    free(copy);
    mp_startup_found found = mp_startup_parse((const uint8_t *)packet.data, packet.size, out,
                                              &packet_size, error);
    check_equal(first, found);
    if (found == MP_STARTUP_DONE) check_equal(packet_size, packet.size);
    return found;
}

/* A login packet with these parameters, given as "name\0value\0…". */
static mp_view login_of(uint32_t version, mp_view params) {
    mp_wire_out *out = start(&paper);
    mp_wire_begin(out, 0);
    mp_wire_write_u32(out, version);
    mp_wire_write_bytes(out, params.data, params.size);
    mp_wire_write_u8(out, 0);
    mp_wire_commit(out, 0);
    return written(&paper);
}

static void check_refused(mp_view packet, const char *sqlstate, const char *text) {
    mp_startup startup;
    mantis_error error = {0};
    check_equal(parse(packet, &startup, &error), MP_STARTUP_BAD);
    check_view(mp_view_of(error.sqlstate), sqlstate);
    check_contains(error.text, text);
    check_equal(parse(packet, &startup, NULL), MP_STARTUP_BAD);
}

TEST(a_login_is_read_as_it_was_written) {
    mp_startup login;
    mp_startup_begin(start(&paper));
    mp_startup_write_param(&paper.out, BYTES("user"), BYTES("alice"));
    mp_startup_write_param(&paper.out, BYTES("database"), BYTES("shop"));
    mp_startup_write_param(&paper.out, BYTES("application_name"), BYTES("till"));
    mp_startup_write_param(&paper.out, BYTES("options"), BYTES("-c a=b"));
    mp_startup_commit(&paper.out);
    check_equal(parse(written(&paper), &login, NULL), MP_STARTUP_DONE);
    check_equal(login.kind, MP_STARTUP_LOGIN);
    check_equal(login.version, 0x30000);
    check_view(login.user, "alice");
    check_view(login.database, "shop");
    check_view(login.options, "-c a=b");
    check_equal(login.replication, MP_STARTUP_NO_REPLICATION);
    check(!mp_startup_must_negotiate(&login));
    uint32_t at = 0;
    mp_view name, value;
    check(mp_startup_next_param(&login, &at, &name, &value));
    check_view(name, "application_name");
    check_view(value, "till");
    check(!mp_startup_next_param(&login, &at, &name, &value));
}

TEST(a_packet_is_asked_for_until_it_is_whole) {
    mp_view packet = login_of(0x30000, BYTES("user\0alice\0"));
    for (size_t size = 0; size <= packet.size; size++) {
        mp_startup login;
        size_t packet_size = 4711;
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, packet.data, size);
        mp_startup_found found = mp_startup_parse(copy, size, &login, &packet_size, NULL);
        check_equal(found, size < packet.size ? MP_STARTUP_MORE : MP_STARTUP_DONE);
        check_equal(packet_size, size < 4 ? 0 : packet.size);
        free(copy);
    }
}

TEST(what_follows_a_packet_is_left_for_whoever_asks) {
    static uint8_t data[32];
    mp_startup ssl;
    size_t packet_size;
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_startup_write_ssl(&out);
    mp_startup_write_ssl(&out);
    check_equal(mp_startup_parse(data, out.length, &ssl, &packet_size, NULL), MP_STARTUP_DONE);
    check_equal(ssl.kind, MP_STARTUP_SSL);
    check_equal(packet_size, 8);
}

TEST(a_packet_with_an_impossible_length_is_refused_at_once) {
    static const mp_view heads[] = {BYTES("\0\0\0\0"),     BYTES("\0\0\0\3"),
                                    BYTES("\0\0\0\4"),     BYTES("\0\0\0\7"),
                                    BYTES("\0\0\x27\x11"), BYTES("\x7f\xff\xff\xff"),
                                    BYTES("\x80\0\0\0"),   BYTES("\xff\xff\xff\xff"),
                                    BYTES("\x16\3\1\2"),   BYTES("GET /")};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        check_refused(heads[i], "08P01", "invalid length of startup packet");
    mp_startup startup;
    check_equal(parse(BYTES("\0\0\x27\x10"), &startup, NULL), MP_STARTUP_MORE);
}

TEST(requests_for_encryption_have_nothing_inside) {
    mp_startup startup;
    check_equal(parse(BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), &startup, NULL), MP_STARTUP_DONE);
    check_equal(startup.kind, MP_STARTUP_SSL);
    check_equal(parse(BYTES("\0\0\0\x08\x04\xd2\x16\x30"), &startup, NULL), MP_STARTUP_DONE);
    check_equal(startup.kind, MP_STARTUP_GSSENC);
    check_refused(BYTES("\0\0\0\x09\x04\xd2\x16\x2f\0"), "08P01", "invalid length");
    check_refused(BYTES("\0\0\0\x09\x04\xd2\x16\x30\0"), "08P01", "invalid length");
}

TEST(a_cancel_request_has_a_key_of_4_to_256_bytes) {
    static char key[300];
    mp_startup cancel;
    for (size_t size = 0; size <= sizeof key; size++) {
        mp_startup_write_cancel(start(&paper), 4711, (mp_view){key, size});
        if (size < 4 || size > 256) {
            check_refused(written(&paper), "08P01", "invalid length of cancel request packet");
            continue;
        }
        check_equal(parse(written(&paper), &cancel, NULL), MP_STARTUP_DONE);
        check_equal(cancel.kind, MP_STARTUP_CANCEL);
        check_equal(cancel.cancel_pid, 4711);
        check_equal(cancel.cancel_key.size, size);
    }
    check_refused(BYTES("\0\0\0\x0a\x04\xd2\x16\x2e\0\0"), "08P01", "cancel request");
}

/* ---- versions ---- */

TEST(a_newer_version_is_offered_ours) {
    mp_startup login;
    mp_view packet = login_of(0x30002, BYTES("user\0alice\0"));
    check_equal(parse(packet, &login, NULL), MP_STARTUP_DONE);
    check(mp_startup_must_negotiate(&login));
    uint8_t data[64];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_startup_write_negotiation(&login, &out);
    check_bytes(((mp_view){(const char *)data, out.length}), "v\0\0\0\x0c\0\3\0\0\0\0\0\0");
}

TEST(unknown_extensions_are_named_and_are_no_parameters) {
    mp_startup login;
    mp_view packet = login_of(0x30000, BYTES("_pq_.a\0b\0user\0alice\0_pq_.\0\0x\0y\0"));
    check_equal(parse(packet, &login, NULL), MP_STARTUP_DONE);
    check_equal(login.extensions_count, 2);
    check(mp_startup_must_negotiate(&login));
    uint8_t data[64];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_startup_write_negotiation(&login, &out);
    check_bytes(((mp_view){(const char *)data, out.length}),
                "v\0\0\0\x19\0\3\0\0\0\0\0\2_pq_.a\0_pq_.\0");
    uint32_t at = 0;
    mp_view name, value;
    check(mp_startup_next_param(&login, &at, &name, &value));
    check_view(name, "x");
    check(!mp_startup_next_param(&login, &at, &name, &value));
}

TEST(other_versions_are_refused) {
    mp_view user = BYTES("user\0alice\0");
    check_refused(login_of(0x20000, user), "0A000", "old V2 protocol not supported");
    check_refused(login_of(0x40000, user), "0A000",
                  "unsupported frontend protocol 4.0: server supports 3.0 to 3.0");
    check_refused(login_of(0, user), "0A000", "unsupported frontend protocol 0.0");
    check_refused(login_of(0xffffffffu, user), "0A000", "65535.65535");
}

/* ---- parameters ---- */

TEST(parameters_that_do_not_end_are_refused) {
    static const mp_view bodies[] = {
        BYTES("user\0alice\0"),      /* no terminator */
        BYTES("user\0alice"),        /* a value that does not end */
        BYTES("user\0"),             /* a name without a value */
        BYTES("user"),               /* a name that does not end */
        BYTES(""),                   /* nothing */
        BYTES("user\0alice\0\0x\0"), /* something behind the terminator */
        BYTES("user\0alice\0\0\0")};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        mp_wire_out *out = start(&paper);
        mp_wire_begin(out, 0);
        mp_wire_write_u32(out, 0x30000);
        mp_wire_write_bytes(out, bodies[i].data, bodies[i].size);
        mp_wire_commit(out, 0);
        check_refused(written(&paper), "08P01", "invalid startup packet layout");
    }
}

TEST(a_login_needs_a_user_and_its_database_is_the_users_name) {
    mp_startup login;
    check_refused(login_of(0x30000, BYTES("")), "28000", "no username supplied");
    check_refused(login_of(0x30000, BYTES("database\0x\0")), "28000", "no username supplied");
    check_refused(login_of(0x30000, BYTES("user\0\0")), "28000", "no username supplied");
    check_equal(parse(login_of(0x30000, BYTES("user\0alice\0database\0\0")), &login, NULL),
                MP_STARTUP_DONE);
    check_view(login.database, "alice");
}

/* CVE-2012-4575: a long name ended the process. */
TEST(names_that_are_too_long_are_refused) {
    static char params[8192];
    for (int is_database = 0; is_database < 2; is_database++) {
        for (size_t size = 1; size < 8000; size = size < 140 ? size + 1 : size * 3) {
            size_t max = is_database ? 63 : 127;
            char name[8001] = {0};
            memset(name, 'x', size);
            int length = snprintf(params, sizeof params, "user%c%s%cdatabase%c%s", 0,
                                  is_database ? "alice" : name, 0, 0, is_database ? name : "shop");
            mp_view packet = login_of(0x30000, (mp_view){params, (size_t)length + 1});
            mp_startup login;
            if (size <= max) check_equal(parse(packet, &login, NULL), MP_STARTUP_DONE);
            else if (is_database) check_refused(packet, "3D000", "at most 63");
            else check_refused(packet, "28000", "at most 127");
        }
    }
}

TEST(replication_is_a_boolean_or_database) {
    static const struct {
        const char *value;
        int expected; /* -1: refused */
    } rows[] = {{"database", MP_STARTUP_LOGICAL},
                {"true", MP_STARTUP_PHYSICAL},
                {"TRUE", MP_STARTUP_PHYSICAL},
                {"tr", MP_STARTUP_PHYSICAL},
                {"on", MP_STARTUP_PHYSICAL},
                {"yes", MP_STARTUP_PHYSICAL},
                {"y", MP_STARTUP_PHYSICAL},
                {"1", MP_STARTUP_PHYSICAL},
                {"false", MP_STARTUP_NO_REPLICATION},
                {"off", MP_STARTUP_NO_REPLICATION},
                {"of", MP_STARTUP_NO_REPLICATION},
                {"n", MP_STARTUP_NO_REPLICATION},
                {"0", MP_STARTUP_NO_REPLICATION},
                {"o", -1},
                {"", -1},
                {"2", -1},
                {"truest", -1},
                {"data", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char params[128];
        int length = snprintf(params, sizeof params, "user%calice%creplication%c%s", 0, 0, 0,
                              rows[i].value);
        mp_view packet = login_of(0x30000, (mp_view){params, (size_t)length + 1});
        mp_startup login;
        if (rows[i].expected < 0) {
            check_refused(packet, "22023", "invalid value for parameter \"replication\"");
            continue;
        }
        check_equal(parse(packet, &login, NULL), MP_STARTUP_DONE);
        check_equal(login.replication, rows[i].expected);
    }
}

/* ---- options ---- */

/* The settings in some options as "name=value;…", or "!" and the error at the first bad one. */
static void list_options(const char *options, char *text, size_t size) {
    mp_startup_setting setting;
    mantis_error error = {0};
    size_t at = 0, length = 0;
    text[0] = 0;
    for (;;) {
        mp_startup_option found = mp_startup_next_option(mp_view_of(options), &at, &setting,
                                                         &error);
        if (found == MP_STARTUP_OPTION_END) return;
        if (found == MP_STARTUP_OPTION_BAD) {
            snprintf(text, size, "!%s", error.text);
            check_view(mp_view_of(error.sqlstate), "08P01");
            return;
        }
        length += (size_t)snprintf(text + length, size - length, "%.*s=%.*s;",
                                   (int)setting.name.size, setting.name.data,
                                   (int)setting.value.size, setting.value.data);
    }
}

TEST(options_are_read_as_postgresql_reads_them) {
    static const struct {
        const char *options, *expected;
    } rows[] = {{"", ""},
                {"  \t\n ", ""},
                {"-c a=b", "a=b;"},
                {"-ca=b", "a=b;"},
                {"-c  a=b  -c c=d", "a=b;c=d;"},
                {"--a=b --long-name=x", "a=b;long_name=x;"},
                {"-c search_path=a,b -c x=", "search_path=a,b;x=;"},
                {"-c a=b\\ c", "a=b c;"},
                {"-c a=b\\\\c", "a=b\\c;"},
                {"-c a=\\-\\\tx", "a=-\tx;"},
                {"-c a=b=c", "a=b=c;"},
                {"-c a=b\\", "a=b;"},
                {"-c a", "!unsupported options startup parameter: only '-c config=val'"},
                {"-c", "!unsupported options startup parameter: only '-c config=val'"},
                {"-c =b", "!unsupported options startup parameter: only '-c config=val'"},
                {"-c a=b -d 5", "!unsupported options startup parameter: only '-c config=val'"},
                {"a=b", "!unsupported options startup parameter: only '-c config=val'"},
                {"-", "!unsupported options startup parameter: only '-c config=val'"},
                {"--", "!unsupported options startup parameter: only '-c config=val'"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        list_options(rows[i].options, text, sizeof text);
        if (strncmp(text, rows[i].expected, strlen(rows[i].expected)) != 0 ||
            (text[0] != '!' && strlen(text) != strlen(rows[i].expected)))
            tap_fail(__FILE__, __LINE__, "\"%s\" is \"%s\"", rows[i].options, text);
    }
}

TEST(an_option_may_be_512_bytes_long) {
    char options[600], text[1024];
    for (size_t size = 500; size < 530; size++) {
        memset(options, 'x', sizeof options);
        memcpy(options, "-c a=", 5);
        options[3 + size] = 0;
        list_options(options, text, sizeof text);
        if (size <= 512) check_equal(strlen(text), size + 1);
        else check_contains(text, "parameter too long");
    }
}

TAP_MAIN
