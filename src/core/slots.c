/* Finding a free slot, and the memory of slots. */
#include "core/slots.h"

#include "core/registry.h"

#include <string.h>

#ifndef MP_EXPLORE
_Thread_local mp_hints mp_thread_hints;
#endif

/* Take a slot whose bit is set in one word of the bitmap. A bit that lied is cleared; then the
 * slot is looked at once more, for its holder may have freed it and seen the bit still set (C4). */
static mp_slot *take_by_bits(mp_slot *first, _Atomic uint64_t *bits, uint64_t step,
                             uint64_t *taken) {
    uint64_t left = mp_load_seq_cst(bits);
    while (left) {
        mp_slot *slot = first + __builtin_ctzll(left);
        if (mp_slot_try_take(slot, step, taken)) return slot;
        uint64_t mask = left & (0 - left);
        mp_and_seq_cst(bits, ~mask);
        if (mp_slot_try_take(slot, step, taken)) return slot;
        left &= ~mask;
    }
    return NULL;
}

void mp_slots_push_hint(mp_hint_set *set, uint32_t pool_id, mp_slot *slot) {
    if (set->pool_id != pool_id) *set = (mp_hint_set){.pool_id = pool_id};
    if (set->count == MP_HINTS) { /* forget the older half */
        set->count = MP_HINTS / 2;
        memmove(set->slots, set->slots + set->count, set->count * sizeof set->slots[0]);
    }
    if (set->last) set->slots[set->count++] = set->last->index;
    set->last = slot;
}

mp_slot *mp_slots_take_hint(mp_hint_set *set, uint32_t pool_id, uint64_t *taken) {
    if (set->pool_id != pool_id) return NULL;
    mp_slot *slot = set->last;
    set->last = NULL;
    while (!slot || !mp_slot_try_take(slot, MP_SLOT_GRANT, taken)) {
        if (set->count == 0) return NULL;
        slot = mp_slot_at(set->slots[--set->count]);
    }
    return slot;
}

mp_slot *mp_slots_take(mp_slots *slots, uint64_t step, uint64_t *taken) {
    for (uint32_t i = mp_load_acquire(&slots->chunk_count); i-- > 0;) { /* the largest first */
        mp_chunk *chunk = slots->chunks[i];
        for (uint32_t first = 0; first < chunk->count; first += 64) {
            mp_slot *slot = take_by_bits(chunk->slots + first, &chunk->bits[first / 64], step,
                                         taken);
            if (slot) return slot;
        }
    }
    MP_SLOTS_EACH(slots, slot) if (mp_slot_try_take(slot, step, taken)) return slot;
    return NULL;
}

mp_chunk *mp_slots_add_chunk(mp_slots *slots, struct mantis_pool *pool) {
    uint32_t count = mp_load_relaxed(&slots->chunk_count);
    mp_chunk *chunk = count < MP_CHUNKS_MAX ? mp_registry_take_chunk(count, pool) : NULL;
    if (!chunk) return NULL;
    slots->chunks[count] = chunk;
    mp_store_release(&slots->chunk_count, count + 1); /* pairs with the acquire of every scan */
    return chunk;
}

void mp_slots_finish(mp_slots *slots) {
    uint32_t count = mp_load_relaxed(&slots->chunk_count);
    mp_store_release(&slots->chunk_count, 0);
    for (uint32_t i = 0; i < count; i++) mp_registry_give_chunk(slots->chunks[i], i);
}
