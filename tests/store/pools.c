/* The store through pools: several on one directory, values that outlive their connection, what an
 * idle connection costs, and that the limits of a pool are its own. */
#include "store/lib.h"

#include <mantis/pool.h>

#include <pthread.h>

static mantis_pool *open_pool(const char *path, const char *more, int64_t max) {
    char dsn[FRESH_PATH_MAX + 32];
    snprintf(dsn, sizeof dsn, "mantis:%s%s", path, more);
    mantis_pool_config config = {
        .connector = &mantis_embedded, .dsn = dsn, .conns_max = max, .name = "store"};
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", dsn, error.text);
    return pool;
}

static mantis_conn borrow(mantis_pool *pool) {
    mantis_conn conn = {0};
    mantis_error error = {0};
    if (mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conn, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "%s", error.text);
    return conn;
}

static void close_pool(mantis_pool **pool) {
    check_equal(mantis_pool_close(pool, mantis_deadline_ms(5000)), MANTIS_OK);
}

TEST(a_pool_sets_gets_deletes_scans_and_writes_batches) {
    mantis_pool *pool = open_pool(fresh_path("ops"), "", 2);
    mantis_conn conn = borrow(pool);
    mantis_value value = {0};
    bool is_there = false;
    check_equal(mantis_conn_set(conn, "key", 3, "value", 5, NULL), MANTIS_OK);
    check_equal(mantis_conn_get(conn, "key", 3, &value, NULL), MANTIS_OK);
    check(value.size == 5 && memcmp(value.data, "value", 5) == 0 && value.version > 0);
    check_equal(mantis_conn_exists(conn, "key", 3, &is_there, NULL), MANTIS_OK);
    check(is_there);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"key", 3, NULL, 0, 0}};
    check_equal(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_SYNCED, NULL), MANTIS_OK);
    check_equal(mantis_conn_exists(conn, "key", 3, &is_there, NULL), MANTIS_OK);
    check(!is_there);
    check_equal(mantis_conn_delete(conn, "a", 1, NULL), MANTIS_OK);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    close_pool(&pool);
    check(memcmp(value.data, "value", 5) == 0); /* also after its pool */
    mantis_value_free(&value);
}

static _Atomic bool is_over;

static void *write_on(void *arg) {
    mantis_pool *pool = arg;
    for (uint32_t i = 0; !is_over; i++) {
        mantis_conn conn = borrow(pool);
        char key[16];
        snprintf(key, sizeof key, "w%u", i % 100);
        mantis_error error = {0};
        if (mantis_conn_set(conn, key, strlen(key), key, strlen(key), &error) != MANTIS_OK)
            tap_fail(__FILE__, __LINE__, "%s", error.text);
        mantis_conn_release(&conn);
    }
    return NULL;
}

TEST(pools_on_one_directory_share_it_and_each_can_be_closed_while_others_write) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("shared"));
    mantis_pool *writer = open_pool(path, "?sync=interval", 4);
    mantis_pool *synced = open_pool(path, "?sync=group", 2);
    pthread_t threads[3];
    check(pthread_create(&threads[0], NULL, write_on, writer) == 0);
    check(pthread_create(&threads[1], NULL, write_on, writer) == 0);
    check(pthread_create(&threads[2], NULL, write_on, synced) == 0);
    for (int i = 0; i < 50; i++) {
        mantis_pool *other = open_pool(path, i % 2 ? "?sync=group" : "", 1);
        mantis_conn conn = borrow(other);
        check_equal(mantis_conn_set(conn, "mine", 4, "x", 1, NULL), MANTIS_OK);
        mantis_conn refused = {0};
        check_equal(mantis_pool_try_acquire(other, &refused, NULL), MANTIS_EXHAUSTED);
        mantis_store_info info;
        void *native = NULL;
        check_equal(mantis_conn_native(conn, &native, NULL), MANTIS_OK);
        check_equal(mantis_store_get_info(native, &info), MANTIS_OK);
        check_equal(info.group, i % 2);
        mantis_conn_release(&conn);
        close_pool(&other);
    }
    is_over = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    close_pool(&writer);
    mantis_conn conn = borrow(synced);
    mantis_value value = {0};
    check_equal(mantis_conn_get(conn, "mine", 4, &value, NULL), MANTIS_OK);
    mantis_value_free(&value);
    mantis_conn_release(&conn);
    close_pool(&synced);
}

TEST(the_last_pool_gives_the_directory_free_for_another_process) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("free"));
    mantis_pool *a = open_pool(path, "", 1), *b = open_pool(path, "", 1);
    close_pool(&a);
    fflush(stdout);
    for (int turn = 0; turn < 2; turn++) {
        pid_t child = fork();
        if (child == 0) {
            mp_store *store = NULL;
            _exit(mp_store_open(&store, path, NULL) == MANTIS_LOCKED ? 1 : 0);
        }
        int status = 0;
        check(waitpid(child, &status, 0) == child && WIFEXITED(status));
        check_equal(WEXITSTATUS(status), turn == 0 ? 1 : 0);
        if (turn == 0) close_pool(&b);
    }
}

/* ---- transactions ---- */

static void begin(mantis_conn conn, const char *value) {
    mantis_error error = {0};
    if (mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "begin: %s", error.text);
    check_equal(mantis_conn_set(conn, "key", 3, value, strlen(value), NULL), MANTIS_OK);
}

static void check_missing(mantis_conn conn, const char *key) {
    bool is_there = true;
    check_equal(mantis_conn_exists(conn, key, strlen(key), &is_there, NULL), MANTIS_OK);
    check(!is_there);
}

TEST(every_way_of_giving_a_connection_back_rolls_its_transaction_back) {
    static const mantis_release ways[] = {MANTIS_RELEASE_CLEAN, MANTIS_RELEASE_UNUSED,
                                          MANTIS_RELEASE_DIRTY, MANTIS_RELEASE_BROKEN};
    mantis_pool *pool = open_pool(fresh_path("ways"), "", 1);
    for (int way = 0; way < 4; way++) {
        mantis_conn conn = borrow(pool), copy = conn;
        begin(conn, "never");
        check_equal(mantis_conn_release_as(&conn, ways[way]), MANTIS_OK);
        check_equal(mantis_conn_commit(copy, MANTIS_DURABLE_DEFAULT, NULL), MANTIS_STALE);
        conn = borrow(pool); /* the same one, or a new one */
        check_equal(mantis_conn_commit(conn, MANTIS_DURABLE_DEFAULT, NULL), MANTIS_INVALID);
        check_missing(conn, "key");
        check_equal(mantis_conn_set(conn, "other", 5, "at once", 7, NULL), MANTIS_OK);
        mantis_conn_release(&conn);
    }
    mantis_pool_stats stats;
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    check_equal(stats.was_reset, 3); /* and those without a transaction were not */
    close_pool(&pool);
}

TEST(a_transaction_of_an_evicted_connection_or_of_a_closed_pool_is_rolled_back) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("late"));
    mantis_pool *pool = open_pool(path, "", 2), *other = open_pool(path, "", 1);
    mantis_conn evicted = borrow(pool), late = borrow(pool), conn = borrow(other);
    begin(evicted, "never");
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_HARD, NULL), MANTIS_OK);
    check_equal(mantis_conn_release(&evicted), MANTIS_OK);
    begin(late, "never");
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(1)), MANTIS_TIMEOUT);
    check_equal(mantis_conn_release(&late), MANTIS_CLOSED);
    check_missing(conn, "key");
    begin(conn, "always"); /* also the last to use the store */
    check_equal(mantis_conn_commit(conn, MANTIS_DURABLE_SYNCED, NULL), MANTIS_OK);
    begin(conn, "never");
    mantis_conn_release(&conn);
    close_pool(&other);
    pool = open_pool(path, "", 1);
    conn = borrow(pool);
    mantis_value value = {0};
    check_equal(mantis_conn_get(conn, "key", 3, &value, NULL), MANTIS_OK);
    check(value.size == 6 && memcmp(value.data, "always", 6) == 0);
    mantis_value_free(&value);
    mantis_conn_release(&conn);
    close_pool(&pool);
}

TEST(a_pool_commits_compares_and_lets_keys_expire) {
    mantis_pool *pool = open_pool(fresh_path("rest"), "", 2);
    mantis_conn conn = borrow(pool), other = borrow(pool);
    mantis_value value = {0};
    mantis_error error = {0};
    uint64_t version = 0;
    mantis_write write = {"key", 3, "one", 3, 3600000};
    check_equal(mantis_conn_compare_and_set(conn, &write, 0, 0, &version, NULL), MANTIS_OK);
    check_equal(mantis_conn_get(other, "key", 3, &value, NULL), MANTIS_OK);
    check(value.version == version && value.expires_ms > 0);
    mantis_value_free(&value);
    check_equal(mantis_conn_compare_and_set(conn, &write, 0, 0, NULL, &error), MANTIS_CONFLICT);
    check_equal(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, NULL), MANTIS_OK);
    check_equal(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, &error), MANTIS_BUSY);
    check_equal(mantis_conn_get(conn, "key", 3, &value, NULL), MANTIS_OK);
    mantis_value_free(&value);
    check_equal(mantis_conn_set(other, "key", 3, "two", 3, NULL), MANTIS_OK);
    check_equal(mantis_conn_set(conn, "mine", 4, "x", 1, NULL), MANTIS_OK);
    check_equal(mantis_conn_commit(conn, MANTIS_DURABLE_DEFAULT, &error), MANTIS_CONFLICT);
    check_missing(other, "mine");
    static char large[1 << 20]; /* the default of conn_memory_max is 1 MiB */
    check_equal(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, NULL), MANTIS_OK);
    check_equal(mantis_conn_set(conn, "l", 1, large, sizeof large, &error), MANTIS_TOO_BIG);
    check_contains(error.text, "1048576 (conn_memory_max)");
    check_equal(mantis_conn_rollback(conn, NULL), MANTIS_OK);
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    close_pool(&pool);
}

TEST(a_thousand_connections_are_borrowed_at_once_and_each_sets_gets_and_deletes) {
    enum { CONNS = 1000 };
    static mantis_conn conns[CONNS];
    mantis_pool *pool = open_pool(fresh_path("thousand"), "", CONNS);
    for (int i = 0; i < CONNS; i++) conns[i] = borrow(pool);
    for (int i = 0; i < CONNS; i++) {
        mantis_value value = {0};
        check_equal(mantis_conn_set(conns[i], &i, sizeof i, &i, sizeof i, NULL), MANTIS_OK);
        check_equal(mantis_conn_get(conns[i], &i, sizeof i, &value, NULL), MANTIS_OK);
        check(value.size == sizeof i && memcmp(value.data, &i, sizeof i) == 0);
        mantis_value_free(&value);
        check_equal(mantis_conn_delete(conns[i], &i, sizeof i, NULL), MANTIS_OK);
        check_equal(mantis_conn_get(conns[i], &i, sizeof i, &value, NULL), MANTIS_NOT_FOUND);
    }
    for (int i = 0; i < CONNS; i++) check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
    close_pool(&pool);
}

TEST(a_pool_that_cannot_open_its_store_says_why) {
    mantis_pool_config config = {.connector = &mantis_embedded, .dsn = "mantis:/none/at/all"};
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check_contains(error.text, "/none/at/all");
    check_contains(error.text, "parent");
    config.dsn = "mantis:x?sync=always";
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check_contains(error.text, "sync=always");
    check(!pool);
}

TAP_MAIN
