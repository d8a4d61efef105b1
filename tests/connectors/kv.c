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
    uint64_t expected;
    mantis_transaction kind;
    int64_t memory_max_bytes;
    int begun, committed, rolled_back, reset;
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

static mantis_status note_compare_and_set(void *native, const mantis_write *write,
                                          uint64_t expected, mantis_durability durability,
                                          uint64_t *version, mantis_error *why) {
    (void)native;
    seen.calls++;
    seen.write = *write;
    seen.expected = expected;
    seen.durability = durability;
    if (expected == 13) {
        *why = (mantis_error){.status = MANTIS_CONFLICT, .text = "13 brings bad luck"};
        return MANTIS_CONFLICT;
    }
    *version = expected + 1;
    return MANTIS_OK;
}

static mantis_status note_begin(void *native, mantis_transaction kind, int64_t memory_max_bytes,
                                mantis_error *why) {
    (void)native;
    (void)why;
    seen.begun++;
    seen.kind = kind;
    seen.memory_max_bytes = memory_max_bytes;
    return MANTIS_OK;
}

static mantis_status note_commit(void *native, mantis_durability durability, mantis_error *why) {
    (void)native;
    (void)why;
    seen.committed++;
    seen.durability = durability;
    return MANTIS_OK;
}

static mantis_status note_rollback(void *native, mantis_error *why) {
    (void)native;
    (void)why;
    seen.rolled_back++;
    return MANTIS_OK;
}

static void reset_note(void *place, void *native, mantis_op *op) {
    (void)place;
    (void)native;
    seen.reset++;
    (void)mantis_op_done(op, NULL);
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
static const mantis_kv full_kv = {.write = note_write,
                                  .get = note_get,
                                  .scan = note_scan,
                                  .compare_and_set = note_compare_and_set,
                                  .begin = note_begin,
                                  .commit = note_commit,
                                  .rollback = note_rollback};
static const mantis_connector with_all = {
    .name = "all", .open = open_note, .close = close_note, .reset = reset_note, .kv = &full_kv};
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

/* ---- compare-and-set, time to live ---- */

TEST(a_compare_and_set_passes_what_is_expected_and_brings_back_the_version) {
    mantis_conn conn = borrow(&with_all);
    mantis_write write = {"k", 1, "v", 1, 1500};
    uint64_t version = 99;
    check(mantis_conn_compare_and_set(conn, &write, 7, MANTIS_DURABLE_SYNCED, &version, &error) ==
          MANTIS_OK);
    check(seen.expected == 7 && version == 8 && seen.write.ttl_ms == 1500);
    check(seen.durability == MANTIS_DURABLE_SYNCED);
    check(mantis_conn_compare_and_set(conn, &write, 0, 0, NULL, &error) == MANTIS_OK);
    check(mantis_conn_compare_and_set(conn, &write, 13, 0, &version, &error) == MANTIS_CONFLICT);
    check_contains(error.text, "bad luck");
    check_equal(version, 8);
    check(mantis_conn_compare_and_set(conn, NULL, 0, 0, NULL, &error) == MANTIS_INVALID);
    check_contains(error.text, "compare-and-set: write is NULL");
    check(mantis_conn_compare_and_set(conn, &write, 0, (mantis_durability)9, NULL, &error) ==
          MANTIS_INVALID);
    check_contains(error.text, "no durability 9");
    write.key_size = 0;
    check(mantis_conn_compare_and_set(conn, &write, 0, 0, NULL, &error) == MANTIS_INVALID);
    finish(&conn);
    conn = borrow(&with_kv);
    write.key_size = 1;
    check(mantis_conn_compare_and_set(conn, &write, 0, 0, NULL, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "compare-and-set: connections of 'note'");
    finish(&conn);
}

TEST(a_time_to_live_out_of_its_range_or_of_a_delete_is_refused) {
    static const int64_t wrong_ms[] = {-1, INT64_MIN, MANTIS_TTL_MAX_MS + 1, INT64_MAX};
    mantis_conn conn = borrow(&with_all);
    mantis_write write = {"k", 1, "v", 1, MANTIS_TTL_MAX_MS};
    check(mantis_conn_set_with(conn, &write, 0, &error) == MANTIS_OK);
    check_equal(seen.write.ttl_ms, MANTIS_TTL_MAX_MS);
    for (int i = 0; i < 4; i++) {
        write.ttl_ms = wrong_ms[i];
        check(mantis_conn_set_with(conn, &write, 0, &error) == MANTIS_INVALID);
        check_contains(error.text, "0 for ever, or 1 to 9007199254740992");
        check(mantis_conn_batch(conn, &write, 1, 0, &error) == MANTIS_INVALID);
        check_contains(error.text, "write 1 of 1: ttl_ms is");
        check(mantis_conn_compare_and_set(conn, &write, 0, 0, NULL, &error) == MANTIS_INVALID);
    }
    write = (mantis_write){"k", 1, NULL, 0, 10};
    check(mantis_conn_set_with(conn, &write, 0, &error) == MANTIS_INVALID);
    check_contains(error.text, "a delete has no time to live, and ttl_ms is 10");
    check_equal(seen.calls, 1);
    finish(&conn);
}

/* ---- transactions ---- */

TEST(a_transaction_reaches_the_connector_and_its_connection_is_reset_when_it_comes_back) {
    mantis_conn conn = borrow(&with_all);
    check(mantis_conn_begin(conn, MANTIS_TRANSACTION_SNAPSHOT, &error) == MANTIS_OK);
    check(seen.kind == MANTIS_TRANSACTION_SNAPSHOT && seen.memory_max_bytes == 10000);
    check(mantis_conn_commit(conn, MANTIS_DURABLE_SYNCED, &error) == MANTIS_OK);
    check(seen.committed == 1 && seen.durability == MANTIS_DURABLE_SYNCED);
    check(mantis_conn_rollback(conn, &error) == MANTIS_OK);
    check_equal(seen.rolled_back, 1);
    check(mantis_conn_begin(conn, (mantis_transaction)5, &error) == MANTIS_INVALID);
    check_contains(error.text, "no kind of transaction 5");
    check(mantis_conn_commit(conn, (mantis_durability)5, &error) == MANTIS_INVALID);
    check_equal(seen.reset, 0);
    check(mantis_conn_release(&conn) == MANTIS_OK);
    check_equal(seen.reset, 1);
    check(mantis_pool_acquire(pool, mantis_deadline_ms(10000), &conn, &error) == MANTIS_OK);
    finish(&conn); /* one without a transaction is not */
    check_equal(seen.reset, 1);
}

TEST(transactions_without_support_answer_unsupported) {
    mantis_conn conn = borrow(&with_kv);
    check(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "begin: connections of 'note'");
    check(mantis_conn_commit(conn, 0, &error) == MANTIS_UNSUPPORTED);
    check(mantis_conn_rollback(conn, &error) == MANTIS_UNSUPPORTED);
    finish(&conn);
}

/* ---- writes that do not block ---- */

static int told;

static void on_told(mantis_commit *commit) {
    told++;
    check(commit->arg == &told);
}

TEST(without_a_submit_of_the_connector_the_blocking_operation_is_called) {
    mantis_conn conn = borrow(&with_all);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"b", 1, "2", 1, 0}};
    mantis_commit commit = {.writes = writes, .count = 2, .on_done = on_told, .arg = &told};
    commit.durability = MANTIS_DURABLE_SYNCED;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_OK);
    check(told == 1 && commit.status == MANTIS_OK && seen.count == 2);
    check(seen.durability == MANTIS_DURABLE_SYNCED);
    commit.kind = MANTIS_COMMIT_COMPARE_AND_SET;
    commit.count = 1;
    commit.expected = 41;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_OK);
    check(told == 2 && commit.version == 42);
    commit.expected = 13;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_OK);
    check(told == 3 && commit.status == MANTIS_CONFLICT && commit.version == 0);
    check_contains(commit.error.text, "bad luck");
    commit.kind = MANTIS_COMMIT_TRANSACTION;
    commit.count = 0;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_OK);
    check(told == 4 && commit.status == MANTIS_OK && seen.committed == 1);
    check_equal(commit.error.text[0], 0);
    commit.kind = MANTIS_COMMIT_WRITES; /* an empty batch */
    int calls = seen.calls;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_OK);
    check(told == 5 && seen.calls == calls);
    finish(&conn);
}

TEST(a_submit_that_cannot_be_is_refused_and_nobody_is_told) {
    mantis_conn conn = borrow(&with_all);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"", 0, "2", 1, 0}};
    static const struct {
        mantis_commit commit;
        const char *says;
    } wrong[] = {
        {{.kind = (mantis_commit_kind)3}, "no kind of commit 3"},
        {{.kind = MANTIS_COMMIT_TRANSACTION, .count = 1}, "a transaction has its own writes"},
        {{.kind = MANTIS_COMMIT_COMPARE_AND_SET}, "count is 0, and a compare-and-set is one"},
        {{.kind = MANTIS_COMMIT_COMPARE_AND_SET, .count = 2}, "count is 2"},
        {{.count = 2}, "write 2 of 2: the key is empty"},
        {{.durability = (mantis_durability)4}, "no durability 4"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mantis_commit commit = wrong[i].commit;
        commit.on_done = on_told;
        commit.writes = writes;
        check(mantis_conn_submit(conn, &commit, &error) == MANTIS_INVALID);
        check_contains(error.text, wrong[i].says);
    }
    mantis_commit commit = {.count = 1, .on_done = on_told};
    check(mantis_conn_submit(conn, NULL, &error) == MANTIS_INVALID);
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_INVALID);
    check_contains(error.text, "writes is NULL");
    commit = (mantis_commit){.writes = writes, .count = 1};
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_INVALID);
    check_contains(error.text, "on_done is NULL");
    check_equal(seen.calls, 0);
    finish(&conn);
    conn = borrow(&with_kv);
    commit.on_done = on_told;
    commit.kind = MANTIS_COMMIT_COMPARE_AND_SET;
    check(mantis_conn_submit(conn, &commit, &error) == MANTIS_UNSUPPORTED);
    check_contains(error.text, "submit: connections of 'note'");
    finish(&conn);
    check_equal(told, 0);
}

TAP_MAIN
