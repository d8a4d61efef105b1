/* A pool as a member of shared limits. */
#include "core/pool.h"

static mantis_pool *pool_of(mp_member *member) {
    return mp_container_of(member, mantis_pool, member);
}

/* Is it still the pool that was entered, and open? Under its lock. */
static bool is_open(const mantis_pool *pool, uint32_t who) {
    bool is_forked = mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED;
    return who != 0 && mp_load_relaxed(&pool->id) == who && !pool->is_closed && !is_forked;
}

static uint32_t enter(mp_member *member) {
    mp_add_seq_cst(&pool_of(member)->inside, 1);
    return mp_load_seq_cst(&pool_of(member)->id);
}

static void leave(mp_member *member) { mp_pool_leave(pool_of(member)); }

static void alert(mp_member *member) {
    mp_or_seq_cst(&pool_of(member)->attention, MP_ATTENTION_LIMIT);
}

static void begin(mp_member *member) {
    mp_turn turn = mp_turn_begin(pool_of(member));
    mp_supply_locked(&turn);
    mp_turn_end(&turn);
}

static void owe(mp_member *member, uint32_t who) {
    mantis_pool *pool = pool_of(member);
    mp_turn turn = mp_turn_begin(pool);
    if (is_open(pool, who)) pool->debt = 1;
    if (is_open(pool, who)) alert(member);
    mp_turn_end(&turn);
}

/* The slot that has been idle for longest, or NULL. */
static mp_slot *find_idle_locked(const mp_turn *turn, uint32_t who) {
    mp_slot *oldest = NULL;
    if (!is_open(turn->pool, who)) return NULL;
    MP_SLOTS_EACH(&turn->pool->slots, slot) {
        if (mp_slot_state(mp_load_seq_cst(&slot->word)) != MP_SLOT_FREE) continue;
        if (!oldest || slot->seen_ns < oldest->seen_ns) oldest = slot;
    }
    return oldest;
}

static int64_t idle_since(mp_member *member, uint32_t who) {
    mp_turn turn = mp_turn_begin(pool_of(member));
    const mp_slot *slot = find_idle_locked(&turn, who);
    int64_t since_ns = slot ? slot->seen_ns : MP_NEVER_NS;
    mp_turn_end(&turn);
    return since_ns;
}

static bool close_idle(mp_member *member, uint32_t who) {
    mp_turn turn = mp_turn_begin(pool_of(member));
    mp_slot *slot = find_idle_locked(&turn, who);
    bool closes = slot && mp_grant_hold(slot);
    if (closes) mp_supply_close_locked(&turn, slot, MANTIS_CLOSE_LIMIT, false);
    mp_turn_end(&turn);
    return closes;
}

const mp_member_calls mp_pool_member_calls = {.enter = enter,
                                              .leave = leave,
                                              .alert = alert,
                                              .begin = begin,
                                              .owe = owe,
                                              .idle_since = idle_since,
                                              .close_idle = close_idle};
