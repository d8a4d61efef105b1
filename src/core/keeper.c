/* Dates, ages, checks, samples: what is done about connections that nobody asks for. */
#include "core/keeper.h"

#include "base/histogram.h"
#include "base/thread.h"
#include "core/op.h"
#include "core/opener.h"
#include "core/registry.h"

#include <stdlib.h>

#define OVERDUE_MAX 16 /* operations aborted in one pass */

/* What one pass has to do once the lock is released. */
typedef struct keeper_pass {
    int64_t now_ns;
    int64_t kept_ns; /* the same without stalls */
    mp_todo todo;
    mp_slot *overdue[OVERDUE_MAX];
    uint32_t overdue_count;
    struct {
        uint32_t tid;
        const char *tag;
        int64_t held_ns;
    } leaks[OVERDUE_MAX];
    uint32_t leak_count;
} keeper_pass;

/* ---- what each slot is looked at for ---- */

static int64_t next_check_ns(mantis_pool *pool, int64_t kept_ns)
{
    int64_t interval_ns = mp_clock_ns_of_ms(pool->settings.check_interval_ms);
    if (interval_ns == MP_NEVER_NS) return MP_NEVER_NS;
    int64_t jitter = (int64_t)mp_random_below(&pool->random, (uint64_t)interval_ns / 10 + 1);
    return mp_clock_after(kept_ns, interval_ns - jitter);
}

/* Note since when a slot has been as it is. */
static void date_slot(mantis_pool *pool, mp_slot *slot, uint64_t word, const keeper_pass *pass)
{
    word &= ~MP_SLOT_RETIRE;
    if (slot->seen_word == word) return;
    enum mp_slot_state state = mp_slot_state(word);
    if (state == MP_SLOT_BUSY)
        slot->check_at_ns = mp_slot_state(slot->seen_word) == MP_SLOT_FREE ? slot->seen_ns
                                                                           : pass->kept_ns;
    if (state == MP_SLOT_FREE) slot->check_at_ns = next_check_ns(pool, pass->kept_ns);
    slot->seen_word = word;
    slot->seen_ns = pass->kept_ns;
    slot->leak_reported = false;
}

static void fold_sample(mantis_pool *pool, mp_slot *slot)
{
    int64_t sample_ns = mp_load_relaxed(&slot->sample_ns);
    if (sample_ns >= 0) return; /* none, or one that has not ended */
    if (!pool->figures) pool->figures = calloc(1, sizeof *pool->figures);
    if (!pool->figures || !mp_cas_seq_cst(&slot->sample_ns, &sample_ns, 0)) return;
    mp_histogram_add(&pool->figures->use, -sample_ns - 1);
}

static void look_at_op(mp_slot *slot, keeper_pass *pass)
{
    if (mp_load_relaxed(&slot->op) == MP_OP_NONE || pass->overdue_count == OVERDUE_MAX) return;
    uint8_t progress = MP_OP_STARTED; /* not one that still waits for a thread, or its home */
    if (pass->now_ns >= slot->u.op_due_ns &&
        mp_cas_seq_cst(&slot->progress, &progress, MP_OP_OVERDUE))
        pass->overdue[pass->overdue_count++] = slot;
}

static void look_at_busy(mantis_pool *pool, mp_slot *slot, uint64_t word, keeper_pass *pass)
{
    if (pass->kept_ns >= slot->retire_at_ns && !(word & MP_SLOT_RETIRE))
        mp_cas_seq_cst(&slot->word, &word,
                       word | MP_SLOT_RETIRE); /* its release looks at its age */
    int64_t held_ns = pass->kept_ns - slot->seen_ns;
    int64_t leak_ns = mp_clock_ns_of_ms(pool->settings.leak_after_ms);
    if (held_ns < leak_ns || slot->leak_reported || pass->leak_count == OVERDUE_MAX) return;
    slot->leak_reported = true;
    pool->counts.leaked++;
    pass->leaks[pass->leak_count].tid = mp_load_relaxed(&slot->tid);
    pass->leaks[pass->leak_count].tag = mp_load_relaxed(&slot->tag);
    pass->leaks[pass->leak_count++].held_ns = held_ns;
}

/* Why an idle connection should go; 0: it stays. */
static mantis_close_reason why_close(mantis_pool *pool, const mp_slot *slot,
                                     const keeper_pass *pass)
{
    bool is_above_min = mp_pool_live_locked(pool) > (uint64_t)pool->settings.conns_min;
    if (mp_load_relaxed(&pool->total) > mp_supply_max_locked(pool, pass->now_ns))
        return MANTIS_CLOSE_IDLE;
    if (pass->kept_ns >= slot->retire_at_ns) {
        bool can_replace = mp_load_relaxed(&pool->total) < mp_supply_max_locked(pool, pass->now_ns);
        if (is_above_min || !can_replace) return MANTIS_CLOSE_LIFETIME;
        pool->is_replacing = true; /* the new one first */
    }
    int64_t idle_ns = mp_clock_ns_of_ms(pool->settings.idle_timeout_ms);
    if (is_above_min && pass->kept_ns - slot->seen_ns >= idle_ns) return MANTIS_CLOSE_IDLE;
    if (pool->limit_count && mp_limit_is_over(pool->limits, pool->limit_count))
        return MANTIS_CLOSE_LIMIT;
    return (mantis_close_reason)0;
}

static void look_at_free(mantis_pool *pool, mp_slot *slot, uint64_t word, keeper_pass *pass)
{
    mantis_close_reason reason = why_close(pool, slot, pass);
    if (reason) {
        if (mp_grant_hold_locked(slot))
            mp_supply_close_locked(pool, slot, reason, false, &pass->todo);
        return;
    }
    if (!pool->connector->check || pool->is_paused) return;
    bool is_due = pass->kept_ns >= slot->check_at_ns || pool->is_check_all;
    uint32_t most = (uint32_t)pool->settings.opening_max;
    if (is_due && (pool->checking < most || pool->is_check_all)) {
        slot->check_at_ns = next_check_ns(pool, pass->kept_ns);
        if (mp_grant_hold_locked(slot))
            mp_supply_check_locked(pool, slot, pass->now_ns, &pass->todo);
        return;
    }
    int64_t suspect_ns = mp_clock_ns_of_ms(pool->settings.check_after_idle_ms);
    if (pass->kept_ns - slot->seen_ns < suspect_ns || (word & MP_SLOT_RETIRE)) return;
    if (mp_cas_seq_cst(&slot->word, &word, word | MP_SLOT_RETIRE)) slot->is_suspect = true;
}

static void look_at_slot(mantis_pool *pool, mp_slot *slot, keeper_pass *pass)
{
    uint64_t word = mp_load_seq_cst(&slot->word);
    date_slot(pool, slot, word, pass);
    fold_sample(pool, slot);
    enum mp_slot_state state = mp_slot_state(word);
    if (state == MP_SLOT_BUSY) look_at_busy(pool, slot, word, pass);
    else if (state == MP_SLOT_FREE) look_at_free(pool, slot, word, pass);
    else if (state != MP_SLOT_EMPTY) look_at_op(slot, pass);
}

/* ---- the pass ---- */

/* Take off the clock what the process stood still: nobody could use a connection meanwhile. */
static void note_stall(mantis_pool *pool, int64_t now_ns)
{
    if (pool->tended_ns && now_ns - pool->tend_due_ns > MP_KEEPER_STALL_NS)
        pool->stalled_ns += now_ns - pool->tend_due_ns;
    pool->tended_ns = now_ns;
}

/* An attention that no longer stands for anything is taken back. */
static void calm_locked(mantis_pool *pool)
{
    if (!(mp_load_relaxed(&pool->attention) & MP_ATTENTION_LIMIT) || pool->debt > 0) return;
    mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_LIMIT);
    if (mp_limit_is_wanted(pool->limits, pool->limit_count) ||
        mp_limit_is_over(pool->limits, pool->limit_count))
        mp_or_seq_cst(&pool->attention, MP_ATTENTION_LIMIT);
}

static int64_t next_due_ns(mantis_pool *pool, int64_t now_ns)
{
    int64_t due_ns = now_ns + MP_KEEPER_PASS_NS;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    if (pool->failures > 0 && pool->retry_at_ns > now_ns && pool->retry_at_ns < due_ns)
        due_ns = pool->retry_at_ns;
    if (!first || pool->settings.reserve == 0) return due_ns;
    int64_t reserve_ns = mp_clock_after(first->start_ns,
                                        mp_clock_ns_of_ms(pool->settings.reserve_after_ms));
    return reserve_ns > now_ns && reserve_ns < due_ns ? reserve_ns : due_ns;
}

static void report_leaks(mantis_pool *pool, const keeper_pass *pass)
{
    for (uint32_t i = 0; i < pass->leak_count; i++) {
        const char *tag = pass->leaks[i].tag;
        if (pool->hooks.on_leak)
            pool->hooks.on_leak(pool->hooks.arg, pass->leaks[i].tid, tag, pass->leaks[i].held_ns);
        mp_pool_log(pool, MANTIS_LOG_WARNING,
                    "a connection is held for %.1f s by thread %u (tag %s)",
                    (double)pass->leaks[i].held_ns / (double)MP_NS_PER_S, pass->leaks[i].tid,
                    tag ? tag : "none");
    }
}

int64_t mp_keeper_pass(mantis_pool *pool, int64_t now_ns)
{
    keeper_pass pass = {.now_ns = now_ns};
    mp_lock_acquire(&pool->lock);
    note_stall(pool, now_ns);
    pass.kept_ns = mp_pool_kept_ns(pool, now_ns);
    pool->is_replacing = false;
    MP_SLOTS_EACH(&pool->slots, slot) look_at_slot(pool, slot, &pass);
    pool->is_check_all = false;
    if (pool->limit_count) calm_locked(pool);
    mp_supply_locked(pool, now_ns, &pass.todo);
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    pass.todo.charge = first && now_ns - first->start_ns >= MP_LIMIT_PATIENCE_NS;
    int64_t due_ns = next_due_ns(pool, now_ns);
    pool->tend_due_ns = due_ns;
    mp_pool_changed_locked(pool, &pass.todo);
    mp_pool_unlock(pool, &pass.todo);
    for (uint32_t i = 0; i < pass.overdue_count; i++) mp_op_abort(pass.overdue[i]);
    report_leaks(pool, &pass);
    mp_opener_tend();
    return due_ns;
}

/* ---- the thread ---- */

static struct {
    mp_word word; /* counts what a sleeping keeper has to look at */
    struct {
        mp_heap due;
        bool is_running;
    } locked; /* by the registry's lock */
} keeper;

void mp_keeper_forget(void)
{
    keeper.locked.due = (mp_heap){0};
    keeper.locked.is_running = false;
}

static void wake(void)
{
    mp_add_relaxed(&keeper.word, 1);
    mp_park_wake_one(&keeper.word);
}

/* Make one pass of the pool that is due first. The lock is released meanwhile. */
static void tend_locked(mantis_pool *pool)
{
    mp_heap_remove(&keeper.locked.due, &pool->due);
    pool->is_tended = true;
    pool->poked_ns = MP_NEVER_NS;
    mp_add_seq_cst(&pool->inside, 1);
    mp_registry_unlock();
    int64_t due_ns = mp_keeper_pass(pool, mp_pool_now(pool));
    mp_registry_lock();
    pool->is_tended = false;
    if (pool->poked_ns < due_ns) due_ns = pool->poked_ns;
    if (pool->has_thread) mp_heap_push(&keeper.locked.due, &pool->due, due_ns);
    mp_registry_unlock();
    mp_pool_leave(pool);
    mp_registry_lock();
}

/* Sleep until the next pool is due. False: there has been none for long. */
static bool wait_locked(int64_t due_ns)
{
    uint32_t seen = mp_load_relaxed(&keeper.word);
    bool has_pools = keeper.locked.due.root != NULL;
    mp_registry_unlock();
    bool was_woken = mp_park_wait(&keeper.word, seen, due_ns);
    mp_registry_lock();
    return was_woken || has_pools;
}

static void run_keeper(void *arg)
{
    (void)arg;
    mp_registry_lock();
    for (;;) {
        mp_heap_node *first = mp_heap_first(&keeper.locked.due);
        int64_t now_ns = mp_clock_now_ns();
        if (first && first->due_ns <= now_ns) tend_locked(mp_container_of(first, mantis_pool, due));
        else if (!wait_locked(first ? first->due_ns : now_ns + MP_OPENER_IDLE_NS) &&
                 !keeper.locked.due.root)
            break;
    }
    keeper.locked.is_running = false;
    mp_registry_unlock();
}

mantis_status mp_keeper_add(mantis_pool *pool, mantis_error *error)
{
    mp_registry_lock();
    pool->has_thread = true;
    mp_heap_push(&keeper.locked.due, &pool->due, mp_clock_now_ns());
    bool starts = !keeper.locked.is_running;
    if (starts) keeper.locked.is_running = mp_thread_start("mantis-keeper", run_keeper, NULL);
    bool is_running = keeper.locked.is_running;
    mp_registry_unlock();
    if (!is_running)
        return mp_error_set(error, MANTIS_NOMEM, "the system has no more threads for the keeper");
    wake();
    return MANTIS_OK;
}

void mp_keeper_remove(mantis_pool *pool)
{
    mp_registry_lock();
    pool->has_thread = false;
    mp_heap_remove(&keeper.locked.due, &pool->due);
    mp_registry_unlock();
}

void mp_keeper_poke(mantis_pool *pool, int64_t due_ns)
{
    mp_registry_lock();
    if (pool->is_tended && due_ns < pool->poked_ns) pool->poked_ns = due_ns;
    bool is_earlier = pool->due.is_in && due_ns < pool->due.due_ns;
    if (is_earlier) {
        mp_heap_remove(&keeper.locked.due, &pool->due);
        mp_heap_push(&keeper.locked.due, &pool->due, due_ns);
    }
    bool wakes = is_earlier && keeper.locked.due.root == &pool->due;
    mp_registry_unlock();
    if (wakes) wake();
}

mantis_status mantis_pool_tend(mantis_pool *pool, int64_t now_ns, int64_t *due_ns)
{
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL);
    if (status != MANTIS_OK) return status;
    mp_registry_lock();
    bool is_mine = !pool->has_thread && !pool->is_tended;
    if (is_mine) pool->is_tended = true;
    mp_registry_unlock();
    if (is_mine) {
        int64_t due = mp_keeper_pass(pool, now_ns);
        if (due_ns) *due_ns = due;
        mp_registry_lock();
        pool->is_tended = false;
        mp_registry_unlock();
    }
    mp_pool_leave(pool);
    return is_mine ? MANTIS_OK : MANTIS_INVALID;
}
