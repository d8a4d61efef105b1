/* Writes that are on disk before they are acknowledged. Whoever wants one queues it; all that are
 * queued are applied together, with one sync.
 *
 * Somebody is the leader whenever the queue is not empty. A writer who may block, and finds it
 * empty, commits on its own thread, without a switch; one who must not block leaves it to the
 * committer's own thread. So does a leader with what has queued up meanwhile: the thread goes on
 * while there is something. A waiting writer sleeps on a word of its own and is woken once.
 *
 *   K1  is_led is true from the first push into an empty queue until the leader finds the queue
 *       empty, under the lock: so there is one leader, and no request is left behind.
 *   K2  a request is answered only after the sync of a log that contains it, if it wrote anything.
 *   K3  requests are applied in the order in which they were queued.
 *   K4  no stripe is held during a sync. So a reader may see a write that is not on disk yet, and
 *       that its writer was not told of; after a power cut it can be gone.
 *   K5  once a request is answered it is not touched any more. */
#ifndef MP_STORE_COMMITTER_H
#define MP_STORE_COMMITTER_H

#include "base/list.h"
#include "base/park.h"
#include "store/commit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_store;

#define MP_COMMITTER_REQUESTS_MAX 1024u /* of one group */
#define MP_COMMITTER_BYTES_MAX                                                                     \
    ((size_t)16 << 20) /* of one group, if it has more than one request */
#define MP_COMMITTER_KEPT_BYTES ((size_t)256 << 10) /* a group's memory kept for the next */

typedef struct mp_committer {
    struct mp_store *store;
    mp_batch batch; /* the leader's */
    mp_word bell;   /* rung for the thread: there is work, or stop */
    mp_word has_stopped;
    mp_lock lock;
    struct { /* under lock */
        mp_list queue;
        bool is_led;
        bool has_thread;
        bool is_stopping;
    } locked;
} mp_committer;

void mp_committer_init(mp_committer *committer, struct mp_store *store);

/* Apply and sync; the answer is in the commit. The queue is bounded by the connections: each has
 * one request at most.
 * Threads any that is inside the store's guard.    Blocks for the disk. */
void mp_committer_write(mp_committer *committer, mp_commit *commit);

/* The same without waiting: commit->on_done is called with the answer, on whatever thread leads.
 * False: the system has no thread for it, and nothing was done.
 * Owner   *commit is the committer's until on_done. Its writer is inside the guard until then. */
bool mp_committer_submit(mp_committer *committer, mp_commit *commit);

/* Stop the thread. Nobody writes any more. A zeroed one is fine. */
void mp_committer_finish(mp_committer *committer);

#endif
