/* Pools, connections and expectations for the tests of the key-value operations. The server's DSN
 * is in MANTIS_TEST_DSN; each test has a table of its own. */
#ifndef MP_TESTS_POSTGRES_GROUND_H
#define MP_TESTS_POSTGRES_GROUND_H

#include "lib/tap.h"

#include <libpq-fe.h>
#include <mantis/pool.h>
#include <mantis/postgres.h>
#include <mantis/store.h>
#include <pthread.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        mantis_error error_ = {0};                                                                 \
        mantis_error *error = &error_;                                                             \
        mantis_status status_ = (call);                                                            \
        if (status_ != MANTIS_OK)                                                                  \
            tap_fail(__FILE__, __LINE__, "%s: %s %s", #call, mantis_status_name(status_),          \
                     error->text);                                                                 \
    } while (0)

#define REFUSED(call, expected)                                                                    \
    do {                                                                                           \
        mantis_error *error = &last;                                                               \
        last = (mantis_error){0};                                                                  \
        check_equal((call), (expected));                                                           \
        check_equal(last.status, (expected));                                                      \
    } while (0)

static _Thread_local mantis_error last; /* of REFUSED() */

static inline mantis_pool *pool_open_as(const char *table, const char *more, int64_t memory_max) {
    char dsn[512];
    mantis_pool *pool = NULL;
    snprintf(dsn, sizeof dsn, "%s?mantis_table=%s%s", getenv("MANTIS_TEST_DSN"), table, more);
    mantis_pool_config config = {
        .connector = &mantis_postgres, .dsn = dsn, .conns_max = 8, .conn_memory_max = memory_max};
    OK(mantis_pool_open(&pool, &config, error));
    return pool;
}

static inline mantis_pool *pool_open(const char *table) { return pool_open_as(table, "", 0); }

static inline void pool_close(mantis_pool *pool) {
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(30000)), MANTIS_OK);
}

static inline mantis_conn borrow(mantis_pool *pool) {
    mantis_conn conn = {0};
    OK(mantis_pool_acquire(pool, mantis_deadline_ms(30000), &conn, error));
    return conn;
}

static inline PGconn *native_of(mantis_conn conn) {
    void *native = NULL;
    OK(mantis_conn_native(conn, &native, error));
    return native;
}

/* The first value that SQL gives, in a buffer of its own for each call. */
static inline const char *sql(mantis_conn conn, const char *text) {
    static char values[8][128];
    static unsigned number;
    char *value = values[number++ % 8];
    PGresult *result = PQexec(native_of(conn), text);
    bool has_row = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0;
    if (!has_row && PQresultStatus(result) != PGRES_COMMAND_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", text, PQresultErrorMessage(result));
    snprintf(value, sizeof values[0], "%s", has_row ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

static inline void set(mantis_conn conn, const char *key, const char *value) {
    OK(mantis_conn_set(conn, key, strlen(key), value, strlen(value), error));
}

static inline void set_ttl(mantis_conn conn, const char *key, const char *value, int64_t ttl_ms) {
    mantis_write write = {key, strlen(key), value, strlen(value), ttl_ms};
    OK(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, error));
}

static inline void delete (mantis_conn conn, const char *key) {
    OK(mantis_conn_delete(conn, key, strlen(key), error));
}

static inline mantis_status get(mantis_conn conn, const char *key, mantis_value *out) {
    return mantis_conn_get(conn, key, strlen(key), out, &last);
}

/* The key has this value (NULL: it is not there). Returns its version. */
static inline uint64_t expect(mantis_conn conn, const char *key, const char *value) {
    mantis_value found = {0};
    bool is_there = false;
    mantis_status status = get(conn, key, &found);
    OK(mantis_conn_exists(conn, key, strlen(key), &is_there, error));
    check_equal(is_there, value != NULL);
    if (!value) {
        check_equal(status, MANTIS_NOT_FOUND);
        return 0;
    }
    check_equal(status, MANTIS_OK);
    uint64_t version = found.version;
    check(found.size == strlen(value) && memcmp(found.data, value, found.size) == 0);
    check(version > 0);
    mantis_value_free(&found);
    return version;
}

static inline int number_of(const char *text) { return (int)strtol(text, NULL, 10); }

static inline void run_threads(int count, void *(*run)(void *arg), void *arg) {
    pthread_t threads[16];
    for (int i = 0; i < count; i++) check_equal(pthread_create(&threads[i], NULL, run, arg), 0);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

#endif
