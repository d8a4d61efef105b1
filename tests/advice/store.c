/* Troubleshooting in docs/connection-pooling.md: memory, with the embedded store. */
#include "lib/tap.h"

#include <malloc.h>
#include <mantis/pool.h>
#include <mantis/store.h>

static mantis_pool *pool;
static mantis_conn conn;

static void open_store(void) {
    mantis_pool_config config = {.connector = &mantis_embedded, .dsn = "mantis::memory:"};
    mantis_error error = {0};
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK ||
        mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "%s", error.text);
}

static void close_store(void) {
    mantis_conn_release(&conn);
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(60000)), MANTIS_OK);
}

#define WRITES 2000
#define VALUE_BYTES 1000

TEST(a_batch_beyond_the_memory_of_a_connection_is_refused_until_it_is_split_or_may_have_more) {
    static char keys[WRITES][16], value[VALUE_BYTES];
    static mantis_write writes[WRITES];
    for (int i = 0; i < WRITES; i++) {
        snprintf(keys[i], sizeof keys[i], "key-%d", i);
        writes[i] = (mantis_write){.key = keys[i],
                                   .key_size = strlen(keys[i]),
                                   .value = value,
                                   .value_size = sizeof value};
    }
    open_store();
    mantis_error error = {0};
    mantis_status status = mantis_conn_batch(conn, writes, WRITES, MANTIS_DURABLE_DEFAULT, &error);
    check_equal(status, MANTIS_TOO_BIG);
    check_contains(error.text, "conn_memory_max");

    for (int i = 0; i < WRITES; i += WRITES / 4) {
        status = mantis_conn_batch(conn, writes + i, WRITES / 4, MANTIS_DURABLE_DEFAULT, &error);
        check_equal(status, MANTIS_OK);
    }
    mantis_conn_release(&conn);
    check_equal(mantis_pool_set(pool, "conn_memory_max", 4 << 20, NULL), MANTIS_OK);
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    status = mantis_conn_batch(conn, writes, WRITES, MANTIS_DURABLE_DEFAULT, &error);
    check_equal(status, MANTIS_OK);
    close_store();
}

#define READS 500
#define BIG_BYTES 65536

/* Read a large value many times: how much more memory the process then has. */
static int64_t grown_by_reads(bool frees) {
    static mantis_value values[READS];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < READS; i++) {
        check_equal(mantis_conn_get(conn, "big", 3, &values[i], NULL), MANTIS_OK);
        if (frees) mantis_value_free(&values[i]);
    }
    struct mallinfo2 after = mallinfo2();
    for (int i = 0; i < READS; i++) mantis_value_free(&values[i]);
    return (int64_t)(after.uordblks + after.hblkhd) - (int64_t)(before.uordblks + before.hblkhd);
}

TEST(values_that_are_not_freed_stay_until_each_is_freed) {
    if (tap_is_sanitized("address")) tap_skip("the sanitizer keeps what was freed");
    static char big[BIG_BYTES];
    open_store();
    check_equal(mantis_conn_set(conn, "big", 3, big, sizeof big, NULL), MANTIS_OK);
    grown_by_reads(true); /* what the first reads allocate once */
    check(grown_by_reads(false) > READS / 2 * BIG_BYTES);

    check(grown_by_reads(true) < READS / 10 * BIG_BYTES);

    close_store();
}

TAP_MAIN
