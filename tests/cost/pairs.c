/* What breaks: a pair of acquire and release that costs a system call, memory, or the clock. */
#include "cost.h"
#include "intercept.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
    THREADS = 2,
    PAIRS = 1000000, /* of all threads */
    CONNS = 8,
    SAMPLED = 64, /* one pair in so many reads the clock */
    SEARCH_CONNS = 1000,
    SEARCH_PAIRS = 2000,
    ATTEMPTS = 5
};

typedef struct runner {
    pthread_t thread;
    mantis_pool *pool;
    cost_counts counts;
    bool is_filtered; /* system calls are trapped during the pairs */
} runner;

static _Atomic int arrived, finished, leave;
static _Atomic int trapped_calls, trapped_number;

static void run_pairs(mantis_pool *pool, int pairs) {
    for (int i = 0; i < pairs; i++) {
        mantis_conn conn;
        if (mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, NULL) != MANTIS_OK) abort();
        if (mantis_conn_release(&conn) != MANTIS_OK) abort();
    }
}

/* All threads begin together, so none is alone in the pool. */
static void meet(void) {
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < THREADS) sched_yield();
}

/* ---- system calls ---- */

static void on_trapped(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    atomic_store(&trapped_number, info->si_syscall);
    atomic_fetch_add(&trapped_calls, 1);
}

/* From here on every system call of this thread but the return from the handler is trapped. */
static bool trap_system_calls(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof rules / sizeof *rules, .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* ---- the threads ---- */

static void *run_thread(void *arg) {
    runner *self = arg;
    run_pairs(self->pool, SAMPLED * 2); /* the first call asks for the thread's id */
    meet();
    if (self->is_filtered && !trap_system_calls()) abort();
    cost_counts before = cost_thread;
    run_pairs(self->pool, PAIRS / THREADS);
    self->counts = (cost_counts){cost_thread.allocations - before.allocations,
                                 cost_thread.clock_reads - before.clock_reads,
                                 cost_thread.wakes - before.wakes};
    atomic_fetch_add(&finished, 1);
    if (!self->is_filtered) return NULL;
    while (!atomic_load(&leave)) continue; /* the thread cannot even end any more */
    return NULL;
}

static void run_all(runner *runners, mantis_pool *pool, bool is_filtered) {
    for (int i = 0; i < THREADS; i++) {
        runners[i] = (runner){.pool = pool, .is_filtered = is_filtered};
        check(pthread_create(&runners[i].thread, NULL, run_thread, &runners[i]) == 0);
    }
    while (atomic_load(&finished) < THREADS) usleep(1000);
}

static bool has_seccomp(void) {
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0 && errno == EFAULT;
}

TEST(p2_a_million_uncontended_pairs_of_two_threads_make_no_system_call) {
    static runner runners[THREADS];
    struct sigaction action = {.sa_sigaction = on_trapped, .sa_flags = SA_SIGINFO};
    check(has_seccomp());
    check(sigaction(SIGSYS, &action, NULL) == 0);
    run_all(runners, cost_pool_open(CONNS), true);
    if (atomic_load(&trapped_calls) > 0)
        printf("# the last was system call %d\n", atomic_load(&trapped_number));
    check_equal(atomic_load(&trapped_calls), 0);
    cost_figure("system_calls", atomic_load(&trapped_calls));
    fflush(stdout);
    _exit(0); /* with the threads that cannot end */
}

TEST(p2_a_million_uncontended_pairs_of_two_threads_allocate_nothing) {
    static runner runners[THREADS];
    uint64_t allocations = 0;
    run_all(runners, cost_pool_open(CONNS), false);
    for (int i = 0; i < THREADS; i++) allocations += runners[i].counts.allocations;
    check_equal(allocations, 0);
    cost_figure("allocations", allocations);
}

TEST(p2_only_one_pair_in_64_reads_the_clock) {
    static runner runners[THREADS];
    uint64_t clock_reads = 0;
    run_all(runners, cost_pool_open(CONNS), false);
    for (int i = 0; i < THREADS; i++) clock_reads += runners[i].counts.clock_reads;
    check(clock_reads <= PAIRS / SAMPLED * 2 + PAIRS / 1000);
    cost_figure("clock_reads_a_pair", (double)clock_reads / PAIRS);
}

/* ---- time, as a ratio: what a machine's speed does not change ---- */

static int64_t time_pairs_ns(mantis_pool *pool) {
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < ATTEMPTS; i++) {
        int64_t began_ns = mantis_now_ns();
        run_pairs(pool, PAIRS / 10);
        int64_t took_ns = mantis_now_ns() - began_ns;
        if (took_ns < best_ns) best_ns = took_ns;
    }
    return best_ns / (PAIRS / 10);
}

static int64_t time_swaps_ns(void) {
    static _Atomic uint64_t word;
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < ATTEMPTS; i++) {
        int64_t began_ns = mantis_now_ns();
        for (uint64_t k = 0; k < 2 * PAIRS / 10; k++) {
            uint64_t expected = k;
            atomic_compare_exchange_strong(&word, &expected, k + 1);
        }
        atomic_store(&word, 0);
        int64_t took_ns = mantis_now_ns() - began_ns;
        if (took_ns < best_ns) best_ns = took_ns;
    }
    return best_ns / (PAIRS / 10);
}

TEST(p1_an_uncontended_pair_costs_at_most_ten_times_its_two_compare_and_swaps) {
    mantis_pool *pool = cost_pool_open(CONNS);
    int64_t pair_ns = time_pairs_ns(pool), swaps_ns = time_swaps_ns();
    printf("# a pair %" PRId64 " ns, two compare-and-swaps %" PRId64 " ns\n", pair_ns, swaps_ns);
    check(pair_ns <= 10 * swaps_ns);
    cost_pool_close(&pool);
}

/* Moves the one free connection to a place that the measuring thread does not know; both run on one
 * core, so that no cache line has to travel. */
typedef struct mover {
    mantis_pool *pool;
    sem_t moved, used;
    mantis_conn held[SEARCH_CONNS];
} mover;

static void stay_on_one_core(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void *move_all(void *arg) {
    mover *self = arg;
    stay_on_one_core();
    for (int i = 0; i < SEARCH_PAIRS; i++) {
        mantis_conn free_one, *other = &self->held[i * 7 % (SEARCH_CONNS - 1)];
        if (mantis_pool_try_acquire(self->pool, &free_one, NULL) != MANTIS_OK) abort();
        if (mantis_conn_release(other) != MANTIS_OK) abort();
        *other = free_one;
        sem_post(&self->moved);
        sem_wait(&self->used);
    }
    return NULL;
}

static int compare_times(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The median, without the cost of the clock. */
static int64_t time_search_ns(mover *self) {
    static int64_t took_ns[SEARCH_PAIRS];
    pthread_t thread;
    check(pthread_create(&thread, NULL, move_all, self) == 0);
    stay_on_one_core();
    for (int i = 0; i < SEARCH_PAIRS; i++) {
        sem_wait(&self->moved);
        int64_t empty_ns = mantis_now_ns(), began_ns = mantis_now_ns();
        run_pairs(self->pool, 1);
        took_ns[i] = mantis_now_ns() - began_ns - (began_ns - empty_ns);
        sem_post(&self->used);
    }
    pthread_join(thread, NULL);
    qsort(took_ns, SEARCH_PAIRS, sizeof *took_ns, compare_times);
    return took_ns[SEARCH_PAIRS / 2];
}

TEST(p5_one_free_connection_among_a_thousand_is_found_without_looking_at_all) {
    static mover self;
    mantis_pool *small = cost_pool_open(CONNS);
    self.pool = cost_pool_open(SEARCH_CONNS);
    sem_init(&self.moved, 0, 0);
    sem_init(&self.used, 0, 0);
    for (int i = 0; i < SEARCH_CONNS; i++)
        check(mantis_pool_try_acquire(self.pool, &self.held[i], NULL) == MANTIS_OK);
    check(mantis_conn_release(&self.held[SEARCH_CONNS - 1]) == MANTIS_OK);
    int64_t search_ns = time_search_ns(&self), pair_ns = time_pairs_ns(small);
    printf("# %" PRId64 " ns to find one of 1000, %" PRId64 " ns a pair\n", search_ns, pair_ns);
    check(search_ns <= 30 * pair_ns); /* to look at a thousand words takes more than 60 */
}

TAP_MAIN
