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

void mp_stripes_add(mp_stripes *stripes, const mantis_write *writes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t stripe = mp_stripes_find(writes[i].key, writes[i].key_size);
        stripes->words[stripe / 64] |= UINT64_C(1) << (stripe % 64);
    }
}

void mp_stripes_acquire(mp_lock locks[MP_STRIPES], const mp_stripes *stripes) {
    for (uint32_t i = 0; i < MP_STRIPES / 64; i++)
        for (uint64_t left = stripes->words[i]; left; left &= left - 1)
            mp_lock_acquire(&locks[i * 64 + (uint32_t)__builtin_ctzll(left)]);
}

void mp_stripes_release(mp_lock locks[MP_STRIPES], const mp_stripes *stripes) {
    for (uint32_t i = 0; i < MP_STRIPES / 64; i++)
        for (uint64_t left = stripes->words[i]; left; left &= left - 1)
            mp_lock_release(&locks[i * 64 + (uint32_t)__builtin_ctzll(left)]);
}
