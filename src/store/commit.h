/* A write on its way into the engine: what must hold for it, and what it writes. Every write is
 * one of these: a plain one has no conditions, a compare-and-set has one, a transaction has one for
 * each key that it has read.
 *
 *   W1  conditions are checked, and what depends on them is written, while the stripes of all keys
 *       of both are held: no other write comes in between (S4).
 *   W2  of several commits applied together each one sees what those before it have written: what
 *       may bear on a condition is in the engine before the condition is read.
 *   W3  a commit is applied as a whole or not at all; one whose conditions do not hold writes
 *       nothing, and harms no other. */
#ifndef MP_STORE_COMMIT_H
#define MP_STORE_COMMIT_H

#include "base/list.h"
#include "base/park.h"
#include "store/engine.h"

#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_store;

/* A key must still have this version; 0: it is missing or expired. */
typedef struct mp_condition {
    const void *key;
    size_t key_size;
    uint64_t version;
} mp_condition;

/* In its writer's memory until it is answered. The writer is inside the store's guard all the time,
 * so the engine stays where it is. Its parts are its writer's, too. */
typedef struct mp_commit {
    mp_node node; /* in the committer's queue, then in a group */
    const mantis_write *writes;
    size_t count;
    int64_t born_ms; /* what the writes' ttl_ms count from; 0: they are moments already */
    const mp_condition *conditions;
    size_t conditions_count;
    size_t bytes; /* of all keys and values written */
    /* the answer */
    uint64_t version;    /* of the first write; each further one has the next */
    mantis_error *error; /* or NULL */
    mantis_status status;
    /* for the committer */
    mp_word is_done;
    void (*on_done)(struct mp_commit *commit); /* it is answered, and its writer's again */
} mp_commit;

/* Apply a group of commits in their order and, if asked, bring it to disk. Each commit's status
 * then says how it ended. A failure fences the store.
 * Threads any that is inside the store's guard.    Blocks for a write, and for the disk if synced.
 * Errors  in each commit: CONFLICT CORRUPT FULL IO */
void mp_commit_apply(struct mp_store *store, const mp_list *group, mp_batch *batch, bool is_synced);

#endif
