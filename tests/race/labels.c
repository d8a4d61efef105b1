/* A thread stopped in the middle of try, acquire or release stops nobody else. The core is compiled
 * with MP_LABELS: it calls mp_label() at each step of these paths, and the thread that plays the
 * victim stays there until it is let go. */
#include "owner.h"

#include "base/atomic.h"

#include <pthread.h>
#include <time.h>

#define LABELS_MAX 64
#define LABELS_MIN 6 /* fewer: the paths have lost their labels, and this test its meaning */
#define PAIRS 10000
#define SLOTS 4

static struct {
    const char *names[LABELS_MAX];
    int count;
    bool is_open;
} list;

static _Thread_local bool is_victim;
static const char *stop_at;
static _Atomic bool has_stopped, may_go;

static mantis_pool *pool;
static backend places;

static void add_to_list(const char *name) {
    for (int i = 0; i < list.count; i++)
        if (strcmp(list.names[i], name) == 0) return;
    check(list.count < LABELS_MAX);
    list.names[list.count++] = name;
}

static void sleep_us(long us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL); }

void mp_label(const char *name) {
    if (!is_victim) return;
    if (list.is_open) add_to_list(name);
    if (!stop_at || strcmp(name, stop_at) != 0 || atomic_load(&has_stopped)) return;
    atomic_store(&has_stopped, true);
    while (!atomic_load(&may_go)) sleep_us(100);
}

/* ---- the paths ---- */

static void try_once(uint32_t tid) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_try_acquire(pool, &conn, NULL);
    if (status != MANTIS_OK) {
        check_equal(status, MANTIS_EXHAUSTED);
        return;
    }
    disown(own(conn, tid), tid);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
}

static void acquire_once(uint32_t tid, int64_t deadline_ns) {
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, deadline_ns, &conn, NULL), MANTIS_OK);
    disown(own(conn, tid), tid);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
}

/* By the bitmap at first, then by this thread's own hint; and once in vain. */
static void *walk(void *arg) {
    bool alone = arg != NULL;
    is_victim = true;
    try_once(1);
    try_once(1);
    if (alone) acquire_once(1, MANTIS_DEADLINE_DEFAULT);
    mantis_conn conns[SLOTS + 1] = {{0}};
    for (int i = 0; i <= SLOTS; i++) mantis_pool_try_acquire(pool, &conns[i], NULL);
    for (int i = 0; i <= SLOTS; i++) check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
    if (!alone) try_once(1);
    is_victim = false;
    return NULL;
}

/* ---- set-up and end ---- */

static void open_pool(int64_t slots) {
    mantis_pool_config config = {.connector = &owner_connector,
                                 .place = &places,
                                 .name = "labels",
                                 .conns_min = slots,
                                 .conns_max = slots,
                                 .check_interval_ms = -1,
                                 .idle_timeout_ms = -1};
    check_equal(mantis_pool_open(&pool, &config, NULL), MANTIS_OK);
    check_equal(mantis_pool_wait_warm(pool, 0, mantis_deadline_ms(5000), NULL), MANTIS_OK);
}

static void check_and_close(int slots) {
    mantis_conn conns[SLOTS] = {{0}}, more = {0};
    for (int i = 0; i < slots; i++)
        check_equal(mantis_pool_try_acquire(pool, &conns[i], NULL), MANTIS_OK);
    check_equal(mantis_pool_try_acquire(pool, &more, NULL), MANTIS_EXHAUSTED);
    for (int i = 0; i < slots; i++) check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
    check_equal(atomic_load(&places.open), slots);
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(5000)), MANTIS_OK);
    check_equal(atomic_load(&places.open), 0);
}

static void list_labels(void) {
    open_pool(SLOTS);
    list.is_open = true;
    walk(&places);
    list.is_open = false;
    check_and_close(SLOTS);
    check(list.count >= LABELS_MIN);
    printf("# labels:");
    for (int i = 0; i < list.count; i++) printf(" %s", list.names[i]);
    printf("\n");
}

static pthread_t start_victim(const char *label) {
    pthread_t victim;
    stop_at = label;
    atomic_store(&has_stopped, false);
    atomic_store(&may_go, false);
    check_equal(pthread_create(&victim, NULL, walk, NULL), 0);
    for (int i = 0; i < 50000 && !atomic_load(&has_stopped); i++) sleep_us(100);
    check(atomic_load(&has_stopped));
    return victim;
}

static void let_go(pthread_t victim) {
    atomic_store(&may_go, true);
    check_equal(pthread_join(victim, NULL), 0);
    stop_at = NULL;
}

/* ---- the others ---- */

/* With all four connections in play and three threads at most, one is always free for each. */
static void *make_progress(void *arg) {
    uint32_t tid = *(uint32_t *)arg;
    for (int i = 0; i < PAIRS; i++) {
        try_once(tid);
        acquire_once(tid, mantis_deadline_ms(10000));
    }
    return NULL;
}

TEST(a_thread_stopped_at_any_label_stops_nobody_else) {
    list_labels();
    for (int i = 0; i < list.count; i++) {
        open_pool(SLOTS);
        pthread_t victim = start_victim(list.names[i]), others[2];
        uint32_t tids[2] = {2, 3};
        for (int k = 0; k < 2; k++)
            check_equal(pthread_create(&others[k], NULL, make_progress, &tids[k]), 0);
        for (int k = 0; k < 2; k++) check_equal(pthread_join(others[k], NULL), 0);
        let_go(victim);
        check_and_close(SLOTS);
    }
    printf("# %d labels, %d pairs of each of two threads at each\n", list.count, 2 * PAIRS);
}

static void *try_many(void *arg) {
    (void)arg;
    for (int i = 0; i < PAIRS; i++) try_once(2);
    return NULL;
}

TEST(try_answers_while_the_thread_with_the_only_connection_is_stopped) {
    list_labels();
    for (int i = 0; i < list.count; i++) {
        open_pool(1);
        pthread_t victim = start_victim(list.names[i]), other;
        check_equal(pthread_create(&other, NULL, try_many, NULL), 0);
        check_equal(pthread_join(other, NULL), 0);
        let_go(victim);
        check_and_close(1);
    }
}

TAP_MAIN
