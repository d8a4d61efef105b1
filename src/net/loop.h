/* One event loop a thread: it sleeps until a socket, a message or a time needs somebody, and calls
 * who is concerned, one after the other.
 *
 * A turn is: wait; read the clock once; the messages posted; the timers that are due; then each
 * stream and watch that is ready, once; and on_turn. Sockets are watched edge-triggered and never
 * armed again. A stream is read once a turn at most; one that has more stays in the list of what
 * is ready, and then the next turn does not sleep. So nobody keeps the others waiting by more than
 * one buffer.
 *
 * Whatever is called may open, close and detach streams, set and stop timers, and post. It must not
 * block, and must not turn the loop.
 *
 * A loop stands on a transport: the kernel, or the simulator (net/sim.h). Everything here and in
 * net/stream.h behaves the same on both. */
#ifndef MP_NET_LOOP_H
#define MP_NET_LOOP_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the streams of one loop may hold together: bytes that were received and not yet consumed,
 * and bytes that the kernel did not take. Above half of it every stream with a backlog counts as
 * full; a stream that would exceed it ends with NOMEM. */
#define MP_LOOP_HELD_MAX ((size_t)256 << 20)

typedef struct mp_loop mp_loop;

/* ---- the loop ---- */

/* Zeroed it means the defaults. */
typedef struct mp_loop_config {
    /* At the end of every turn, to do once for many calls what would be dear for each. May be
     * NULL. */
    void (*on_turn)(mp_loop *loop, void *arg);
    void *arg;
    size_t held_bytes_max; /* 0: MP_LOOP_HELD_MAX */
} mp_loop_config;

/* What a loop did. For its own thread; another reads figures that may be a little old. */
typedef struct mp_loop_counts {
    uint64_t turns, sleeps; /* sleeps: turns that were allowed to wait */
    uint64_t reads, writes; /* system calls */
    uint64_t posts, wakes;  /* wakes: posts that had to wake the loop */
    uint64_t refused;       /* writes of which the kernel did not take all */
    uint64_t unanswered;    /* streams ended because the other side was silent */
    uint64_t held_bytes;    /* now */
    uint32_t streams;       /* now */
} mp_loop_counts;

/* Open a loop. The thread that turns it owns it and what is on it.
 * Owner   the caller, until mp_loop_close(). on_turn and arg must outlive it.
 * Errors  NOMEM IO (no descriptor) */
mantis_status mp_loop_open(mp_loop **out, const mp_loop_config *config, mantis_error *error);

/* Close it: streams that are still saying goodbye are cut off. No other stream, timer, watch or
 * post may be on it. An empty one is fine.
 * Threads its own, or any when its own has ended. */
void mp_loop_close(mp_loop **loop);

/* One turn, waiting until until_ns at most: 0 does not wait.
 * Threads its own.    Blocks until until_ns at most. */
void mp_loop_turn(mp_loop *loop, int64_t until_ns);

/* Turn until mp_loop_stop().
 * Threads its own. */
void mp_loop_run(mp_loop *loop);

/* Have mp_loop_run() return after the turn it is in, also if it has not begun yet.
 * Threads any. */
void mp_loop_stop(mp_loop *loop);

/* The clock as read in this turn, monotonic ns.
 * Threads its own. */
int64_t mp_loop_now_ns(const mp_loop *loop);

const mp_loop_counts *mp_loop_get_counts(const mp_loop *loop);

/* ---- messages from other threads ---- */

/* A message in its sender's memory, and the sender's again when run is called. Zeroed but for run
 * it is ready to be posted; it must not be posted twice at once. */
typedef struct mp_post {
    struct mp_post *next;
    void (*run)(struct mp_post *post, mp_loop *loop);
} mp_post;

/* Have post->run called on the loop's thread, in the order of posting. Wakes the loop if it sleeps,
 * once for any number of posts. The loop must not be closed before it has run.
 * Threads any, also the loop's own: then it runs in the next turn. */
void mp_loop_post(mp_loop *loop, mp_post *post);

/* ---- times ---- */

/* Something to be called at a time, in its owner's memory. Zeroed but for on_due it is ready for
 * use. The hot path only stores a later time: the place in the loop's heap is an earlier one, and
 * is corrected when that comes. */
typedef struct mp_timer {
    mp_heap_node node;
    int64_t due_ns; /* never before node.due_ns while it is in */
    void (*on_due)(struct mp_timer *timer, mp_loop *loop);
} mp_timer;

/* Put a timer into the heap, or earlier there. What mp_timer_set() needs. */
void mp_timer_schedule(mp_timer *timer, mp_loop *loop);

/* Call on_due once, when due_ns has come; MP_NEVER_NS: not at all. Replaces the time set before.
 * Owner   timer stays where it is until mp_timer_stop().    Threads the loop's. */
static inline void mp_timer_set(mp_timer *timer, mp_loop *loop, int64_t due_ns) {
    timer->due_ns = due_ns;
    if (!timer->node.is_in || due_ns < timer->node.due_ns) mp_timer_schedule(timer, loop);
}

/* Take it out, before its memory goes or moves to another loop. One that was never set is fine.
 * Threads the loop's. */
void mp_timer_stop(mp_timer *timer, mp_loop *loop);

/* ---- descriptors that are not streams ---- */

enum { MP_WATCH_READ = 1, MP_WATCH_WRITE = 2 };

/* What a stream and a watch begin with: their place among those that are ready. The loop's
 * alone. */
typedef struct mp_ready {
    mp_node node;
    bool is_listed, is_stream;
    uint16_t events; /* that were seen and not yet dealt with */
} mp_ready;

/* A descriptor of somebody else's (a mailbox, signals, a resolver's sockets), in the caller's
 * memory. on_ready is called in every turn in which it is ready. Zeroed but for fd, on_ready and
 * arg it can be set. */
typedef struct mp_watch {
    mp_ready ready; /* the loop's, as wanted is */
    int wanted;
    int fd;
    void (*on_ready)(struct mp_watch *watch, mp_loop *loop, int events);
    void *arg; /* its owner's */
} mp_watch;

/* Watch for these events, MP_WATCH_READ and MP_WATCH_WRITE; again: for these others. 0: for none,
 * and it is stopped.
 * Owner   watch stays where it is, and its descriptor open, until it is stopped.
 * Threads the loop's.
 * Errors  IO (the descriptor cannot be watched, or the system's limit is reached) NOMEM */
mantis_status mp_watch_set(mp_watch *watch, mp_loop *loop, int events, mantis_error *error);

#endif
