/* apr_reslist: the resource list of the Apache Portable Runtime, a mutex and a condition. */
#include <apr_general.h>
#include <apr_pools.h>
#include <apr_reslist.h>
#include <apr_version.h>
#include <stdint.h>
#include <stdlib.h>

#define BENCH_PEER "apr_reslist"
#define BENCH_VERSION APR_VERSION_STRING

typedef void *bench_conn;

static apr_reslist_t *list;

static apr_status_t open_conn(void **out, void *place, apr_pool_t *pool) {
    (void)place;
    *out = apr_palloc(pool, 64);
    return *out == NULL ? APR_ENOMEM : APR_SUCCESS;
}

static apr_status_t close_conn(void *conn, void *place, apr_pool_t *pool) {
    (void)conn;
    (void)place;
    (void)pool;
    return APR_SUCCESS;
}

static void bench_acquire(bench_conn *out) {
    if (apr_reslist_acquire(list, out) != APR_SUCCESS) abort();
}

static void bench_release(bench_conn *conn) {
    if (apr_reslist_release(list, *conn) != APR_SUCCESS) abort();
}

static void bench_open(uint32_t conns) {
    apr_pool_t *pool = NULL;
    int count = (int)conns;
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS) abort();
    if (apr_reslist_create(&list, count, count, count, 0, open_conn, close_conn, NULL, pool) !=
        APR_SUCCESS)
        abort();
}

#include "../../load.h"

int main(int argc, char **argv) { return bench_main_of(argc, argv); }
