/* How a new connection comes to be, and how an old one goes: operations, back-off, slow start. */
#include "base/assert.h"
#include "core/op.h"
#include "core/pool.h"

#include <stdlib.h>

mp_place *mp_supply_place(const mantis_pool *pool, const mp_slot *slot)
{
    mp_place *place = mp_load_acquire(&pool->places);
    while (place->older && slot->epoch < place->first_epoch) place = place->older;
    return place;
}

uint32_t mp_supply_max_locked(const mantis_pool *pool, int64_t now_ns)
{
    int64_t max = pool->settings.conns_max;
    if (max < 0) return MP_SLOTS_MAX;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    int64_t after_ns = mp_clock_ns_of_ms(pool->settings.reserve_after_ms);
    if (pool->settings.reserve && first && now_ns - first->start_ns >= after_ns)
        max += pool->settings.reserve;
    return max < MP_SLOTS_MAX ? (uint32_t)max : MP_SLOTS_MAX;
}

/* ---- starting operations ---- */

static void start_locked(mantis_pool *pool, mp_slot *slot, enum mp_slot_state state,
                         enum mp_op_kind kind, mp_todo *todo)
{
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, state));
    mp_store_relaxed(&slot->progress, MP_OP_QUEUED);
    slot->u.op_due_ns = mp_clock_after(mp_pool_now(pool),
                                       mp_clock_ns_of_ms(pool->settings.open_timeout_ms));
    mp_store_relaxed(&slot->op, (uint8_t)kind);
    mp_todo_add_op(todo, slot);
}

void mp_supply_close_locked(mantis_pool *pool, mp_slot *slot, mantis_close_reason reason,
                            bool is_broken, mp_todo *todo)
{
    pool->closing++;
    pool->counts.closed[reason]++;
    slot->reason = (uint8_t)reason;
    bool aborts = is_broken && pool->connector->abort;
    start_locked(pool, slot, MP_SLOT_CLOSING, aborts ? MP_OP_ABORT : MP_OP_CLOSE, todo);
}

void mp_supply_check_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo)
{
    (void)now_ns;
    pool->checking++;
    pool->counts.checked++;
    start_locked(pool, slot, MP_SLOT_CHECKING, MP_OP_CHECK, todo);
}

void mp_supply_reset_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo)
{
    bool goes = pool->is_closed || slot->epoch != pool->epoch ||
                mp_load_relaxed(&pool->total) > mp_supply_max_locked(pool, now_ns);
    if (goes || !pool->connector->reset) {
        mantis_close_reason reason = pool->is_closed              ? MANTIS_CLOSE_POOL
                                     : slot->epoch != pool->epoch ? MANTIS_CLOSE_EVICTED
                                     : goes                       ? MANTIS_CLOSE_IDLE
                                                                  : MANTIS_CLOSE_CHECK;
        mp_supply_close_locked(pool, slot, reason, false, todo);
        return;
    }
    pool->resetting++;
    pool->counts.was_reset++;
    start_locked(pool, slot, MP_SLOT_RESETTING, MP_OP_RESET, todo);
}

/* ---- opening ---- */

/* An EMPTY slot, out of the list of them; NULL: no memory. */
static mp_slot *pop_empty_locked(mantis_pool *pool)
{
    if (!pool->empty) {
        mp_chunk *chunk = mp_slots_add_chunk(&pool->slots, pool, mp_load_relaxed(&pool->id));
        if (!chunk) return NULL;
        for (uint32_t i = chunk->count; i-- > 0;) {
            mp_slot *slot = &chunk->slots[i];
            pool->granted_base += mp_slot_generation(mp_load_relaxed(&slot->word));
            slot->next = pool->empty;
            pool->empty = slot;
        }
    }
    mp_slot *slot = pool->empty;
    pool->empty = slot->next;
    return slot;
}

static void push_empty_locked(mantis_pool *pool, mp_slot *slot)
{
    slot->next = pool->empty;
    pool->empty = slot;
}

/* May one more be opened now, as far as this pool alone is concerned? */
static bool may_open_locked(const mantis_pool *pool, int64_t now_ns)
{
    if (mp_load_relaxed(&pool->total) >= mp_supply_max_locked(pool, now_ns)) return false;
    if (pool->failures > 0) return pool->opening == 0 && now_ns >= pool->retry_at_ns;
    uint32_t most = (uint32_t)pool->settings.opening_max;
    return pool->opening < (pool->slow_start < most ? pool->slow_start : most);
}

static bool open_one_locked(mantis_pool *pool, int64_t now_ns, bool for_waiter, mp_todo *todo)
{
    if (!may_open_locked(pool, now_ns)) return false;
    mp_slot *slot = pop_empty_locked(pool);
    if (!slot) return false;
    if (!mp_limit_take_all(pool->limits, pool->limit_count, for_waiter)) {
        push_empty_locked(pool, slot);
        todo->evict_sibling = for_waiter;
        todo->gave_tokens = pool->limit_count > 1; /* those taken before the refusal */
        return false;
    }
    mp_store_relaxed(&pool->total, mp_load_relaxed(&pool->total) + 1); /* C10 */
    pool->opening++;
    slot->epoch = pool->epoch;
    mp_supply_place(pool, slot)->slots++;
    mp_waiter *first = mp_waitq_first(&pool->queue);
    uint32_t home = mp_hints_of_thread()->home;
    if (first && first->home) home = first->home;
    mp_store_relaxed(&slot->home, (uint8_t)home);
    mp_store_relaxed(&slot->was_home, 0);
    mp_store_relaxed(&slot->native, NULL);
    mp_store_relaxed(&slot->tag, NULL); /* the connector's memo, for now */
    slot->is_suspect = false;
    start_locked(pool, slot, MP_SLOT_OPENING, MP_OP_OPEN, todo);
    return true;
}

/* Connections that are on their way to those who wait. */
static uint32_t coming_locked(const mantis_pool *pool)
{
    return pool->opening + pool->checking + pool->resetting;
}

/* Have idle ones checked that may be lent only after that. */
static void check_suspects_locked(mantis_pool *pool, int64_t now_ns, mp_todo *todo)
{
    if (pool->settings.check_after_idle_ms < 0) return;
    MP_SLOTS_EACH(&pool->slots, slot)
    {
        if (pool->queue.count <= coming_locked(pool)) return;
        if (slot->is_suspect && mp_grant_hold_locked(slot))
            mp_supply_check_locked(pool, slot, now_ns, todo);
    }
}

/* How many should be opened now: for_waiters of them because somebody waits. */
static uint32_t wanted_locked(const mantis_pool *pool, uint32_t *for_waiters)
{
    uint32_t coming = coming_locked(pool), waiting = pool->queue.count;
    *for_waiters = waiting > coming ? waiting - coming : 0;
    uint32_t have = mp_load_relaxed(&pool->total) - pool->closing;
    uint32_t least = (uint32_t)pool->settings.conns_min + (pool->is_replacing ? 1 : 0);
    uint32_t missing = least > have ? least - have : 0;
    return missing > *for_waiters ? missing : *for_waiters;
}

void mp_supply_locked(mantis_pool *pool, int64_t now_ns, mp_todo *todo)
{
    uint32_t for_waiters = 0, wanted = 0;
    if (!pool->is_closed && !pool->is_paused) {
        if (pool->queue.count) check_suspects_locked(pool, now_ns, todo);
        wanted = wanted_locked(pool, &for_waiters);
    }
    uint32_t left = wanted;
    while (left > 0) {
        bool for_waiter = for_waiters > wanted - left;
        if (!open_one_locked(pool, now_ns, for_waiter, todo)) break;
        left--;
    }
    if (pool->limit_count == 0) return;
    /* Tokens and places in queues are for those who could use them at once. */
    bool is_waiting = left > 0 && for_waiters > wanted - left && may_open_locked(pool, now_ns);
    if (!is_waiting && mp_limit_withdraw(pool->limits, pool->limit_count)) todo->gave_tokens = true;
}

/* ---- completing operations ---- */

static void note_failure_locked(mantis_pool *pool, const mantis_error *error, int64_t now_ns)
{
    if (!pool->last_error) pool->last_error = calloc(1, sizeof *pool->last_error);
    if (pool->last_error) *pool->last_error = *error;
    pool->slow_start = 1;
    if (pool->failures > 0 && now_ns < pool->retry_at_ns) return; /* begun before the pause */
    uint32_t doublings = pool->failures < 30 ? pool->failures : 30;
    int64_t pause_ms = pool->settings.backoff_max_ms;
    if (pool->settings.backoff_min_ms <= pause_ms >> doublings)
        pause_ms = pool->settings.backoff_min_ms << doublings;
    pool->failures++;
    int64_t pause_ns = mp_clock_ns_of_ms(pause_ms);
    uint64_t jitter = mp_random_below(&pool->random, (uint64_t)pause_ns / 4 + 1);
    pool->retry_at_ns = mp_clock_after(now_ns, pause_ns - (int64_t)jitter);
}

/* The slot has no connection any more. */
static void empty_locked(mantis_pool *pool, mp_slot *slot, mp_todo *todo)
{
    mp_place *place = mp_supply_place(pool, slot);
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    mp_store_relaxed(&slot->native, NULL);
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_EMPTY));
    mp_store_relaxed(&pool->total, mp_load_relaxed(&pool->total) - 1); /* C10 */
    push_empty_locked(pool, slot);
    place->slots--;
    if (place->slots == 0 && place != mp_load_relaxed(&pool->places) && !place->is_stopped) {
        place->is_stopped = true;
        todo->stop = place;
    }
    if (pool->limit_count == 0) return;
    mp_limit_give_all(pool->limits, pool->limit_count);
    todo->gave_tokens = true;
}

static void opened_locked(mantis_pool *pool, mp_slot *slot, void *native, int64_t now_ns,
                          mp_todo *todo)
{
    int64_t lifetime_ns = mp_clock_ns_of_ms(pool->settings.lifetime_ms);
    int64_t percent = pool->settings.lifetime_jitter_percent;
    if (lifetime_ns != MP_NEVER_NS && percent > 0)
        lifetime_ns -= (int64_t)mp_random_below(&pool->random,
                                                (uint64_t)(lifetime_ns / 100 * percent) + 1);
    int64_t kept_ns = mp_pool_kept_ns(pool, now_ns);
    mp_store_relaxed(&slot->native, native);
    slot->born_ns = now_ns;
    slot->retire_at_ns = mp_clock_after(kept_ns, lifetime_ns);
    slot->seen_word = 0;
    slot->seen_ns = slot->check_at_ns = kept_ns;
    pool->counts.opened++;
    pool->failures = 0;
    if (pool->slow_start < (uint32_t)pool->settings.opening_max) pool->slow_start *= 2;
    mp_grant_settle_locked(pool, slot, now_ns, todo);
}

static void open_failed_locked(mantis_pool *pool, mp_slot *slot, const mantis_error *error,
                               int64_t now_ns, mp_todo *todo)
{
    pool->counts.open_failed++;
    note_failure_locked(pool, error, now_ns);
    todo->poke_ns = pool->retry_at_ns;
    empty_locked(pool, slot, todo);
    if (pool->settings.fail_fast && mp_pool_live_locked(pool) == 0)
        mp_grant_end_all_locked(pool, MANTIS_CONNECT_FAILED, todo);
}

/* A check or a reset is over. */
static void looked_at_locked(mantis_pool *pool, mp_slot *slot, bool is_fit, int64_t now_ns,
                             mp_todo *todo)
{
    slot->is_suspect = false;
    if (is_fit) {
        mp_grant_settle_locked(pool, slot, now_ns, todo);
        return;
    }
    pool->counts.check_failed++;
    pool->is_check_all = true; /* where one is dead, others may be */
    todo->poke_ns = now_ns;
    mp_supply_close_locked(pool, slot, MANTIS_CLOSE_CHECK, true, todo);
}

static void complete_locked(mantis_pool *pool, mp_slot *slot, enum mp_op_kind kind, void *native,
                            const mantis_error *error, mp_todo *todo)
{
    int64_t now_ns = mp_pool_now(pool);
    slot->u.watch = NULL;
    switch (kind) {
    case MP_OP_OPEN:
        pool->opening--;
        if (error) open_failed_locked(pool, slot, error, now_ns, todo);
        else opened_locked(pool, slot, native, now_ns, todo);
        break;
    case MP_OP_CHECK:
        pool->checking--;
        looked_at_locked(pool, slot, !error, now_ns, todo);
        break;
    case MP_OP_RESET:
        pool->resetting--;
        looked_at_locked(pool, slot, !error, now_ns, todo);
        break;
    default: /* a close that fails is over all the same */
        pool->closing--;
        empty_locked(pool, slot, todo);
        break;
    }
    mp_supply_locked(pool, now_ns, todo);
    mp_pool_changed_locked(pool, todo);
}

/* Tell the program, with no lock held. */
static void call_hooks(mantis_pool *pool, enum mp_op_kind kind, void *native,
                       const mantis_error *error, mantis_close_reason reason, int64_t took_ns)
{
    const mantis_hooks *hooks = &pool->hooks;
    if (kind == MP_OP_OPEN && !error && hooks->on_open) hooks->on_open(hooks->arg, native, took_ns);
    if (kind == MP_OP_OPEN && error) {
        if (hooks->on_open_failed) hooks->on_open_failed(hooks->arg, error->text);
        mp_pool_log(pool, MANTIS_LOG_WARNING, "a connection could not be opened: %s", error->text);
    }
    if ((kind == MP_OP_CLOSE || kind == MP_OP_ABORT) && hooks->on_close)
        hooks->on_close(hooks->arg, reason);
    if ((kind == MP_OP_CHECK || kind == MP_OP_RESET) && error)
        mp_pool_log(pool, MANTIS_LOG_WARNING, "a connection failed its %s: %s",
                    kind == MP_OP_CHECK ? "check" : "reset", error->text);
}

mantis_status mp_supply_complete(mp_slot *slot, void *native, const mantis_error *error)
{
    /* The one completion is who finds the kind; seq_cst: pairs with start_locked() */
    enum mp_op_kind kind = (enum mp_op_kind)mp_swap_seq_cst(&slot->op, MP_OP_NONE);
    if (kind == MP_OP_NONE) return MANTIS_STALE;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mp_add_seq_cst(&pool->inside, 1); /* not over: it has an operation under way */
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    int64_t took_ns = mp_clock_ns_of_ms(pool->settings.open_timeout_ms);
    took_ns = took_ns == MP_NEVER_NS ? 0 : mp_pool_now(pool) - (slot->u.op_due_ns - took_ns);
    mantis_close_reason reason = (mantis_close_reason)slot->reason;
    complete_locked(pool, slot, kind, native, error, &todo);
    mp_pool_unlock(pool, &todo);
    call_hooks(pool, kind, native, error, reason, took_ns);
    mp_pool_leave(pool);
    return MANTIS_OK;
}
