/* How a connection finds its next borrower. */
#include "base/assert.h"
#include "base/histogram.h"
#include "core/pool.h"

#include <stdlib.h>

/* ---- the end of a request ---- */

static void count_wait_locked(mantis_pool *pool, int64_t wait_ns, bool is_granted) {
    pool->counts.wait_sum_ns += wait_ns;
    if (!is_granted) return;
    pool->counts.waited++;
    /* Once in a pool's life, by the first who had to wait: the fast paths allocate nothing. */
    if (!pool->figures) pool->figures = calloc(1, sizeof *pool->figures);
    if (pool->figures) mp_histogram_add(&pool->figures->wait, wait_ns);
}

/* Give a queued request its one outcome (C6) and move it to its mailbox (C5). */
static void post_locked(mp_turn *turn, mp_waiter *waiter, mantis_status status) {
    mantis_waiter *outer = mp_waiter_public(waiter);
    mp_assert(mp_load_relaxed(&waiter->state) == MP_WAITER_QUEUED); /* C5 */
    mp_waitq_remove(&turn->pool->queue, waiter);
    mp_sub_seq_cst(&turn->pool->attention, 1); /* C8 */
    outer->status = status;
    outer->waited_ns = turn->now_ns - waiter->start_ns;
    count_wait_locked(turn->pool, outer->waited_ns, status == MANTIS_OK);
    mp_turn_add_wake(turn, mp_mailbox_post(outer->mailbox, waiter));
}

void mp_grant_end_locked(mp_turn *turn, mp_waiter *waiter, mantis_status status) {
    mp_counts *counts = &turn->pool->counts;
    if (status == MANTIS_TIMEOUT) {
        counts->timed_out++;
        turn->timed_out++;
        turn->waited_ns = turn->now_ns - waiter->start_ns;
    } else if (status == MANTIS_CANCELLED) counts->cancelled++;
    else counts->failed++;
    post_locked(turn, waiter, status);
}

void mp_grant_end_all_locked(mp_turn *turn, mantis_status status) {
    for (mp_waiter *waiter; (waiter = mp_waitq_first(&turn->pool->queue));)
        mp_grant_end_locked(turn, waiter, status);
}

void mp_grant_expire(mp_waiter *waiter) {
    mantis_pool *pool = waiter->pool;
    if (mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED) return;
    mp_add_seq_cst(&pool->inside, 1);
    mp_turn turn = mp_turn_begin(pool);
    if (mp_load_relaxed(&waiter->state) == MP_WAITER_QUEUED)
        mp_grant_end_locked(&turn, waiter, MANTIS_TIMEOUT);
    mp_turn_end(&turn);
    mp_pool_leave(pool);
}

/* ---- joining the queue ---- */

static mantis_status why_not_wait_locked(const mp_turn *turn, const mp_waiter *waiter) {
    const mantis_pool *pool = turn->pool;
    int64_t max = pool->settings.waiting_max;
    if (pool->is_closed) return MANTIS_CLOSED;
    if (pool->is_paused && pool->pause_fails) return MANTIS_PAUSED;
    if (pool->queue.count >= (max < 0 ? MP_ATTENTION_WAITERS : (uint32_t)max))
        return MANTIS_EXHAUSTED;
    /* Once the pause is over somebody has to wait, or nobody would ever try again. */
    bool is_trying = pool->opening > 0 || turn->now_ns < pool->retry_at_ns;
    if (pool->settings.fail_fast && pool->failures && is_trying && mp_pool_live(pool) == 0)
        return MANTIS_CONNECT_FAILED;
    if (waiter->is_blocking && mp_holders_has_all_locked(turn, waiter->tid))
        return MANTIS_EXHAUSTED;
    return MANTIS_OK;
}

mantis_status mp_grant_enqueue_locked(mp_turn *turn, mp_waiter *waiter) {
    mantis_pool *pool = turn->pool;
    mantis_waiter *outer = mp_waiter_public(waiter);
    outer->ahead = pool->queue.count;
    outer->waited_ns = 0;
    mantis_status status = why_not_wait_locked(turn, waiter);
    if (status == MANTIS_CONNECT_FAILED) pool->counts.failed++;
    else if (status != MANTIS_OK) mp_add_relaxed(&pool->refused, 1);
    if (status != MANTIS_OK) return status;
    mp_waitq_push(&pool->queue, waiter);
    mp_store_relaxed(&waiter->state, MP_WAITER_QUEUED);
    if (pool->settings.reserve && outer->ahead == 0) turn->poke_ns = turn->now_ns; /* plans it */
    mp_add_seq_cst(&pool->attention, 1); /* C8: before it looks for a free slot again */
    return MANTIS_OK;
}

/* ---- settling a slot ---- */

/* Whose turn it is, after ending those whose deadline has passed (C7). */
static mp_waiter *next_waiter_locked(mp_turn *turn, uint32_t home) {
    for (;;) {
        mp_waiter *waiter = mp_waitq_choose(&turn->pool->queue, home, turn->now_ns);
        if (!waiter || turn->now_ns < waiter->deadline_ns) return waiter;
        mp_grant_end_locked(turn, waiter, MANTIS_TIMEOUT);
    }
}

void mp_grant_set_home(mantis_pool *pool, mp_slot *slot, uint32_t home) {
    uint8_t before = mp_load_relaxed(&slot->home);
    mp_store_relaxed(&slot->was_home, before);
    mp_store_relaxed(&slot->home, (uint8_t)home);
    if (before != 0 && before != home) mp_add_relaxed(&pool->moved, 1);
}

static void lend_locked(mp_turn *turn, mp_slot *slot, mp_waiter *waiter) {
    mantis_waiter *outer = mp_waiter_public(waiter);
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word)) + 1; /* C2 */
    slot->u.list.watch = NULL;
    if (generation % MP_SAMPLE_EVERY == 0) mp_store_relaxed(&slot->sample_ns, turn->now_ns);
    mp_store_release(&slot->holder, mp_slot_holder(generation, waiter->tid));
    if (waiter->home) mp_grant_set_home(turn->pool, slot, waiter->home);
    outer->conn = (mantis_conn){
        .pool = mp_load_relaxed(&turn->pool->id), .slot = slot->index, .generation = generation};
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_BUSY));
    turn->pool->counts.handed_off++;
    post_locked(turn, waiter, MANTIS_OK);
}

/* Put it where anybody finds it, or with RETIRE where only the core does. */
static void free_slot(mp_slot *slot, bool is_retired) {
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    uint64_t retire = is_retired ? MP_SLOT_RETIRE : 0;
    slot->u.list.watch = NULL;
    mp_store_seq_cst(&slot->word, mp_slot_word(generation, MP_SLOT_FREE) | retire); /* C8 */
    if (!is_retired) mp_slot_set_bit(slot);                                         /* C4 */
}

/* Why a slot in the caller's hands is to be closed; 0: it stays. */
static mantis_close_reason why_close_locked(mp_turn *turn, const mp_slot *slot) {
    mantis_pool *pool = turn->pool;
    if (pool->is_closed) return MANTIS_CLOSE_POOL;
    if (slot->epoch != pool->epoch) return MANTIS_CLOSE_EVICTED;
    if (mp_supply_room(turn) < 0) return MANTIS_CLOSE_IDLE;
    if (pool->debt > 0 || mp_limit_is_over(pool->limits, pool->limit_count)) {
        pool->debt = 0;
        return MANTIS_CLOSE_LIMIT;
    }
    if (mp_turn_kept_ns(turn) < slot->retire_at_ns || !mp_supply_may_retire_locked(turn))
        return (mantis_close_reason)0;
    return MANTIS_CLOSE_LIFETIME;
}

void mp_grant_settle_locked(mp_turn *turn, mp_slot *slot) {
    mantis_pool *pool = turn->pool;
    mp_store_relaxed(&slot->tag, NULL); /* the last borrower's */
    mantis_close_reason reason = why_close_locked(turn, slot);
    if (reason) {
        mp_supply_close_locked(turn, slot, reason, false);
    } else if (pool->is_paused) {
        free_slot(slot, true);
    } else if (slot->is_suspect && pool->connector->check) {
        mp_supply_check_locked(turn, slot);
    } else {
        mp_waiter *waiter = next_waiter_locked(turn, mp_load_relaxed(&slot->home));
        if (waiter) lend_locked(turn, slot, waiter);
        else if (mp_limit_is_wanted(pool->limits, pool->limit_count))
            mp_supply_close_locked(turn, slot, MANTIS_CLOSE_LIMIT, false);
        else free_slot(slot, false);
    }
}

/* ---- matching what is free with who waits ---- */

/* Look at one slot in this thread's hands, and lend it to who waits. False: nobody does. */
static bool serve_one(mantis_pool *pool, mp_slot *slot) {
    bool is_broken = mp_supply_is_broken(pool, slot);
    mp_turn turn = mp_turn_begin(pool);
    if (is_broken) mp_supply_close_locked(&turn, slot, MANTIS_CLOSE_BROKEN, true);
    else mp_grant_settle_locked(&turn, slot);
    bool more = pool->queue.count > 0;
    mp_turn_changed_locked(&turn);
    mp_turn_end(&turn);
    return more;
}

void mp_grant_serve(mantis_pool *pool) {
    uint64_t word;
    for (mp_slot *slot; (slot = mp_slots_take(&pool->slots, MP_SLOT_HOLD, &word));)
        if (!serve_one(pool, slot)) return;
    mp_turn turn = mp_turn_begin(pool);
    mp_supply_locked(&turn);
    mp_turn_changed_locked(&turn);
    mp_turn_end(&turn);
}

void mp_grant_serve_id(mantis_pool *pool, uint32_t id) {
    if (mp_pool_enter(pool, id, NULL) != MANTIS_OK) return;
    mp_grant_serve(pool);
    mp_pool_leave(pool);
}

/* ---- the rare operation pays (C3) ---- */

/* Take a FREE slot out of everybody's reach: one with RETIRE is the lock holder's already. */
static bool hold(mp_slot *slot, uint64_t word) {
    return mp_cas_seq_cst(&slot->word, &word, (word & ~MP_SLOT_LOW_MASK) | MP_SLOT_CHECKING);
}

bool mp_grant_hold(mp_slot *slot) {
    uint64_t word = mp_load_seq_cst(&slot->word);
    return mp_slot_state(word) == MP_SLOT_FREE && hold(slot, word);
}

void mp_grant_mark_busy(mp_slot *slot) {
    uint64_t word = mp_load_seq_cst(&slot->word);
    while (mp_slot_state(word) == MP_SLOT_BUSY &&
           !mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) {}
}

void mp_grant_sweep_slot_locked(mp_turn *turn, mp_slot *slot, mantis_close_reason close) {
    for (;;) {
        uint64_t word = mp_load_seq_cst(&slot->word);
        enum mp_slot_state state = mp_slot_state(word);
        if (state == MP_SLOT_FREE && close) {
            if (!hold(slot, word)) continue;
            mp_supply_close_locked(turn, slot, close, false);
            return;
        }
        bool is_marked = (word & MP_SLOT_RETIRE) != 0;
        if ((state != MP_SLOT_FREE && state != MP_SLOT_BUSY) || is_marked) return;
        if (mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) return;
    }
}

void mp_grant_sweep_locked(mp_turn *turn, mantis_close_reason close) {
    MP_SLOTS_EACH(&turn->pool->slots, slot) mp_grant_sweep_slot_locked(turn, slot, close);
}
