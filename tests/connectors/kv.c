/* The dispatch of key-value operations: what it refuses, how it says so, and what reaches the
 * connector. The connector here notes what it was asked for. */
#include "lib/tap.h"

#include <mantis/store.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int calls;
    mantis_write write; /* the last of a write */
    size_t count;
    mantis_durability durability;
} seen;

static mantis_status note_write(void *native, const mantis_write *writes, size_t count,
                                mantis_durability durability, mantis_error *error) {
    (void)native;
    (void)error;
    seen.calls++;
    seen.write = writes[count - 1];
    seen.count = count;
    seen.durability = durability;
    return MANTIS_OK;
}

static mantis_status note_get(void *native, const void *key, size_t key_size, mantis_value *out,
                              mantis_error *error) {
    (void)native;
    (void)key;
    (void)error;
    seen.calls++;
    *out = (mantis_value){.size = key_size, .owner = malloc(1), .free_owner = free};
    return MANTIS_OK;
}

static mantis_status note_scan(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                               mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                               mantis_error *error) {
    (void)native;
    (void)prefix;
    (void)prefix_size;
    (void)limit;
    (void)cursor;
    (void)on_entry;
    (void)arg;
    (void)error;
    seen.calls++;
    return MANTIS_OK;
}

static void open_note(void *place, mantis_op *op) {
    (void)place;
    (void)mantis_op_done(op, &seen);
}

static void close_note(void *place, void *native, mantis_op *op) {
    (void)place;
    (void)native;
    (void)mantis_op_done(op, NULL);
}

static const mantis_kv kv = {.write = note_write, .get = note_get, .scan = note_scan};
static const mantis_connector with_kv = {
    .name = "note", .open = open_note, .close = close_note, .kv = &kv};
static const mantis_connector without_kv = {
    .name = "plain", .open = open_note, .close = close_note};

static mantis_pool *pool;
static mantis_error error;

/* A borrowed connection of a pool of one. */
static mantis_conn borrow(const mantis_connector *connector) {
    mantis_pool_config config = {.connector = connector, .conns_max = 1, .conn_memory_max = 10000};
    mantis_conn conn = {0};
    check(mantis_pool_open(&pool, &config, &error) == MANTIS_OK);
    check(mantis_pool_acquire(pool, mantis_deadline_ms(10000), &conn, &error) == MANTIS_OK);
    return conn;
}

static void finish(mantis_conn *conn) {
    (void)mantis_conn_release(conn);
    check(mantis_pool_close(&pool, mantis_deadline_ms(10000)) == MANTIS_OK);
}

TEST(a_key_that_is_empty_null_or_too_large_is_refused_with_its_size) {
    static char key[MANTIS_KEY_MAX + 1];
    mantis_conn conn = borrow(&with_kv);
    mantis_value value = {0};
    check(mantis_conn_set(conn, key, 0, "v", 1, &error) == MANTIS_INVALID);
    check_contains(error.text, "the key is empty");
    check(mantis_conn_get(conn, NULL, 3, &value, &error) == MANTIS_INVALID);
    check_contains(error.text, "key is NULL, and key_size is 3");
    check(mantis_conn_delete(conn, key, sizeof key, &error) == MANTIS_TOO_BIG);
    check_contains(error.text, "65537 bytes: at most 65536");
    check(error.status == MANTIS_TOO_BIG);
    check_equal(seen.calls, 0);
    check(mantis_conn_set(conn, key, MANTIS_KEY_MAX, "v", 1, &error) == MANTIS_OK);
    check_equal(seen.calls, 1);
    finish(&conn);
}

TEST(a_value_over_64_mib_is_too_big_and_one_of_64_mib_passes) {
    mantis_conn conn = borrow(&with_kv);
    char *value = calloc(1, MANTIS_VALUE_MAX);
    check(mantis_conn_set(conn, "k", 1, value, MANTIS_VALUE_MAX + 1, &error) == MANTIS_TOO_BIG);
    check_contains(error.text, "67108865 bytes: at most 67108864");
    check(mantis_conn_set(conn, "k", 1, value, MANTIS_VALUE_MAX, &error) == MANTIS_OK);
    check_equal(seen.write.value_size, MANTIS_VALUE_MAX);
    free(value);
    finish(&conn);
}

TEST(an_empty_value_is_set_and_not_deleted) {
    mantis_conn conn = borrow(&with_kv);
    check(mantis_conn_set(conn, "k", 1, NULL, 0, &error) == MANTIS_OK);
    check(seen.write.value != NULL);
    check(mantis_conn_set(conn, "k", 1, NULL, 1, &error) == MANTIS_INVALID);
    check(mantis_conn_delete(conn, "k", 1, &error) == MANTIS_OK);
    check(seen.write.value == NULL);
    finish(&conn);
}

TEST(durability_reaches_the_connector_and_a_foreign_one_is_refused) {
    mantis_conn conn = borrow(&with_kv);
    mantis_write write = {"k", 1, "v", 1, 0};
    check(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_SYNCED, &error) == MANTIS_OK);
    check(seen.durability == MANTIS_DURABLE_SYNCED);
    check(mantis_conn_set(conn, "k", 1, "v", 1, &error) == MANTIS_OK);
    check(seen.durability == MANTIS_DURABLE_DEFAULT);
    check(mantis_conn_set_with(conn, &write, (mantis_durability)7, &error) == MANTIS_INVALID);
    check_contains(error.text, "no durability 7");
    check(mantis_conn_set_with(conn, NULL, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_INVALID);
    finish(&conn);
}

TEST(a_batch_is_one_call_and_an_empty_one_is_none) {
    mantis_conn conn = borrow(&with_kv);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"b", 1, NULL, 0, 0}, {"c", 1, "3", 1, 0}};
    check(mantis_conn_batch(conn, NULL, 0, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_OK);
    check_equal(seen.calls, 0);
    check(mantis_conn_batch(conn, writes, 3, MANTIS_DURABLE_SYNCED, &error) == MANTIS_OK);
    check_equal(seen.calls, 1);
    check_equal(seen.count, 3);
    finish(&conn);
}

TEST(a_batch_is_refused_with_the_write_that_is_wrong) {
    mantis_conn conn = borrow(&with_kv);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"b", 0, "2", 1, 0}};
    check(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_INVALID);
    check_contains(error.text, "write 2 of 2: the key is empty");
    check(mantis_conn_batch(conn, NULL, 2, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_INVALID);
    check_contains(error.text, "count is 2");
    check_equal(seen.calls, 0);
    finish(&conn);
}

TEST(a_batch_over_conn_memory_max_is_too_big_and_one_just_under_it_passes) {
    static char value[9999];
    mantis_conn conn = borrow(&with_kv);
    mantis_write writes[] = {{"a", 1, value, sizeof value, 0}, {"b", 1, NULL, 0, 0}};
    check(mantis_conn_batch(conn, writes, 1, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_OK);
    check(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error) == MANTIS_TOO_BIG);
    check_contains(error.text, "hold 10001 bytes: at most 10000");
    check_contains(error.text, "conn_memory_max");
    finish(&conn);
}

TEST(a_connector_without_the_operation_answers_unsupported_with_its_name) {
    mantis_conn conn = borrow(&without_kv);
    check(mantis_conn_set(conn, "k", 1, "v", 1, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "'plain'");
    finish(&conn);
    conn = borrow(&with_kv);
    bool is_there = true;
    check(mantis_conn_exists(conn, "k", 1, &is_there, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "exists");
    check(is_there);
    finish(&conn);
}

TEST(a_released_connection_is_stale_and_results_stay_as_they_were) {
    mantis_conn conn = borrow(&with_kv), copy = conn;
    mantis_value value = {.size = 7};
    check(mantis_conn_release(&conn) == MANTIS_OK);
    check(mantis_conn_get(copy, "k", 1, &value, &error) == MANTIS_STALE);
    check(mantis_conn_set(copy, "k", 1, "v", 1, &error) == MANTIS_STALE);
    check(mantis_conn_get(conn, "k", 1, &value, NULL) == MANTIS_STALE); /* a cleared one too */
    check_equal(value.size, 7);
    check_equal(seen.calls, 0);
    finish(&conn);
}

static bool on_nothing(const mantis_entry *entry, void *arg) {
    (void)entry;
    (void)arg;
    return true;
}

TEST(a_scan_checks_its_prefix_and_an_ended_cursor_asks_nobody) {
    mantis_conn conn = borrow(&with_kv);
    mantis_cursor cursor = {.at_end = true};
    check(mantis_conn_scan(conn, NULL, 2, 0, NULL, on_nothing, NULL, &error) == MANTIS_INVALID);
    check(mantis_conn_scan(conn, "", MANTIS_KEY_MAX + 1, 0, NULL, on_nothing, NULL, &error) ==
          MANTIS_TOO_BIG);
    check(mantis_conn_scan(conn, "", 0, 0, NULL, NULL, NULL, &error) == MANTIS_INVALID);
    check(mantis_conn_scan(conn, "", 0, 0, &cursor, on_nothing, NULL, &error) == MANTIS_OK);
    check_equal(seen.calls, 0);
    check(mantis_conn_scan(conn, NULL, 0, 0, NULL, on_nothing, NULL, &error) == MANTIS_OK);
    check_equal(seen.calls, 1);
    finish(&conn);
}

TEST(values_and_cursors_are_cleared_when_freed_and_empty_ones_are_fine) {
    mantis_conn conn = borrow(&with_kv);
    mantis_value value = {0};
    mantis_cursor cursor = {.key = malloc(3), .key_size = 3};
    check(mantis_conn_get(conn, "key", 3, &value, &error) == MANTIS_OK);
    finish(&conn); /* a value outlives its connection and pool */
    check_equal(value.size, 3);
    for (int i = 0; i < 2; i++) {
        mantis_value_free(&value);
        mantis_cursor_free(&cursor);
        check(value.size == 0 && value.owner == NULL && cursor.key == NULL);
    }
    mantis_value_free(NULL);
    mantis_cursor_free(NULL);
}

TAP_MAIN
