/* Who holds what, since when. */
#include "core/pool.h"

#include <stdlib.h>

/* Read one slot as a holder; false if it is not borrowed. Under the lock. */
static bool read_holder_locked(const mantis_pool *pool, mp_slot *slot, int64_t now_ns,
                               mantis_holder *out)
{
    uint64_t word = mp_load_acquire(&slot->word) & ~MP_SLOT_RETIRE;
    if (mp_slot_state(word) != MP_SLOT_BUSY) return false;
    int64_t held_ns = mp_pool_kept_ns(pool, now_ns) - slot->seen_ns;
    if (slot->seen_word != word) held_ns = 0; /* since the last pass of the keeper */
    *out = (mantis_holder){
        .conn = {.pool = mp_load_relaxed(&pool->id),
                 .slot = slot->index,
                 .generation = mp_slot_generation(word)},
        .tid = mp_load_relaxed(&slot->tid),
        .home = mp_load_relaxed(&slot->home),
        .held_ns = held_ns,
        .tag = mp_load_relaxed(&slot->tag),
    };
    return true;
}

/* Put one in its place among those held for longer. */
static void insert(mantis_holder *out, size_t count, size_t max, const mantis_holder *holder)
{
    size_t at = count < max ? count : max;
    while (at > 0 && out[at - 1].held_ns < holder->held_ns) {
        if (at < max) out[at] = out[at - 1];
        at--;
    }
    if (at < max) out[at] = *holder;
}

size_t mp_holders_read_locked(mantis_pool *pool, int64_t now_ns, mantis_holder *out, size_t max)
{
    size_t count = 0;
    mantis_holder holder;
    MP_SLOTS_EACH(&pool->slots, slot)
    if (read_holder_locked(pool, slot, now_ns, &holder)) insert(out, count++, max, &holder);
    return count;
}

bool mp_holders_has_all_locked(mantis_pool *pool, uint32_t tid, int64_t now_ns)
{
    if (mp_load_relaxed(&pool->total) < mp_supply_max_locked(pool, now_ns)) return false;
    MP_SLOTS_EACH(&pool->slots, slot)
    {
        enum mp_slot_state state = mp_slot_state(mp_load_acquire(&slot->word));
        if (state == MP_SLOT_EMPTY) continue;
        if (state != MP_SLOT_BUSY || mp_load_relaxed(&slot->tid) != tid) return false;
    }
    return true;
}

size_t mantis_pool_holders(mantis_pool *pool, mantis_holder *out, size_t max)
{
    if (mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL) != MANTIS_OK) return 0;
    mp_lock_acquire(&pool->lock);
    size_t count = mp_holders_read_locked(pool, mp_pool_now(pool), out, max);
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
    return count;
}
