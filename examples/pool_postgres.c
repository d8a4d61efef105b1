/* A pool of PostgreSQL connections: borrow one, use it with libpq, give it back.
 *
 *     cc pool_postgres.c $(pkg-config --cflags --libs mantispool-pq libpq) -o pg && ./pg
 *
 * The server is the one that is given: postgres://me@localhost/shop. Without it libpq finds one. */
#include <libpq-fe.h>
#include <mantis/pool.h>
#include <mantis/postgres.h>
#include <stdio.h>

/* Ask the server something. A connection that broke on the way is seen by the pool itself. */
static mantis_status print_answer(mantis_conn conn, const char *sql, mantis_error *error) {
    void *native = NULL;
    mantis_status status = mantis_conn_native(conn, &native, error);
    if (status != MANTIS_OK) return status;
    PGresult *result = PQexec(native, sql);
    if (PQresultStatus(result) == PGRES_TUPLES_OK) printf("%s\n", PQgetvalue(result, 0, 0));
    else fprintf(stderr, "%s", PQresultErrorMessage(result));
    PQclear(result);
    return status;
}

int main(int argc, char **argv) {
    mantis_pool_config config = {.connector = &mantis_postgres, .dsn = argc > 1 ? argv[1] : ""};
    mantis_pool *pool = NULL;
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool, &config, &error);
    for (int i = 0; i < 3 && status == MANTIS_OK; i++) { /* one connection serves all three */
        status = mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conn, &error);
        if (status == MANTIS_OK)
            status = print_answer(conn, "SELECT 'backend ' || pg_backend_pid()", &error);
        mantis_conn_release(&conn); /* mantis_conn_release_as() if it is to be reset */
    }
    if (status != MANTIS_OK) fprintf(stderr, "pool_postgres: %s\n", error.text);
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return status == MANTIS_OK ? 0 : 1;
}
