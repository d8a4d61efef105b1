/* One lock for each 4096th of the keys: every write holds its keys' stripes while it takes its
 * version and enters the engine, so versions of a key grow in the order of its writes, and what a
 * compare-and-set reads under its stripe stays true until it has written.
 *
 *   T1  several stripes are taken in ascending order. */
#ifndef MP_STORE_STRIPES_H
#define MP_STORE_STRIPES_H

#include "base/park.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_STRIPES 4096u

/* A set of stripes. Most sets hold one, so the words without a bit in `used` are not even
 * cleared. */
typedef struct mp_stripes {
    uint64_t used; /* bit i: words[i] is in use */
    uint64_t words[MP_STRIPES / 64];
} mp_stripes;
_Static_assert(MP_STRIPES == 64 * 64, "one word says which words are in use");

/* The stripe of a key. */
uint32_t mp_stripes_find(const void *key, size_t key_size);

/* Make the set empty. */
static inline void mp_stripes_init(mp_stripes *stripes) { stripes->used = 0; }

/* Add the stripe of a key to the set. */
void mp_stripes_add(mp_stripes *stripes, const void *key, size_t key_size);

/* Is the stripe of a key in the set? */
bool mp_stripes_has(const mp_stripes *stripes, const void *key, size_t key_size);

/* Lock, and unlock, all stripes of the set (T1). */
void mp_stripes_acquire(mp_lock locks[MP_STRIPES], const mp_stripes *stripes);
void mp_stripes_release(mp_lock locks[MP_STRIPES], const mp_stripes *stripes);

#endif
