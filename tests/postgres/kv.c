/* The key-value operations on a table of PostgreSQL keep the contracts of mantis/store.h. */
#include "ground.h"

#include <time.h>

static void sleep_ms(int64_t ms) {
    struct timespec length = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&length, NULL);
}

static int64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- one key ---- */

TEST(what_is_set_is_read_until_it_is_deleted) {
    mantis_pool *pool = pool_open("basic");
    mantis_conn conn = borrow(pool), other = borrow(pool);
    expect(conn, "k", NULL);
    set(conn, "k", "one");
    expect(other, "k", "one");
    set(other, "k", "");
    expect(conn, "k", "");
    delete (conn, "k");
    expect(other, "k", NULL);
    delete (conn, "k");
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    pool_close(pool);
}

TEST(keys_and_values_are_any_bytes) {
    mantis_pool *pool = pool_open("bytes");
    mantis_conn conn = borrow(pool);
    const char key[] = {0, 1, '\'', (char)0xff, 0}, value[] = {0, '\\', (char)0xfe, 'x', 0, 0};
    mantis_value found = {0};
    OK(mantis_conn_set(conn, key, sizeof key, value, sizeof value, error));
    OK(mantis_conn_get(conn, key, sizeof key, &found, error));
    mantis_conn_release(&conn); /* the value outlives it */
    check(found.size == sizeof value && memcmp(found.data, value, sizeof value) == 0);
    mantis_value_free(&found);
    pool_close(pool);
}

TEST(a_value_may_be_large) {
    mantis_pool *pool = pool_open("large");
    mantis_conn conn = borrow(pool);
    size_t size = (size_t)20 << 20;
    unsigned char *bytes = malloc(size);
    mantis_value found = {0};
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(i * 2654435761U >> 24);
    OK(mantis_conn_set(conn, "k", 1, bytes, size, error));
    OK(mantis_conn_get(conn, "k", 1, &found, error));
    check(found.size == size && memcmp(found.data, bytes, size) == 0);
    mantis_value_free(&found);
    free(bytes);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_key_larger_than_an_index_takes_is_too_big) {
    mantis_pool *pool = pool_open("bigkey");
    mantis_conn conn = borrow(pool);
    unsigned char key[8000];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof key; i++) key[i] = (unsigned char)((random *= 69069U) >> 24);
    REFUSED(mantis_conn_set(conn, key, sizeof key, "v", 1, error), MANTIS_TOO_BIG);
    check_contains(last.text, "index row");
    OK(mantis_conn_set(conn, key, 2600, "v", 1, error));
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(versions_are_never_used_again) {
    mantis_pool *pool = pool_open("versions");
    mantis_conn conn = borrow(pool);
    uint64_t before = 0;
    for (int i = 0; i < 5; i++) {
        set(conn, "k", "v");
        uint64_t version = expect(conn, "k", "v");
        check(version > before);
        before = version;
        if (i % 2) delete (conn, "k");
    }
    mantis_conn_release(&conn);
    pool_close(pool);
}

/* ---- time to live ---- */

TEST(a_key_past_its_time_is_missing_for_everyone) {
    mantis_pool *pool = pool_open("ttl");
    mantis_conn conn = borrow(pool), other = borrow(pool);
    mantis_value found = {0};
    int64_t before_ms = wall_ms();
    set_ttl(conn, "k", "v", 400);
    check_equal(get(other, "k", &found), MANTIS_OK);
    check(found.expires_ms >= before_ms + 399 && found.expires_ms <= wall_ms() + 400);
    int64_t expires_ms = found.expires_ms;
    mantis_value_free(&found);
    while (wall_ms() <= expires_ms) sleep_ms(20);
    expect(conn, "k", NULL);
    expect(other, "k", NULL);
    set(conn, "k", "new"); /* for ever */
    check_equal(get(other, "k", &found), MANTIS_OK);
    check_equal(found.expires_ms, 0);
    mantis_value_free(&found);
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    pool_close(pool);
}

TEST(the_longest_time_to_live_is_for_ever) {
    mantis_pool *pool = pool_open("longttl");
    mantis_conn conn = borrow(pool);
    mantis_value found = {0};
    set_ttl(conn, "long", "v", INT64_C(200000000000000)); /* some 6,300 years */
    set_ttl(conn, "longest", "v", MANTIS_TTL_MAX_MS);
    check_equal(get(conn, "long", &found), MANTIS_OK);
    int64_t away_ms = found.expires_ms - wall_ms();
    check(away_ms > INT64_C(199999999990000) && away_ms <= INT64_C(200000000000000));
    mantis_value_free(&found);
    check_equal(get(conn, "longest", &found), MANTIS_OK);
    check_equal(found.expires_ms, 0);
    mantis_value_free(&found);
    mantis_conn_release(&conn);
    pool_close(pool);
}

/* ---- batches ---- */

TEST(a_batch_is_applied_as_it_was_written) {
    mantis_pool *pool = pool_open("batch");
    mantis_conn conn = borrow(pool);
    set(conn, "gone", "v");
    mantis_write writes[] = {{"z", 1, "1", 1, 0}, {"a", 1, "2", 1, 0},     {"z", 1, "3", 1, 0},
                             {"b", 1, "4", 1, 0}, {"gone", 4, NULL, 0, 0}, {"b", 1, NULL, 0, 0}};
    OK(mantis_conn_batch(conn, writes, 6, MANTIS_DURABLE_SYNCED, error));
    expect(conn, "z", "3");
    expect(conn, "a", "2");
    expect(conn, "b", NULL);
    expect(conn, "gone", NULL);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(of_a_batch_that_fails_nothing_is_applied) {
    mantis_pool *pool = pool_open("none");
    mantis_conn conn = borrow(pool);
    unsigned char large[8000];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof large; i++) large[i] = (unsigned char)((random *= 69069U) >> 24);
    large[0] = '5'; /* between the others */
    mantis_write writes[] = {
        {"!", 1, "1", 1, 0}, {large, sizeof large, "2", 1, 0}, {"~", 1, "3", 1, 0}};
    for (int i = 0; i < 2; i++) { /* prepared on the way, and prepared before */
        REFUSED(mantis_conn_batch(conn, writes, 3, MANTIS_DURABLE_DEFAULT, error), MANTIS_TOO_BIG);
        check_contains(last.sqlstate, "54000");
        expect(conn, "!", NULL);
        expect(conn, "~", NULL);
    }
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_batch_larger_than_any_buffer_comes_through) {
    enum { COUNT = 20000 };
    mantis_pool *pool = pool_open_as("pipe", "", (int64_t)64 << 20);
    mantis_conn conn = borrow(pool);
    static char keys[COUNT][8], value[512];
    static mantis_write writes[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "%06d", i);
        writes[i] = (mantis_write){keys[i], 6, value, sizeof value, 0};
    }
    OK(mantis_conn_batch(conn, writes, COUNT, MANTIS_DURABLE_DEFAULT, error));
    check(strcmp(sql(conn, "SELECT count(*) FROM pipe"), "20000") == 0);
    mantis_conn_release(&conn);
    pool_close(pool);
}

static void *write_batches(void *arg) {
    static _Atomic int numbers;
    bool is_reversed = numbers++ % 2;
    mantis_pool *pool = arg;
    for (int round = 0; round < 100; round++) {
        mantis_conn conn = borrow(pool);
        char keys[20][4];
        mantis_write writes[20];
        for (int i = 0; i < 20; i++) {
            int number = is_reversed ? 19 - i : i;
            snprintf(keys[i], sizeof keys[i], "%02d", number);
            writes[i] = (mantis_write){keys[i], 2, "v", 1, 0};
        }
        OK(mantis_conn_batch(conn, writes, 20, MANTIS_DURABLE_DEFAULT, error));
        mantis_conn_release(&conn);
    }
    return NULL;
}

TEST(batches_of_the_same_keys_do_not_lock_each_other_out) {
    mantis_pool *pool = pool_open("order");
    run_threads(4, write_batches, pool);
    pool_close(pool);
}

/* ---- compare and set ---- */

static mantis_status swap(mantis_conn conn, const char *value, uint64_t expected,
                          uint64_t *version) {
    mantis_write write = {"k", 1, value, value ? strlen(value) : 0, 0};
    last = (mantis_error){0};
    return mantis_conn_compare_and_set(conn, &write, expected, MANTIS_DURABLE_SYNCED, version,
                                       &last);
}

TEST(compare_and_set_wants_the_version_it_was_told) {
    mantis_pool *pool = pool_open("cas");
    mantis_conn conn = borrow(pool);
    uint64_t first = 7, second = 7, third = 7;
    check_equal(swap(conn, "1", 99, &first), MANTIS_CONFLICT);
    check_equal(first, 7);
    check_equal(swap(conn, "1", 0, &first), MANTIS_OK);
    check_equal(expect(conn, "k", "1"), first);
    check_equal(swap(conn, "2", 0, &second), MANTIS_CONFLICT);
    check_contains(last.text, "there already");
    check_equal(swap(conn, "2", first, &second), MANTIS_OK);
    check(second > first);
    check_equal(expect(conn, "k", "2"), second);
    check_equal(swap(conn, "3", first, &third), MANTIS_CONFLICT);
    check_contains(last.text, "another version");
    set(conn, "k", "plain");
    check_equal(swap(conn, "3", second, &third), MANTIS_CONFLICT);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(compare_and_set_deletes) {
    mantis_pool *pool = pool_open("casdel");
    mantis_conn conn = borrow(pool);
    uint64_t version = 0;
    check_equal(swap(conn, NULL, 0, &version), MANTIS_OK); /* it is not there */
    check_equal(swap(conn, "1", 0, &version), MANTIS_OK);
    check_equal(swap(conn, NULL, 0, &version), MANTIS_CONFLICT);
    check_equal(swap(conn, NULL, version + 1, NULL), MANTIS_CONFLICT);
    check_equal(swap(conn, NULL, version, &version), MANTIS_OK);
    check_equal(version, 0);
    expect(conn, "k", NULL);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(for_compare_and_set_a_key_past_its_time_is_not_there) {
    mantis_pool *pool = pool_open("casttl");
    mantis_conn conn = borrow(pool);
    set_ttl(conn, "k", "old", 50);
    uint64_t version = 0;
    mantis_value found = {0};
    if (get(conn, "k", &found) == MANTIS_OK) version = found.version;
    mantis_value_free(&found);
    for (bool is_there = true; is_there; sleep_ms(10))
        OK(mantis_conn_exists(conn, "k", 1, &is_there, error));
    if (version) check_equal(swap(conn, "new", version, NULL), MANTIS_CONFLICT);
    if (version) check_equal(swap(conn, NULL, version, NULL), MANTIS_CONFLICT);
    check_equal(swap(conn, "new", 0, NULL), MANTIS_OK);
    expect(conn, "k", "new");
    mantis_conn_release(&conn);
    pool_close(pool);
}

static void *increment(void *arg) {
    mantis_pool *pool = arg;
    for (int done = 0; done < 100;) {
        mantis_conn conn = borrow(pool);
        mantis_value found = {0};
        char text[16] = "0";
        check_equal(get(conn, "k", &found), MANTIS_OK);
        memcpy(text, found.data, found.size);
        snprintf(text, sizeof text, "%d", number_of(text) + 1);
        mantis_status status = swap(conn, text, found.version, NULL);
        check(status == MANTIS_OK || status == MANTIS_CONFLICT);
        done += status == MANTIS_OK;
        mantis_value_free(&found);
        mantis_conn_release(&conn);
    }
    return NULL;
}

TEST(compare_and_set_loses_no_increment) {
    mantis_pool *pool = pool_open("count");
    mantis_conn conn = borrow(pool);
    set(conn, "k", "0");
    mantis_conn_release(&conn);
    run_threads(4, increment, pool);
    conn = borrow(pool);
    expect(conn, "k", "400");
    mantis_conn_release(&conn);
    pool_close(pool);
}

/* ---- the connection and its table ---- */

static void *set_first(void *arg) {
    mantis_conn conn = borrow(arg);
    set(conn, "k", "v");
    mantis_conn_release(&conn);
    return NULL;
}

TEST(the_table_is_made_once_by_whoever_needs_it_first) {
    for (int round = 0; round < 5; round++) {
        mantis_pool *pool = pool_open("made");
        mantis_conn conn = borrow(pool);
        sql(conn, "DROP TABLE IF EXISTS made");
        mantis_conn_release(&conn);
        run_threads(8, set_first, pool);
        pool_close(pool);
    }
}

TEST(a_table_that_is_dropped_is_made_again) {
    mantis_pool *pool = pool_open("dropped");
    mantis_conn conn = borrow(pool);
    set(conn, "k", "v");
    sql(conn, "DROP TABLE dropped");
    REFUSED(mantis_conn_get(conn, "k", 1, &(mantis_value){0}, error), MANTIS_IO);
    check_contains(last.sqlstate, "42P01");
    expect(conn, "k", NULL);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_table_with_other_columns_is_refused_before_it_is_read) {
    const struct {
        const char *columns, *wrong;
    } cases[] = {
        {"key text, value bytea, version bigint, expires timestamptz", "column key is no bytea"},
        {"key bytea, value text, version bigint, expires timestamptz", "column value is no bytea"},
        {"key bytea, value bytea, version int, expires timestamptz", "column version is no bigint"},
        {"key bytea, value bytea, version bigint, expires timestamp",
         "column expires is no timestamptz"},
    };
    mantis_pool *pool = pool_open("foreign_kv");
    mantis_conn conn = borrow(pool);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char create[128];
        snprintf(create, sizeof create, "CREATE TABLE foreign_kv (%s)", cases[i].columns);
        sql(conn, create);
        REFUSED(mantis_conn_get(conn, "k", 1, &(mantis_value){0}, error), MANTIS_INVALID);
        check_contains(last.text, "the table \"foreign_kv\"");
        check_contains(last.text, cases[i].wrong);
        sql(conn, "DROP TABLE foreign_kv");
    }
    sql(conn, "CREATE TABLE foreign_kv (key bytea, value bytea, version bigint, expires "
              "timestamptz); INSERT INTO foreign_kv VALUES ('k', 'v', NULL, NULL)");
    mantis_value found = {0};
    check_equal(get(conn, "k", &found), MANTIS_OK);
    check_equal(found.version, 0); /* and not what happens to lie there */
    mantis_value_free(&found);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_table_on_a_borrowers_search_path_is_not_taken_for_the_next_ones) {
    mantis_pool *pool = pool_open("ofpath");
    mantis_conn conn = borrow(pool);
    PGconn *native = native_of(conn);
    sql(conn, "CREATE SCHEMA aside; SET search_path = aside");
    set(conn, "k", "v");
    OK(mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY));
    conn = borrow(pool);
    check(native_of(conn) == native);
    expect(conn, "k", NULL);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(what_the_server_does_not_allow_is_unsupported) {
    mantis_pool *pool = pool_open("forbidden");
    mantis_conn conn = borrow(pool);
    sql(conn, "SET default_transaction_read_only = on");
    REFUSED(mantis_conn_set(conn, "k", 1, "v", 1, error), MANTIS_UNSUPPORTED);
    check_contains(last.text, "cannot execute CREATE TABLE in a read-only transaction");
    check_contains(last.sqlstate, "25006");
    sql(conn, "SET default_transaction_read_only = off");
    sql(conn, "CREATE ROLE nobody");
    sql(conn, "SET ROLE nobody");
    REFUSED(mantis_conn_set(conn, "k", 1, "v", 1, error), MANTIS_UNSUPPORTED);
    check_contains(last.text, "permission denied for schema public");
    sql(conn, "RESET ROLE");
    set(conn, "k", "v");
    sql(conn, "SET ROLE nobody");
    REFUSED(mantis_conn_get(conn, "k", 1, &(mantis_value){0}, error), MANTIS_UNSUPPORTED);
    check_contains(last.text, "permission denied for table forbidden");
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_lost_connection_is_an_error_and_the_next_one_works) {
    mantis_pool *pool = pool_open("lost");
    mantis_conn conn = borrow(pool), other = borrow(pool);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"b", 1, "2", 1, 0}};
    set(conn, "k", "v");
    char text[96];
    snprintf(text, sizeof text, "SELECT pg_terminate_backend(%d, 60000)",
             PQbackendPID(native_of(conn)));
    sql(other, text);
    REFUSED(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, error), MANTIS_IO);
    REFUSED(mantis_conn_get(conn, "k", 1, &(mantis_value){0}, error), MANTIS_IO);
    mantis_conn_release(&conn);
    expect(other, "a", NULL);
    conn = borrow(pool);
    expect(conn, "k", "v");
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    pool_close(pool);
}

TEST(synced_is_on_disk_also_where_the_session_does_not_wait_for_it) {
    mantis_pool *pool = pool_open_as("synced", "&options=-csynchronous_commit%3Doff", 0);
    mantis_conn conn = borrow(pool);
    set(conn, "k", "v"); /* makes the table */
    static const char is_flushed[] =
        "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()";
    mantis_write write = {"k", 1, "w", 1, 0};
    int unflushed = 0;
    for (int i = 0; i < 20; i++) {
        set(conn, "k", "v");
        unflushed += strcmp(sql(conn, is_flushed), "f") == 0;
        OK(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_SYNCED, error));
        check(strcmp(sql(conn, is_flushed), "t") == 0);
    }
    check(unflushed > 0); /* or this test sees nothing */
    check(strcmp(sql(conn, "SHOW synchronous_commit"), "off") == 0);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(operations_within_a_transaction_of_ones_own_are_part_of_it) {
    mantis_pool *pool = pool_open("mixed");
    mantis_conn conn = borrow(pool), other = borrow(pool);
    set(conn, "k", "before");
    sql(conn, "BEGIN");
    set(conn, "k", "inside");
    expect(conn, "k", "inside");
    expect(other, "k", "before");
    sql(conn, "ROLLBACK");
    expect(conn, "k", "before");
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    pool_close(pool);
}

TAP_MAIN
