/* Figures: read from the slots and the counters in one pass, subtracted, averaged. */
#include "base/histogram.h"
#include "core/pool.h"

#include <stdlib.h>

void mp_stats_add_wait_locked(mantis_pool *pool, int64_t wait_ns, bool is_granted)
{
    pool->counts.wait_sum_ns += wait_ns;
    if (!is_granted) return;
    pool->counts.waited++;
    /* Once in a pool's life, by the first who had to wait: the fast paths allocate nothing. */
    if (!pool->figures) pool->figures = calloc(1, sizeof *pool->figures);
    if (pool->figures) mp_histogram_add(&pool->figures->wait, wait_ns);
}

/* Count the slots by state; total is the sum. */
static void read_slots(mantis_pool *pool, mantis_pool_stats *out)
{
    uint32_t states[MP_SLOT_STATES] = {0};
    uint64_t generations = 0;
    MP_SLOTS_EACH(&pool->slots, slot)
    {
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

static void read_counts(const mantis_pool *pool, mantis_pool_stats *out)
{
    const mp_counts *counts = &pool->counts;
    out->timed_out = counts->timed_out;
    out->cancelled = counts->cancelled;
    out->failed = counts->failed;
    out->refused = mp_load_relaxed(&pool->refused);
    out->moved = mp_load_relaxed(&pool->moved);
    out->waited = counts->waited;
    out->handed_off = counts->handed_off;
    out->wait_sum_ns = counts->wait_sum_ns;
    out->opened = counts->opened;
    out->open_failed = counts->open_failed;
    out->closed_idle = counts->closed[MANTIS_CLOSE_IDLE];
    out->closed_lifetime = counts->closed[MANTIS_CLOSE_LIFETIME];
    out->closed_evicted = counts->closed[MANTIS_CLOSE_EVICTED];
    out->closed_broken = counts->closed[MANTIS_CLOSE_BROKEN];
    out->closed_check = counts->closed[MANTIS_CLOSE_CHECK];
    out->closed_limit = counts->closed[MANTIS_CLOSE_LIMIT];
    out->closed_pool = counts->closed[MANTIS_CLOSE_POOL];
    for (int reason = 0; reason <= MANTIS_CLOSE_POOL; reason++)
        out->closed_conns += counts->closed[reason];
    out->checked = counts->checked;
    out->check_failed = counts->check_failed;
    out->was_reset = counts->was_reset;
    out->leaked = counts->leaked;
}

static void read_locked(mantis_pool *pool, mantis_pool_stats *out)
{
    int64_t now_ns = mp_pool_now(pool);
    const mp_waiter *first = mp_waitq_first(&pool->queue);
    *out = (mantis_pool_stats){.since_ns = pool->opened_ns, .now_ns = now_ns};
    read_slots(pool, out);
    read_counts(pool, out);
    out->waiting = pool->queue.count;
    out->oldest_wait_ns = first ? now_ns - first->start_ns : 0;
    out->conns_min = (uint32_t)pool->settings.conns_min;
    out->conns_max = pool->settings.conns_max < 0 ? MP_SLOTS_MAX
                                                  : (uint32_t)pool->settings.conns_max;
    out->paused = pool->is_paused;
    out->closed = pool->is_closed;
    out->failing = pool->failures > 0;
    out->attempts = out->granted + out->timed_out + out->cancelled + out->refused + out->failed +
                    out->waiting;
}

mantis_status mantis_pool_get_stats(mantis_pool *pool, mantis_pool_stats *out)
{
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), NULL);
    if (status != MANTIS_OK) return status;
    mp_lock_acquire(&pool->lock);
    read_locked(pool, out);
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
    return MANTIS_OK;
}

mantis_pool_stats mantis_stats_since(const mantis_pool_stats *now,
                                     const mantis_pool_stats *previous)
{
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

int64_t mantis_stats_wait_mean_ns(const mantis_pool_stats *stats)
{
    uint64_t finished = stats->granted + stats->timed_out + stats->cancelled + stats->refused +
                        stats->failed;
    return finished ? stats->wait_sum_ns / (int64_t)finished : 0;
}

mantis_status mantis_pool_get_histogram(mantis_pool *pool, mantis_pool_histogram which,
                                        mantis_histogram *out)
{
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
