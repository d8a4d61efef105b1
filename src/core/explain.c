/* Why somebody waits or got nothing, in one line that says what to do about it. */
#include "base/bytes.h"
#include "base/thread.h"
#include "core/pool.h"

#include <string.h>

static void add_busy_locked(const mp_turn *turn, mp_text *text) {
    mantis_holder longest = {.held_ns = -1}, holder;
    uint32_t busy = 0;
    MP_SLOTS_EACH(&turn->pool->slots, slot) {
        if (!mp_holders_read_locked(turn, slot, &holder)) continue;
        if (holder.held_ns > longest.held_ns) longest = holder;
        busy++;
    }
    mp_text_add(text, "%u of %u busy", busy, mp_supply_max(turn->pool, turn->now_ns));
    if (busy == 0) return;
    mp_text_add(text, ", longest held ");
    if (longest.held_ns == 0) mp_text_add(text, "under 1 s"); /* since the keeper's last pass */
    else mp_text_add_time(text, longest.held_ns);
    if (longest.tid) mp_text_add(text, " by thread %u", longest.tid);
    if (longest.tag) mp_text_add(text, " (tag %.40s)", longest.tag);
}

/* What keeps new connections from coming. */
static void add_causes_locked(const mantis_pool *pool, mp_text *text) {
    const char *full = mp_limit_full(pool->limits, pool->limit_count);
    if (pool->is_paused) mp_text_add(text, "; paused");
    if (full) mp_text_add(text, "; the limit '%.40s' is full", full);
    if (pool->failures > 0 && pool->last_error)
        mp_text_add(text, "; the last open failed: %s", pool->last_error->text);
    else if (pool->opening > 0) mp_text_add(text, "; %u being opened", pool->opening);
}

static void take_cause_locked(const mantis_pool *pool, mantis_error *error) {
    if (pool->failures == 0 || !pool->last_error) return;
    error->os_errno = pool->last_error->os_errno;
    memcpy(error->sqlstate, pool->last_error->sqlstate, sizeof error->sqlstate);
}

/* The part that differs from outcome to outcome. */
static void add_outcome_locked(const mp_turn *turn, mantis_status status, int64_t waited_ns,
                               mp_text *text) {
    const mantis_pool *pool = turn->pool;
    int64_t waiting_max = pool->settings.waiting_max;
    if (status == MANTIS_TIMEOUT) {
        mp_text_add(text, "no connection in ");
        mp_text_add_time(text, waited_ns);
    } else if (status != MANTIS_EXHAUSTED) {
        mp_text_add(text, "%s", mantis_status_text(status));
    } else if (waiting_max >= 0 && pool->queue.count >= waiting_max) {
        mp_text_add(text, "the queue is full: %u wait", pool->queue.count);
    } else if (mp_holders_has_all_locked(turn, mp_hints_tid(mp_hints_of_thread()))) {
        mp_text_add(text, "this thread holds all connections itself: release one first, or "
                          "raise conns_max");
    } else {
        mp_text_add(text, "no connection is free");
    }
}

static mp_text begin_text(const mantis_pool *pool, mantis_status status, mantis_error *error) {
    *error = (mantis_error){.status = status};
    mp_text text = {.data = error->text, .size = sizeof error->text};
    mp_text_add(&text, "pool '%.60s': ", pool->name);
    return text;
}

void mp_explain_request(mantis_pool *pool, mantis_status status, int64_t waited_ns, uint32_t ahead,
                        mantis_error *error) {
    if (!error) return;
    mp_text text = begin_text(pool, status, error);
    mp_turn turn = mp_turn_begin(pool);
    add_outcome_locked(&turn, status, waited_ns, &text);
    if (status == MANTIS_TIMEOUT || status == MANTIS_EXHAUSTED) {
        mp_text_add(&text, ": ");
        add_busy_locked(&turn, &text);
        if (ahead) mp_text_add(&text, ", %u waited before you", ahead);
    }
    if (status != MANTIS_CLOSED) add_causes_locked(pool, &text);
    take_cause_locked(pool, error);
    mp_turn_end(&turn);
}

void mp_explain_state(mantis_pool *pool, mantis_status status, mantis_error *error) {
    if (!error) return;
    mp_text text = begin_text(pool, status, error);
    mp_turn turn = mp_turn_begin(pool);
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    mp_text_add(&text, "%u open, ", mp_load_relaxed(&pool->total));
    add_busy_locked(&turn, &text);
    if (first) {
        mp_text_add(&text, ", %u wait, the first for ", pool->queue.count);
        mp_text_add_time(&text, turn.now_ns - first->start_ns);
    }
    add_causes_locked(pool, &text);
    mp_turn_end(&turn);
}
