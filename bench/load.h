/* One measured load on a pool of eight (or 256) connections, the same for every peer in C.
 *
 * A template, since the pair under measurement must be inlined where its pool allows it. Before it
 * is included, the program has defined
 *     BENCH_PEER, BENCH_VERSION                   its name and version
 *     bench_conn                                  the type of a borrowed connection
 *     void bench_open(uint32_t conns)             make the pool, all connections open
 *     void bench_acquire(bench_conn *out)         borrow one, waiting as long as it takes
 *     void bench_release(bench_conn *conn)        give it back
 * and its main() calls bench_main(). One run is one process: `PROGRAM SCENARIO SECONDS` prints one
 * line of JSON. Scenarios:
 *     t1 t8        1 or 8 threads on 8 connections: pairs of acquire and release
 *     held         8 threads on 256: acquire 16, then release the 16
 *     held_swap    8 threads that each hold 16 of 256: release the oldest, acquire another
 *     t64h         64 threads on 8 connections, asleep for 100 us with each
 *     scan1000     1 thread on 1000 connections of which 999 are borrowed; before each pair the
 *                  free one is moved to a random place that the thread did not use for 998 pairs
 * ns_pair is wall time over operations of the whole process, so two cores halve it. */
#ifndef MP_BENCH_LOAD_H
#define MP_BENCH_LOAD_H

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    BENCH_THREADS_MAX = 64,
    BENCH_HELD = 16,
    BENCH_HOLD_NS = 100000,
    BENCH_SLACK_NS = 1,
    BENCH_SCAN_CONNS = 1000,
    BENCH_SCAN_PAIRS = 1000000,
    BENCH_BUCKET_BITS = 5, /* 32 buckets for each power of two: 3 % wide */
    BENCH_BUCKETS = (64 - BENCH_BUCKET_BITS + 1) << BENCH_BUCKET_BITS
};

typedef struct bench_worker {
    _Alignas(128) uint64_t ops;
    uint64_t buckets[BENCH_BUCKETS]; /* of the nanoseconds an acquire took, t64h only */
    pthread_t thread;
} bench_worker;

typedef struct bench_scenario {
    const char *name;
    uint32_t threads, conns;
    void (*loop)(bench_worker *worker);
} bench_scenario;

static _Atomic bool bench_go, bench_stop;
static bench_worker bench_workers[BENCH_THREADS_MAX];

static inline int64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline bool bench_is_running(void) {
    return !atomic_load_explicit(&bench_stop, memory_order_relaxed);
}

static inline uint32_t bench_bucket(uint64_t value) {
    if (value < (1u << BENCH_BUCKET_BITS)) return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - BENCH_BUCKET_BITS;
    return (shift << BENCH_BUCKET_BITS) + (uint32_t)(value >> shift);
}

static inline uint64_t bench_bucket_value(uint32_t bucket) {
    if (bucket < (2u << BENCH_BUCKET_BITS)) return bucket;
    uint32_t shift = (bucket >> BENCH_BUCKET_BITS) - 1;
    return (uint64_t)(bucket - (shift << BENCH_BUCKET_BITS)) << shift;
}

static void bench_loop_pairs(bench_worker *worker) {
    uint64_t ops = 0;
    for (; bench_is_running(); ops++) {
        bench_conn conn;
        bench_acquire(&conn);
        __asm__ volatile("" ::: "memory");
        bench_release(&conn);
    }
    worker->ops = ops;
}

static void bench_loop_held(bench_worker *worker) {
    bench_conn held[BENCH_HELD];
    uint64_t ops = 0;
    for (; bench_is_running(); ops += BENCH_HELD) {
        for (uint32_t i = 0; i < BENCH_HELD; i++) bench_acquire(&held[i]);
        __asm__ volatile("" ::: "memory");
        for (uint32_t i = 0; i < BENCH_HELD; i++) bench_release(&held[i]);
    }
    worker->ops = ops;
}

static void bench_loop_held_swap(bench_worker *worker) {
    bench_conn held[BENCH_HELD];
    uint64_t ops = 0;
    for (uint32_t i = 0; i < BENCH_HELD; i++) bench_acquire(&held[i]);
    for (; bench_is_running(); ops++) {
        bench_conn *oldest = &held[ops % BENCH_HELD];
        bench_release(oldest);
        __asm__ volatile("" ::: "memory");
        bench_acquire(oldest);
    }
    for (uint32_t i = 0; i < BENCH_HELD; i++) bench_release(&held[i]);
    worker->ops = ops;
}

static void bench_loop_asleep(bench_worker *worker) {
    const struct timespec hold = {.tv_nsec = BENCH_HOLD_NS};
    uint64_t ops = 0;
    for (; bench_is_running(); ops++) {
        bench_conn conn;
        int64_t began_ns = bench_now_ns();
        bench_acquire(&conn);
        uint64_t took_ns = (uint64_t)(bench_now_ns() - began_ns);
        nanosleep(&hold, NULL);
        bench_release(&conn);
        worker->buckets[bench_bucket(took_ns)]++;
    }
    worker->ops = ops;
}

static const bench_scenario bench_scenarios[] = {
    {"t1", 1, 8, bench_loop_pairs},     {"t8", 8, 8, bench_loop_pairs},
    {"held", 8, 256, bench_loop_held},  {"held_swap", 8, 256, bench_loop_held_swap},
    {"t64h", 64, 8, bench_loop_asleep},
};

static const bench_scenario *bench_running;

static void *bench_thread(void *arg) {
    prctl(PR_SET_TIMERSLACK, BENCH_SLACK_NS);
    while (!atomic_load_explicit(&bench_go, memory_order_acquire)) sched_yield();
    bench_running->loop(arg);
    return NULL;
}

static void bench_sleep(double seconds) {
    struct timespec length = {.tv_sec = (time_t)seconds};
    length.tv_nsec = (long)((seconds - (double)length.tv_sec) * 1e9);
    nanosleep(&length, NULL);
}

/* The acquire time that this part of all acquires did not exceed, in microseconds. */
static double bench_percentile_us(double part, uint64_t ops) {
    uint64_t seen = 0;
    for (uint32_t b = 0; b < BENCH_BUCKETS; b++) {
        for (uint32_t t = 0; t < bench_running->threads; t++) seen += bench_workers[t].buckets[b];
        if ((double)seen >= part * (double)ops) return (double)bench_bucket_value(b) / 1e3;
    }
    return 0;
}

static void bench_print(int64_t wall_ns) {
    uint64_t ops = 0, least = UINT64_MAX, most = 0;
    for (uint32_t t = 0; t < bench_running->threads; t++) {
        uint64_t own = bench_workers[t].ops;
        ops += own;
        if (own < least) least = own;
        if (own > most) most = own;
    }
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"scenario\":\"%s\",\"ops\":%llu,"
           "\"ns_pair\":%.3f,\"ops_per_s\":%.0f,\"fairness\":%.4f",
           BENCH_PEER, BENCH_VERSION, bench_running->name, (unsigned long long)ops,
           (double)wall_ns / (double)ops, (double)ops * 1e9 / (double)wall_ns,
           most == 0 ? 0 : (double)least / (double)most);
    if (bench_running->loop == bench_loop_asleep)
        printf(",\"p50_us\":%.2f,\"p99_us\":%.2f", bench_percentile_us(0.50, ops),
               bench_percentile_us(0.99, ops));
    printf("}\n");
}

static void bench_run(double seconds) {
    bench_open(bench_running->conns);
    for (uint32_t t = 0; t < bench_running->threads; t++)
        pthread_create(&bench_workers[t].thread, NULL, bench_thread, &bench_workers[t]);
    bench_sleep(0.05);
    int64_t began_ns = bench_now_ns();
    atomic_store_explicit(&bench_go, true, memory_order_release);
    bench_sleep(seconds);
    atomic_store_explicit(&bench_stop, true, memory_order_relaxed);
    int64_t wall_ns = bench_now_ns() - began_ns;
    for (uint32_t t = 0; t < bench_running->threads; t++)
        pthread_join(bench_workers[t].thread, NULL);
    bench_print(wall_ns);
}

/* Returns false for a scenario that is not in the table. */
static bool bench_main(const char *scenario, double seconds) {
    for (size_t i = 0; i < sizeof bench_scenarios / sizeof *bench_scenarios; i++) {
        if (strcmp(bench_scenarios[i].name, scenario) != 0) continue;
        bench_running = &bench_scenarios[i];
        bench_run(seconds);
        return true;
    }
    return false;
}

/* ---- scan1000 ----
 *
 * Another thread, the placer, holds 999 connections. Before each pair it takes the free one too,
 * and lets another one go, so that the measured thread never knows where to look. Both threads run
 * on one core and hand over with semaphores: what is measured is the pool's search, and not the way
 * of cache lines from core to core, which the placing would cause and not the search.
 *
 * A pair is too short for the clock, so each is timed alone with what reading the clock costs
 * beside it, read after read, and the difference of the two sums is the result. */

typedef struct bench_scan {
    sem_t placed, used;
    bench_conn held[BENCH_SCAN_CONNS]; /* by the placer, in random order */
} bench_scan;

static void bench_stay_on_core(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one); /* if it is refused, the result is only higher */
}

static void bench_scan_fill(bench_scan *scan) {
    uint64_t random = 0x9e3779b97f4a7c15u; /* the same order in every run */
    for (uint32_t i = 0; i < BENCH_SCAN_CONNS; i++) bench_acquire(&scan->held[i]);
    for (uint32_t i = BENCH_SCAN_CONNS - 1; i > 0; i--) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t other = (uint32_t)(random >> 33) % (i + 1);
        bench_conn swap = scan->held[i];
        scan->held[i] = scan->held[other];
        scan->held[other] = swap;
    }
    bench_release(&scan->held[BENCH_SCAN_CONNS - 1]);
}

static void *bench_scan_placer(void *arg) {
    bench_scan *scan = arg;
    bench_stay_on_core();
    bench_scan_fill(scan);
    for (uint32_t pair = 0; pair < BENCH_SCAN_PAIRS; pair++) {
        bench_conn free_one, *next = &scan->held[pair % (BENCH_SCAN_CONNS - 1)];
        bench_acquire(&free_one);
        bench_release(next);
        *next = free_one;
        sem_post(&scan->placed);
        sem_wait(&scan->used);
    }
    return NULL;
}

/* Returns the nanoseconds of all pairs, without those of the clock. */
static int64_t bench_scan_pairs(bench_scan *scan) {
    int64_t sum_ns = 0;
    for (uint32_t pair = 0; pair < BENCH_SCAN_PAIRS; pair++) {
        bench_conn conn;
        sem_wait(&scan->placed);
        int64_t empty_ns = bench_now_ns();
        int64_t began_ns = bench_now_ns();
        bench_acquire(&conn);
        __asm__ volatile("" ::: "memory");
        bench_release(&conn);
        sum_ns += bench_now_ns() - began_ns - (began_ns - empty_ns);
        sem_post(&scan->used);
    }
    return sum_ns;
}

static void bench_run_scan(void) {
    static bench_scan scan;
    pthread_t placer;
    sem_init(&scan.placed, 0, 0);
    sem_init(&scan.used, 0, 0);
    bench_open(BENCH_SCAN_CONNS);
    pthread_create(&placer, NULL, bench_scan_placer, &scan);
    bench_stay_on_core();
    int64_t sum_ns = bench_scan_pairs(&scan);
    pthread_join(placer, NULL);
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"scenario\":\"scan1000\",\"ops\":%d,"
           "\"ns_pair\":%.3f}\n",
           BENCH_PEER, BENCH_VERSION, BENCH_SCAN_PAIRS, (double)sum_ns / BENCH_SCAN_PAIRS);
}

/* The two arguments of every program here. */
static int bench_main_of(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "scan1000") == 0) {
        bench_run_scan();
        return 0;
    }
    if (argc == 3 && bench_main(argv[1], strtod(argv[2], NULL))) return 0;
    fprintf(stderr, "usage: %s SCENARIO SECONDS\n", argv[0]);
    return 2;
}

#endif
