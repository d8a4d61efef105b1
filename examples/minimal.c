/* The whole of it: open a pool on a key-value store, borrow a connection, set and read a key.
 *
 *     cc minimal.c $(pkg-config --cflags --libs mantispool-store) -o minimal && ./minimal
 *
 * The store is the directory mantis-data, made if it is not there; another DSN may be given. */
#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdio.h>

int main(int argc, char **argv) {
    mantis_pool_config config = {.connector = &mantis_embedded, .dsn = "mantis:mantis-data"};
    if (argc > 1) config.dsn = argv[1];

    mantis_pool *pool = NULL;
    mantis_conn conn = {0};
    mantis_value value = {0};
    mantis_error error = {0};

    /* One error for all of them: whoever fails says in one line what to do now. */
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK ||
        mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conn, &error) != MANTIS_OK ||
        mantis_conn_set(conn, "key", 3, "value", 5, &error) != MANTIS_OK ||
        mantis_conn_get(conn, "key", 3, &value, &error) != MANTIS_OK)
        fprintf(stderr, "minimal: %s\n", error.text);
    else printf("key = %.*s\n", (int)value.size, (const char *)value.data);

    /* All three accept what was never filled, so there is one way out. */
    mantis_value_free(&value);
    mantis_conn_release(&conn);
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return error.status == MANTIS_OK ? 0 : 1;
}
