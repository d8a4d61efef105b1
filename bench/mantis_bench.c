/* MantisPool under the load of load.h: built as any program is, from the installed headers against
 * the shared library, with the defaults of every setting. Its connections are real enough to be
 * opened, checked and closed: each is a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <mantis/pool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define BENCH_PEER "mantispool"
#define BENCH_VERSION mantis_version()

enum { WARM_MS = 10000 };

typedef mantis_conn bench_conn;

typedef struct fake_conn {
    int fd;
} fake_conn;

static mantis_pool *pool;

static void open_conn(void *place, mantis_op *op) {
    (void)place;
    fake_conn *conn = malloc(sizeof *conn);
    if (conn != NULL && (conn->fd = eventfd(0, EFD_CLOEXEC)) >= 0) {
        mantis_op_done(op, conn);
        return;
    }
    mantis_op_failed(op, strerror(errno));
    free(conn);
}

static void check_conn(void *place, void *native, mantis_op *op) {
    fake_conn *conn = native;
    (void)place;
    if (fcntl(conn->fd, F_GETFD) < 0) mantis_op_failed(op, strerror(errno));
    else mantis_op_done(op, conn);
}

static void close_conn(void *place, void *native, mantis_op *op) {
    fake_conn *conn = native;
    (void)place;
    close(conn->fd);
    free(conn);
    mantis_op_done(op, NULL);
}

static const mantis_connector fake_connector = {
    .name = "fake", .open = open_conn, .check = check_conn, .close = close_conn};

static void stop_on(mantis_status status, const mantis_error *error) {
    if (status == MANTIS_OK) return;
    fprintf(stderr, "mantis_bench: %s: %s\n", mantis_status_name(status), error->text);
    exit(1);
}

static void bench_open(uint32_t conns) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    mantis_pool_config config = {
        .connector = &fake_connector, .name = "bench", .conns_min = conns, .conns_max = conns};
    mantis_error error = {0};
    stop_on(mantis_pool_open(&pool, &config, &error), &error);
    stop_on(mantis_pool_wait_warm(pool, conns, mantis_deadline_ms(WARM_MS), &error), &error);
}

static inline void bench_acquire(bench_conn *out) {
    if (mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, out, NULL) != MANTIS_OK) abort();
}

static inline void bench_release(bench_conn *conn) {
    if (mantis_conn_release(conn) != MANTIS_OK) abort();
}

#include "load.h"

int main(int argc, char **argv) { return bench_main_of(argc, argv); }
