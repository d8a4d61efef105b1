/* Sets of key locks. */
#include "store/stripes.h"

#include <string.h>

uint32_t mp_stripes_find(const void *key, size_t key_size) {
    /* Multiply and fold, eight bytes at a time; only speed and spread matter here. */
    const unsigned char *bytes = key;
    uint64_t hash = key_size * UINT64_C(0x9E3779B97F4A7C15);
    for (; key_size > 0;) {
        uint64_t word = 0;
        size_t step = key_size < 8 ? key_size : 8;
        memcpy(&word, bytes, step);
        hash = (hash ^ word) * UINT64_C(0xD6E8FEB86659FD93);
        hash ^= hash >> 32;
        bytes += step;
        key_size -= step;
    }
    return (uint32_t)(hash % MP_STRIPES);
}

void mp_stripes_add(mp_stripes *stripes, const void *key, size_t key_size) {
    uint32_t stripe = mp_stripes_find(key, key_size);
    uint64_t word = UINT64_C(1) << (stripe / 64);
    if (!(stripes->used & word)) stripes->words[stripe / 64] = 0;
    stripes->used |= word;
    stripes->words[stripe / 64] |= UINT64_C(1) << (stripe % 64);
}

bool mp_stripes_has(const mp_stripes *stripes, const void *key, size_t key_size) {
    uint32_t stripe = mp_stripes_find(key, key_size);
    return (stripes->used >> (stripe / 64) & 1) &&
           (stripes->words[stripe / 64] >> (stripe % 64) & 1);
}

/* The place of the lowest bit, which is taken out of *bits. */
static uint32_t take_bit(uint64_t *bits) {
    uint32_t place = (uint32_t)__builtin_ctzll(*bits);
    *bits &= *bits - 1;
    return place;
}

void mp_stripes_acquire(mp_lock locks[MP_STRIPES], const mp_stripes *stripes) {
    for (uint64_t used = stripes->used; used;) {
        uint32_t i = take_bit(&used);
        for (uint64_t left = stripes->words[i]; left;)
            mp_lock_acquire(&locks[i * 64 + take_bit(&left)]); /* T1 */
    }
}

void mp_stripes_release(mp_lock locks[MP_STRIPES], const mp_stripes *stripes) {
    for (uint64_t used = stripes->used; used;) {
        uint32_t i = take_bit(&used);
        for (uint64_t left = stripes->words[i]; left;)
            mp_lock_release(&locks[i * 64 + take_bit(&left)]);
    }
}
