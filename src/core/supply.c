/* How a new connection comes to be, and how an old one goes: operations, back-off, slow start. */
#include "core/pool.h"

#include <stdlib.h>

mp_place *mp_supply_place(const mantis_pool *pool, const mp_slot *slot) {
    mp_place *place = mp_load_acquire(&pool->places);
    while (place->older && slot->epoch < place->first_epoch) place = place->older;
    return place;
}

uint32_t mp_supply_max(const mantis_pool *pool, int64_t now_ns) {
    int64_t max = pool->settings.conns_max;
    if (max < 0) return MP_SLOTS_MAX;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    int64_t after_ns = mp_clock_ns_of_ms(pool->settings.reserve_after_ms);
    if (pool->settings.reserve && first && now_ns - first->start_ns >= after_ns)
        max += pool->settings.reserve;
    return max < MP_SLOTS_MAX ? (uint32_t)max : MP_SLOTS_MAX;
}

int64_t mp_supply_room(const mp_turn *turn) {
    int64_t staying = (int64_t)mp_load_relaxed(&turn->pool->total) - turn->pool->closing;
    return (int64_t)mp_supply_max(turn->pool, turn->now_ns) - staying;
}

bool mp_supply_may_retire_locked(mp_turn *turn) {
    mantis_pool *pool = turn->pool;
    bool is_above_min = mp_pool_live(pool) > (uint64_t)pool->settings.conns_min;
    bool can_replace = pool->opening > 0 || mp_supply_room(turn) > 0;
    pool->is_replacing = !is_above_min && can_replace;
    return !pool->is_replacing;
}

/* ---- starting operations ---- */

static void start_locked(mp_turn *turn, mp_slot *slot, enum mp_slot_state state,
                         enum mp_op_kind kind) {
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    int64_t timeout_ns = mp_clock_ns_of_ms(turn->pool->settings.open_timeout_ms);
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, state));
    mp_store_relaxed(&slot->progress, MP_OP_QUEUED);
    mp_store_relaxed(&slot->op, (uint8_t)kind);
    slot->u.task.due_ns = mp_clock_after(turn->now_ns, timeout_ns);
    mp_tasks_push(&turn->ops, &slot->u.task);
}

void mp_supply_close_locked(mp_turn *turn, mp_slot *slot, mantis_close_reason reason,
                            bool is_broken) {
    mantis_pool *pool = turn->pool;
    pool->closing++;
    mp_limit_note_leaving(pool->limits, pool->limit_count);
    pool->counts.closed[reason - MANTIS_CLOSE_IDLE]++;
    slot->reason = (uint8_t)reason;
    bool aborts = is_broken && pool->connector->abort;
    start_locked(turn, slot, MP_SLOT_CLOSING, aborts ? MP_OP_ABORT : MP_OP_CLOSE);
}

void mp_supply_check_locked(mp_turn *turn, mp_slot *slot) {
    turn->pool->checking++;
    turn->pool->counts.checked++;
    start_locked(turn, slot, MP_SLOT_CHECKING, MP_OP_CHECK);
}

void mp_supply_reset_locked(mp_turn *turn, mp_slot *slot) {
    mantis_pool *pool = turn->pool;
    if (pool->is_closed) mp_supply_close_locked(turn, slot, MANTIS_CLOSE_POOL, false);
    else if (slot->epoch != pool->epoch)
        mp_supply_close_locked(turn, slot, MANTIS_CLOSE_EVICTED, false);
    else if (!pool->connector->reset) mp_supply_close_locked(turn, slot, MANTIS_CLOSE_CHECK, false);
    else {
        pool->resetting++;
        pool->counts.was_reset++;
        start_locked(turn, slot, MP_SLOT_RESETTING, MP_OP_RESET);
    }
}

/* ---- opening ---- */

static void push_empty(mantis_pool *pool, mp_slot *slot) {
    slot->u.list.next = pool->empty;
    pool->empty = slot;
}

/* An EMPTY slot, out of the list of them; NULL: no memory. */
static mp_slot *pop_empty(mantis_pool *pool) {
    if (!pool->empty) {
        mp_chunk *chunk = mp_slots_add_chunk(&pool->slots, pool);
        for (uint32_t i = chunk ? chunk->count : 0; i-- > 0;) {
            pool->granted_base += mp_slot_generation(mp_load_relaxed(&chunk->slots[i].word));
            push_empty(pool, &chunk->slots[i]);
        }
    }
    mp_slot *slot = pool->empty;
    if (slot) pool->empty = slot->u.list.next;
    return slot;
}

/* May one more be opened now, as far as this pool alone is concerned? */
static bool may_open_locked(const mp_turn *turn) {
    const mantis_pool *pool = turn->pool;
    if (mp_load_relaxed(&pool->total) >= mp_supply_max(pool, turn->now_ns)) return false;
    if (pool->failures > 0) return pool->opening == 0 && turn->now_ns >= pool->retry_at_ns;
    uint32_t most = (uint32_t)pool->settings.opening_max;
    return pool->opening < (pool->slow_start < most ? pool->slow_start : most);
}

static bool open_one_locked(mp_turn *turn, bool for_waiter) {
    mantis_pool *pool = turn->pool;
    mp_slot *slot = may_open_locked(turn) ? pop_empty(pool) : NULL;
    if (!slot) return false;
    if (!mp_limit_take_all(pool->limits, pool->limit_count, for_waiter)) {
        push_empty(pool, slot);
        if (for_waiter) turn->wants_token = true;
        if (pool->limit_count > 1) turn->gave_tokens = true; /* those taken before the refusal */
        return false;
    }
    mp_store_relaxed(&pool->total, mp_load_relaxed(&pool->total) + 1); /* C10 */
    pool->opening++;
    slot->epoch = pool->epoch;
    mp_supply_place(pool, slot)->slots++;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    uint32_t home = first && first->home ? first->home : mp_hints_of_thread()->home;
    mp_store_relaxed(&slot->home, (uint8_t)home);
    mp_store_relaxed(&slot->was_home, 0);
    slot->is_suspect = slot->is_dirty = false;
    slot->born_ns = turn->now_ns; /* once it is open, that moment */
    start_locked(turn, slot, MP_SLOT_OPENING, MP_OP_OPEN);
    return true;
}

/* Connections that are on their way to those who wait. */
static uint32_t count_coming(const mantis_pool *pool) {
    return pool->opening + pool->checking + pool->resetting;
}

/* Have idle ones checked that may be lent only after that. */
static void check_suspects_locked(mp_turn *turn) {
    mantis_pool *pool = turn->pool;
    MP_SLOTS_EACH(&pool->slots, slot) {
        if (pool->queue.count <= count_coming(pool)) return;
        if (slot->is_suspect && mp_grant_hold(slot)) mp_supply_check_locked(turn, slot);
    }
}

/* How many should be opened because somebody waits, and how many in all. */
static void count_wanted(const mantis_pool *pool, uint32_t *for_waiters, uint32_t *in_all) {
    uint32_t coming = count_coming(pool), waiting = pool->queue.count;
    uint32_t have = mp_load_relaxed(&pool->total) - pool->closing;
    uint32_t least = (uint32_t)pool->settings.conns_min + (pool->is_replacing ? 1 : 0);
    uint32_t missing = least > have ? least - have : 0;
    *for_waiters = waiting > coming ? waiting - coming : 0;
    *in_all = missing > *for_waiters ? missing : *for_waiters;
}

void mp_supply_locked(mp_turn *turn) {
    mantis_pool *pool = turn->pool;
    uint32_t for_waiters = 0, wanted = 0, begun = 0;
    if (!pool->is_closed && !pool->is_paused) {
        if (pool->queue.count) check_suspects_locked(turn);
        count_wanted(pool, &for_waiters, &wanted);
    }
    while (begun < wanted && open_one_locked(turn, begun < for_waiters)) begun++;
    /* Tokens and places in queues are for those who could use them at once. */
    bool is_waiting = begun < for_waiters && may_open_locked(turn);
    if (!is_waiting && mp_limit_withdraw(pool->limits, pool->limit_count)) turn->gave_tokens = true;
}

/* ---- completing operations ---- */

static void note_failure_locked(mp_turn *turn, const mantis_error *error) {
    mantis_pool *pool = turn->pool;
    if (!pool->last_error) pool->last_error = calloc(1, sizeof *pool->last_error);
    if (pool->last_error) *pool->last_error = *error;
    pool->slow_start = 1;
    if (pool->failures > 0 && turn->now_ns < pool->retry_at_ns) return; /* begun before the pause */
    int64_t pause_ms = mp_clock_doubled_ms(pool->settings.backoff_min_ms, pool->failures++,
                                           pool->settings.backoff_max_ms);
    int64_t pause_ns = mp_random_shorten(&pool->random, mp_clock_ns_of_ms(pause_ms), 25);
    pool->retry_at_ns = mp_clock_after(turn->now_ns, pause_ns);
}

/* The slot has no connection any more. */
static void empty_locked(mp_turn *turn, mp_slot *slot, bool was_leaving) {
    mantis_pool *pool = turn->pool;
    mp_place *place = mp_supply_place(pool, slot);
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    mp_store_relaxed(&slot->native, NULL);
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_EMPTY));
    mp_store_relaxed(&pool->total, mp_load_relaxed(&pool->total) - 1); /* C10 */
    push_empty(pool, slot);
    place->slots--;
    bool is_needed = place->slots > 0 || place == mp_load_relaxed(&pool->places);
    if (!is_needed && !pool->is_interrupting && !pool->is_closed) { /* else with the pool */
        place->is_stopped = true;
        turn->stop = place;
    }
    mp_limit_give_all(pool->limits, pool->limit_count, was_leaving);
    turn->gave_tokens = pool->limit_count > 0;
}

static void opened_locked(mp_turn *turn, mp_slot *slot, void *native) {
    mantis_pool *pool = turn->pool;
    int64_t lifetime_ns = mp_random_shorten(&pool->random,
                                            mp_clock_ns_of_ms(pool->settings.lifetime_ms),
                                            pool->settings.lifetime_jitter_percent);
    mp_store_relaxed(&slot->native, native);
    slot->born_ns = turn->now_ns;
    slot->retire_at_ns = mp_clock_after(mp_turn_kept_ns(turn), lifetime_ns);
    slot->seen_word = 0;
    slot->seen_ns = slot->check_at_ns = mp_turn_kept_ns(turn);
    pool->counts.opened++;
    pool->failures = 0;
    if (pool->slow_start < MP_SLOW_START_OVER) pool->slow_start *= 2;
    mp_grant_settle_locked(turn, slot);
}

static void open_failed_locked(mp_turn *turn, mp_slot *slot, const mantis_error *error) {
    mantis_pool *pool = turn->pool;
    pool->counts.open_failed++;
    note_failure_locked(turn, error);
    turn->poke_ns = pool->retry_at_ns;
    empty_locked(turn, slot, false);
    if (pool->settings.fail_fast && mp_pool_live(pool) == 0)
        mp_grant_end_all_locked(turn, MANTIS_CONNECT_FAILED);
}

/* A check or a reset is over. */
static void looked_at_locked(mp_turn *turn, mp_slot *slot, bool is_fit) {
    slot->is_suspect = slot->is_dirty = false;
    if (is_fit) {
        mp_grant_settle_locked(turn, slot);
        return;
    }
    turn->pool->counts.check_failed++;
    turn->pool->is_check_all = true; /* where one is dead, others may be */
    turn->poke_ns = turn->now_ns;
    mp_supply_close_locked(turn, slot, MANTIS_CLOSE_CHECK, true);
}

static void complete_locked(mp_turn *turn, mp_slot *slot, enum mp_op_kind kind, void *native,
                            const mantis_error *error) {
    mantis_pool *pool = turn->pool;
    slot->u.list.watch = NULL;
    if (kind == MP_OP_OPEN) {
        pool->opening--;
        if (error) open_failed_locked(turn, slot, error);
        else opened_locked(turn, slot, native);
    } else if (kind == MP_OP_CHECK || kind == MP_OP_RESET) {
        --*(kind == MP_OP_CHECK ? &pool->checking : &pool->resetting);
        looked_at_locked(turn, slot, !error);
    } else { /* a close that fails is over all the same */
        pool->closing--;
        empty_locked(turn, slot, true);
    }
    mp_supply_locked(turn);
    mp_turn_changed_locked(turn);
}

/* Tell the program, with no lock held. */
static void tell(mantis_pool *pool, enum mp_op_kind kind, void *native, const mantis_error *error,
                 int64_t took_ns) {
    const mantis_hooks *hooks = pool->hooks;
    if (kind == MP_OP_OPEN && !error && hooks->on_open) hooks->on_open(hooks->arg, native, took_ns);
    if (kind == MP_OP_OPEN && error && hooks->on_open_failed)
        hooks->on_open_failed(hooks->arg, error->text);
    static const char *const names[] = {"", "open", "check", "reset", "close", "abort"};
    if (error) mp_pool_log(pool, MANTIS_LOG_WARNING, "%s failed: %s", names[kind], error->text);
}

mantis_status mp_supply_complete(mp_slot *slot, void *native, const mantis_error *error) {
    /* The one completion is who finds the kind; seq_cst: pairs with start_locked() */
    enum mp_op_kind kind = (enum mp_op_kind)mp_swap_seq_cst(&slot->op, MP_OP_NONE);
    if (kind == MP_OP_NONE) return MANTIS_STALE;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mp_add_seq_cst(&pool->inside, 1); /* not over: it has an operation under way */
    mp_turn turn = mp_turn_begin(pool);
    int64_t took_ns = turn.now_ns - slot->born_ns;
    mantis_close_reason reason = (mantis_close_reason)slot->reason;
    complete_locked(&turn, slot, kind, native, error);
    mp_turn_end(&turn);
    mp_hints_of_thread()->calling_out++;
    tell(pool, kind, native, error, took_ns);
    if ((kind == MP_OP_CLOSE || kind == MP_OP_ABORT) && pool->hooks->on_close)
        pool->hooks->on_close(pool->hooks->arg, reason);
    mp_hints_of_thread()->calling_out--;
    mp_pool_leave(pool);
    return MANTIS_OK;
}
