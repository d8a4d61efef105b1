/* Eight threads share three connections: who has to wait is served in order, and nobody waits
 * longer than its deadline.
 *
 *     cc -pthread threads.c $(pkg-config --cflags --libs mantispool-store) -o threads && ./threads
 */
#include <mantis/pool.h>
#include <mantis/report.h>
#include <mantis/store.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 8
#define ORDERS 1000 /* by each thread */

struct clerk {
    mantis_pool *pool;
    int number, written, timeouts;
    pthread_t thread;
};

static mantis_status write_order(mantis_pool *pool, const char *order, mantis_error *error) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conn, error);
    if (status != MANTIS_OK) return status;
    mantis_conn_tag(conn, "write_order"); /* so that a report can say who holds it */
    status = mantis_conn_set(conn, order, strlen(order), "paid", 4, error);
    mantis_conn_release(&conn); /* clears conn: a second release would be harmless */
    return status;
}

static void *run_clerk(void *arg) {
    struct clerk *clerk = arg;
    for (int i = 0; i < ORDERS; i++) {
        char order[32];
        mantis_error error = {0};
        snprintf(order, sizeof order, "order-%d-%d", clerk->number, i);
        mantis_status status = write_order(clerk->pool, order, &error);
        if (status == MANTIS_OK) clerk->written++;
        else if (status == MANTIS_TIMEOUT) clerk->timeouts++;
        else fprintf(stderr, "clerk %d: %s\n", clerk->number, error.text);
    }
    return NULL;
}

static void print_report(mantis_pool *pool) {
    char report[4096];
    mantis_report_text(pool, report, sizeof report);
    printf("%s", report);
}

int main(int argc, char **argv) {
    mantis_pool_config config = {
        .connector = &mantis_embedded,
        .dsn = argc > 1 ? argv[1] : "mantis::memory:",
        .name = "orders",
        .conns_max = 3,
    };
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK) {
        fprintf(stderr, "threads: %s\n", error.text);
        return 1;
    }

    struct clerk clerks[THREADS] = {0};
    int written = 0;
    for (int i = 0; i < THREADS; i++) {
        clerks[i].pool = pool;
        clerks[i].number = i;
        if (pthread_create(&clerks[i].thread, NULL, run_clerk, &clerks[i]) != 0) return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(clerks[i].thread, NULL);
        written += clerks[i].written;
    }

    print_report(pool);
    printf("%d orders written by %d threads through 3 connections\n", written, THREADS);
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return written == THREADS * ORDERS ? 0 : 1;
}
