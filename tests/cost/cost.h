/* What the tests of cost share: a connector whose connections cost nothing, and pools of them. */
#ifndef MP_TESTS_COST_COST_H
#define MP_TESTS_COST_COST_H

#include "lib/tap.h"

#include <mantis/pool.h>
#include <unistd.h>

/* A figure for bench/run, which reads these lines. */
#define cost_figure(name, value) printf("# figure %s %.6g\n", (name), (double)(value))

static char cost_native; /* what every connection is */

static void cost_open_conn(void *place, mantis_op *op) {
    (void)place;
    mantis_op_done(op, &cost_native);
}

static void cost_finish_conn(void *place, void *native, mantis_op *op) {
    (void)place;
    mantis_op_done(op, native);
}

static const mantis_connector cost_connector = {.name = "nothing",
                                                .open = cost_open_conn,
                                                .check = cost_finish_conn,
                                                .close = cost_finish_conn};

/* A pool of exactly this many connections, all of them open, with defaults for the rest. */
__attribute__((unused)) static mantis_pool *cost_pool_open(int64_t conns) {
    mantis_pool *pool = NULL;
    mantis_pool_config config = {
        .connector = &cost_connector, .conns_min = conns, .conns_max = conns};
    check(mantis_pool_open(&pool, &config, NULL) == MANTIS_OK);
    check(mantis_pool_wait_warm(pool, (uint32_t)conns, mantis_deadline_ms(20000), NULL) ==
          MANTIS_OK);
    return pool;
}

__attribute__((unused)) static void cost_pool_close(mantis_pool **pool) {
    check(mantis_pool_close(pool, mantis_deadline_ms(20000)) == MANTIS_OK);
}

/* Pages of this process that are in memory, in bytes. */
__attribute__((unused)) static int64_t cost_resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    int64_t total = 0, resident = 0;
    check(file && fscanf(file, "%" SCNd64 " %" SCNd64, &total, &resident) == 2);
    fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

#endif
