/* What breaks: one pool that starves another under a limit that both share. */
#include "cost.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    POOLS = 3,
    LIMIT = 4,
    CONNS = 4,
    THREADS_A_POOL = 8,
    SETTLE_MS = 4000,
    RUN_MS = 4000,
    HOLD_US = 500
};

typedef struct user {
    pthread_t thread;
    mantis_pool *pool;
    uint64_t served;
} user;

static _Atomic bool stop, settled;

static void *use_pool(void *arg) {
    user *self = arg;
    while (!atomic_load(&stop)) {
        mantis_conn conn;
        if (mantis_pool_acquire(self->pool, mantis_deadline_ms(5000), &conn, NULL) != MANTIS_OK)
            continue;
        self->served += atomic_load(&settled); /* the first comer has had it all at first */
        usleep(HOLD_US);
        check(mantis_conn_release(&conn) == MANTIS_OK);
    }
    return NULL;
}

static mantis_pool *open_member(mantis_limit *limit) {
    mantis_pool *pool = NULL;
    mantis_pool_config config = {
        .connector = &cost_connector, .conns_max = CONNS, .limits = {limit}};
    check(mantis_pool_open(&pool, &config, NULL) == MANTIS_OK);
    return pool;
}

TEST(three_saturated_pools_under_one_limit_of_four_are_each_served_a_fifth) {
    static user users[POOLS][THREADS_A_POOL];
    mantis_pool *pools[POOLS];
    mantis_limit *limit = NULL;
    check(mantis_limit_open(&limit, "shared", LIMIT, NULL) == MANTIS_OK);
    for (int p = 0; p < POOLS; p++) pools[p] = open_member(limit);
    for (int i = 0; i < POOLS * THREADS_A_POOL; i++) {
        user *self = &users[i / THREADS_A_POOL][i % THREADS_A_POOL];
        self->pool = pools[i / THREADS_A_POOL];
        check(pthread_create(&self->thread, NULL, use_pool, self) == 0);
    }
    for (int ms = 0; ms < SETTLE_MS + RUN_MS; ms += 10) {
        atomic_store(&settled, ms >= SETTLE_MS);
        check(mantis_limit_in_use(limit) <= LIMIT);
        usleep(10000);
    }
    atomic_store(&stop, true);
    uint64_t served[POOLS] = {0}, sum = 0, least = UINT64_MAX;
    for (int i = 0; i < POOLS * THREADS_A_POOL; i++) {
        user *self = &users[i / THREADS_A_POOL][i % THREADS_A_POOL];
        pthread_join(self->thread, NULL);
        served[i / THREADS_A_POOL] += self->served;
        sum += self->served;
    }
    for (int p = 0; p < POOLS; p++) {
        printf("# pool %d: %" PRIu64 " of %" PRIu64 "\n", p, served[p], sum);
        if (served[p] < least) least = served[p];
    }
    cost_figure("limit_least_share", (double)least / (double)sum);
    check(least * 5 >= sum);
    for (int p = 0; p < POOLS; p++) cost_pool_close(&pools[p]);
    check(mantis_limit_close(&limit) == MANTIS_OK);
}

TAP_MAIN
