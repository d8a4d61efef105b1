/* One run of the simulator: its pools, limits and mailboxes, the clock, and the log of what was
 * done last. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sim *sim_world;

/* ---- chance, time, the log ---- */

uint64_t sim_below(uint64_t below) { return mp_random_below(&sim_world->random, below); }

bool sim_chance(uint32_t percent) { return percent > 0 && sim_below(100) < percent; }

int64_t sim_between(int64_t least, int64_t most) {
    return least + (int64_t)sim_below((uint64_t)(most - least + 1));
}

static int64_t read_clock(void) { return sim_world->now_ns; }

void sim_tick(void) { sim_world->now_ns += 1 + (int64_t)sim_below(20000); }

static void print_entry(const sim_log_entry *entry) {
    printf("#   %9" PRIu64 " %14" PRId64 " %-16s %6" PRId64 " %6" PRId64 " %12" PRId64 "\n",
           entry->number, entry->now_ns, entry->name, entry->a, entry->b, entry->c);
}

void sim_log(const char *name, int64_t a, int64_t b, int64_t c) {
    sim *world = sim_world;
    sim_log_entry *entry = &world->log[world->logged++ % SIM_LOG_MAX];
    *entry = (sim_log_entry){name, world->op, world->now_ns, a, b, c};
    if (world->is_verbose) print_entry(entry);
}

_Noreturn void sim_fail(const char *format, ...) {
    const sim *world = sim_world;
    va_list args;
    printf("# seed %" PRIu64 ", operation %" PRIu64 ": ", world->seed, world->op);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n# again: sim --seed %" PRIu64 " --ops %" PRIu64 " --verbose; the last operations:\n",
           world->seed, world->ops);
    uint64_t first = world->logged > SIM_LOG_MAX ? world->logged - SIM_LOG_MAX : 0;
    for (uint64_t i = first; i < world->logged; i++) print_entry(&world->log[i % SIM_LOG_MAX]);
    printf("not ok 1 - sim_seed_%" PRIu64 "\n", world->seed);
    fflush(stdout);
    _Exit(1);
}

/* ---- hooks: each may act on the pools from the inside ---- */

static void hook(void *arg) {
    sim_pool *pool = arg;
    sim_check(pool->is_used, "a hook of a pool that is gone");
    sim_hook_step(pool);
}

static void on_open(void *arg, void *native, int64_t took_ns) {
    sim_check(native, "on_open without a native connection");
    sim_check(took_ns >= 0, "an open took %" PRId64 " ns", took_ns);
    hook(arg);
}

static void on_open_failed(void *arg, const char *cause) {
    sim_check(cause && *cause, "an open failed without a cause");
    hook(arg);
}

static void on_close(void *arg, mantis_close_reason reason) {
    sim_check(reason >= MANTIS_CLOSE_IDLE && reason <= MANTIS_CLOSE_POOL, "reason %d", reason);
    hook(arg);
}

static void on_timeout(void *arg, int64_t waited_ns) {
    sim_check(waited_ns >= 0, "waited %" PRId64 " ns", waited_ns);
    hook(arg);
}

static void on_leak(void *arg, uint32_t tid, const char *tag, int64_t held_ns) {
    (void)tid, (void)tag;
    sim_check(held_ns > 0, "a leak of %" PRId64 " ns", held_ns);
    hook(arg);
}

static void on_log(void *arg, mantis_log_level level, const char *text) {
    sim_check(level <= MANTIS_LOG_ERROR && text && *text, "a log line without a text");
    hook(arg);
}

/* ---- pools ---- */

static int64_t maybe(uint32_t percent, int64_t value, int64_t otherwise) {
    return sim_chance(percent) ? value : otherwise;
}

static mantis_pool_config random_config(sim *world, sim_pool *pool) {
    int64_t max = maybe(3, -1, sim_between(1, maybe(20, 12, 5)));
    mantis_pool_config config = {
        .connector = sim_chance(80) ? &sim_connector : &sim_plain_connector,
        .dsn = "sim:",
        .place = pool,
        .name = "sim",
        .conns_max = max,
        .conns_min = maybe(50, 0, sim_between(0, max < 0 ? 3 : max)),
        .reserve = maybe(80, 0, sim_between(1, 2)),
        .reserve_after_ms = sim_between(1, 200),
        .waiting_max = maybe(70, -1, sim_between(1, 12)),
        .acquire_timeout_ms = sim_between(1, 2000),
        .open_timeout_ms = sim_between(100, 5000),
        .opening_max = maybe(50, 0, sim_between(1, 4)),
        .backoff_min_ms = sim_between(10, 100),
        .backoff_max_ms = sim_between(100, 2000),
        .idle_timeout_ms = maybe(30, -1, sim_between(20, 5000)),
        .lifetime_ms = maybe(30, -1, sim_between(100, 20000)),
        .lifetime_jitter_percent = maybe(30, 0, sim_between(1, 50)),
        .check_interval_ms = maybe(30, -1, sim_between(100, 5000)),
        .check_after_idle_ms = maybe(60, 0, sim_between(10, 1000)),
        .leak_after_ms = maybe(70, -1, sim_between(10, 5000)),
        .fail_fast = maybe(85, 0, 1),
        .keeper = MANTIS_KEEPER_CALLER,
        .hooks = {on_open, on_open_failed, on_close, on_timeout, on_leak, on_log, pool},
        .clock = read_clock,
        .seed = mp_random_next(&world->random) | 1,
    };
    return config;
}

static sim_pool *free_pool(sim *world) {
    for (uint32_t i = 0; i < SIM_POOLS_MAX; i++)
        if (!world->pools[i].is_used) return &world->pools[i];
    return NULL;
}

static void choose_limits(sim *world, sim_pool *pool) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->limit_count; i++) {
        if (sim_chance(40)) continue;
        pool->limits |= 1u << i;
        pool->config.limits[count++] = world->limits[i].limit;
    }
}

void sim_pool_open(sim *world, uint32_t place) {
    sim_pool *pool = free_pool(world);
    if (!pool || world->open[place] || (world->opening >> place & 1)) return;
    world->opening |= 1u << place;
    *pool = (sim_pool){.is_used = true, .place = place, .number = (uint32_t)sim_number()};
    pool->config = random_config(world, pool);
    pool->has_checks = pool->has_interrupt = pool->config.connector == &sim_connector;
    pool->has_suspects = pool->has_checks && pool->config.check_after_idle_ms > 0;
    choose_limits(world, pool);
    pool->due_ns = world->now_ns;
    sim_log("open pool", place, pool->config.conns_min, pool->config.conns_max);
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool->pool, &pool->config, &error);
    world->opening &= ~(1u << place);
    if (status != MANTIS_OK) {
        sim_check(status == MANTIS_CONNECT_FAILED && error.status == status && !pool->pool,
                  "open: %s: %s", mantis_status_name(status), error.text);
        sim_check(pool->natives == 0, "a pool that was not opened has connections");
        pool->is_used = false;
        return;
    }
    pool->is_open = true;
    pool->decided = 0;
    world->open[place] = pool;
    sim_touch(pool);
}

void sim_pool_close(sim_pool *pool) {
    sim *world = sim_world;
    sim_log("close pool", pool->place, pool->held, pool->natives);
    pool->is_open = false;
    world->open[pool->place] = NULL;
    mantis_pool *again = pool->pool;
    mantis_status status = mantis_pool_close(&pool->pool, 1);
    sim_check(pool->pool == NULL && again != NULL, "close has not cleared the pool");
    if (status == MANTIS_OK)
        sim_check(pool->natives == 0 && pool->held == 0, "closed, but %u open and %u held",
                  pool->natives, pool->held);
    else sim_check(status == MANTIS_TIMEOUT, "close: %s", mantis_status_name(status));
    sim_check(mantis_pool_close(&pool->pool, 1) == MANTIS_OK, "closing nothing");
}

void sim_forget_closed(sim *world) {
    uint64_t started = 0; /* one bit a pool */
    for (uint32_t i = 0; i < SIM_STARTS_MAX; i++)
        if (world->starts[i].is_used)
            started |= UINT64_C(1) << (world->starts[i].pool - world->pools);
    for (uint32_t i = 0; i < SIM_POOLS_MAX; i++) {
        sim_pool *pool = &world->pools[i];
        if (!pool->is_used || pool->is_open || pool->held || pool->pending) continue;
        if (!(started >> i & 1)) pool->is_used = false;
    }
}

sim_pool *sim_random_pool(sim *world) {
    sim_pool *pool = world->open[sim_below(world->place_count)];
    if (pool) sim_touch(pool);
    return pool;
}

void sim_touch(const sim_pool *pool) { sim_world->touched |= 1u << pool->place; }

void sim_act_as(uint32_t mailbox) {
    mantis_status status = mantis_thread_home(sim_world->mailboxes[mailbox].home);
    sim_check(status == MANTIS_OK, "thread_home: %s", mantis_status_name(status));
}

/* ---- the run ---- */

static void open_shared(sim *world) {
    mantis_error error = {0};
    world->limit_count = (uint32_t)sim_between(1, SIM_LIMITS_MAX);
    world->mailbox_count = (uint32_t)sim_between(2, SIM_MAILBOXES_MAX);
    world->place_count = (uint32_t)sim_between(3, SIM_PLACES);
    for (uint32_t i = 0; i < world->limit_count; i++) {
        world->limits[i].max = sim_between(1, 12);
        mantis_status status = mantis_limit_open(&world->limits[i].limit, "shared",
                                                 world->limits[i].max, &error);
        sim_check(status == MANTIS_OK, "limit: %s", error.text);
    }
    bool has_homes = sim_chance(70);
    for (uint32_t i = 0; i < world->mailbox_count; i++) {
        sim_mailbox *mailbox = &world->mailboxes[i];
        mailbox->home = has_homes && i < 3 ? i + 1 : 0;
        mantis_status status = mantis_mailbox_open(&mailbox->mailbox, mailbox->home, &error);
        sim_check(status == MANTIS_OK, "mailbox: %s", error.text);
    }
}

void sim_world_start(sim *world, uint64_t seed, uint64_t index) {
    sim_world = world;
    world->seed = seed;
    mp_random_start(&world->random, (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + index);
    world->now_ns = INT64_C(1000) * MP_NS_PER_S;
    for (uint32_t i = 0; i < SIM_NATIVES_MAX; i++) world->native_free[i] = i;
    world->native_free_count = SIM_NATIVES_MAX;
    sim_new_weights(world);
    open_shared(world);
    for (uint32_t i = 0; i < world->place_count; i++) {
        world->backends[i].inline_percent = (uint32_t)sim_between(0, 100);
        sim_pool_open(world, i);
    }
}

static void drain_and_release(sim *world) {
    for (uint32_t round = 0; round < 8; round++) {
        for (uint32_t i = 0; i < world->mailbox_count; i++) {
            sim_act_as(i);
            while (sim_drain(i, 8) > 0) continue;
        }
        while (world->held_count > 0) sim_release(0, MANTIS_RELEASE_CLEAN);
        sim_backend_complete_all();
    }
}

static void check_nothing_left(sim *world) {
    sim_check(world->held_count == 0 && world->pending_count == 0, "%u held, %u pending",
              world->held_count, world->pending_count);
    sim_check(world->under_way_count == 0, "%u operations never ended", world->under_way_count);
    sim_check(world->native_free_count == SIM_NATIVES_MAX, "%u connections were never closed",
              SIM_NATIVES_MAX - world->native_free_count);
    for (uint32_t i = 0; i < SIM_STARTS_MAX; i++)
        sim_check(!world->starts[i].is_used, "a place was started and never stopped");
}

void sim_world_finish(sim *world) {
    world->is_quiet_hooks = true;
    for (uint32_t i = 0; i < world->place_count; i++)
        if (world->open[i]) sim_pool_close(world->open[i]);
    drain_and_release(world);
    check_nothing_left(world);
    mantis_thread_home(0);
    for (uint32_t i = 0; i < world->mailbox_count; i++) {
        mantis_status status = mantis_mailbox_close(&world->mailboxes[i].mailbox);
        sim_check(status == MANTIS_OK, "mailbox close: %s", mantis_status_name(status));
    }
    for (uint32_t i = 0; i < world->limit_count; i++) {
        uint32_t in_use = mantis_limit_in_use(world->limits[i].limit);
        sim_check(in_use == 0, "%u still count against limit %u", in_use, i);
        mantis_status status = mantis_limit_close(&world->limits[i].limit);
        sim_check(status == MANTIS_OK, "limit close: %s", mantis_status_name(status));
    }
}
