/* Shows the report of a pool that lent some connections: its JSON, one line "--", its text. */
#include <mantis/pool.h>
#include <mantis/report.h>
#include <stdio.h>
#include <stdlib.h>

#define GRANTS 200

static int native; /* connections are nothing: their address will do */

static void open_nothing(void *place, mantis_op *op) {
    (void)place;
    (void)mantis_op_done(op, &native);
}

static void close_nothing(void *place, void *conn, mantis_op *op) {
    (void)place;
    (void)conn;
    (void)mantis_op_done(op, NULL);
}

static const mantis_connector nothing = {.open = open_nothing, .close = close_nothing};

/* The report with a buffer that is cut off at each size says the same length. */
static char *report(size_t (*write)(mantis_pool *pool, char *out, size_t size), mantis_pool *pool) {
    size_t wanted = write(pool, NULL, 0);
    char small[8];
    char *out = malloc(wanted + 64); /* some more: times grow between two calls */
    if (!out || write(pool, small, sizeof small) < sizeof small || small[7] != '\0') exit(1);
    if (write(pool, out, wanted + 64) >= wanted + 64) exit(1);
    return out;
}

int main(void) {
    mantis_pool_config config = {.connector = &nothing,
                                 .name = "a \"quoted\" name\n",
                                 .conns_min = 2,
                                 .conns_max = 3,
                                 .keeper = MANTIS_KEEPER_CALLER}; /* nothing moves by itself */
    mantis_pool *pool = NULL;
    mantis_conn conn = {0}, held = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool, &config, &error);
    for (int i = 0; i < GRANTS && status == MANTIS_OK; i++) {
        status = mantis_pool_acquire(pool, mantis_deadline_ms(10000), &conn, &error);
        (void)mantis_conn_release(&conn);
    }
    if (status == MANTIS_OK)
        status = mantis_pool_acquire(pool, mantis_deadline_ms(10000), &held, &error);
    int64_t due_ns = 0;
    if (status == MANTIS_OK) status = mantis_pool_tend(pool, mantis_now_ns(), &due_ns);
    if (status != MANTIS_OK) {
        (void)fprintf(stderr, "show: %s\n", error.text);
        return 1;
    }
    char *json = report(mantis_report_json, pool), *text = report(mantis_report_text, pool);
    (void)printf("%s\n--\n%s", json, text);
    free(json);
    free(text);
    (void)mantis_conn_release(&held);
    return mantis_pool_close(&pool, mantis_deadline_ms(10000)) == MANTIS_OK ? 0 : 1;
}
