/* Writes that are on disk before they are acknowledged. Whoever wants one queues it; all that are
 * queued go into one batch with one sync.
 *
 * Somebody is the leader whenever the queue is not empty: a writer who finds it empty commits on
 * its own thread, without a switch. What has queued up meanwhile goes to the committer's own
 * thread, which goes on while there is something. A waiting writer sleeps on a word of its own and
 * is woken once.
 *
 *   K1  is_led is true from the first push into an empty queue until the leader finds the queue
 *       empty, under the lock: so there is one leader, and no request is left behind.
 *   K2  a request is answered only after the sync of a log that contains it.
 *   K3  requests are written in the order in which they were queued.
 *   K4  no stripe is held during a sync. So a reader may see a write that is not on disk yet, and
 *       that its writer was not told of; after a power cut it can be gone. */
#ifndef MP_STORE_COMMITTER_H
#define MP_STORE_COMMITTER_H

#include "base/list.h"
#include "base/park.h"
#include "store/engine.h"

#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_store;

#define MP_COMMIT_REQUESTS_MAX 1024u           /* of one batch */
#define MP_COMMIT_BYTES_MAX ((size_t)16 << 20) /* of one batch, if it has more than one request */

#define MP_COMMIT_KEPT_BYTES ((size_t)256 << 10) /* a batch's memory kept for the next */

/* One write to be committed, in its writer's memory until it is answered. The writer is inside the
 * store's guard all the time, so the engine stays where it is while there are requests. */
typedef struct mp_commit {
    mp_node node;
    const mantis_write *writes;
    size_t count;
    size_t bytes;
    mantis_status status;
    mantis_error *error; /* or NULL */
    mp_word is_done;
} mp_commit;

typedef struct mp_committer {
    struct mp_store *store;
    rocksdb_writebatch_t *batch; /* the leader's */
    mp_word bell;                /* rung for the thread: there is work, or stop */
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

/* Write and sync. The queue is bounded by the connections: each waits with one request at most.
 * Threads any that is inside the store's guard.    Blocks for the disk.
 * Errors  FULL IO NOMEM */
mantis_status mp_committer_write(mp_committer *committer, mp_commit *commit);

/* Stop the thread. Nobody writes any more. A zeroed one is fine. */
void mp_committer_finish(mp_committer *committer);

#endif
