/* Troubleshooting in docs/connection-pooling.md: a pool that is too large for its backend. The test
 * makes the trouble, sees it in the figure that the page names, follows the step, and sees that it
 * is gone. */
#include "workers.h"

static mantis_pool *pool;

/* ---- the backend is the one that is busy ---- */

#define SERVED_AT_ONCE 2
#define JOBS_A_WORKER 128
#define SERVICE_US 300

static struct {
    pthread_mutex_t lock;
    pthread_cond_t is_less;
    uint64_t come, gone; /* under lock, as the next */
    int queued_max;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_less = PTHREAD_COND_INITIALIZER};

/* A query to a server with two processors, which takes them as they come. */
static void query(void) {
    pthread_mutex_lock(&server.lock);
    uint64_t number = server.come++;
    int queued = (int)(server.come - server.gone);
    if (queued > server.queued_max) server.queued_max = queued;
    while (number >= server.gone + SERVED_AT_ONCE) pthread_cond_wait(&server.is_less, &server.lock);
    pthread_mutex_unlock(&server.lock);
    usleep(SERVICE_US);
    pthread_mutex_lock(&server.lock);
    server.gone++;
    pthread_cond_broadcast(&server.is_less);
    pthread_mutex_unlock(&server.lock);
}

static void *query_many(void *arg) {
    (void)arg;
    for (int i = 0; i < JOBS_A_WORKER; i++) {
        mantis_conn conn = {0};
        check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
        query();
        mantis_conn_release(&conn);
    }
    return NULL;
}

/* Sixteen threads through so many connections: how long they held them, in the middle. The passes
 * of the keeper, which collect the samples, are made here, since there is one a second. */
static int64_t use_p50_ns(uint32_t conns) {
    mantis_pool_config config = real_config(conns, conns);
    config.keeper = MANTIS_KEEPER_CALLER;
    pool = pool_open(&config);
    server.queued_max = 0;
    int64_t due_ns;
    workers sixteen = workers_start(16, query_many, NULL);
    while (stats_of(pool).granted < 16 * JOBS_A_WORKER) {
        check_equal(mantis_pool_tend(pool, mantis_now_ns(), &due_ns), MANTIS_OK);
        sleep_ms(1);
    }
    workers_join(&sixteen);
    check_equal(mantis_pool_tend(pool, mantis_now_ns(), &due_ns), MANTIS_OK);
    mantis_histogram use = {0};
    check_equal(mantis_pool_get_histogram(pool, MANTIS_HISTOGRAM_USE, &use), MANTIS_OK);
    check(use.count > 0);
    printf("# %u connections: %" PRIu64 " samples, p50 %" PRId64 " us\n", conns, use.count,
           mantis_histogram_quantile_ns(&use, 0.5) / 1000);
    pool_close(&pool);
    return mantis_histogram_quantile_ns(&use, 0.5);
}

TEST(a_busy_backend_makes_uses_long_until_the_pool_has_as_many_connections_as_it_serves) {
    int64_t wide_ns = use_p50_ns(16);
    check(server.queued_max > 2 * SERVED_AT_ONCE); /* the queue is in the backend */

    int64_t narrow_ns = use_p50_ns(SERVED_AT_ONCE);

    check(server.queued_max <= SERVED_AT_ONCE); /* the queue is in the pool: in order, and ended */
    check(narrow_ns < wide_ns / 2);
}

TAP_MAIN
