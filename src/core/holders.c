/* Who holds what, since when. */
#include "core/pool.h"

bool mp_holders_read_locked(const mp_turn *turn, mp_slot *slot, mantis_holder *out) {
    uint64_t word = mp_load_acquire(&slot->word) & ~MP_SLOT_RETIRE;
    if (mp_slot_state(word) != MP_SLOT_BUSY) return false;
    int64_t held_ns = mp_turn_kept_ns(turn) - slot->seen_ns;
    if (slot->seen_word != word) held_ns = 0; /* since the last pass of the keeper */
    *out = (mantis_holder){.conn = {.pool = mp_load_relaxed(&turn->pool->id),
                                    .slot = slot->index,
                                    .generation = mp_slot_generation(word)},
                           .tid = mp_slot_tid(slot, word),
                           .home = mp_load_relaxed(&slot->home),
                           .held_ns = held_ns,
                           .tag = mp_load_relaxed(&slot->tag)};
    return true;
}

bool mp_holders_has_all_locked(const mp_turn *turn, uint32_t tid) {
    mantis_pool *pool = turn->pool;
    if (mp_load_relaxed(&pool->total) < mp_supply_max(pool, turn->now_ns)) return false;
    MP_SLOTS_EACH(&pool->slots, slot) {
        uint64_t word = mp_load_acquire(&slot->word);
        if (mp_slot_state(word) == MP_SLOT_EMPTY) continue;
        if (mp_slot_state(word) != MP_SLOT_BUSY || mp_slot_tid(slot, word) != tid) return false;
    }
    return true;
}
