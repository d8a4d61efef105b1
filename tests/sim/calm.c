/* Liveness: from time to time all faults stop. Then everybody who waits must be served within a
 * bounded time, what was closed must be gone, and every pool must reach its minimum. */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

#define CALM_NS_MAX (60 * MP_NS_PER_S)

static void stop_faults(sim *world) {
    for (uint32_t i = 0; i < world->place_count; i++) {
        world->backends[i].is_down = false;
        world->backends[i].fail_percent = world->backends[i].stuck_percent = 0;
        if (world->open[i] && world->open[i]->is_paused) sim_resume(world->open[i]);
    }
    for (uint32_t i = 0; i < world->under_way_count; i++) world->under_way[i].is_stuck = false;
}

static void complete_some(sim *world) {
    uint32_t count = world->under_way_count;
    for (uint32_t i = 0; i < count && world->under_way_count > 0; i++)
        sim_backend_complete((uint32_t)sim_below(world->under_way_count), true);
}

/* Has a pool room for its minimum, whatever the others of its limits do? */
static bool can_reach_min(const sim *world, const sim_pool *pool) {
    for (uint32_t i = 0; i < world->limit_count; i++) {
        if (!(pool->limits >> i & 1)) continue;
        int64_t sum = 0;
        for (uint32_t j = 0; j < world->place_count; j++) {
            const sim_pool *other = world->open[j];
            if (!other || !(other->limits >> i & 1)) continue;
            if (other->config.conns_max < 0) return false;
            sum += other->config.conns_max + other->config.reserve;
        }
        if (sum > world->limits[i].max) return false;
    }
    return true;
}

static bool is_settled(sim *world) {
    if (world->held_count || world->pending_count || world->under_way_count) return false;
    sim_check_all(world);
    for (uint32_t i = 0; i < world->place_count; i++) {
        const sim_pool *pool = world->open[i];
        if (pool && can_reach_min(world, pool) && pool->stats.idle < pool->config.conns_min)
            return false;
    }
    for (uint32_t i = 0; i < SIM_POOLS_MAX; i++)
        if (world->pools[i].is_used && !world->pools[i].is_open) return false;
    return true;
}

static void say_what_is_left(const sim *world) {
    for (uint32_t i = 0; i < world->place_count; i++) {
        const sim_pool *pool = world->open[i];
        if (!pool) continue;
        const mantis_pool_stats *stats = &pool->stats;
        sim_log("left: idle", i, stats->idle, stats->busy);
        sim_log("left: min, max", i, pool->config.conns_min, pool->config.conns_max);
        sim_log("left: waiting", i, stats->waiting, stats->opening);
    }
    for (uint32_t i = 0; i < SIM_POOLS_MAX; i++)
        if (world->pools[i].is_used && !world->pools[i].is_open)
            sim_log("left: closed", i, world->pools[i].natives, world->pools[i].ops[SIM_OPEN]);
}

/* The clock goes on to what is due first, at least a little and at most 50 ms. */
static void advance(sim *world) {
    int64_t next_ns = world->now_ns + 50 * MP_NS_PER_MS;
    for (uint32_t i = 0; i < world->place_count; i++)
        if (world->open[i] && world->open[i]->due_ns < next_ns) next_ns = world->open[i]->due_ns;
    if (next_ns < world->now_ns + MP_NS_PER_MS) next_ns = world->now_ns + MP_NS_PER_MS;
    world->now_ns = next_ns;
}

void sim_calm(sim *world) {
    world->is_calm = true;
    sim_log("calm", 0, world->held_count, world->pending_count);
    stop_faults(world);
    int64_t end_ns = world->now_ns + CALM_NS_MAX;
    while (!is_settled(world)) {
        if (world->now_ns >= end_ns) {
            say_what_is_left(world);
            sim_fail("calm for a minute: %u held, %u wait, %u operations under way",
                     world->held_count, world->pending_count, world->under_way_count);
        }
        for (uint32_t i = 0; i < world->mailbox_count; i++) {
            sim_act_as(i);
            while (sim_drain(i, 8) > 0) continue;
        }
        complete_some(world);
        while (world->held_count > 0) {
            sim_act_as((uint32_t)sim_below(world->mailbox_count));
            sim_release((uint32_t)sim_below(world->held_count), MANTIS_RELEASE_CLEAN);
        }
        for (uint32_t i = 0; i < world->place_count; i++)
            if (world->open[i] && world->open[i]->due_ns <= world->now_ns) sim_tend(world->open[i]);
        sim_check_all(world);
        advance(world);
    }
    sim_log("settled", 0, 0, 0);
    world->is_calm = false;
}
