/* What breaks: a connection, a waiter or a pool that takes more memory than it may. */
#include "cost.h"
#include "intercept.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    SLOTS = 8184, /* fills the chunks of 8, 16, … 4096 slots */
    SLOT_BYTES_MAX = 192,
    SMALL_STACK_BYTES = 128 * 1024,
    POOLS = 10000,
    POOL_OF_1_BYTES_MAX = 2048,
    POOL_OF_20_BYTES_MAX = 4096,
    WAITERS = 10000,
    LONG_WAIT_MS = 600000,
    CHURN_POOLS = 1000,
    CHURN_WARM = 200,
    CHURN_CONNS = 4,
    CHURN_BYTES_MAX = 256 * 1024
};

TEST(p4_an_idle_connection_costs_at_most_192_bytes) {
    mantis_pool *pool = cost_pool_open(1);
    cost_pool_close(&pool); /* what the process pays once is paid */
    int64_t before = cost_heap_bytes();
    pool = cost_pool_open(SLOTS);
    int64_t each = (cost_heap_bytes() - before) / SLOTS;
    printf("# %" PRId64 " bytes\n", each);
    cost_figure("slot_bytes", each);
    check(each <= SLOT_BYTES_MAX);
    cost_pool_close(&pool);
}

static void *open_and_close(void *arg) {
    mantis_pool *pool = cost_pool_open(SLOTS);
    cost_pool_close(&pool);
    return arg;
}

TEST(a_pool_of_thousands_opens_and_closes_on_a_small_stack) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES);
    check(pthread_create(&thread, &attributes, open_and_close, NULL) == 0);
    check(pthread_join(thread, NULL) == 0);
}

static void *wait_once(void *arg) {
    static _Thread_local mantis_conn conn;
    uint64_t before = cost_thread.allocations;
    check(mantis_pool_acquire(arg, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    check_equal(cost_thread.allocations - before, 0);
    check(mantis_conn_release(&conn) == MANTIS_OK);
    return NULL;
}

TEST(p4_a_blocking_waiter_takes_nothing_from_the_heap) {
    mantis_pool *pool = cost_pool_open(1);
    mantis_pool_stats stats = {0};
    mantis_conn conn;
    pthread_t thread;
    check(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    check(pthread_create(&thread, NULL, wait_once, pool) == 0);
    while (stats.waiting == 0) check(mantis_pool_get_stats(pool, &stats) == MANTIS_OK);
    check(mantis_conn_release(&conn) == MANTIS_OK);
    pthread_join(thread, NULL);
    cost_pool_close(&pool);
}

static void drain_all(mantis_mailbox *mailbox, int count) {
    mantis_waiter *out[64];
    while (count > 0) {
        size_t came = mantis_mailbox_drain(mailbox, out, 64);
        check(came > 0);
        for (size_t i = 0; i < came; i++) {
            check_equal(out[i]->status, MANTIS_OK);
            check(mantis_conn_release(&out[i]->conn) == MANTIS_OK);
        }
        count -= (int)came;
    }
}

TEST(p4_ten_thousand_waiters_take_nothing_from_the_heap_and_are_all_served) {
    static mantis_waiter waiters[WAITERS];
    mantis_pool *pool = cost_pool_open(1);
    mantis_mailbox *mailbox = NULL;
    mantis_conn conn;
    check(mantis_mailbox_open(&mailbox, 0, NULL) == MANTIS_OK);
    check(mantis_pool_set(pool, "waiting_max", MANTIS_UNLIMITED, NULL) == MANTIS_OK);
    check(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    uint64_t before = cost_thread.allocations;
    for (int i = 0; i < WAITERS; i++) {
        int64_t deadline_ns = i % 2 ? MANTIS_DEADLINE_NONE : mantis_deadline_ms(LONG_WAIT_MS);
        waiters[i].mailbox = mailbox;
        check(mantis_pool_acquire_async(pool, deadline_ns, &waiters[i], NULL) == MANTIS_OK);
    }
    check_equal(cost_thread.allocations - before, 0);
    check(mantis_conn_release(&conn) == MANTIS_OK);
    drain_all(mailbox, WAITERS);
    check(mantis_mailbox_close(&mailbox) == MANTIS_OK);
    cost_pool_close(&pool);
}

/* Bytes a pool of this many connections, of ten thousand such pools. */
static int64_t measure_pools(int64_t conns) {
    static mantis_pool *pools[POOLS];
    mantis_pool *first = cost_pool_open(conns);
    cost_pool_close(&first);
    int64_t before = cost_resident_bytes();
    for (int i = 0; i < POOLS; i++) pools[i] = cost_pool_open(conns);
    int64_t each = (cost_resident_bytes() - before) / POOLS;
    printf("# %" PRId64 " bytes a pool\n", each);
    for (int i = 0; i < POOLS; i++) cost_pool_close(&pools[i]);
    return each;
}

TEST(ten_thousand_pools_of_one_connection_cost_at_most_two_kib_each) {
    int64_t each = measure_pools(1);
    cost_figure("pool_of_1_bytes", each);
    check(each <= POOL_OF_1_BYTES_MAX);
}

TEST(ten_thousand_pools_of_twenty_connections_cost_at_most_four_kib_each) {
    int64_t each = measure_pools(20);
    cost_figure("pool_of_20_bytes", each);
    check(each <= POOL_OF_20_BYTES_MAX);
}

/* ---- pools that come and go ---- */

static _Atomic bool stop;

/* Keeps another pool busy meanwhile. */
static void *keep_busy(void *arg) {
    while (!atomic_load(&stop)) {
        mantis_conn conn;
        check(mantis_pool_acquire(arg, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
        check(mantis_conn_release(&conn) == MANTIS_OK);
    }
    return NULL;
}

static void use_and_drop_pool(void) {
    mantis_conn held[CHURN_CONNS];
    mantis_pool *pool = cost_pool_open(CHURN_CONNS);
    for (int i = 0; i < CHURN_CONNS; i++)
        check(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &held[i], NULL) == MANTIS_OK);
    for (int i = 0; i < CHURN_CONNS; i++) check(mantis_conn_release(&held[i]) == MANTIS_OK);
    cost_pool_close(&pool);
}

TEST(a_thousand_pools_come_and_go_under_load_in_flat_memory) {
    pthread_t threads[2];
    mantis_pool *busy = cost_pool_open(1); /* two threads want it: they wait, too */
    for (int i = 0; i < 2; i++) check(pthread_create(&threads[i], NULL, keep_busy, busy) == 0);
    for (int i = 0; i < CHURN_WARM; i++) use_and_drop_pool();
    int64_t heap_before = cost_heap_bytes(), resident_before = cost_resident_bytes();
    for (int i = 0; i < CHURN_POOLS; i++) use_and_drop_pool();
    int64_t heap = cost_heap_bytes() - heap_before;
    int64_t resident = cost_resident_bytes() - resident_before;
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    printf("# heap %+" PRId64 " bytes, memory %+" PRId64 " bytes\n", heap, resident);
    cost_figure("churn_bytes", resident);
    check(heap <= CHURN_BYTES_MAX);
    check(resident <= CHURN_BYTES_MAX);
    cost_pool_close(&busy);
}

TAP_MAIN
