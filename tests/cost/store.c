/* What breaks: a thousand connections on the embedded store, all borrowed at once. */
#include "lib/tap.h"

#include <mantis/pool.h>
#include <mantis/store.h>
#include <pthread.h>

enum { CONNS = 1000, THREADS = 4, KEY_SIZE = 16 };

static mantis_conn conns[CONNS];

static void use_conn(mantis_conn conn, int number) {
    char key[KEY_SIZE + 1];
    mantis_error error = {0};
    mantis_value value = {0};
    snprintf(key, sizeof key, "key %012d", number);
    check_equal(mantis_conn_set(conn, key, KEY_SIZE, &number, sizeof number, &error), MANTIS_OK);
    check_equal(mantis_conn_get(conn, key, KEY_SIZE, &value, &error), MANTIS_OK);
    check(value.size == sizeof number && memcmp(value.data, &number, sizeof number) == 0);
    mantis_value_free(&value);
    check_equal(mantis_conn_delete(conn, key, KEY_SIZE, &error), MANTIS_OK);
    check_equal(mantis_conn_get(conn, key, KEY_SIZE, &value, &error), MANTIS_NOT_FOUND);
}

static void *use_share(void *arg) {
    int first = *(const int *)arg;
    for (int i = first; i < CONNS; i += THREADS) use_conn(conns[i], i);
    return NULL;
}

TEST(a_thousand_connections_borrowed_at_once_each_set_get_and_delete) {
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    pthread_t threads[THREADS];
    int numbers[THREADS];
    char dsn[256];
    snprintf(dsn, sizeof dsn, "mantis:%s/thousand", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    mantis_pool_config config = {.connector = &mantis_embedded, .dsn = dsn, .conns_max = CONNS};
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK) printf("# %s\n", error.text);
    check(pool);
    for (int i = 0; i < CONNS; i++)
        check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(30000), &conns[i], &error),
                    MANTIS_OK);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        check(pthread_create(&threads[i], NULL, use_share, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CONNS; i++) check(mantis_conn_release(&conns[i]) == MANTIS_OK);
    check(mantis_pool_close(&pool, mantis_deadline_ms(20000)) == MANTIS_OK);
}

TAP_MAIN
