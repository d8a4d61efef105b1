/* Cutting pieces from blocks. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_ALIGNMENT ((size_t)128)

static size_t round_up(size_t size, size_t alignment) {
    return (size + alignment - 1) / alignment * alignment;
}

void *mp_arena_make(mp_arena *arena, size_t alignment, size_t size) {
    size = round_up(size, alignment);
    if (size > MP_ARENA_BLOCK / 8) {
        void *own = aligned_alloc(BLOCK_ALIGNMENT, round_up(size, BLOCK_ALIGNMENT));
        return own ? memset(own, 0, size) : NULL;
    }
    if (arena->left < size) {
        unsigned char *block = aligned_alloc(BLOCK_ALIGNMENT, MP_ARENA_BLOCK);
        if (!block) return NULL;
        /* A leak checker takes what only pointers into its middle lead to for lost. */
        memcpy(block, &arena->blocks, sizeof arena->blocks);
        *arena = (mp_arena){.at = block + BLOCK_ALIGNMENT,
                            .left = MP_ARENA_BLOCK - BLOCK_ALIGNMENT,
                            .blocks = block};
    }
    void *piece = memset(arena->at, 0, size);
    arena->at += size;
    arena->left -= size;
    return piece;
}
