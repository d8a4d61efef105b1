/* Memory that is never given back, cut from blocks: without a heap's own words beside each piece,
 * and what it leaves out to align them. No thread-safety of its own. */
#ifndef MP_BASE_ARENA_H
#define MP_BASE_ARENA_H

#include <stddef.h>

#define MP_ARENA_BLOCK ((size_t)64 << 10)

/* Zeroed it is empty. All pieces of one arena have the same alignment, a power of two up to 128. */
typedef struct mp_arena {
    unsigned char *at;
    size_t left;
    void *blocks; /* the newest; each begins with a pointer to the one before */
} mp_arena;

/* A piece, zeroed; NULL: no memory. A large one has a block of its own. */
void *mp_arena_make(mp_arena *arena, size_t alignment, size_t size);

#endif
