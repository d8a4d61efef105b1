/* A pool from its opening to its end, and everything that changes it while it runs. */
#include "core/pool.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "core/fork.h"
#include "core/keeper.h"
#include "core/op.h"
#include "core/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- entering and leaving ---- */

mantis_status mp_pool_enter(mantis_pool *pool, uint32_t id, mantis_error *error)
{
    if (mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED)
        return mp_error_set(error, MANTIS_FORKED,
                            "the pool belongs to the parent process: open one after fork()");
    mp_add_seq_cst(&pool->inside, 1);
    if (id != 0 && mp_load_seq_cst(&pool->id) == id) return MANTIS_OK;
    mp_pool_leave(pool);
    return mp_error_set(error, MANTIS_CLOSED, "the pool is closed");
}

void mp_pool_leave(mantis_pool *pool)
{
    if (mp_sub_seq_cst(&pool->inside, 1) == 1) mp_pool_finish_if_over(pool);
}

mantis_status mp_pool_why_stopped(mantis_pool *pool)
{
    mp_lock_acquire(&pool->lock);
    bool is_closed = pool->is_closed;
    mp_lock_release(&pool->lock);
    return is_closed ? MANTIS_CLOSED : MANTIS_PAUSED;
}

void mp_pool_changed_locked(mantis_pool *pool, mp_todo *todo)
{
    if (pool->watchers == 0) return;
    mp_add_seq_cst(&pool->changed, 1);
    todo->changed = true;
}

void mp_pool_log(mantis_pool *pool, mantis_log_level level, const char *format, ...)
{
    if (!pool->hooks.on_log) return;
    char line[512];
    mp_text text = {.data = line, .size = sizeof line};
    mp_text_add(&text, "pool '%s': ", pool->name);
    va_list args;
    va_start(args, format);
    if (text.length < sizeof line)
        vsnprintf(line + text.length, sizeof line - text.length, format, args);
    va_end(args);
    pool->hooks.on_log(pool->hooks.arg, level, line);
}

void mp_pool_unlock(mantis_pool *pool, mp_todo *todo)
{
    mp_lock_release(&pool->lock);
    if (todo->wake) mp_park_wake_one(todo->wake);
    if (todo->changed) mp_park_wake_all(&pool->changed);
    mp_op_start_all(todo->ops);
    if (todo->stop && pool->connector->stop) pool->connector->stop(todo->stop->place);
    if (todo->gave_tokens) mp_limit_pass_on(pool->limits, pool->limit_count);
    if (todo->evict_sibling) mp_limit_evict_sibling(pool->limits, pool->limit_count);
    if (todo->charge) mp_limit_charge(pool->limits, pool->limit_count);
    if (todo->poke_ns) mp_keeper_poke(pool, todo->poke_ns);
    if (pool->hooks.on_timeout)
        for (uint32_t i = 0; i < todo->timed_out; i++)
            pool->hooks.on_timeout(pool->hooks.arg, todo->waited_ns);
}

/* ---- the end ---- */

static void free_places(mantis_pool *pool)
{
    mp_place *place = mp_load_relaxed(&pool->places);
    mp_store_relaxed(&pool->places, NULL);
    while (place) {
        mp_place *older = place->older;
        if (!place->is_stopped && pool->connector->stop) pool->connector->stop(place->place);
        free(place->dsn);
        free(place);
        place = older;
    }
}

static void free_pool(mantis_pool *pool)
{
    for (uint32_t i = 0; i < pool->limit_count; i++) mp_limit_leave(&pool->limits[i]);
    free_places(pool);
    mp_slots_finish(&pool->slots);
    free(pool->limits);
    free(pool->name);
    free(pool->last_error);
    free(pool->figures);
    pool->limits = NULL;
    pool->limit_count = 0;
    pool->name = NULL;
    pool->last_error = NULL;
    pool->figures = NULL;
    pool->empty = NULL;
    mp_registry_give_pool(pool);
}

/* No call finds the pool by its id any more. True if that is so, from now or since before. */
static bool hide(mantis_pool *pool)
{
    mp_lock_acquire(&pool->lock);
    if (pool->is_closed && mp_load_relaxed(&pool->total) == 0 && !pool->is_finished) {
        pool->is_finished = true;
        mp_store_seq_cst(&pool->id, 0);
    }
    bool is_finished = pool->is_finished && !pool->is_freed;
    mp_lock_release(&pool->lock);
    return is_finished;
}

void mp_pool_finish_if_over(mantis_pool *pool)
{
    if (!hide(pool)) return;
    mp_keeper_remove(pool);
    mp_lock_acquire(&pool->lock);
    /* Who entered before it was hidden is counted; who comes later finds no id and leaves again. */
    bool frees = pool->is_finished && !pool->is_freed && mp_load_seq_cst(&pool->inside) == 0;
    if (frees) pool->is_freed = true;
    mp_lock_release(&pool->lock);
    if (frees) free_pool(pool);
}

/* ---- opening ---- */

static mantis_status add_place(mantis_pool *pool, const char *dsn, void *config_place,
                               mp_place **out, mantis_error *error)
{
    mp_place *place = calloc(1, sizeof *place);
    char *copy = mp_bytes_copy_string(dsn ? dsn : "");
    mantis_status status = MANTIS_OK;
    if (!place || !copy) status = mp_error_set(error, MANTIS_NOMEM, "no memory for a DSN");
    else if (pool->connector->start)
        status = pool->connector->start(&place->place, copy, config_place, error);
    else place->place = config_place ? config_place : copy;
    if (status != MANTIS_OK) {
        free(copy);
        free(place);
        return status;
    }
    place->dsn = copy;
    *out = place;
    return MANTIS_OK;
}

static mantis_status check_config(const mantis_pool_config *config, mp_settings *settings,
                                  mantis_error *error)
{
    const mantis_connector *connector = config->connector;
    if (!connector || !connector->open || !connector->close)
        return mp_error_set(error, MANTIS_INVALID, "%s: give one that can open and close",
                            connector ? "config.connector has no open or no close"
                                      : "config.connector is NULL");
    if (config->keeper != MANTIS_KEEPER_THREAD && config->keeper != MANTIS_KEEPER_CALLER)
        return mp_error_set(error, MANTIS_INVALID, "keeper is %d: it must be 0 or 1",
                            (int)config->keeper);
    if (config->clock && config->keeper == MANTIS_KEEPER_THREAD)
        return mp_error_set(error, MANTIS_INVALID,
                            "a clock of one's own needs keeper = MANTIS_KEEPER_CALLER");
    return mp_settings_read(settings, config, error);
}

static mantis_status join_limits(mantis_pool *pool, const mantis_pool_config *config,
                                 mantis_error *error)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MANTIS_LIMITS_MAX; i++) count += config->limits[i] != NULL;
    if (count == 0) return MANTIS_OK;
    pool->limits = calloc(count, sizeof *pool->limits);
    if (!pool->limits) return mp_error_set(error, MANTIS_NOMEM, "no memory for limits");
    uint32_t at = 0;
    for (uint32_t i = 0; i < MANTIS_LIMITS_MAX; i++)
        if (config->limits[i]) mp_limit_join(&pool->limits[at++], config->limits[i], pool);
    pool->limit_count = count;
    return MANTIS_OK;
}

/* Make a header a pool. Under its lock, because a late thread of its last pool may look in. */
static mantis_status init_locked(mantis_pool *pool, const mantis_pool_config *config,
                                 const mp_settings *settings, mantis_error *error)
{
    mp_store_seq_cst(&pool->attention, 0);
    mp_store_relaxed(&pool->total, 0);
    mp_store_relaxed(&pool->refused, 0);
    mp_store_relaxed(&pool->moved, 0);
    mp_store_relaxed(&pool->memory_max_bytes, settings->conn_memory_max);
    pool->connector = config->connector;
    pool->is_broken = config->connector->is_broken;
    pool->clock = config->clock ? config->clock : mantis_now_ns;
    pool->queue = (mp_waitq){0};
    pool->empty = NULL;
    pool->opening = pool->checking = pool->resetting = pool->closing = 0;
    pool->is_replacing = pool->is_check_all = pool->is_paused = pool->pause_fails = false;
    pool->slow_start = (uint32_t)settings->opening_max;
    pool->failures = pool->epoch = pool->debt = pool->watchers = 0;
    pool->retry_at_ns = 0;
    pool->opened_ns = pool->clock();
    pool->granted_base = 0;
    pool->settings = *settings;
    pool->counts = (mp_counts){0};
    pool->hooks = config->hooks;
    pool->config_place = config->place;
    pool->tended_ns = pool->tend_due_ns = pool->stalled_ns = 0;
    mp_random_start(&pool->random, config->seed);
    pool->name = mp_bytes_copy_string(config->name ? config->name : "pool");
    pool->is_closed = pool->is_finished = pool->is_freed = false;
    if (!pool->name) return mp_error_set(error, MANTIS_NOMEM, "no memory for a pool");
    return join_limits(pool, config, error);
}

/* Undo an opening that failed: as a close, and nothing was ever open. */
static void undo_open(mantis_pool *pool)
{
    mp_add_seq_cst(&pool->inside, 1);
    mp_lock_acquire(&pool->lock);
    pool->is_closed = true;
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
}

static mantis_status begin(mantis_pool *pool, const mantis_pool_config *config, mantis_error *error)
{
    mp_place *place = NULL;
    mantis_status status = add_place(pool, config->dsn, config->place, &place, error);
    if (status != MANTIS_OK) return status;
    place->number = 1;
    mp_store_release(&pool->places, place); /* pairs with the acquire in mp_supply_place() */
    if (config->keeper == MANTIS_KEEPER_THREAD) {
        status = mp_keeper_add(pool, error);
        if (status != MANTIS_OK) return status;
    }
    mp_grant_serve_id(pool, mp_load_relaxed(&pool->id)); /* begins to fill it to conns_min */
    return MANTIS_OK;
}

mantis_status mantis_pool_open(mantis_pool **out, const mantis_pool_config *config,
                               mantis_error *error)
{
    if (!out || !config)
        return mp_error_set(error, MANTIS_INVALID, "mantis_pool_open: %s is NULL",
                            out ? "config" : "out");
    mp_settings settings;
    mantis_status status = check_config(config, &settings, error);
    if (status != MANTIS_OK) return status;
    mp_fork_watch();
    mantis_pool *pool = mp_registry_take_pool();
    if (!pool) return mp_error_set(error, MANTIS_NOMEM, "no memory for a pool");
    mp_lock_acquire(&pool->lock);
    status = init_locked(pool, config, &settings, error);
    mp_lock_release(&pool->lock);
    if (status == MANTIS_OK) status = begin(pool, config, error);
    if (status != MANTIS_OK) undo_open(pool);
    else *out = pool;
    return status;
}

/* ---- waiting for a state of the whole pool ---- */

typedef bool (*is_reached)(const mantis_pool *pool, uint32_t count);

static uint32_t count_busy(const mantis_pool *pool)
{
    uint32_t busy = 0;
    MP_SLOTS_EACH(&((mantis_pool *)(uintptr_t)pool)->slots, slot)
    busy += mp_slot_state(mp_load_seq_cst(&slot->word)) == MP_SLOT_BUSY;
    return busy;
}

static bool is_empty(const mantis_pool *pool, uint32_t count)
{
    (void)count;
    return mp_load_relaxed(&pool->total) == 0;
}

static bool is_warm(const mantis_pool *pool, uint32_t count)
{
    if (count == 0) count = (uint32_t)pool->settings.conns_min;
    return pool->is_closed || mp_pool_live_locked(pool) >= count;
}

static bool is_idle(const mantis_pool *pool, uint32_t count)
{
    (void)count;
    return pool->is_closed || count_busy(pool) == 0;
}

/* Sleep until the state is reached. Releases of borrowed connections come by the slow path
 * meanwhile, so that they tell. */
static mantis_status wait_until(mantis_pool *pool, is_reached reached, uint32_t count,
                                int64_t deadline_ns)
{
    mp_lock_acquire(&pool->lock);
    if (deadline_ns == MANTIS_DEADLINE_DEFAULT)
        deadline_ns = mp_clock_after(mp_pool_now(pool),
                                     mp_clock_ns_of_ms(pool->settings.acquire_timeout_ms));
    if (pool->watchers++ == 0) mp_or_seq_cst(&pool->attention, MP_ATTENTION_WATCHED);
    bool is_in_time = true, is_there;
    while (!(is_there = reached(pool, count)) && is_in_time) {
        uint32_t seen = mp_load_seq_cst(&pool->changed);
        mp_lock_release(&pool->lock);
        is_in_time = mp_park_wait(&pool->changed, seen, deadline_ns);
        mp_lock_acquire(&pool->lock);
    }
    if (--pool->watchers == 0) mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_WATCHED);
    mp_lock_release(&pool->lock);
    return is_there ? MANTIS_OK : MANTIS_TIMEOUT;
}

static mantis_status wait_for(mantis_pool *pool, is_reached reached, uint32_t count,
                              int64_t deadline_ns, mantis_error *error)
{
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    status = wait_until(pool, reached, count, deadline_ns);
    mp_lock_acquire(&pool->lock);
    if (pool->is_closed) status = MANTIS_CLOSED;
    mp_lock_release(&pool->lock);
    if (status != MANTIS_OK) mp_explain_state(pool, status, error);
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_pool_wait_warm(mantis_pool *pool, uint32_t count, int64_t deadline_ns,
                                    mantis_error *error)
{
    return wait_for(pool, is_warm, count, deadline_ns, error);
}

mantis_status mantis_pool_wait_idle(mantis_pool *pool, int64_t deadline_ns, mantis_error *error)
{
    return wait_for(pool, is_idle, 0, deadline_ns, error);
}

/* ---- closing ---- */

static void begin_close(mantis_pool *pool)
{
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    if (!pool->is_closed) {
        pool->is_closed = true;
        mp_or_seq_cst(&pool->attention, MP_ATTENTION_STOPPED);
        mp_grant_end_all_locked(pool, MANTIS_CLOSED, &todo);
        mp_grant_sweep_locked(pool, MANTIS_CLOSE_POOL, &todo);
        mp_supply_locked(pool, mp_pool_now(pool), &todo); /* leaves the queues of its limits */
        mp_pool_changed_locked(pool, &todo);
    }
    mp_pool_unlock(pool, &todo);
}

/* The deadline has passed: no goodbye for what is still under way. */
static void abort_stragglers(mantis_pool *pool)
{
    MP_SLOTS_EACH(&pool->slots, slot)
    {
        uint8_t progress = MP_OP_STARTED;
        if (mp_load_relaxed(&slot->op) == MP_OP_NONE) continue;
        if (mp_cas_seq_cst(&slot->progress, &progress, MP_OP_OVERDUE)) mp_op_abort(slot);
    }
}

mantis_status mantis_pool_close(mantis_pool **pool, int64_t deadline_ns)
{
    if (!pool || !*pool) return MANTIS_OK;
    mantis_pool *closing = *pool;
    *pool = NULL;
    mantis_status status = mp_pool_enter(closing, mp_load_relaxed(&closing->id), NULL);
    if (status == MANTIS_CLOSED) return MANTIS_OK; /* somebody else closed it */
    if (status != MANTIS_OK) return status;
    begin_close(closing);
    status = wait_until(closing, is_empty, 0, deadline_ns);
    if (status != MANTIS_OK) abort_stragglers(closing);
    mp_pool_leave(closing);
    return status;
}

/* ---- changing it while it runs ---- */

/* Enter, and lock a pool that is not closed. */
static mantis_status enter_open(mantis_pool *pool, mantis_error *error)
{
    if (!pool) return mp_error_set(error, MANTIS_INVALID, "the pool is NULL");
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    mp_lock_acquire(&pool->lock);
    if (!pool->is_closed) return MANTIS_OK;
    mp_lock_release(&pool->lock);
    mp_pool_leave(pool);
    return mp_error_set(error, MANTIS_CLOSED, "the pool is closed");
}

/* What was changed may let somebody have a connection. */
static void unlock_changed(mantis_pool *pool, mp_todo *todo)
{
    mp_pool_changed_locked(pool, todo);
    mp_pool_unlock(pool, todo);
    mp_grant_serve(pool);
    mp_pool_leave(pool);
}

/* Close idle connections above the maximum; borrowed ones are looked at when they come back. */
static void shrink_locked(mantis_pool *pool, mp_todo *todo)
{
    uint32_t max = mp_supply_max_locked(pool, mp_pool_now(pool));
    MP_SLOTS_EACH(&pool->slots, slot)
    {
        if (mp_load_relaxed(&pool->total) - pool->closing <= max) return;
        if (mp_grant_hold_locked(slot))
            mp_supply_close_locked(pool, slot, MANTIS_CLOSE_IDLE, false, todo);
        else mp_grant_mark_busy_locked(slot);
    }
}

static void apply_settings_locked(mantis_pool *pool, const mp_settings *settings, mp_todo *todo)
{
    pool->settings = *settings;
    mp_store_relaxed(&pool->memory_max_bytes, settings->conn_memory_max);
    shrink_locked(pool, todo);
    todo->poke_ns = mp_pool_now(pool);
}

mantis_status mantis_pool_resize(mantis_pool *pool, int64_t conns_min, int64_t conns_max,
                                 mantis_error *error)
{
    mantis_status status = enter_open(pool, error);
    if (status != MANTIS_OK) return status;
    mp_todo todo = {0};
    mp_settings changed = pool->settings;
    changed.conns_min = 0; /* so that the order of the two does not matter */
    status = mp_settings_set(&changed, "conns_max", conns_max, error);
    if (status == MANTIS_OK) status = mp_settings_set(&changed, "conns_min", conns_min, error);
    if (status == MANTIS_OK) apply_settings_locked(pool, &changed, &todo);
    unlock_changed(pool, &todo);
    return status;
}

mantis_status mantis_pool_set(mantis_pool *pool, const char *setting, int64_t value,
                              mantis_error *error)
{
    mantis_status status = enter_open(pool, error);
    if (status != MANTIS_OK) return status;
    mp_todo todo = {0};
    mp_settings changed = pool->settings;
    status = mp_settings_set(&changed, setting, value, error);
    if (status == MANTIS_OK) apply_settings_locked(pool, &changed, &todo);
    unlock_changed(pool, &todo);
    return status;
}

mantis_status mantis_pool_pause(mantis_pool *pool, mantis_pause how, mantis_error *error)
{
    mantis_status status = enter_open(pool, error);
    if (status != MANTIS_OK) return status;
    mp_todo todo = {0};
    pool->is_paused = true;
    pool->pause_fails = how == MANTIS_PAUSE_FAIL;
    mp_or_seq_cst(&pool->attention, MP_ATTENTION_STOPPED);
    mp_grant_sweep_locked(pool, (mantis_close_reason)0, &todo);
    if (pool->pause_fails) mp_grant_end_all_locked(pool, MANTIS_PAUSED, &todo);
    mp_supply_locked(pool, mp_pool_now(pool), &todo); /* leaves the queues of its limits */
    mp_pool_unlock(pool, &todo);
    mp_pool_leave(pool);
    return MANTIS_OK;
}

mantis_status mantis_pool_resume(mantis_pool *pool, mantis_error *error)
{
    mantis_status status = enter_open(pool, error);
    if (status != MANTIS_OK) return status;
    mp_todo todo = {0};
    pool->is_paused = pool->pause_fails = false;
    mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_STOPPED);
    int64_t now_ns = mp_pool_now(pool);
    MP_SLOTS_EACH(&pool->slots, slot)
    if (!slot->is_suspect && mp_grant_hold_locked(slot))
        mp_grant_settle_locked(pool, slot, now_ns, &todo);
    unlock_changed(pool, &todo);
    return MANTIS_OK;
}

/* Connections opened before are not lent from here on (C3). */
static void evict_locked(mantis_pool *pool, mantis_evict how, mp_todo *todo)
{
    pool->epoch++;
    mp_grant_sweep_locked(pool, MANTIS_CLOSE_EVICTED, todo);
    if (how != MANTIS_EVICT_HARD) return;
    MP_SLOTS_EACH(&pool->slots, slot)
    {
        mp_waiter *watch = slot->u.watch;
        if (mp_slot_state(mp_load_relaxed(&slot->word)) != MP_SLOT_BUSY || !watch) continue;
        slot->u.watch = NULL;
        mp_todo_add_wake(todo, mp_mailbox_post(mp_waiter_public(watch)->mailbox, watch));
    }
}

mantis_status mantis_pool_evict(mantis_pool *pool, mantis_evict how, mantis_error *error)
{
    mantis_status status = enter_open(pool, error);
    if (status != MANTIS_OK) return status;
    mp_todo todo = {0};
    evict_locked(pool, how, &todo);
    unlock_changed(pool, &todo);
    return MANTIS_OK;
}

mantis_status mantis_pool_set_dsn(mantis_pool *pool, const char *dsn, void *config_place,
                                  mantis_error *error)
{
    if (!pool) return mp_error_set(error, MANTIS_INVALID, "the pool is NULL");
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    mp_place *place = NULL;
    status = add_place(pool, dsn, config_place, &place, error);
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    if (status == MANTIS_OK) {
        mp_place *before = mp_load_relaxed(&pool->places);
        place->older = before;
        place->number = before->number + 1;
        place->first_epoch = pool->epoch + 1;
        mp_store_release(&pool->places, place); /* pairs with the acquire in mp_supply_place() */
        if (before->slots == 0 && !before->is_stopped) {
            before->is_stopped = true;
            todo.stop = before;
        }
        pool->failures = 0; /* the new parameters get a chance at once */
        evict_locked(pool, MANTIS_EVICT_SOFT, &todo);
    }
    unlock_changed(pool, &todo);
    return status;
}

const char *mantis_pool_name(const mantis_pool *pool)
{
    return pool->name;
}

/* ---- time and version ---- */

int64_t mantis_now_ns(void)
{
    return mp_clock_now_ns();
}

int64_t mantis_deadline_ms(int64_t milliseconds)
{
    int64_t length_ns = milliseconds < 0 ? 0 : mp_clock_ns_of_ms(milliseconds);
    return mp_clock_after(mp_clock_now_ns(), length_ns);
}
