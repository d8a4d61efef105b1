/* How a connection finds its next borrower. */
#include "base/assert.h"
#include "core/pool.h"

/* ---- the end of a request ---- */

/* Give a queued request its one outcome (C6) and move it to its mailbox (C5). */
static void post_locked(mantis_pool *pool, mp_waiter *waiter, mantis_status status, int64_t now_ns,
                        mp_todo *todo)
{
    mantis_waiter *outer = mp_waiter_public(waiter);
    mp_assert(waiter->state == MP_WAITER_QUEUED); /* C5 */
    mp_waitq_remove(&pool->queue, waiter);
    mp_sub_seq_cst(&pool->attention, 1); /* C8 */
    outer->status = status;
    outer->waited_ns = now_ns - waiter->start_ns;
    mp_stats_add_wait_locked(pool, outer->waited_ns, status == MANTIS_OK);
    mp_todo_add_wake(todo, mp_mailbox_post(outer->mailbox, waiter));
}

void mp_grant_end_locked(mantis_pool *pool, mp_waiter *waiter, mantis_status status, int64_t now_ns,
                         mp_todo *todo)
{
    if (status == MANTIS_TIMEOUT) {
        pool->counts.timed_out++;
        todo->timed_out++;
        todo->waited_ns = now_ns - waiter->start_ns;
    } else if (status == MANTIS_CANCELLED) {
        pool->counts.cancelled++;
    } else {
        pool->counts.failed++;
    }
    post_locked(pool, waiter, status, now_ns, todo);
}

void mp_grant_end_all_locked(mantis_pool *pool, mantis_status status, mp_todo *todo)
{
    int64_t now_ns = mp_pool_now(pool);
    for (mp_waiter *waiter; (waiter = mp_waitq_first(&pool->queue));)
        mp_grant_end_locked(pool, waiter, status, now_ns, todo);
}

/* ---- joining the queue ---- */

static mantis_status why_not_wait_locked(mantis_pool *pool, const mp_waiter *waiter)
{
    int64_t max = pool->settings.waiting_max;
    if (pool->is_closed) return MANTIS_CLOSED;
    if (pool->is_paused && pool->pause_fails) return MANTIS_PAUSED;
    if (pool->queue.count >= (max < 0 ? MP_ATTENTION_WAITERS : (uint32_t)max))
        return MANTIS_EXHAUSTED;
    if (pool->settings.fail_fast && pool->failures > 0 && mp_pool_live_locked(pool) == 0)
        return MANTIS_CONNECT_FAILED;
    if (waiter->is_blocking && mp_holders_has_all_locked(pool, waiter->tid, waiter->start_ns))
        return MANTIS_EXHAUSTED;
    return MANTIS_OK;
}

mantis_status mp_grant_enqueue_locked(mantis_pool *pool, mp_waiter *waiter)
{
    mantis_waiter *outer = mp_waiter_public(waiter);
    outer->ahead = pool->queue.count;
    outer->waited_ns = 0;
    mantis_status status = why_not_wait_locked(pool, waiter);
    if (status == MANTIS_CONNECT_FAILED) pool->counts.failed++;
    else if (status != MANTIS_OK) mp_add_relaxed(&pool->refused, 1);
    if (status != MANTIS_OK) return status;
    mp_waitq_push(&pool->queue, waiter);
    waiter->state = MP_WAITER_QUEUED;
    mp_add_seq_cst(&pool->attention, 1); /* C8: before it looks for a free slot again */
    return MANTIS_OK;
}

/* ---- settling a slot ---- */

/* Whose turn it is, after ending those whose deadline has passed (C7). */
static mp_waiter *next_waiter_locked(mantis_pool *pool, uint32_t home, int64_t now_ns,
                                     mp_todo *todo)
{
    for (;;) {
        mp_waiter *waiter = mp_waitq_choose(&pool->queue, home, now_ns);
        if (!waiter || now_ns < waiter->deadline_ns) return waiter;
        mp_grant_end_locked(pool, waiter, MANTIS_TIMEOUT, now_ns, todo);
    }
}

static void lend_locked(mantis_pool *pool, mp_slot *slot, mp_waiter *waiter, int64_t now_ns,
                        mp_todo *todo)
{
    mantis_waiter *outer = mp_waiter_public(waiter);
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word)) + 1; /* C2 */
    slot->u.watch = NULL;
    mp_store_relaxed(&slot->tid, waiter->tid);
    mp_store_relaxed(&slot->tag, NULL);
    mp_store_relaxed(&slot->sample_ns, generation % 64 == 0 ? now_ns : 0);
    if (waiter->home) mp_conn_set_home(pool, slot, waiter->home);
    outer->conn = (mantis_conn){
        .pool = mp_load_relaxed(&pool->id), .slot = slot->index, .generation = generation};
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_BUSY));
    pool->counts.handed_off++;
    post_locked(pool, waiter, MANTIS_OK, now_ns, todo);
}

/* Put it where anybody finds it, or with RETIRE where only the core does. */
static void free_locked(mp_slot *slot, bool is_retired)
{
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    uint64_t retire = is_retired ? MP_SLOT_RETIRE : 0;
    slot->u.watch = NULL;
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_FREE) | retire); /* C8 */
    if (!is_retired) mp_slot_set_bit(slot);                                         /* C4 */
}

/* An old connection goes when that leaves conns_min, or when no other can be opened first. */
static bool may_retire_locked(mantis_pool *pool, int64_t now_ns)
{
    if (mp_pool_live_locked(pool) > (uint64_t)pool->settings.conns_min) return true;
    if (mp_load_relaxed(&pool->total) >= mp_supply_max_locked(pool, now_ns)) return true;
    pool->is_replacing = true;
    return false;
}

/* Why a slot in the caller's hands is to be closed; 0: it stays. */
static mantis_close_reason why_close_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns)
{
    if (pool->is_closed) return MANTIS_CLOSE_POOL;
    if (slot->epoch != pool->epoch) return MANTIS_CLOSE_EVICTED;
    if (mp_load_relaxed(&pool->total) > mp_supply_max_locked(pool, now_ns))
        return MANTIS_CLOSE_IDLE;
    if (pool->debt > 0) {
        pool->debt--;
        return MANTIS_CLOSE_LIMIT;
    }
    if (pool->limit_count && mp_limit_is_over(pool->limits, pool->limit_count))
        return MANTIS_CLOSE_LIMIT;
    if (mp_pool_kept_ns(pool, now_ns) >= slot->retire_at_ns && may_retire_locked(pool, now_ns)) {
        pool->is_replacing = false;
        return MANTIS_CLOSE_LIFETIME;
    }
    return (mantis_close_reason)0;
}

void mp_grant_settle_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo)
{
    mantis_close_reason reason = why_close_locked(pool, slot, now_ns);
    if (reason) {
        mp_supply_close_locked(pool, slot, reason, false, todo);
        return;
    }
    if (pool->is_paused) {
        free_locked(slot, true);
        return;
    }
    if (slot->is_suspect && pool->connector->check) {
        mp_supply_check_locked(pool, slot, now_ns, todo);
        return;
    }
    uint32_t home = mp_load_relaxed(&slot->home);
    mp_waiter *waiter = next_waiter_locked(pool, home, now_ns, todo);
    if (waiter) lend_locked(pool, slot, waiter, now_ns, todo);
    else if (pool->limit_count && mp_limit_is_wanted(pool->limits, pool->limit_count))
        mp_supply_close_locked(pool, slot, MANTIS_CLOSE_LIMIT, false, todo);
    else free_locked(slot, false);
}

/* ---- matching what is free with who waits ---- */

/* Look at one slot in this thread's hands, and lend it to who waits. False: nobody does. */
static bool serve_one(mantis_pool *pool, mp_slot *slot)
{
    bool is_broken = pool->is_broken && pool->is_broken(mp_supply_place(pool, slot)->place,
                                                        mp_load_relaxed(&slot->native));
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    if (is_broken) mp_supply_close_locked(pool, slot, MANTIS_CLOSE_BROKEN, true, &todo);
    else mp_grant_settle_locked(pool, slot, mp_pool_now(pool), &todo);
    bool more = pool->queue.count > 0;
    mp_pool_unlock(pool, &todo);
    return more;
}

void mp_grant_serve(mantis_pool *pool)
{
    uint64_t word;
    for (mp_slot *slot; (slot = mp_slots_take(&pool->slots, MP_SLOT_HOLD, &word));)
        if (!serve_one(pool, slot)) return;
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    mp_supply_locked(pool, mp_pool_now(pool), &todo);
    mp_pool_unlock(pool, &todo);
}

void mp_grant_serve_id(mantis_pool *pool, uint32_t id)
{
    if (mp_pool_enter(pool, id, NULL) != MANTIS_OK) return;
    mp_grant_serve(pool);
    mp_pool_leave(pool);
}

/* ---- the rare operation pays (C3) ---- */

/* Take a FREE slot out of everybody's reach. Under the lock, so one with RETIRE is the lock
 * holder's already. */
static bool hold_locked(mp_slot *slot, uint64_t word)
{
    uint64_t held = (word & ~MP_SLOT_LOW_MASK) | MP_SLOT_CHECKING;
    return mp_cas_seq_cst(&slot->word, &word, held);
}

static void sweep_slot_locked(mantis_pool *pool, mp_slot *slot, mantis_close_reason close,
                              mp_todo *todo)
{
    for (;;) {
        uint64_t word = mp_load_seq_cst(&slot->word);
        enum mp_slot_state state = mp_slot_state(word);
        if (state == MP_SLOT_FREE && close) {
            if (!hold_locked(slot, word)) continue;
            mp_supply_close_locked(pool, slot, close, false, todo);
            return;
        }
        bool is_marked = (word & MP_SLOT_RETIRE) != 0;
        if ((state != MP_SLOT_FREE && state != MP_SLOT_BUSY) || is_marked) return;
        if (mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) return;
    }
}

void mp_grant_sweep_locked(mantis_pool *pool, mantis_close_reason close, mp_todo *todo)
{
    MP_SLOTS_EACH(&pool->slots, slot) sweep_slot_locked(pool, slot, close, todo);
}

void mp_grant_mark_busy_locked(mp_slot *slot)
{
    uint64_t word = mp_load_seq_cst(&slot->word);
    while (mp_slot_state(word) == MP_SLOT_BUSY &&
           !mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) {}
}

bool mp_grant_hold_locked(mp_slot *slot)
{
    uint64_t word = mp_load_seq_cst(&slot->word);
    return mp_slot_state(word) == MP_SLOT_FREE && hold_locked(slot, word);
}
