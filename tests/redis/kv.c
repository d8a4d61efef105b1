/* Key-value operations on a real server. */
#include "connectors/redis_wire.h"
#include "redis/fixture.h"
#include "redis/server.h"

#include <errno.h>
#include <stdint.h>

/* A server, a pool of one connection, and that connection. */
static server redis;
static mantis_pool *pool;
static mantis_conn conn;
static mantis_error error;

static void begin(void) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    pool = open_pool(&config);
    conn = borrow(pool);
    error = (mantis_error){0};
}

static void end(void) {
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    close_pool(&pool);
    server_finish(&redis);
}

static void set(const char *key, const char *value) {
    check_ok(mantis_conn_set(conn, key, strlen(key), value, strlen(value), &error), error);
}

static mantis_status get_status(const char *key) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(conn, key, strlen(key), &value, &error);
    mantis_value_free(&value);
    return status;
}

TEST(what_was_set_is_read_again) {
    begin();
    set("key", "value");
    mantis_value value = {0};
    check_ok(mantis_conn_get(conn, "key", 3, &value, &error), error);
    check(value.size == 5 && memcmp(value.data, "value", 5) == 0);
    check(value.version == 0 && value.expires_ms == 0);
    mantis_value_free(&value);
    bool is_there = false;
    check_ok(mantis_conn_exists(conn, "key", 3, &is_there, &error), error);
    check(is_there);
    check_ok(mantis_conn_delete(conn, "key", 3, &error), error);
    check_ok(mantis_conn_delete(conn, "key", 3, &error), error); /* it is gone: no error */
    check_ok(mantis_conn_exists(conn, "key", 3, &is_there, &error), error);
    check(!is_there);
    check_equal(get_status("key"), MANTIS_NOT_FOUND);
    end();
}

TEST(keys_and_values_are_any_bytes) {
    begin();
    char all[256], key[64];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    for (size_t i = 0; i + sizeof key <= sizeof all; i += sizeof key) {
        memcpy(key, all + i, sizeof key);
        check_ok(mantis_conn_set(conn, key, sizeof key, all, i ? sizeof all : 0, &error), error);
        mantis_value value = {0};
        check_ok(mantis_conn_get(conn, key, sizeof key, &value, &error), error);
        check_equal(value.size, i ? sizeof all : 0);
        check(value.data && memcmp(value.data, all, value.size) == 0);
        mantis_value_free(&value);
    }
    check_equal(server_info(&redis, "total_error_replies"), 0);
    end();
}

TEST(a_value_of_8_mib_and_a_key_of_64_kib_come_back_as_they_were) {
    begin();
    size_t size = (size_t)8 << 20;
    char *bytes = malloc(size);
    check(bytes != NULL);
    uint32_t seed = 1;
    for (size_t i = 0; i < size; i++) bytes[i] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
    check_ok(mantis_conn_set(conn, bytes, MANTIS_KEY_MAX, bytes, size, &error), error);
    mantis_value value = {0};
    check_ok(mantis_conn_get(conn, bytes, MANTIS_KEY_MAX, &value, &error), error);
    check(value.size == size && memcmp(value.data, bytes, size) == 0);
    mantis_conn_release(&conn);
    check(memcmp(value.data, bytes, size) == 0); /* also after the release */
    mantis_value_free(&value);
    free(bytes);
    conn = borrow(pool);
    end();
}

TEST(a_key_with_a_time_to_live_says_when_it_expires_and_is_gone_then) {
    begin();
    struct timespec now;
    mantis_write write = {"key", 3, "value", 5, 60000};
    mantis_value value = {0};
    check_ok(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, &error), error);
    check_ok(mantis_conn_get(conn, "key", 3, &value, &error), error);
    check(clock_gettime(CLOCK_REALTIME, &now) == 0);
    int64_t left_ms = value.expires_ms - (now.tv_sec * 1000 + now.tv_nsec / 1000000);
    check(left_ms > 0 && left_ms <= 60000);
    mantis_value_free(&value);
    set("key", "again"); /* a plain set lives for ever */
    check_ok(mantis_conn_get(conn, "key", 3, &value, &error), error);
    check_equal(value.expires_ms, 0);
    mantis_value_free(&value);
    write.ttl_ms = 1;
    check_ok(mantis_conn_batch(conn, &write, 1, MANTIS_DURABLE_DEFAULT, &error), error);
    sleep_ms(20);
    check_equal(get_status("key"), MANTIS_NOT_FOUND);
    end();
}

TEST(a_batch_is_applied_as_a_whole) {
    begin();
    set("old", "1");
    mantis_write writes[100];
    char keys[100][8];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%d", i);
        writes[i] = (mantis_write){keys[i], strlen(keys[i]), "v", 1, i % 2 ? 60000 : 0};
    }
    writes[99] = (mantis_write){"old", 3, NULL, 0, 0};
    check_ok(mantis_conn_batch(conn, writes, 100, MANTIS_DURABLE_DEFAULT, &error), error);
    check_equal(get_status("old"), MANTIS_NOT_FOUND);
    check_equal(get_status("k0"), MANTIS_OK);
    check_equal(get_status("k98"), MANTIS_OK);
    check_equal(server_info(&redis, "total_error_replies"), 0);
    end();
}

TEST(a_batch_that_the_server_refuses_is_not_applied_at_all) {
    begin();
    server_tell(&redis, "ACL SETUSER half on >pw ~a* +@all");
    const char *text = NULL;
    (void)command(conn, &text, "AUTH half pw");
    check_contains(text, "OK");
    mantis_write writes[] = {{"a1", 2, "v", 1, 0}, {"b1", 2, "v", 1, 0}, {"a2", 2, "v", 1, 0}};
    check_equal(mantis_conn_batch(conn, writes, 3, MANTIS_DURABLE_DEFAULT, &error),
                MANTIS_UNSUPPORTED);
    check_contains(error.text, "NOPERM");
    check_equal(get_status("a1"), MANTIS_NOT_FOUND);
    check_equal(get_status("a2"), MANTIS_NOT_FOUND); /* and the replies are in step */
    end();
}

TEST(a_batch_without_the_right_to_multi_is_not_applied_at_all) {
    begin();
    server_tell(&redis, "ACL SETUSER plain on >pw ~* +@all -multi");
    const char *text = NULL;
    (void)command(conn, &text, "AUTH plain pw");
    check_contains(text, "OK");
    mantis_write writes[] = {{"a", 1, "v", 1, 0}, {"b", 1, "v", 1, 0}};
    for (int i = 0; i < 2; i++) {
        check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error),
                    MANTIS_UNSUPPORTED);
        check_contains(error.text, "answered MULTI with: NOPERM");
        check_equal(get_status("a"), MANTIS_NOT_FOUND);
        check_equal(get_status("b"), MANTIS_NOT_FOUND);
    }
    end();
}

TEST(a_server_without_exec_refuses_batches_and_leaves_no_connection_in_multi) {
    server_start(&redis, "--rename-command", "EXEC", "GO", NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    pool = open_pool(&config);
    conn = borrow(pool);
    mantis_write writes[] = {{"a", 1, "v", 1, 0}, {"b", 1, "v", 1, 0}};
    check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error),
                MANTIS_UNSUPPORTED);
    check_contains(error.text, "unknown command 'EXEC'");
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    conn = borrow(pool);
    check_equal(get_status("a"), MANTIS_NOT_FOUND);
    end();
}

TEST(a_key_that_the_borrower_watches_makes_a_batch_a_conflict) {
    begin();
    mantis_write writes[] = {{"seen", 4, "mine", 4, 0}, {"b", 1, "v", 1, 0}};
    (void)command(conn, NULL, "WATCH seen");
    server_tell(&redis, "SET seen theirs");
    check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error),
                MANTIS_CONFLICT);
    check_equal(get_status("b"), MANTIS_NOT_FOUND);
    check_ok(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error), error);
    end();
}

TEST(a_full_server_answers_full_and_what_was_there_stays) {
    begin();
    set("old", "1");
    server_tell(&redis, "CONFIG SET maxmemory 1");
    mantis_write writes[] = {{"a", 1, "v", 1, 0}, {"b", 1, "v", 1, 0}};
    check_equal(mantis_conn_set(conn, "new", 3, "1", 1, &error), MANTIS_FULL);
    check_contains(error.text, "OOM");
    check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error), MANTIS_FULL);
    check_equal(get_status("old"), MANTIS_OK);
    check_ok(mantis_conn_delete(conn, "old", 3, &error), error);
    server_tell(&redis, "CONFIG SET maxmemory 0");
    set("new", "1");
    end();
}

TEST(what_redis_cannot_do_is_unsupported) {
    begin();
    mantis_write write = {"key", 3, "value", 5, 0};
    check_equal(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_SYNCED, &error),
                MANTIS_UNSUPPORTED);
    check_contains(error.text, "appendfsync");
    check_equal(mantis_conn_compare_and_set(conn, &write, 0, MANTIS_DURABLE_DEFAULT, NULL, &error),
                MANTIS_UNSUPPORTED);
    check_equal(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, &error), MANTIS_UNSUPPORTED);
    check_equal(get_status("key"), MANTIS_NOT_FOUND); /* nothing was written */
    end();
}

TEST(a_key_of_another_type_is_invalid) {
    begin();
    server_tell(&redis, "RPUSH list 1 2 3");
    check_equal(get_status("list"), MANTIS_INVALID);
    check_contains(error.text, "WRONGTYPE");
    check_equal(get_status("none"), MANTIS_NOT_FOUND); /* the replies are in step */
    end();
}

TEST(a_connection_left_in_multi_answers_what_to_do) {
    begin();
    (void)command(conn, NULL, "MULTI");
    check_equal(get_status("key"), MANTIS_INVALID);
    check_contains(error.text, "DIRTY");
    (void)command(conn, NULL, "DISCARD");
    set("key", "value");
    end();
}

TEST(a_replica_answers_unsupported_to_a_write) {
    begin();
    server_tell(&redis, "REPLICAOF 127.0.0.1 1");
    check_equal(mantis_conn_set(conn, "key", 3, "v", 1, &error), MANTIS_UNSUPPORTED);
    check_contains(error.text, "READONLY");
    check_equal(get_status("key"), MANTIS_NOT_FOUND);
    end();
}

/* ---- when the server goes or hangs ---- */

TEST(a_server_that_is_gone_answers_io_and_kills_nobody) {
    begin();
    signal(SIGPIPE, SIG_DFL);
    server_kill(&redis);
    mantis_write writes[] = {{"a", 1, "v", 1, 0}, {"b", 1, "v", 1, 0}};
    check_equal(mantis_conn_set(conn, "key", 3, "v", 1, &error), MANTIS_IO);
    check_contains(error.text, "may or may not be done");
    check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error), MANTIS_IO);
    check(!strstr(error.text, "may or may not")); /* it was not sent any more */
    check_equal(get_status("key"), MANTIS_IO);
    check_contains(error.text, "127.0.0.1:");
    check(native_of(conn)->err != 0); /* a borrower who uses hiredis sees it too */
    end();
}

/* On such a socket the very first write finds nobody. */
TEST(a_server_that_is_gone_from_its_unix_socket_kills_nobody) {
    begin();
    char dsn[256];
    (void)snprintf(dsn, sizeof dsn, "redis+unix://%s", redis.socket);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_ok(mantis_pool_set_dsn(pool, dsn, NULL, &error), error);
    conn = borrow(pool);
    signal(SIGPIPE, SIG_DFL);
    server_kill(&redis);
    check_equal(mantis_conn_set(conn, "key", 3, "v", 1, &error), MANTIS_IO);
    check_contains(error.text, redis.socket);
    end();
}

TEST(a_server_that_is_silent_answers_io_after_the_timeout_of_the_dsn) {
    begin();
    char dsn[128];
    (void)snprintf(dsn, sizeof dsn, "%s?timeout_ms=200", redis.dsn);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_ok(mantis_pool_set_dsn(pool, dsn, NULL, &error), error);
    conn = borrow(pool);
    long long first = id_of(conn);
    server_freeze(&redis);
    check_equal(get_status("key"), MANTIS_IO);
    check_contains(error.text, "did not answer for 200 ms (timeout_ms in the DSN)");
    check_equal(error.os_errno, ETIMEDOUT);
    check_equal(mantis_conn_release(&conn), MANTIS_OK); /* clean, as a careless program would */
    check(mantis_pool_try_acquire(pool, &conn, NULL) != MANTIS_OK);
    server_thaw(&redis);
    conn = borrow(pool);
    check(id_of(conn) != first); /* a late answer must not reach the next borrower */
    check_equal(get_status("key"), MANTIS_NOT_FOUND);
    end();
}

/* ---- scans ---- */

#define KEYS 5000

typedef struct seen {
    uint8_t times[KEYS];
    uint32_t calls, stop_after; /* 0: never */
    uint32_t others;
    int64_t expires_ms;
} seen;

/* Keys "k[*]:N" with the value "vN". */
static bool note(const mantis_entry *entry, void *arg) {
    seen *all = arg;
    char key[32] = "", value[32];
    check(entry->key_size < sizeof key);
    memcpy(key, entry->key, entry->key_size);
    int number = -1;
    all->calls++;
    if (sscanf(key, "k[*]:%d", &number) == 1 && number >= 0 && number < KEYS) {
        (void)snprintf(value, sizeof value, "v%d", number);
        check(entry->value_size == strlen(value));
        check(memcmp(entry->value, value, entry->value_size) == 0);
        all->times[number]++;
    } else {
        all->others++;
    }
    all->expires_ms = entry->expires_ms;
    return all->calls != all->stop_after;
}

static void load_keys(int count) {
    for (int i = 0; i < count; i++)
        (void)redisAppendCommand(redis.control, "SET k[*]:%d v%d", i, i);
    for (int i = 0; i < count; i++) {
        redisReply *reply = NULL;
        check_equal(redisGetReply(redis.control, (void **)&reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

static uint32_t count_seen(const seen *all, int count) {
    uint32_t found = 0;
    for (int i = 0; i < count; i++) found += all->times[i] > 0;
    return found;
}

TEST(a_scan_sees_each_key_of_its_prefix_and_no_other) {
    begin();
    static seen all;
    load_keys(KEYS);
    server_tell(&redis, "MSET kx:1 v1 k:1 v1 k[*] v K[*]:1 v \\ 1 k[*]:x 1");
    server_tell(&redis, "RPUSH k[*]:list 1");
    check_ok(mantis_conn_scan(conn, "k[*]:", 5, 0, NULL, note, &all, &error), error);
    check_equal(count_seen(&all, KEYS), KEYS);
    check_equal(all.others, 1); /* k[*]:x; the list is passed over */
    memset(&all, 0, sizeof all);
    check_ok(mantis_conn_scan(conn, "\\", 1, 0, NULL, note, &all, &error), error);
    check_equal(all.calls, 1);
    memset(&all, 0, sizeof all);
    check_ok(mantis_conn_scan(conn, NULL, 0, 0, NULL, note, &all, &error), error);
    check_equal(count_seen(&all, KEYS), KEYS);
    check(all.others >= 6);
    check_ok(mantis_conn_scan(conn, "none", 4, 0, NULL, note, &all, &error), error);
    end();
}

TEST(a_scan_in_steps_keeps_its_limit_and_passes_no_key_over) {
    static const uint32_t limits[] = {1, 7, 100, 1500, KEYS, KEYS + 1};
    begin();
    load_keys(KEYS);
    for (size_t i = tap_is_sanitized("thread") ? 2 : 0; i < sizeof limits / sizeof limits[0]; i++) {
        static seen all;
        mantis_cursor cursor = {0};
        memset(&all, 0, sizeof all);
        uint32_t before = 0;
        do {
            check_ok(mantis_conn_scan(conn, i % 2 ? "k[" : NULL, i % 2 ? 2 : 0, limits[i], &cursor,
                                      note, &all, &error),
                     error);
            check(all.calls - before <= limits[i]);
            check(cursor.at_end || all.calls - before == limits[i]);
            before = all.calls;
        } while (!cursor.at_end);
        check_equal(count_seen(&all, KEYS), KEYS);
        check_ok(mantis_conn_scan(conn, NULL, 0, 1, &cursor, note, &all, &error), error);
        check_equal(all.calls, before); /* at its end nothing is left */
        mantis_cursor_free(&cursor);
    }
    end();
}

TEST(a_scan_that_is_stopped_goes_on_behind_the_entry) {
    begin();
    static seen all;
    mantis_cursor cursor = {0};
    load_keys(300);
    for (uint32_t steps = 0; !cursor.at_end; steps++) {
        check(steps < 1000);
        all.stop_after = all.calls + 3;
        check_ok(mantis_conn_scan(conn, "k", 1, 0, &cursor, note, &all, &error), error);
    }
    check_equal(count_seen(&all, 300), 300);
    for (int i = 0; i < 300; i++) check(all.times[i] == 1); /* the table was at rest */
    mantis_cursor_free(&cursor);
    end();
}

TEST(a_scan_sees_every_key_that_stays_while_the_table_grows_and_shrinks) {
    begin();
    static seen all;
    mantis_cursor cursor = {0};
    load_keys(1000);
    for (int step = 0; !cursor.at_end; step++) {
        check(step < 2000);
        check_ok(mantis_conn_scan(conn, "k[*]:", 5, 10, &cursor, note, &all, &error), error);
        for (int i = 0; i < 50; i++) {
            if (step < 60) server_tell(&redis, "SET other:%d x", step * 50 + i);
            else server_tell(&redis, "DEL other:%d", (step - 60) * 50 + i);
        }
        server_tell(&redis, "DEL gone:%d", step);
    }
    check_equal(count_seen(&all, 1000), 1000);
    mantis_cursor_free(&cursor);
    end();
}

static bool use_connection(const mantis_entry *entry, void *arg) {
    char copy[64];
    (void)snprintf(copy, sizeof copy, "copy:%.*s", (int)entry->key_size, (const char *)entry->key);
    check_ok(mantis_conn_set(conn, copy, strlen(copy), entry->value, entry->value_size, &error),
             error);
    ++*(int *)arg;
    return true;
}

TEST(the_connection_may_be_used_within_a_scan) {
    begin();
    int calls = 0;
    load_keys(50);
    check_ok(mantis_conn_scan(conn, "k[*]:", 5, 0, NULL, use_connection, &calls, &error), error);
    check_equal(calls, 50);
    check_equal(get_status("copy:k[*]:49"), MANTIS_OK);
    end();
}

static bool run_out_of_memory(const mantis_entry *entry, void *arg) {
    (void)entry;
    mp_redis_wire_of(native_of(conn))->is_out_of_memory = true; /* as if it were */
    ++*(int *)arg;
    return true;
}

TEST(a_scan_that_has_no_memory_to_ask_does_not_wait_for_an_answer) {
    begin();
    int calls = 0;
    load_keys(50);
    check_equal(mantis_conn_scan(conn, "k[*]:", 5, 0, NULL, run_out_of_memory, &calls, &error),
                MANTIS_NOMEM);
    check(calls > 0 && calls < 50);
    check_equal(get_status("k[*]:49"), MANTIS_OK); /* the connection is as good as before */
    end();
}

TEST(a_scan_carries_expiry_and_large_values) {
    begin();
    static seen all;
    char *big = calloc(1, (size_t)1 << 20);
    for (int i = 0; i < 20; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "big%d", i);
        mantis_write write = {key, strlen(key), big, (size_t)1 << 20, 60000};
        check_ok(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, &error), error);
    }
    check_ok(mantis_conn_scan(conn, "big", 3, 0, NULL, note, &all, &error), error);
    check_equal(all.calls, 20);
    check(all.expires_ms > 0);
    free(big);
    end();
}

TEST(a_cursor_of_another_connector_is_invalid) {
    static const char *const keys[] = {"k", "key that somebody saw", "R", "Rxxxxxxxxxyyyy",
                                       "Rxxxxxxxxxy"};
    begin();
    static seen all;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        mantis_cursor cursor = {.key = strdup(keys[i]), .key_size = strlen(keys[i])};
        check_equal(mantis_conn_scan(conn, NULL, 0, 0, &cursor, note, &all, &error),
                    MANTIS_INVALID);
        check_contains(error.text, "cursor");
        mantis_cursor_free(&cursor);
    }
    check_equal(all.calls, 0);
    end();
}

TAP_MAIN
