/* Why somebody waits or got nothing, in one line that says what to do about it. */
#include "base/bytes.h"
#include "base/thread.h"
#include "core/pool.h"

#include <string.h>

static void add_busy_locked(mantis_pool *pool, int64_t now_ns, mp_text *text)
{
    mantis_holder longest;
    size_t busy = mp_holders_read_locked(pool, now_ns, &longest, 1);
    uint32_t max = mp_supply_max_locked(pool, now_ns);
    if (pool->settings.conns_max < 0) mp_text_add(text, "%zu busy", busy);
    else mp_text_add(text, "%zu of %u busy", busy, max);
    if (busy == 0) return;
    mp_text_add(text, ", longest held ");
    mp_text_add_time(text, longest.held_ns);
    if (longest.tid) mp_text_add(text, " by thread %u", longest.tid);
    if (longest.tag) mp_text_add(text, " (tag %.40s)", longest.tag);
}

/* What keeps new connections from coming. */
static void add_causes_locked(mantis_pool *pool, mp_text *text)
{
    const mantis_limit *full = mp_limit_full(pool->limits, pool->limit_count);
    if (pool->is_paused) mp_text_add(text, "; paused");
    if (full) mp_text_add(text, "; the limit '%.40s' is full", mp_limit_name(full));
    if (pool->failures > 0 && pool->last_error)
        mp_text_add(text, "; the last open failed: %s", pool->last_error->text);
    else if (pool->opening > 0) mp_text_add(text, "; %u being opened", pool->opening);
}

static void take_cause_locked(mantis_pool *pool, mantis_status status, mantis_error *error)
{
    error->status = status;
    if (pool->failures == 0 || !pool->last_error) return;
    error->os_errno = pool->last_error->os_errno;
    memcpy(error->sqlstate, pool->last_error->sqlstate, sizeof error->sqlstate);
}

/* The part that differs from outcome to outcome. */
static void add_outcome_locked(mantis_pool *pool, mantis_status status, int64_t waited_ns,
                               int64_t now_ns, mp_text *text)
{
    int64_t waiting_max = pool->settings.waiting_max;
    if (status == MANTIS_TIMEOUT) {
        mp_text_add(text, "no connection in ");
        mp_text_add_time(text, waited_ns);
    } else if (status != MANTIS_EXHAUSTED) {
        mp_text_add(text, "%s", mantis_status_text(status));
    } else if (waiting_max >= 0 && pool->queue.count >= waiting_max) {
        mp_text_add(text, "the queue is full: %u wait", pool->queue.count);
    } else if (mp_holders_has_all_locked(pool, mp_hints_tid(mp_hints_of_thread()), now_ns)) {
        mp_text_add(text, "this thread holds all connections itself: release one first, or "
                          "raise conns_max");
    } else {
        mp_text_add(text, "no connection is free");
    }
}

void mp_explain_request(mantis_pool *pool, mantis_status status, int64_t waited_ns, uint32_t ahead,
                        mantis_error *error)
{
    if (!error) return;
    *error = (mantis_error){0};
    mp_text text = {.data = error->text, .size = sizeof error->text};
    mp_lock_acquire(&pool->lock);
    int64_t now_ns = mp_pool_now(pool);
    mp_text_add(&text, "pool '%.60s': ", pool->name);
    add_outcome_locked(pool, status, waited_ns, now_ns, &text);
    if (status == MANTIS_TIMEOUT || status == MANTIS_EXHAUSTED) {
        mp_text_add(&text, ": ");
        add_busy_locked(pool, now_ns, &text);
        if (ahead) mp_text_add(&text, ", %u waited before you", ahead);
    }
    if (status != MANTIS_CLOSED) add_causes_locked(pool, &text);
    take_cause_locked(pool, status, error);
    mp_lock_release(&pool->lock);
}

static void add_state_locked(mantis_pool *pool, int64_t now_ns, mp_text *text)
{
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    mp_text_add(text, "pool '%.60s': %u open, ", pool->name, mp_load_relaxed(&pool->total));
    add_busy_locked(pool, now_ns, text);
    if (first) {
        mp_text_add(text, ", %u wait, the first for ", pool->queue.count);
        mp_text_add_time(text, now_ns - first->start_ns);
    }
    add_causes_locked(pool, text);
}

void mp_explain_state(mantis_pool *pool, mantis_status status, mantis_error *error)
{
    if (!error) return;
    *error = (mantis_error){0};
    mp_text text = {.data = error->text, .size = sizeof error->text};
    mp_lock_acquire(&pool->lock);
    add_state_locked(pool, mp_pool_now(pool), &text);
    take_cause_locked(pool, status, error);
    mp_lock_release(&pool->lock);
}

void mantis_waiter_explain(const mantis_waiter *waiter, mantis_pool *pool, mantis_error *error)
{
    if (waiter->status == MANTIS_OK) return;
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return;
    mp_explain_request(pool, waiter->status, waiter->waited_ns, waiter->ahead, error);
    mp_pool_leave(pool);
}

void mantis_pool_explain(mantis_pool *pool, char *out, size_t size)
{
    mp_text text = {.data = out, .size = size};
    mantis_error why;
    if (mp_pool_enter(pool, mp_load_relaxed(&pool->id), &why) != MANTIS_OK) {
        mp_text_add(&text, "%s", why.text);
        return;
    }
    mp_lock_acquire(&pool->lock);
    add_state_locked(pool, mp_pool_now(pool), &text);
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
}
