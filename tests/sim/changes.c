/* Random operations of operators: settings, sizes, pause, evict, new parameters, the backend. */
#include "sim.h"

#include <inttypes.h>
#include <stddef.h>

/* ---- the backend and the shared limits ---- */

static void change_backend(sim_pool *pool) {
    sim_backend *backend = &sim_world->backends[pool->place];
    backend->is_down = sim_chance(30);
    backend->inline_percent = sim_chance(50) ? 0 : (uint32_t)sim_between(0, 100);
    backend->fail_percent = sim_chance(60) ? 0 : (uint32_t)sim_between(0, 80);
    backend->stuck_percent = sim_chance(70) ? 0 : (uint32_t)sim_between(0, 50);
    sim_log(backend->is_down ? "backend down" : "backend up", pool->place, backend->fail_percent,
            backend->stuck_percent);
}

static void resize_limit(sim_pool *pool) {
    (void)pool;
    sim_limit *limit = &sim_world->limits[sim_below(sim_world->limit_count)];
    int64_t max = sim_between(1, 12);
    sim_log("limit resize", limit->max, max, 0);
    limit->max = max;
    limit->in_use_before = mantis_limit_in_use(limit->limit);
    mantis_status status = mantis_limit_resize(limit->limit, max, NULL);
    sim_check(status == MANTIS_OK, "limit resize: %s", mantis_status_name(status));
    for (uint32_t i = 0; i < sim_world->place_count; i++) sim_world->touched |= 1u << i;
}

/* ---- sizes and settings ---- */

/* How large it is before a change: it may have grown since it was looked at. */
static void note_total(sim_pool *pool) {
    mantis_pool_stats stats = {0};
    if (mantis_pool_get_stats(pool->pool, &stats) == MANTIS_OK) pool->total_before = stats.total;
}

static void resize(sim_pool *pool) {
    int64_t max = sim_chance(5) ? -1 : sim_between(1, 10);
    int64_t min = sim_chance(50) ? 0 : sim_between(0, max < 0 ? 4 : max);
    sim_log("resize", pool->place, min, max);
    note_total(pool);
    pool->config.conns_min = min;
    pool->config.conns_max = max;
    mantis_status status = mantis_pool_resize(pool->pool, min, max, NULL);
    sim_check(status == MANTIS_OK || !pool->is_open, "resize: %s", mantis_status_name(status));
}

static const struct {
    const char *name;
    size_t offset;
    int64_t least, most;
    bool can_be_never;
} settings[] = {
#define SETTING(name, least, most, never)                                                          \
    { #name, offsetof(mantis_pool_config, name), least, most, never }
    SETTING(reserve, 0, 2, false),
    SETTING(reserve_after_ms, 1, 300, true),
    SETTING(waiting_max, 1, 20, true),
    SETTING(acquire_timeout_ms, 1, 3000, true),
    SETTING(open_timeout_ms, 50, 5000, false),
    SETTING(opening_max, 1, 5, false),
    SETTING(backoff_max_ms, 200, 3000, false),
    SETTING(idle_timeout_ms, 20, 5000, true),
    SETTING(lifetime_ms, 100, 20000, true),
    SETTING(lifetime_jitter_percent, 1, 50, true),
    SETTING(check_interval_ms, 100, 5000, true),
    SETTING(check_after_idle_ms, 10, 1000, true),
    SETTING(leak_after_ms, 10, 5000, true),
    SETTING(fail_fast, 0, 1, false),
#undef SETTING
};

static void set(sim_pool *pool) {
    size_t which = (size_t)sim_below(sizeof settings / sizeof settings[0]);
    int64_t value = settings[which].can_be_never && sim_chance(20)
                        ? -1
                        : sim_between(settings[which].least, settings[which].most);
    sim_log(settings[which].name, pool->place, value, 0);
    note_total(pool);
    *(int64_t *)(void *)((char *)&pool->config + settings[which].offset) = value;
    if (pool->has_checks && pool->config.check_after_idle_ms > 0) pool->has_suspects = true;
    mantis_status status = mantis_pool_set(pool->pool, settings[which].name, value, NULL);
    sim_check(status == MANTIS_OK || !pool->is_open, "set %s: %s", settings[which].name,
              mantis_status_name(status));
}

static void set_wrongly(sim_pool *pool) {
    mantis_error error = {0};
    mantis_status status = sim_chance(50) ? mantis_pool_set(pool->pool, "no_such", 1, &error)
                                          : mantis_pool_set(pool->pool, "fail_fast", 2, &error);
    sim_check(status == MANTIS_INVALID && error.text[0], "a bad setting: %s",
              mantis_status_name(status));
}

static void set_dsn(sim_pool *pool) {
    uint32_t before = pool->configuration;
    sim_log("set dsn", pool->place, before, 0);
    mantis_error error = {0};
    mantis_status status = mantis_pool_set_dsn(pool->pool, "sim:new", pool, &error);
    if (!pool->is_open) return;
    bool is_new = pool->configuration > before;
    sim_check(status == (is_new ? MANTIS_OK : MANTIS_CONNECT_FAILED), "set_dsn: %s",
              mantis_status_name(status));
    if (!is_new) return;
    pool->configured_at_ns = sim_world->now_ns;
    pool->configured = pool->configuration;
}

/* ---- pause, resume, evict ---- */

static void pause_pool(sim_pool *pool) {
    bool is_failing = sim_chance(40);
    sim_log("pause", pool->place, is_failing, 0);
    mantis_status status =
        mantis_pool_pause(pool->pool, is_failing ? MANTIS_PAUSE_FAIL : MANTIS_PAUSE_WAIT, NULL);
    if (!pool->is_open) return;
    sim_check(status == MANTIS_OK, "pause: %s", mantis_status_name(status));
    if (!pool->is_paused) pool->paused_at_ns = sim_world->now_ns;
    pool->is_paused = true;
    pool->is_failing = is_failing;
}

void sim_resume(sim_pool *pool) {
    sim_log("resume", pool->place, 0, 0);
    if (pool->is_paused) pool->resumed_at_ns = sim_world->now_ns;
    pool->is_paused = false;
    mantis_status status = mantis_pool_resume(pool->pool, NULL);
    sim_check(status == MANTIS_OK || !pool->is_open, "resume: %s", mantis_status_name(status));
}

/* Those who watch what they hold are told of a hard eviction: from now on an outcome is due. */
static void expect_tellings(sim_pool *pool) {
    sim *world = sim_world;
    for (uint32_t i = 0; i < world->held_count; i++) {
        sim_request *watch = world->held[i].watch;
        if (world->held[i].pool != pool || !watch || watch->state != SIM_REQUEST_WATCHES) continue;
        watch->state = SIM_REQUEST_SENT;
        world->pending_count++;
    }
}

static void evict(sim_pool *pool) {
    bool is_hard = sim_chance(40);
    int64_t from_ns = sim_world->now_ns;
    sim_log("evict", pool->place, is_hard, 0);
    if (is_hard) {
        expect_tellings(pool);
        pool->hard_evicted_at_ns = from_ns;
    }
    mantis_status status = mantis_pool_evict(pool->pool,
                                             is_hard ? MANTIS_EVICT_HARD : MANTIS_EVICT_SOFT, NULL);
    if (!pool->is_open) return;
    sim_check(status == MANTIS_OK, "evict: %s", mantis_status_name(status));
    pool->evict_from_ns = from_ns;
    pool->evicted_at_ns = sim_world->now_ns;
}

/* One run in a thousand or so: another mailbox for the same home. */
static void reopen_mailbox(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    uint32_t index = (uint32_t)sim_below(world->mailbox_count);
    sim_mailbox *box = &world->mailboxes[index];
    bool is_used = world->depth > 0;
    for (uint32_t i = 0; i < SIM_REQUESTS_MAX; i++)
        is_used |= world->requests[i].state != SIM_REQUEST_FREE &&
                   world->requests[i].mailbox == index;
    sim_act_as(index);
    if (is_used) return;
    sim_log("mailbox", index, 0, 0);
    mantis_status status = mantis_mailbox_close(&box->mailbox);
    sim_check(status == MANTIS_OK, "mailbox close: %s", mantis_status_name(status));
    status = mantis_mailbox_open(&box->mailbox, box->home, NULL);
    sim_check(status == MANTIS_OK, "mailbox open: %s", mantis_status_name(status));
}

void sim_change(uint32_t which) {
    static void (*const changes[SIM_CHANGES])(sim_pool * pool) = {
        change_backend, change_backend, resize,     resize_limit, set,
        set_wrongly,    reopen_mailbox, set_dsn,    pause_pool,   evict,
        sim_resume,     sim_resume,     sim_resume, sim_resume,
    };
    sim *world = sim_world;
    sim_pool *pool = sim_random_pool(world);
    /* A change is seen as one step: nothing is asked of the pools from hooks while it runs. */
    bool was_quiet = world->is_quiet_hooks;
    world->is_quiet_hooks = sim_chance(50) || which >= 8;
    if (pool) changes[which](pool);
    world->is_quiet_hooks = was_quiet;
}
