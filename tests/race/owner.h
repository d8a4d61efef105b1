/* A connector whose connections know their owner. Each is a small allocation, so that a use after
 * its close is seen by the sanitizers; the plain payload shows them a hand-over without order. */
#ifndef MP_RACE_OWNER_H
#define MP_RACE_OWNER_H

#include "lib/tap.h"

#include <mantis/pool.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct native {
    _Atomic uint32_t owner; /* relaxed: the pool must bring the order, not the test */
    uint64_t payload;       /* its owner's alone */
} native;

typedef struct backend {
    _Atomic int64_t open; /* handles, those being opened or closed included */
    _Atomic int64_t open_max_seen;
    _Atomic uint64_t opens, failures, closes;
    _Atomic uint32_t fail_one_in; /* 0: never */
} backend;

static inline void backend_open(void *place, mantis_op *op) {
    backend *b = place;
    int64_t now = atomic_fetch_add(&b->open, 1) + 1;
    int64_t seen = atomic_load(&b->open_max_seen);
    while (now > seen && !atomic_compare_exchange_weak(&b->open_max_seen, &seen, now)) {}
    uint64_t number = atomic_fetch_add(&b->opens, 1) + 1;
    uint32_t one_in = atomic_load(&b->fail_one_in);
    if (one_in != 0 && number % one_in == 0) {
        atomic_fetch_add(&b->failures, 1);
        atomic_fetch_sub(&b->open, 1);
        check(mantis_op_failed(op, "planted failure") == MANTIS_OK);
        return;
    }
    native *made = calloc(1, sizeof *made);
    check(made != NULL);
    check(mantis_op_done(op, made) == MANTIS_OK);
}

static inline void backend_close(void *place, void *handle, mantis_op *op) {
    backend *b = place;
    native *n = handle;
    check(atomic_load_explicit(&n->owner, memory_order_relaxed) == 0);
    n->payload++;
    free(n);
    atomic_fetch_add(&b->closes, 1);
    atomic_fetch_sub(&b->open, 1);
    check(mantis_op_done(op, NULL) == MANTIS_OK);
}

static inline void backend_visit(void *place, void *handle, mantis_op *op) {
    (void)place;
    native *n = handle;
    check(atomic_load_explicit(&n->owner, memory_order_relaxed) == 0);
    n->payload++;
    check(mantis_op_done(op, NULL) == MANTIS_OK);
}

#define OWNER_CONNECTOR(blocks_)                                                                   \
    {                                                                                              \
        .name = "owned", .blocks = blocks_, .open = backend_open, .check = backend_visit,          \
        .reset = backend_visit, .close = backend_close                                             \
    }

static const mantis_connector owner_connector = OWNER_CONNECTOR(false);

/* The calling thread borrowed it: nobody else may own it. */
static inline native *own(mantis_conn conn, uint32_t tid) {
    void *handle = NULL;
    check_equal(mantis_conn_native(conn, &handle, NULL), MANTIS_OK);
    native *n = handle;
    uint32_t nobody = 0;
    check(atomic_compare_exchange_strong_explicit(&n->owner, &nobody, tid, memory_order_relaxed,
                                                  memory_order_relaxed));
    n->payload++;
    return n;
}

static inline void disown(native *n, uint32_t tid) {
    n->payload++;
    check(atomic_exchange_explicit(&n->owner, 0, memory_order_relaxed) == tid);
}

/* How many operations: fewer under a sanitizer, ten times as many in the long run. */
static inline uint64_t scaled(uint64_t operations) {
    if (tap_is_long()) operations *= 10;
    const char *sanitizer = getenv("MANTIS_SANITIZER");
    if (sanitizer && strcmp(sanitizer, "thread") == 0) return operations / 10;
    if (sanitizer && *sanitizer) return operations / 5;
    return operations;
}

#endif
