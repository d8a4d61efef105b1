/* What breaks: a release that wakes more threads than the one it gives its connection to. */
#include "cost.h"
#include "intercept.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum {
    SLEEPERS = 16,
    CONNS = 2,
    STACK_BYTES = 256 * 1024,
    ROUNDS = 2000, /* of each contending thread */
    SHORT_US = 20
};

typedef struct sleeper {
    pthread_t thread;
    mantis_pool *pool;
    mantis_conn conn;
    _Atomic bool has_conn;
} sleeper;

static sleeper sleepers[SLEEPERS];

/* The threads' stacks lie in one piece of memory: whoever sleeps for a connection sleeps on a word
 * there, and whoever sleeps for a lock does not. */
static void start_all(mantis_pool *pool, void *(*run)(void *)) {
    char *stacks = mmap(NULL, (size_t)SLEEPERS * STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(stacks != MAP_FAILED);
    cost_watch_wakes(stacks, stacks + (size_t)SLEEPERS * STACK_BYTES);
    for (int i = 0; i < SLEEPERS; i++) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstack(&attributes, stacks + (size_t)i * STACK_BYTES, STACK_BYTES);
        sleepers[i].pool = pool;
        check(pthread_create(&sleepers[i].thread, &attributes, run, &sleepers[i]) == 0);
    }
}

static void join_all(void) {
    for (int i = 0; i < SLEEPERS; i++) pthread_join(sleepers[i].thread, NULL);
}

static void *acquire_once(void *arg) {
    sleeper *self = arg;
    check(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &self->conn, NULL) == MANTIS_OK);
    atomic_store(&self->has_conn, true);
    return NULL;
}

static uint32_t count_waiting(mantis_pool *pool) {
    mantis_pool_stats stats;
    check(mantis_pool_get_stats(pool, &stats) == MANTIS_OK);
    return stats.waiting;
}

/* The connection that one of the threads was just given. */
static mantis_conn take_from_sleeper(void) {
    for (;;) {
        for (int i = 0; i < SLEEPERS; i++)
            if (atomic_exchange(&sleepers[i].has_conn, false)) return sleepers[i].conn;
        usleep(100);
    }
}

TEST(p3_h5_a_release_wakes_one_of_sixteen_sleepers) {
    mantis_pool *pool = cost_pool_open(1);
    mantis_conn conn;
    check(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    start_all(pool, acquire_once);
    for (uint32_t left = SLEEPERS; left > 0; left--) {
        while (count_waiting(pool) < left) usleep(1000);
        usleep(5000); /* now they are asleep */
        uint64_t before = cost_thread.wakes;
        check(mantis_conn_release(&conn) == MANTIS_OK);
        check_equal(cost_thread.wakes - before, 1);
        conn = take_from_sleeper();
        check_equal(count_waiting(pool), left - 1);
    }
    uint64_t before = cost_thread.wakes;
    check(mantis_conn_release(&conn) == MANTIS_OK);
    check_equal(cost_thread.wakes - before, 0);
    join_all();
    cost_pool_close(&pool);
}

static void *contend(void *arg) {
    sleeper *self = arg;
    for (int i = 0; i < ROUNDS; i++) {
        mantis_conn conn;
        check(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
        if (i % 8 == 0) usleep(SHORT_US);
        check(mantis_conn_release(&conn) == MANTIS_OK);
    }
    return NULL;
}

TEST(p3_hand_offs_take_at_most_one_futex_wake_each) {
    mantis_pool *pool = cost_pool_open(CONNS);
    mantis_pool_stats stats;
    start_all(pool, contend);
    join_all();
    check(mantis_pool_get_stats(pool, &stats) == MANTIS_OK);
    printf("# %" PRIu64 " hand-offs, %" PRIu64 " wakes of borrowers, %" PRIu64 " wakes in all\n",
           stats.handed_off, cost_wakes_watched(), cost_wakes());
    check(stats.handed_off > 0);
    check(cost_wakes_watched() <= stats.handed_off);
    cost_figure("wakes_a_hand_off", (double)cost_wakes_watched() / (double)stats.handed_off);
    cost_pool_close(&pool);
}

TAP_MAIN
