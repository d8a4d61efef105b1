/* Keeps an engine in place while somebody is inside it, at the price of two writes to a cache line
 * of one's own.
 *
 * Every handle has an entry. Entering counts the entry up and then looks whether the guard is
 * paused; pausing sets the word and then looks at every entry. All four are sequentially
 * consistent, so at least one of the two sees the other: either the one who enters turns back, or
 * the one who pauses waits for him (Dekker's argument).
 *
 *   G1  while mp_guard_pause() has succeeded and mp_guard_resume() was not called, nobody is
 *       inside.
 *   G2  whoever is inside may enter again (a read from within a scan): the pause waits anyway.
 *   G3  an entry is used by one thread at a time. Another than the one that entered may leave, if
 *       it has been handed the entry: so a submitted commit stays inside until it is answered.
 *
 * Not lock-free: a reader waits while the engine is exchanged, and the pause waits for readers. */
#ifndef MP_STORE_GUARD_H
#define MP_STORE_GUARD_H

#include "base/atomic.h"
#include "base/list.h"
#include "base/park.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mp_guard_entry {
    _Alignas(MP_CACHE_LINE) _Atomic uint32_t depth; /* written by whose turn it is (G3) */
    mp_node node;                                   /* under the guard's lock */
} mp_guard_entry;

typedef struct mp_guard {
    mp_word is_paused;
    mp_lock lock; /* protects entries */
    mp_list entries;
} mp_guard;

void mp_guard_add(mp_guard *guard, mp_guard_entry *entry);
void mp_guard_remove(mp_guard *guard, mp_guard_entry *entry);

/* Entering when the guard is or was paused: waits until it is not. */
void mp_guard_acquire_slow(mp_guard *guard, mp_guard_entry *entry);

/* Be inside until mp_guard_release() (G3). */
static inline void mp_guard_acquire(mp_guard *guard, mp_guard_entry *entry) {
    uint32_t depth = mp_load_relaxed(&entry->depth);
    /* seq_cst: pairs with the store to is_paused and the loads in mp_guard_pause() (G1) */
    mp_store_seq_cst(&entry->depth, depth + 1);
    if (mp_unlikely(mp_load_seq_cst(&guard->is_paused)) && depth == 0)
        mp_guard_acquire_slow(guard, entry);
}

static inline void mp_guard_release(mp_guard_entry *entry) {
    /* release: pairs with the load of depth in mp_guard_pause(): what was done inside is over */
    mp_store_release(&entry->depth, mp_load_relaxed(&entry->depth) - 1);
}

/* Keep everybody out and wait until nobody is inside. False: somebody still was when patience_ns
 * had passed, and the guard is as before. One thread at a time. */
bool mp_guard_pause(mp_guard *guard, int64_t patience_ns);
void mp_guard_resume(mp_guard *guard);

#endif
