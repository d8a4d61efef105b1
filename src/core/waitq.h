/* Requests that wait, and handing over to them: strictly first come, first served, but for homes.
 *
 * C5  A request is in exactly one place: the queue of its pool, the list of its mailbox, or its
 *     owner's hands. It moves from queue to mailbox under both locks (queue first, then mailbox).
 * C6  It has exactly one outcome, written before it moves to the mailbox, never changed after.
 * C7  A request whose deadline has passed is never granted.
 * C8  attention counts the queue, and is raised before the one who joins it looks for a free slot
 *     again. A release frees its slot before it looks at attention. Both are seq_cst, so one of
 *     the two sees the other: no wake-up is lost.
 * C9  Nobody in the queue is passed over more than MP_PASSED_MAX times, or after MP_PASSED_NS. */
#ifndef MP_CORE_WAITQ_H
#define MP_CORE_WAITQ_H

#include "base/heap.h"
#include "base/list.h"
#include "base/park.h"

#include <mantis/pool.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_HOME_WINDOW 8              /* how far a release looks for a request of its own home */
#define MP_PASSED_MAX 8               /* C9 */
#define MP_PASSED_NS INT64_C(1000000) /* C9 */

enum mp_waiter_state {
    MP_WAITER_IDLE = 0, /* the owner's */
    MP_WAITER_QUEUED,   /* in the queue of its pool */
    MP_WAITER_POSTED,   /* in the list of its mailbox, with its outcome */
    MP_WAITER_WATCHING  /* on a borrowed slot, for mantis_conn_watch() */
};

/* What the pool keeps in mantis_waiter.reserved. */
typedef struct mp_waiter {
    mp_node node;      /* in the queue or the mailbox */
    mp_heap_node heap; /* in the mailbox's deadlines; owner only */
    struct mantis_pool *pool;
    int64_t deadline_ns;
    int64_t start_ns;
    int64_t passed_ns; /* when it was passed over first */
    _Atomic uint32_t
        state;       /* enum mp_waiter_state; written under the locks of C5, or by its owner */
    uint32_t passed; /* how often it was passed over */
    uint32_t home;
    uint32_t tid;     /* of the thread that asked */
    bool is_blocking; /* which sleeps in mantis_pool_acquire() */
} mp_waiter;

_Static_assert(sizeof(mp_waiter) <= sizeof((mantis_waiter){0}.reserved), "a waiter has room");

static inline mp_waiter *mp_waiter_of(mantis_waiter *public_waiter) {
    return (mp_waiter *)(void *)public_waiter->reserved;
}

static inline mantis_waiter *mp_waiter_public(mp_waiter *waiter) {
    return mp_container_of(waiter, mantis_waiter, reserved);
}

/* The queue of one pool. All under the pool's lock. */
typedef struct mp_waitq {
    mp_list list;
    uint32_t count;
} mp_waitq;

/* Join the queue at its end. */
void mp_waitq_push(mp_waitq *queue, mp_waiter *waiter);

/* Leave the queue. */
void mp_waitq_remove(mp_waitq *queue, mp_waiter *waiter);

/* Who comes first, or NULL. */
mp_waiter *mp_waitq_first(const mp_waitq *queue);

/* Whose turn it is when a connection of this home comes free; NULL: nobody waits. Counts those who
 * are passed over (C9). It stays in the queue. */
mp_waiter *mp_waitq_choose(mp_waitq *queue, uint32_t home, int64_t now_ns);

#endif
