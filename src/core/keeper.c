/* The pass that keeps pools healthy: what is done about connections that nobody asks for. */
#include "core/pool.h"

#include "base/histogram.h"

#include <stdlib.h>

#define PASS_NS MP_NS_PER_S           /* between two passes of a pool, at most */
#define STALL_NS (2 * MP_NS_PER_S)    /* later than this: the process stood still */
#define LIMIT_PATIENCE_NS MP_NS_PER_S /* then a member of a shared limit owes a connection */
#define REPORTED_MAX 16               /* operations interrupted, and leaks told, in one pass */

/* One pass. */
typedef struct keeper_pass {
    mp_turn turn;
    mantis_pool *pool;
    int64_t kept_ns; /* now, without stalls */
    mp_slot *overdue[REPORTED_MAX];
    uint32_t overdue_count;
    mantis_holder leaks[REPORTED_MAX];
    uint32_t leak_count;
} keeper_pass;

/* ---- what each slot is looked at for ---- */

static int64_t next_check_ns(const keeper_pass *pass) {
    int64_t interval_ns = mp_clock_ns_of_ms(pass->pool->settings.check_interval_ms);
    return mp_clock_after(pass->kept_ns, mp_random_shorten(&pass->pool->random, interval_ns, 10));
}

/* Note since when a slot has been as it is. */
static void date_slot(const keeper_pass *pass, mp_slot *slot, uint64_t word) {
    word &= ~MP_SLOT_RETIRE;
    if (slot->seen_word == word || mp_slot_state(word) == MP_SLOT_CHECKING) return; /* still idle */
    /* Idle until just before this very grant, and not only long ago. */
    bool was_free = slot->seen_word + MP_SLOT_GRANT == word;
    if (mp_slot_state(word) == MP_SLOT_BUSY)
        slot->check_at_ns = was_free ? slot->seen_ns : pass->kept_ns;
    if (mp_slot_state(word) == MP_SLOT_FREE) slot->check_at_ns = next_check_ns(pass);
    slot->seen_word = word;
    slot->seen_ns = pass->kept_ns;
    slot->leak_reported = false;
}

static void fold_sample(mantis_pool *pool, mp_slot *slot) {
    int64_t sample_ns = mp_load_relaxed(&slot->sample_ns);
    if (sample_ns >= 0) return; /* none, or one that has not ended */
    if (!pool->figures) pool->figures = calloc(1, sizeof *pool->figures);
    if (!pool->figures || !mp_cas_seq_cst(&slot->sample_ns, &sample_ns, 0)) return;
    mp_histogram_add(&pool->figures->use, -sample_ns - 1);
}

static void look_at_op(keeper_pass *pass, mp_slot *slot) {
    if (mp_load_relaxed(&slot->op) == MP_OP_NONE || pass->overdue_count == REPORTED_MAX) return;
    uint8_t progress = MP_OP_STARTED; /* not one that still waits for a thread, or its home */
    if (pass->turn.now_ns >= slot->u.task.due_ns &&
        mp_cas_seq_cst(&slot->progress, &progress, MP_OP_OVERDUE))
        pass->overdue[pass->overdue_count++] = slot;
}

static void look_at_busy(keeper_pass *pass, mp_slot *slot, uint64_t word) {
    if (pass->kept_ns >= slot->retire_at_ns)
        mp_grant_mark_busy(slot); /* its release looks at its age */
    int64_t held_ns = pass->kept_ns - slot->seen_ns;
    int64_t leak_ns = mp_clock_ns_of_ms(pass->pool->settings.leak_after_ms);
    if (held_ns < leak_ns || slot->leak_reported || pass->leak_count == REPORTED_MAX) return;
    slot->leak_reported = true;
    pass->pool->counts.leaked++;
    pass->leaks[pass->leak_count++] = (mantis_holder){
        .tid = mp_slot_tid(slot, word), .tag = mp_load_relaxed(&slot->tag), .held_ns = held_ns};
}

/* Why an idle connection should go; 0: it stays. */
static mantis_close_reason why_close_locked(keeper_pass *pass, const mp_slot *slot) {
    const mantis_pool *pool = pass->pool;
    int64_t idle_ns = mp_clock_ns_of_ms(pool->settings.idle_timeout_ms);
    bool is_above_min = mp_pool_live(pool) > (uint64_t)pool->settings.conns_min;
    if (mp_supply_room(&pass->turn) < 0) return MANTIS_CLOSE_IDLE;
    if (pass->kept_ns >= slot->retire_at_ns && mp_supply_may_retire_locked(&pass->turn))
        return MANTIS_CLOSE_LIFETIME;
    if (is_above_min && pass->kept_ns - slot->seen_ns >= idle_ns) return MANTIS_CLOSE_IDLE;
    return mp_limit_is_over(pool->limits, pool->limit_count) ? MANTIS_CLOSE_LIMIT
                                                             : (mantis_close_reason)0;
}

static void look_at_free(keeper_pass *pass, mp_slot *slot, uint64_t word) {
    mantis_pool *pool = pass->pool;
    mantis_close_reason reason = why_close_locked(pass, slot);
    if (reason) {
        if (mp_grant_hold(slot)) mp_supply_close_locked(&pass->turn, slot, reason, false);
        return;
    }
    if (!pool->connector->check || pool->is_paused) return;
    bool is_due = pass->kept_ns >= slot->check_at_ns && pool->checking < pool->settings.opening_max;
    if (is_due || pool->is_check_all) {
        slot->check_at_ns = next_check_ns(pass);
        if (mp_grant_hold(slot)) mp_supply_check_locked(&pass->turn, slot);
        return;
    }
    int64_t suspect_ns = mp_clock_ns_of_ms(pool->settings.check_after_idle_ms);
    if (pass->kept_ns - slot->seen_ns < suspect_ns || (word & MP_SLOT_RETIRE)) return;
    if (mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) slot->is_suspect = true;
}

static void look_at_slot(keeper_pass *pass, mp_slot *slot) {
    uint64_t word = mp_load_seq_cst(&slot->word);
    date_slot(pass, slot, word);
    fold_sample(pass->pool, slot);
    enum mp_slot_state state = mp_slot_state(word);
    if (state == MP_SLOT_BUSY) look_at_busy(pass, slot, word);
    else if (state == MP_SLOT_FREE) look_at_free(pass, slot, word);
    else if (state != MP_SLOT_EMPTY) look_at_op(pass, slot);
}

/* ---- the pass ---- */

/* Take off the clock what the process stood still: nobody could use a connection meanwhile. */
static void note_stall_locked(mantis_pool *pool, int64_t now_ns) {
    if (pool->tended_ns && now_ns - pool->tend_due_ns > STALL_NS)
        pool->stalled_ns += now_ns - pool->tend_due_ns;
    pool->tended_ns = now_ns;
}

/* An attention that no longer stands for anything is taken back. */
static void calm_locked(mantis_pool *pool) {
    if (!(mp_load_relaxed(&pool->attention) & MP_ATTENTION_LIMIT) || pool->debt > 0) return;
    mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_LIMIT);
    if (mp_limit_is_wanted(pool->limits, pool->limit_count) ||
        mp_limit_is_over(pool->limits, pool->limit_count))
        mp_or_seq_cst(&pool->attention, MP_ATTENTION_LIMIT);
}

static int64_t plan_next(mantis_pool *pool, int64_t now_ns) {
    mp_lock_acquire(&pool->lock);
    int64_t due_ns = now_ns + PASS_NS;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    int64_t reserve_ns = MP_NEVER_NS;
    if (first && pool->settings.reserve)
        reserve_ns = mp_clock_after(first->start_ns,
                                    mp_clock_ns_of_ms(pool->settings.reserve_after_ms));
    if (pool->failures > 0 && pool->retry_at_ns > now_ns && pool->retry_at_ns < due_ns)
        due_ns = pool->retry_at_ns;
    if (reserve_ns > now_ns && reserve_ns < due_ns) due_ns = reserve_ns;
    pool->tend_due_ns = due_ns;
    pool->is_interrupting = false;
    mp_lock_release(&pool->lock);
    return due_ns;
}

/* What was found, told with no lock held. */
static void tell(mantis_pool *pool, const keeper_pass *pass) {
    for (uint32_t i = 0; i < pass->overdue_count; i++) mp_op_interrupt(pass->overdue[i]);
    for (uint32_t i = 0; i < pass->leak_count; i++) {
        const mantis_holder *leak = &pass->leaks[i];
        if (pool->hooks->on_leak)
            pool->hooks->on_leak(pool->hooks->arg, leak->tid, leak->tag, leak->held_ns);
        mp_pool_log(
            pool, MANTIS_LOG_WARNING, "a connection is held for %.1f s by thread %u (tag %s)",
            (double)leak->held_ns / (double)MP_NS_PER_S, leak->tid, leak->tag ? leak->tag : "none");
    }
}

static int64_t make_pass(mantis_pool *pool, int64_t now_ns) {
    keeper_pass pass = {.turn = mp_turn_begin(pool), .pool = pool};
    pass.turn.now_ns = now_ns;
    note_stall_locked(pool, now_ns);
    pass.kept_ns = mp_turn_kept_ns(&pass.turn);
    pool->is_replacing = false;
    MP_SLOTS_EACH(&pool->slots, slot) look_at_slot(&pass, slot);
    pool->is_check_all = false;
    calm_locked(pool);
    mp_supply_locked(&pass.turn);
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    pass.turn.is_patient = first && now_ns - first->start_ns >= LIMIT_PATIENCE_NS;
    mp_turn_changed_locked(&pass.turn);
    pool->is_interrupting = pass.overdue_count > 0;
    mp_turn_end(&pass.turn);
    mp_hints_of_thread()->calling_out++;
    tell(pool, &pass);
    mp_hints_of_thread()->calling_out--;
    mp_crew_tend(&mp_op_crew);
    return plan_next(pool, now_ns);
}

/* ---- who makes it ---- */

static mantis_pool *pool_of(mp_tick *tick) { return mp_container_of(tick, mantis_pool, tick); }
static void hold(mp_tick *tick) { mp_add_seq_cst(&pool_of(tick)->inside, 1); }
static void release(mp_tick *tick) { mp_pool_leave(pool_of(tick)); }
static int64_t run(mp_tick *tick) { return make_pass(pool_of(tick), mp_pool_now(pool_of(tick))); }

mp_ticker mp_keeper = {.name = "mantis-keeper", .hold = hold, .run = run, .release = release};

mantis_status mantis_pool_tend(mantis_pool *pool, int64_t now_ns, int64_t *due_ns) {
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL);
    if (status != MANTIS_OK) return status;
    bool is_mine = mp_ticker_claim(&mp_keeper, &pool->tick);
    if (is_mine) {
        int64_t due = make_pass(pool, now_ns);
        if (due_ns) *due_ns = due;
        mp_ticker_unclaim(&mp_keeper, &pool->tick);
    }
    mp_pool_leave(pool);
    return is_mine ? MANTIS_OK : MANTIS_INVALID;
}
