/* Sleeping until a word changes, and a small lock made of it (Linux futexes).
 *
 * The lock is the three-state mutex of U. Drepper, "Futexes Are Tricky" (2011), section 6. It is
 * four bytes, zero is unlocked, and it may be freed by whoever locks it last: unlocking touches
 * the word once, and a late wake on a freed address is at worst a spurious wake for another. */
#ifndef MP_BASE_PARK_H
#define MP_BASE_PARK_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint32_t mp_word;

/* Sleep while *word is expected, until deadline_ns (monotonic) at most. False: the deadline has
 * passed. True: look again; it may have been woken for nothing. */
bool mp_park_wait(mp_word *word, uint32_t expected, int64_t deadline_ns);

/* Wake at most one, or all, of those who sleep on word. The word may be gone already. */
void mp_park_wake_one(mp_word *word);
void mp_park_wake_all(mp_word *word);

typedef struct mp_lock {
    mp_word word; /* 0 free, 1 held, 2 held and somebody may sleep */
} mp_lock;

void mp_lock_acquire(mp_lock *lock);
bool mp_lock_try_acquire(mp_lock *lock);
void mp_lock_release(mp_lock *lock);

#endif
