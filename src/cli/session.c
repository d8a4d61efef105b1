/* Pools for commands. */
#include "cli/session.h"

#include "connectors/dsn.h"

#include <stdio.h>

#define WARM_MS 30000  /* a large store takes a while to open */
#define CLOSE_MS 30000 /* and to close */

/* The first connection, or why there is none: a person would not wait for the backend to come. */
static mantis_status find_backend(mantis_pool *pool, mantis_error *error) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(WARM_MS), &conn, error);
    (void)mantis_conn_release_as(&conn, MANTIS_RELEASE_UNUSED);
    return status == MANTIS_OK ? mantis_pool_set(pool, "fail_fast", 0, error) : status;
}

static mantis_status open_warm(mantis_pool **out, const mantis_pool_config *config,
                               mantis_error *error) {
    mantis_pool *pool = NULL;
    mantis_status status = mantis_pool_open(&pool, config, error);
    if (status != MANTIS_OK) return status;
    status = find_backend(pool, error);
    if (status == MANTIS_OK)
        status = mantis_pool_wait_warm(pool, (uint32_t)config->conns_max,
                                       mantis_deadline_ms(WARM_MS), error);
    if (status == MANTIS_OK) *out = pool;
    else (void)mantis_pool_close(&pool, mantis_deadline_ms(CLOSE_MS));
    return status;
}

mantis_pool *mp_session_open(const mp_command *command, const char *dsn, uint32_t connections,
                             int64_t memory_max_bytes) {
    mantis_error error = {0};
    mantis_pool *pool = NULL;
    mantis_pool_config config = {
        .dsn = dsn,
        .name = command->name,
        .conns_min = connections,
        .conns_max = connections,
        .conn_memory_max = memory_max_bytes,
        .fail_fast = 1,
    };
    mantis_status status = mp_dsn_find(dsn, &config.connector, &error);
    if (status == MANTIS_OK) status = open_warm(&pool, &config, &error);
    if (status != MANTIS_OK)
        (void)fprintf(stderr, "mantispool %s: cannot open the pool: %s\n", command->name,
                      error.text[0] ? error.text : mantis_status_text(status));
    return pool;
}

void mp_session_close(mantis_pool *pool) {
    (void)mantis_pool_close(&pool, mantis_deadline_ms(CLOSE_MS));
}
