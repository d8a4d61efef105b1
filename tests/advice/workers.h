/* Threads that do jobs at the same time, for tests that make a pool wait. */
#ifndef MP_TESTS_ADVICE_WORKERS_H
#define MP_TESTS_ADVICE_WORKERS_H

#include "lib/backend.h"
#include "lib/tap.h"

#include <pthread.h>

#define WORKERS_MAX 16

typedef struct workers {
    pthread_t threads[WORKERS_MAX];
    int count;
} workers;

/* Start count threads that each call job(arg) once. */
static inline workers workers_start(int count, void *(*job)(void *arg), void *arg) {
    workers made = {.count = count};
    check(count <= WORKERS_MAX);
    for (int i = 0; i < count; i++)
        check_equal(pthread_create(&made.threads[i], NULL, job, arg), 0);
    return made;
}

static inline void workers_join(workers *some) {
    for (int i = 0; i < some->count; i++) check_equal(pthread_join(some->threads[i], NULL), 0);
}

/* A door at which workers stay until it is opened. */
typedef struct door {
    _Atomic int inside; /* who stands at it */
    _Atomic bool is_open;
} door;

static inline void door_pass(door *at) {
    at->inside++;
    while (!at->is_open) sleep_ms(1);
    at->inside--;
}

static inline void door_open(door *at) {
    at->is_open = true;
    wait_until(at->inside == 0);
    at->is_open = false;
}

#endif
