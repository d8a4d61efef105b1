/* What there is to know about a pool: figures in one pass, holders, reasons. */
#include "core/pool.h"

#include <stdio.h>

/* Count the slots by state; total is the sum. */
static void read_slots(mantis_pool *pool, mantis_pool_stats *out) {
    uint32_t states[MP_SLOT_STATES] = {0};
    uint64_t generations = 0;
    MP_SLOTS_EACH(&pool->slots, slot) {
        uint64_t word = mp_load_acquire(&slot->word);
        states[mp_slot_state(word)]++;
        generations += mp_slot_generation(word);
    }
    out->idle = states[MP_SLOT_FREE];
    out->busy = states[MP_SLOT_BUSY];
    out->opening = states[MP_SLOT_OPENING];
    out->checking = states[MP_SLOT_CHECKING];
    out->resetting = states[MP_SLOT_RESETTING];
    out->closing = states[MP_SLOT_CLOSING];
    out->total = out->idle + out->busy + out->opening + out->checking + out->resetting +
                 out->closing;
    out->granted = generations - pool->granted_base;
}

static void read_counts(const mp_counts *counts, mantis_pool_stats *out) {
    *out = (mantis_pool_stats){.timed_out = counts->timed_out,
                               .cancelled = counts->cancelled,
                               .failed = counts->failed,
                               .waited = counts->waited,
                               .handed_off = counts->handed_off,
                               .wait_sum_ns = counts->wait_sum_ns,
                               .opened = counts->opened,
                               .open_failed = counts->open_failed,
                               .checked = counts->checked,
                               .check_failed = counts->check_failed,
                               .was_reset = counts->was_reset,
                               .leaked = counts->leaked};
    for (int i = 0; i < MANTIS_CLOSE_POOL; i++) {
        (&out->closed_idle)[i] = counts->closed[i]; /* they stand in the enum's order */
        out->closed_conns += counts->closed[i];
    }
}

static void read_locked(const mp_turn *turn, mantis_pool_stats *out) {
    mantis_pool *pool = turn->pool;
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    read_counts(&pool->counts, out);
    out->since_ns = pool->opened_ns;
    out->now_ns = turn->now_ns;
    out->refused = mp_load_relaxed(&pool->refused);
    out->moved = mp_load_relaxed(&pool->moved);
    read_slots(pool, out);
    out->waiting = pool->queue.count;
    out->oldest_wait_ns = first ? turn->now_ns - first->start_ns : 0;
    out->conns_min = (uint32_t)pool->settings.conns_min;
    out->conns_max = pool->settings.conns_max < 0 ? MP_SLOTS_MAX
                                                  : (uint32_t)pool->settings.conns_max;
    out->paused = pool->is_paused;
    out->closed = pool->is_closed;
    out->failing = pool->failures > 0;
    out->attempts = out->granted + out->timed_out + out->cancelled + out->refused + out->failed +
                    out->waiting;
}

mantis_status mantis_pool_get_stats(mantis_pool *pool, mantis_pool_stats *out) {
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL);
    if (status != MANTIS_OK) return status;
    mp_turn turn = mp_turn_begin(pool);
    read_locked(&turn, out);
    mp_turn_end(&turn);
    mp_pool_leave(pool);
    return MANTIS_OK;
}

mantis_pool_stats mantis_stats_since(const mantis_pool_stats *now,
                                     const mantis_pool_stats *previous) {
    mantis_pool_stats d = *now;
#define SUBTRACT(field) d.field -= previous->field
    SUBTRACT(attempts);
    SUBTRACT(granted);
    SUBTRACT(timed_out);
    SUBTRACT(cancelled);
    SUBTRACT(refused);
    SUBTRACT(failed);
    SUBTRACT(waited);
    SUBTRACT(handed_off);
    SUBTRACT(wait_sum_ns);
    SUBTRACT(opened);
    SUBTRACT(open_failed);
    SUBTRACT(closed_conns);
    SUBTRACT(closed_idle);
    SUBTRACT(closed_lifetime);
    SUBTRACT(closed_evicted);
    SUBTRACT(closed_broken);
    SUBTRACT(closed_check);
    SUBTRACT(closed_limit);
    SUBTRACT(closed_pool);
    SUBTRACT(checked);
    SUBTRACT(check_failed);
    SUBTRACT(was_reset);
    SUBTRACT(leaked);
    SUBTRACT(moved);
#undef SUBTRACT
    d.since_ns = previous->now_ns;
    return d;
}

int64_t mantis_stats_wait_mean_ns(const mantis_pool_stats *stats) {
    uint64_t finished = stats->granted + stats->timed_out + stats->cancelled + stats->refused +
                        stats->failed;
    return finished ? stats->wait_sum_ns / (int64_t)finished : 0;
}

mantis_status mantis_pool_get_histogram(mantis_pool *pool, mantis_pool_histogram which,
                                        mantis_histogram *out) {
    if (which != MANTIS_HISTOGRAM_WAIT && which != MANTIS_HISTOGRAM_USE) return MANTIS_INVALID;
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL);
    if (status != MANTIS_OK) return status;
    mp_lock_acquire(&pool->lock);
    *out = (mantis_histogram){0};
    if (pool->figures)
        *out = which == MANTIS_HISTOGRAM_WAIT ? pool->figures->wait : pool->figures->use;
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
    return MANTIS_OK;
}

/* Put one in its place among those held for longer. */
static void insert(mantis_holder *out, size_t count, size_t max, const mantis_holder *holder) {
    size_t at = count < max ? count : max;
    while (at > 0 && out[at - 1].held_ns < holder->held_ns) {
        if (at < max) out[at] = out[at - 1];
        at--;
    }
    if (at < max) out[at] = *holder;
}

static size_t read_holders_locked(const mp_turn *turn, mantis_holder *out, size_t max) {
    size_t count = 0;
    mantis_holder holder;
    MP_SLOTS_EACH(&turn->pool->slots, slot)
    if (mp_holders_read_locked(turn, slot, &holder)) insert(out, count++, max, &holder);
    return count;
}

size_t mantis_pool_holders(mantis_pool *pool, mantis_holder *out, size_t max) {
    if (mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL) != MANTIS_OK) return 0;
    mp_turn turn = mp_turn_begin(pool);
    size_t count = read_holders_locked(&turn, out, max);
    mp_turn_end(&turn);
    mp_pool_leave(pool);
    return count;
}

mantis_status mantis_conn_get_info(mantis_conn conn, mantis_conn_info *out) {
    mp_conn_view of;
    mantis_status status = mp_conn_resolve(conn, &of, NULL);
    if (status != MANTIS_OK) return status;
    uint32_t was = mp_load_relaxed(&of.slot->was_home), home = mp_load_relaxed(&of.slot->home);
    *out = (mantis_conn_info){.age_ns = mp_pool_now(of.pool) - of.slot->born_ns,
                              .generation = conn.generation,
                              .home = was,
                              .moved = was != 0 && was != home,
                              .configuration = mp_supply_place(of.pool, of.slot)->number};
    return MANTIS_OK;
}

void mantis_waiter_explain(const mantis_waiter *waiter, mantis_pool *pool, mantis_error *error) {
    if (waiter->status == MANTIS_OK) return;
    if (mp_pool_enter(pool, mp_load_relaxed(&pool->id), error) != MANTIS_OK) return;
    mp_explain_request(pool, waiter->status, waiter->waited_ns, waiter->ahead, error);
    mp_pool_leave(pool);
}

void mantis_pool_explain(mantis_pool *pool, char *out, size_t size) {
    mantis_error why;
    if (mp_pool_enter(pool, mp_load_relaxed(&pool->id), &why) == MANTIS_OK) {
        mp_explain_state(pool, MANTIS_OK, &why);
        mp_pool_leave(pool);
    }
    snprintf(out, size, "%s", why.text);
}

const char *mantis_pool_name(const mantis_pool *pool) { return pool->name; }
