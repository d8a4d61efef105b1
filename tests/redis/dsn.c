/* What DSNs mean, and what is said about wrong ones. */
#include "connectors/redis_dsn.h"

#include "lib/tap.h"

static mp_redis_dsn parsed(const char *text) {
    mp_redis_dsn dsn = {0};
    mantis_error error = {0};
    if (mp_redis_dsn_parse(text, &dsn, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", text, error.text);
    return dsn;
}

/* NULL equals NULL alone. */
static void check_text(const char *text, const char *is, const char *should) {
    bool are_same = is && should ? strcmp(is, should) == 0 : is == should;
    if (!are_same)
        tap_fail(__FILE__, __LINE__, "%s: '%s', not '%s'", text, is ? is : "(none)",
                 should ? should : "(none)");
}

TEST(a_dsn_means_what_it_says) {
    static const struct {
        const char *text, *host, *port, *path, *user, *password, *label;
        uint32_t db;
    } rows[] = {
        {"redis://", "localhost", "6379", NULL, NULL, NULL, "localhost:6379", 0},
        {"redis://db.example", "db.example", "6379", NULL, NULL, NULL, "db.example:6379", 0},
        {"redis://h:7000/", "h", "7000", NULL, NULL, NULL, "h:7000", 0},
        {"redis://h/15", "h", "6379", NULL, NULL, NULL, "h:6379", 15},
        {"redis://h:1/2?db=3", "h", "1", NULL, NULL, NULL, "h:1", 3},
        {"redis://:pw@h", "h", "6379", NULL, NULL, "pw", "h:6379", 0},
        {"redis://me:@h", "h", "6379", NULL, "me", "", "h:6379", 0},
        {"redis://me:p%40s%2Fs%3a%25@h:65535/1", "h", "65535", NULL, "me", "p@s/s:%", "h:65535", 1},
        {"redis://m%3ae:a:b@h", "h", "6379", NULL, "m:e", "a:b", "h:6379", 0},
        {"redis://me:p@ss@h", "h", "6379", NULL, "me", "p@ss", "h:6379", 0},
        {"redis://[::1]", "::1", "6379", NULL, NULL, NULL, "[::1]:6379", 0},
        {"redis://:x@[fe80::1%25eth0]:99/4", "fe80::1%eth0", "99", NULL, NULL, "x",
         "[fe80::1%eth0]:99", 4},
        {"redis+unix:///run/redis.sock", NULL, NULL, "/run/redis.sock", NULL, NULL,
         "/run/redis.sock", 0},
        {"redis+unix://me:pw@/a%20b?db=2", NULL, NULL, "/a b", "me", "pw", "/a b", 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_redis_dsn dsn = parsed(rows[i].text);
        check_text(rows[i].text, dsn.host, rows[i].host);
        check_text(rows[i].text, dsn.port, rows[i].port);
        check_text(rows[i].text, dsn.path, rows[i].path);
        check_text(rows[i].text, dsn.user, rows[i].user);
        check_text(rows[i].text, dsn.password, rows[i].password);
        check_text(rows[i].text, dsn.label, rows[i].label);
        check_equal(dsn.db, rows[i].db);
        mp_redis_dsn_finish(&dsn);
    }
}

TEST(options_are_read_and_have_defaults) {
    mp_redis_dsn dsn = parsed("redis://h");
    check(!dsn.name && !dsn.wants_primary);
    check_equal(dsn.timeout_ms, MP_REDIS_TIMEOUT_MS);
    mp_redis_dsn_finish(&dsn);
    dsn = parsed("redis://h?name=web%2D1&role=primary&timeout_ms=0&db=7");
    check_text("name", dsn.name, "web-1");
    check(dsn.wants_primary && dsn.timeout_ms == 0 && dsn.db == 7);
    mp_redis_dsn_finish(&dsn);
    dsn = parsed("redis://h/1?role=any&timeout_ms=86400000&");
    check(!dsn.wants_primary && dsn.timeout_ms == 86400000 && dsn.db == 1);
    mp_redis_dsn_finish(&dsn);
    mp_redis_dsn_finish(&dsn); /* an empty one is fine */
}

TEST(what_is_wrong_is_named_with_what_would_be_right) {
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "redis://"},
        {"redis:", "redis://"},
        {"redis:/h", "redis://"},
        {"http://h", "redis://"},
        {"redis://h:0", "port must be a whole number from 1 to 65535"},
        {"redis://h:65536", "port must be"},
        {"redis://h:", "port must be"},
        {"redis://h:6379x", "port must be"},
        {"redis://h:99999999999999999999", "port must be"},
        {"redis://::1", "[ADDRESS]:PORT"},
        {"redis://[::1", "[ADDRESS]"},
        {"redis://[::1]7", "[ADDRESS]"},
        {"redis://h/zero", "database must be a whole number"},
        {"redis://h/-1", "database must be"},
        {"redis://h/1/2", "database must be"},
        {"redis://h/2147483648", "database must be"},
        {"redis://h?db=", "database must be"},
        {"redis://h?role=master", "role must be primary or any"},
        {"redis://h?role", "role must be"},
        {"redis://h?timeout_ms=1s", "timeout_ms must be"},
        {"redis://h?timeout_ms=86400001", "timeout_ms must be"},
        {"redis://h?nmae=x", "'nmae' is not an option; there are db, name, role and timeout_ms"},
        {"redis://h?name=%", "two hexadecimal digits"},
        {"redis://me@h", "has no ':'"},
        {"redis://:%zz@h", "%25"},
        {"redis://:a%00b@h", "%00"},
        {"redis://h%4", "two hexadecimal digits"},
        {"redis+unix://", "names no socket"},
        {"redis+unix://h/path", "begins with '/'"},
        {"redis+unix:///%g", "two hexadecimal digits"},
        {"redis+unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
         "012345678901234567890123456789012345678",
         "at most 107"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_redis_dsn dsn = {.db = 77};
        mantis_error error = {0};
        if (mp_redis_dsn_parse(rows[i].text, &dsn, &error) != MANTIS_INVALID)
            tap_fail(__FILE__, __LINE__, "%s is refused", rows[i].text);
        check_contains(error.text, rows[i].says);
        check(error.status == MANTIS_INVALID && dsn.db == 77);
        check(mp_redis_dsn_parse(rows[i].text, &dsn, NULL) == MANTIS_INVALID);
    }
}

TEST(tls_is_unsupported_and_says_what_to_do) {
    mp_redis_dsn dsn = {0};
    mantis_error error = {0};
    check(mp_redis_dsn_parse("rediss://:secret@h", &dsn, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "TLS");
    check(!strstr(error.text, "secret"));
}

/* A password that was not encoded makes a DSN of another shape: no part of it may be shown. */
TEST(no_error_shows_a_piece_of_a_password) {
    static const char *const rows[] = {
        "redis://me:sec/ret@h",      "redis://me:sec?ret@h",
        "redis://me:sec%ret@h",      "redis://me:secret",
        "redis://me:sec:ret",        "redis://secret@h",
        "redis://me:sec/ret@h?db=x", "redis://:secret@h/ret",
        "redis://:secret@h:port",    "redis+unix://:sec/ret@/path",
        "redis://:secret@h?ret=sec", "redis://:sec%00ret@h",
        "redis://:secret@h?name=%",  "redis://me:sec?ret=1@h/1",
        "redis+unix://:secret@path", "redis://:secret@h?timeout_ms",
        "redis://:secret@[h",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_redis_dsn dsn = {0};
        mantis_error error = {0};
        if (mp_redis_dsn_parse(rows[i], &dsn, &error) == MANTIS_OK)
            tap_fail(__FILE__, __LINE__, "%s is refused", rows[i]);
        const char *option = strstr(error.text, "'ret' is not an option"); /* of the fourth kind */
        if (strstr(error.text, "sec") || (strstr(error.text, "ret") && !option))
            tap_fail(__FILE__, __LINE__, "%s: '%s' shows nothing", rows[i], error.text);
    }
}

TAP_MAIN
