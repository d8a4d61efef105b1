/* A pool from its opening to its end, and everything that changes it while it runs. */
#include "core/pool.h"

#include "base/bytes.h"
#include "base/error.h"
#include "core/registry.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const mantis_hooks mp_pool_no_hooks;
static char default_name[] = "pool";

/* ---- the end ---- */

static void free_places(mantis_pool *pool) {
    mp_place *place = mp_load_relaxed(&pool->places);
    while (place) {
        mp_place *older = place->older;
        if (!place->is_stopped && pool->connector->stop) pool->connector->stop(place->place);
        free(place);
        place = older;
    }
}

static void free_pool(mantis_pool *pool) {
    mp_limit_leave_all(pool->limits, pool->limit_count);
    free_places(pool);
    mp_slots_finish(&pool->slots);
    free(pool->limits);
    if (pool->name != default_name) free(pool->name);
    if (pool->hooks != &mp_pool_no_hooks) free((void *)(uintptr_t)pool->hooks);
    free(pool->last_error);
    free(pool->figures);
    mp_registry_give_pool(pool);
}

/* ---- entering and leaving ---- */

mantis_status mp_pool_enter(mantis_pool *pool, uint32_t id, mantis_error *error) {
    if (mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED)
        return mp_error_set(error, MANTIS_FORKED,
                            "the pool belongs to the parent process: open one after fork()");
    mp_add_seq_cst(&pool->inside, 1);
    if (id != 0 && mp_load_seq_cst(&pool->id) == id) return MANTIS_OK;
    mp_pool_leave(pool);
    return mp_error_set(error, MANTIS_CLOSED, "the pool is closed");
}

/* Once a pool is closed and empty no call finds it by its id any more; the last to be inside gives
 * its memory back. In one locked step: a thread that stood still before it finds is_freed set, or
 * another pool that is open. */
static void finish_if_over(mantis_pool *pool) {
    bool frees = false;
    mp_lock_acquire(&pool->lock);
    if (pool->is_closed && !pool->is_freed && mp_load_relaxed(&pool->total) == 0) {
        mp_store_seq_cst(&pool->id, 0);
        mp_ticker_remove(&mp_keeper, &pool->tick);
        /* Who entered before is counted; who comes later finds no id and leaves again. */
        frees = pool->is_freed = mp_load_seq_cst(&pool->inside) == 0;
    }
    mp_lock_release(&pool->lock);
    if (frees) free_pool(pool);
}

void mp_pool_leave(mantis_pool *pool) {
    uint32_t left = mp_sub_seq_cst(&pool->inside, 1) - 1;
    /* Who closes it may wait to be the last; seq_cst: pairs with is_over(). */
    if (left > 0 && mp_load_seq_cst(&pool->id) == 0) {
        mp_add_seq_cst(&pool->changed, 1);
        mp_park_wake_all(&pool->changed);
    }
    if (left == 0 && (mp_load_seq_cst(&pool->attention) & MP_ATTENTION_CLOSED))
        finish_if_over(pool);
}

void mp_pool_log(mantis_pool *pool, mantis_log_level level, const char *format, ...) {
    if (!pool->hooks->on_log) return;
    char line[512];
    mp_text text = {.data = line, .size = sizeof line};
    mp_text_add(&text, "pool '%.60s': ", pool->name);
    va_list args;
    va_start(args, format);
    mp_text_add_list(&text, format, args);
    va_end(args);
    pool->hooks->on_log(pool->hooks->arg, level, line);
}

/* ---- turns ---- */

mp_turn mp_turn_begin(mantis_pool *pool) {
    mp_lock_acquire(&pool->lock);
    return (mp_turn){.pool = pool, .now_ns = mp_pool_now(pool)};
}

void mp_turn_changed_locked(mp_turn *turn) {
    if (turn->pool->watchers == 0) return;
    mp_add_seq_cst(&turn->pool->changed, 1);
    turn->changed = true;
}

void mp_turn_end(mp_turn *turn) {
    mantis_pool *pool = turn->pool;
    mp_lock_release(&pool->lock);
    if (turn->wake) mp_park_wake_one(turn->wake);
    if (turn->changed) mp_park_wake_all(&pool->changed);
    mp_op_start_all(&turn->ops);
    if (turn->stop && pool->connector->stop) pool->connector->stop(turn->stop->place);
    if (turn->gave_tokens) mp_limit_pass_on(pool->limits, pool->limit_count);
    if (turn->wants_token) mp_limit_evict_sibling(pool->limits, pool->limit_count);
    if (turn->is_patient) mp_limit_charge(pool->limits, pool->limit_count);
    if (turn->poke_ns) mp_ticker_poke(&mp_keeper, &pool->tick, turn->poke_ns);
    if (turn->timed_out == 0 || !pool->hooks->on_timeout) return;
    mp_hints_of_thread()->calling_out++;
    for (uint32_t i = 0; i < turn->timed_out; i++)
        pool->hooks->on_timeout(pool->hooks->arg, turn->waited_ns);
    mp_hints_of_thread()->calling_out--;
}

/* ---- opening ---- */

static mantis_status add_place(mantis_pool *pool, const char *dsn, void *config_place,
                               mp_place **out, mantis_error *error) {
    size_t size = strlen(dsn ? dsn : "") + 1;
    mp_place *place = calloc(1, sizeof *place + size);
    if (!place) return mp_error_set(error, MANTIS_NOMEM, "no memory for a DSN");
    memcpy(place->dsn, dsn ? dsn : "", size);
    place->place = config_place ? config_place : place->dsn;
    mantis_status status = MANTIS_OK;
    if (pool->connector->start)
        status = pool->connector->start(&place->place, place->dsn, config_place, error);
    if (status == MANTIS_OK) *out = place;
    else free(place);
    return status;
}

static mantis_status check_config(const mantis_pool_config *config, mp_settings *settings,
                                  mantis_error *error) {
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
    if (mp_limit_is_repeated(config->limits, MANTIS_LIMITS_MAX))
        return mp_error_set(error, MANTIS_INVALID, "config.limits names one limit twice");
    return mp_settings_read(settings, config, error);
}

static mantis_status join_limits(mantis_pool *pool, const mantis_pool_config *config,
                                 mantis_error *error) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < MANTIS_LIMITS_MAX; i++) count += config->limits[i] != NULL;
    if (count == 0) return MANTIS_OK;
    pool->limits = calloc(count, sizeof *pool->limits);
    if (!pool->limits) return mp_error_set(error, MANTIS_NOMEM, "no memory for limits");
    uint32_t at = 0;
    for (uint32_t i = 0; i < MANTIS_LIMITS_MAX; i++)
        if (config->limits[i]) mp_limit_join(&pool->limits[at++], config->limits[i], &pool->member);
    pool->limit_count = count;
    return MANTIS_OK;
}

/* Most pools have no hooks, and pay nothing for them. False: no memory. */
static bool copy_hooks(mantis_pool *pool, const mantis_hooks *hooks) {
    if (memcmp(hooks, &mp_pool_no_hooks, sizeof *hooks) == 0) return true;
    mantis_hooks *copy = malloc(sizeof *copy);
    if (!copy) return false;
    *copy = *hooks;
    pool->hooks = copy;
    return true;
}

/* Make a header a pool. Under its lock, because a late thread of its last pool may look in. */
static mantis_status init_locked(mantis_pool *pool, const mantis_pool_config *config,
                                 const mp_settings *settings, mantis_error *error) {
    mp_store_seq_cst(&pool->attention, 0);
    mp_store_relaxed(&pool->total, 0);
    mp_store_relaxed(&pool->refused, 0);
    mp_store_relaxed(&pool->moved, 0);
    mp_store_relaxed(&pool->memory_max_bytes, settings->conn_memory_max);
    memset(&pool->queue, 0, offsetof(mantis_pool, tick) - offsetof(mantis_pool, queue));
    pool->connector = config->connector;
    pool->is_broken = config->connector->is_broken;
    pool->clock = config->clock ? config->clock : mantis_now_ns;
    pool->slow_start = MP_SLOW_START_OVER;
    pool->opened_ns = pool->clock();
    pool->settings = *settings;
    pool->hooks = &mp_pool_no_hooks;
    pool->limits = NULL;
    pool->limit_count = 0;
    pool->member = (mp_member){.calls = &mp_pool_member_calls, .total = &pool->total};
    mp_random_start(&pool->random, config->seed);
    pool->name = config->name ? mp_bytes_copy_string(config->name) : default_name;
    if (!pool->name || !copy_hooks(pool, &config->hooks))
        return mp_error_set(error, MANTIS_NOMEM, "no memory for a pool");
    return join_limits(pool, config, error);
}

static void begin_close(mantis_pool *pool) {
    mp_turn turn = mp_turn_begin(pool);
    if (!pool->is_closed) {
        pool->is_closed = true;
        mp_or_seq_cst(&pool->attention, MP_ATTENTION_CLOSED);
        mp_grant_end_all_locked(&turn, MANTIS_CLOSED);
        mp_grant_sweep_locked(&turn, MANTIS_CLOSE_POOL);
        mp_supply_locked(&turn); /* leaves the queues of its limits */
        mp_turn_changed_locked(&turn);
    }
    mp_turn_end(&turn);
}

/* Undo an opening that failed: as a close, and nothing was ever open. */
static void undo_open(mantis_pool *pool) {
    mp_add_seq_cst(&pool->inside, 1);
    begin_close(pool);
    mp_pool_leave(pool);
}

static mantis_status begin(mantis_pool *pool, const mantis_pool_config *config,
                           mantis_error *error) {
    mp_place *place = NULL;
    mantis_status status = add_place(pool, config->dsn, config->place, &place, error);
    if (status != MANTIS_OK) return status;
    place->number = 1;
    mp_store_release(&pool->places, place); /* pairs with the acquire in mp_supply_place() */
    if (config->keeper == MANTIS_KEEPER_THREAD && !mp_ticker_add(&mp_keeper, &pool->tick))
        return mp_error_set(error, MANTIS_NOMEM, "the system has no more threads for the keeper");
    mp_grant_serve_id(pool, mp_load_relaxed(&pool->id)); /* begins to fill it to conns_min */
    return MANTIS_OK;
}

mantis_status mantis_pool_open(mantis_pool **out, const mantis_pool_config *config,
                               mantis_error *error) {
    if (!out || !config)
        return mp_error_set(error, MANTIS_INVALID, "mantis_pool_open: out or config is NULL");
    mp_settings settings;
    mantis_status status = check_config(config, &settings, error);
    if (status != MANTIS_OK) return status;
    mp_registry_watch_fork();
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

/* Nothing is left, and nobody is inside but those who wait for this: the last of them gives the
 * memory back. From then on the pool is hidden. any: also if somebody is inside. */
static bool is_over(const mantis_pool *pool, uint32_t any) {
    mantis_pool *closing = (mantis_pool *)(uintptr_t)pool;
    if (mp_load_relaxed(&pool->total) != 0) return false;
    mp_store_seq_cst(&closing->id, 0);
    return any || mp_load_seq_cst(&pool->inside) <= pool->watchers;
}

static bool is_warm(const mantis_pool *pool, uint32_t count) {
    if (count == 0) count = (uint32_t)pool->settings.conns_min;
    return pool->is_closed || mp_pool_live(pool) >= count;
}

static bool is_idle(const mantis_pool *pool, uint32_t count) {
    uint32_t busy = 0;
    MP_SLOTS_EACH(&pool->slots, slot)
    busy += mp_slot_state(mp_load_seq_cst(&slot->word)) == MP_SLOT_BUSY;
    return pool->is_closed || busy <= count;
}

/* Sleep until the state is reached. Releases of borrowed connections come by the slow path
 * meanwhile, so that they tell. */
static mantis_status wait_until(mantis_pool *pool, is_reached reached, uint32_t count,
                                int64_t deadline_ns) {
    mp_turn turn = mp_turn_begin(pool);
    if (deadline_ns == MANTIS_DEADLINE_DEFAULT)
        deadline_ns = mp_clock_after(turn.now_ns,
                                     mp_clock_ns_of_ms(pool->settings.acquire_timeout_ms));
    if (pool->watchers++ == 0) mp_or_seq_cst(&pool->attention, MP_ATTENTION_WATCHED);
    bool is_in_time = true, is_there;
    for (;;) {
        uint32_t seen = mp_load_seq_cst(&pool->changed); /* before the look: so none is missed */
        is_there = reached(pool, count);
        if (is_there || !is_in_time) break;
        mp_lock_release(&pool->lock);
        mp_op_start_later();
        is_in_time = mp_park_wait(&pool->changed, seen, deadline_ns);
        mp_lock_acquire(&pool->lock);
    }
    if (--pool->watchers == 0) mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_WATCHED);
    mp_turn_end(&turn);
    return is_there ? MANTIS_OK : MANTIS_TIMEOUT;
}

static mantis_status wait_for(mantis_pool *pool, is_reached reached, uint32_t count,
                              int64_t deadline_ns, mantis_error *error) {
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    status = wait_until(pool, reached, count, deadline_ns);
    if (mp_load_seq_cst(&pool->attention) & MP_ATTENTION_CLOSED) status = MANTIS_CLOSED;
    if (status != MANTIS_OK) mp_explain_state(pool, status, error);
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_pool_wait_warm(mantis_pool *pool, uint32_t count, int64_t deadline_ns,
                                    mantis_error *error) {
    return wait_for(pool, is_warm, count, deadline_ns, error);
}

mantis_status mantis_pool_wait_idle(mantis_pool *pool, int64_t deadline_ns, mantis_error *error) {
    return wait_for(pool, is_idle, 0, deadline_ns, error);
}

/* ---- closing ---- */

/* The deadline has passed: what is still under way must come to its end. */
static void interrupt_stragglers(mantis_pool *pool) {
    MP_SLOTS_EACH(&pool->slots, slot) {
        uint8_t progress = MP_OP_STARTED;
        if (mp_load_relaxed(&slot->op) == MP_OP_NONE) continue;
        if (mp_cas_seq_cst(&slot->progress, &progress, MP_OP_OVERDUE)) mp_op_interrupt(slot);
    }
}

mantis_status mantis_pool_close(mantis_pool **pool, int64_t deadline_ns) {
    if (!pool || !*pool) return MANTIS_OK;
    mantis_pool *closing = *pool;
    *pool = NULL;
    mantis_status status = mp_pool_enter(closing, mp_load_relaxed(&closing->id), NULL);
    if (status == MANTIS_CLOSED) return MANTIS_OK; /* somebody else closed it */
    if (status != MANTIS_OK) return status;
    begin_close(closing);
    /* In a hook or a connector this very thread is inside once more. */
    status = wait_until(closing, is_over, mp_hints_of_thread()->calling_out, deadline_ns);
    if (status != MANTIS_OK) interrupt_stragglers(closing);
    mp_pool_leave(closing);
    return status;
}

/* ---- changing it while it runs ---- */

/* Enter a pool that is not closed, and begin a turn. */
static mantis_status begin_change(mantis_pool *pool, mp_turn *turn, mantis_error *error) {
    if (!pool) return mp_error_set(error, MANTIS_INVALID, "the pool is NULL");
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    *turn = mp_turn_begin(pool);
    if (!pool->is_closed) return MANTIS_OK;
    mp_turn_end(turn);
    mp_pool_leave(pool);
    return mp_error_set(error, MANTIS_CLOSED, "the pool is closed");
}

/* End it; what was changed may let somebody have a connection. */
static void end_change(mp_turn *turn) {
    mp_turn_changed_locked(turn);
    mp_turn_end(turn);
    mp_grant_serve(turn->pool);
    mp_pool_leave(turn->pool);
}

/* Make new settings those of the pool. Above the maximum idle connections are closed now, borrowed
 * ones are looked at when they come back; suspects are none any more if nothing makes them so. */
static void apply_locked(mp_turn *turn, const mp_settings *settings) {
    mantis_pool *pool = turn->pool;
    pool->settings = *settings;
    mp_store_relaxed(&pool->memory_max_bytes, settings->conn_memory_max);
    MP_SLOTS_EACH(&pool->slots, slot) {
        bool is_cleared = slot->is_suspect && settings->check_after_idle_ms < 0;
        if (mp_supply_room(turn) < 0) mp_grant_sweep_slot_locked(turn, slot, MANTIS_CLOSE_IDLE);
        if (!is_cleared || !mp_grant_hold(slot)) continue;
        slot->is_suspect = false;
        mp_grant_settle_locked(turn, slot);
    }
    turn->poke_ns = turn->now_ns;
}

/* Change one setting, and conns_max before it unless that is 0. */
static mantis_status change(mantis_pool *pool, int64_t conns_max, const char *setting,
                            int64_t value, mantis_error *error) {
    mp_turn turn;
    mantis_status status = begin_change(pool, &turn, error);
    if (status != MANTIS_OK) return status;
    mp_settings changed = pool->settings;
    if (conns_max) {
        changed.conns_min = 0; /* so that the order of the two does not matter */
        status = mp_settings_set(&changed, "conns_max", conns_max, error);
    }
    if (status == MANTIS_OK) status = mp_settings_set(&changed, setting, value, error);
    if (status == MANTIS_OK) apply_locked(&turn, &changed);
    end_change(&turn);
    return status;
}

mantis_status mantis_pool_resize(mantis_pool *pool, int64_t conns_min, int64_t conns_max,
                                 mantis_error *error) {
    return change(pool, conns_max, "conns_min", conns_min, error);
}

mantis_status mantis_pool_set(mantis_pool *pool, const char *setting, int64_t value,
                              mantis_error *error) {
    return change(pool, 0, setting, value, error);
}

mantis_status mantis_pool_pause(mantis_pool *pool, mantis_pause how, mantis_error *error) {
    mp_turn turn;
    mantis_status status = begin_change(pool, &turn, error);
    if (status != MANTIS_OK) return status;
    pool->is_paused = true;
    pool->pause_fails = how == MANTIS_PAUSE_FAIL;
    mp_or_seq_cst(&pool->attention, MP_ATTENTION_PAUSED);
    mp_grant_sweep_locked(&turn, (mantis_close_reason)0);
    if (pool->pause_fails) mp_grant_end_all_locked(&turn, MANTIS_PAUSED);
    end_change(&turn);
    return MANTIS_OK;
}

mantis_status mantis_pool_resume(mantis_pool *pool, mantis_error *error) {
    mp_turn turn;
    mantis_status status = begin_change(pool, &turn, error);
    if (status != MANTIS_OK) return status;
    pool->is_paused = pool->pause_fails = false;
    mp_and_seq_cst(&pool->attention, ~MP_ATTENTION_PAUSED);
    MP_SLOTS_EACH(&pool->slots, slot)
    if (!slot->is_suspect && mp_grant_hold(slot)) mp_grant_settle_locked(&turn, slot);
    end_change(&turn);
    return MANTIS_OK;
}

/* Connections opened before are not lent from here on (C3). */
static void evict_locked(mp_turn *turn, mantis_evict how) {
    turn->pool->epoch++;
    mp_grant_sweep_locked(turn, MANTIS_CLOSE_EVICTED);
    if (how != MANTIS_EVICT_HARD) return;
    MP_SLOTS_EACH(&turn->pool->slots, slot) {
        mp_waiter *watch = slot->u.list.watch;
        if (mp_slot_state(mp_load_relaxed(&slot->word)) != MP_SLOT_BUSY || !watch) continue;
        slot->u.list.watch = NULL;
        mp_turn_add_wake(turn, mp_mailbox_post(mp_waiter_public(watch)->mailbox, watch));
    }
}

mantis_status mantis_pool_evict(mantis_pool *pool, mantis_evict how, mantis_error *error) {
    mp_turn turn;
    mantis_status status = begin_change(pool, &turn, error);
    if (status != MANTIS_OK) return status;
    evict_locked(&turn, how);
    end_change(&turn);
    return MANTIS_OK;
}

/* Put new parameters in the place of the old ones. */
static void replace_place_locked(mp_turn *turn, mp_place *place) {
    mantis_pool *pool = turn->pool;
    mp_place *before = mp_load_relaxed(&pool->places);
    place->older = before;
    place->number = before->number + 1;
    place->first_epoch = pool->epoch + 1;
    mp_store_release(&pool->places, place); /* pairs with the acquire in mp_supply_place() */
    before->is_stopped = before->slots == 0 && !pool->is_interrupting;
    if (before->is_stopped) turn->stop = before;
    pool->failures = 0; /* the new parameters get a chance at once */
    evict_locked(turn, MANTIS_EVICT_SOFT);
}

mantis_status mantis_pool_set_dsn(mantis_pool *pool, const char *dsn, void *config_place,
                                  mantis_error *error) {
    if (!pool) return mp_error_set(error, MANTIS_INVALID, "the pool is NULL");
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    mp_place *place = NULL;
    status = add_place(pool, dsn, config_place, &place, error);
    mp_turn turn = mp_turn_begin(pool);
    if (status == MANTIS_OK) replace_place_locked(&turn, place);
    end_change(&turn);
    return status;
}
