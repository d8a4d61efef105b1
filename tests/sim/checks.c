/* What must be true after every operation. */
#include "sim.h"

#include <inttypes.h>

static bool has_homes(const sim *world) { return world->mailboxes[0].home != 0; }

/* M3: the states are the total, and the backend agrees. An operation of a connection that has a
 * home may still lie in that home's mailbox, so the backend may know of fewer. */
static void check_states(const sim *world, const sim_pool *pool, const mantis_pool_stats *stats) {
    sim_check(stats->total == stats->idle + stats->busy + stats->opening + stats->checking +
                                  stats->resetting + stats->closing,
              "total %u is not the sum of the states", stats->total);
    sim_check(pool->natives == stats->total - stats->opening, "%u handles open, total %u less %u",
              pool->natives, stats->total, stats->opening);
    bool exact = !has_homes(world);
    const uint32_t seen[SIM_OP_KINDS] = {stats->opening, stats->checking, stats->resetting,
                                         stats->closing};
    for (uint32_t i = 0; i < SIM_OP_KINDS; i++)
        sim_check(exact ? seen[i] == pool->ops[i] : seen[i] >= pool->ops[i],
                  "%u operations of kind %u under way, the pool says %u", pool->ops[i], i, seen[i]);
}

/* M1: every attempt has one outcome, and each is counted once. */
static void check_outcomes(const sim_pool *pool, const mantis_pool_stats *stats) {
    const uint64_t *answered = pool->answered;
    uint64_t lost = stats->refused + stats->failed;
    uint64_t lost_answered = answered[MANTIS_EXHAUSTED] + answered[MANTIS_PAUSED] +
                             answered[MANTIS_CONNECT_FAILED] + answered[MANTIS_CLOSED];
    uint64_t all = stats->granted + stats->timed_out + stats->cancelled + lost + stats->waiting;
    sim_check(stats->attempts == all, "attempts %" PRIu64 ", outcomes %" PRIu64, stats->attempts,
              all);
    sim_check(stats->attempts == pool->attempts, "attempts %" PRIu64 ", made %" PRIu64,
              stats->attempts, pool->attempts);
    sim_check(stats->granted >= answered[MANTIS_OK] &&
                  stats->timed_out >= answered[MANTIS_TIMEOUT] && lost >= lost_answered &&
                  stats->cancelled == answered[MANTIS_CANCELLED],
              "granted %" PRIu64 " of %" PRIu64 ", timed out %" PRIu64 " of %" PRIu64
              ", lost %" PRIu64 " of %" PRIu64 ", cancelled %" PRIu64 " of %" PRIu64,
              stats->granted, answered[MANTIS_OK], stats->timed_out, answered[MANTIS_TIMEOUT], lost,
              lost_answered, stats->cancelled, answered[MANTIS_CANCELLED]);
    uint64_t on_the_way = stats->granted - answered[MANTIS_OK];
    sim_check(stats->busy == pool->held + on_the_way, "busy %u, held %u, on the way %" PRIu64,
              stats->busy, pool->held, on_the_way);
    on_the_way += stats->timed_out - answered[MANTIS_TIMEOUT] + lost - lost_answered;
    sim_check(pool->pending == stats->waiting + on_the_way,
              "%u requests, %u wait, %" PRIu64 " on the way", pool->pending, stats->waiting,
              on_the_way);
    if (pool->pending == stats->waiting)
        sim_check(stats->wait_sum_ns == pool->wait_sum_ns,
                  "waits add up to %" PRId64 ", not %" PRId64, pool->wait_sum_ns,
                  stats->wait_sum_ns);
}

/* S2: never more than the maximum; after a shrink only what is out, and no new one. */
static void check_size(sim_pool *pool, const mantis_pool_stats *stats) {
    const mantis_pool_config *config = &pool->config;
    if (config->conns_max >= 0) {
        uint32_t most = (uint32_t)(config->conns_max + config->reserve);
        sim_check(stats->conns_max == (uint32_t)config->conns_max, "conns_max %u, set to %" PRId64,
                  stats->conns_max, config->conns_max);
        sim_check(stats->total <= most || stats->total <= pool->total_before,
                  "%u connections, before %u, at most %u", stats->total, pool->total_before, most);
        sim_check(stats->total - stats->closing <= most || stats->idle == 0,
                  "%u idle although %u of %u are open", stats->idle, stats->total, most);
    }
    pool->total_before = stats->total;
}

/* How many requests of the pool are alive, and when the oldest was made. */
static uint32_t count_live(const sim *world, const sim_pool *pool, int64_t *oldest_ns) {
    uint32_t count = 0;
    *oldest_ns = MP_NEVER_NS;
    for (uint32_t i = 0; i < SIM_REQUESTS_MAX; i++) {
        const sim_request *request = &world->requests[i];
        if (request->state != SIM_REQUEST_WAITS || request->pool != pool) continue;
        if (request->asked_at_ns < *oldest_ns) *oldest_ns = request->asked_at_ns;
        count += request->deadline_ns > world->now_ns;
    }
    return count;
}

static bool has_limit_room(const sim *world, const sim_pool *pool) {
    for (uint32_t i = 0; i < world->limit_count; i++) {
        const sim_limit *limit = &world->limits[i];
        if ((pool->limits >> i & 1) && mantis_limit_in_use(limit->limit) >= limit->max)
            return false;
    }
    return true;
}

/* Someone waits, and there is room for one more connection. */
static bool must_open(const sim *world, const sim_pool *pool, const mantis_pool_stats *stats) {
    if (stats->waiting == 0 || pool->is_paused) return false;
    if (pool->config.conns_max >= 0 && stats->total >= pool->config.conns_max) return false;
    if (!has_limit_room(world, pool)) return false;
    int64_t oldest_ns;
    uint32_t on_the_way = pool->pending - stats->waiting;
    return count_live(world, pool, &oldest_ns) > on_the_way;
}

/* L2: then an open is under way, or a back-off runs. And nobody waits beside a free one. */
static void check_progress(const sim *world, const sim_pool *pool, const mantis_pool_stats *stats) {
    sim_check(stats->waiting > 0 || stats->oldest_wait_ns == 0, "nobody waits, since %" PRId64,
              stats->oldest_wait_ns);
    uint32_t coming = stats->opening + stats->checking + stats->resetting;
    bool may_be_unfit = pool->has_suspects && coming > 0; /* idle, but to be checked first */
    if (stats->waiting > 0 && stats->idle > 0 && !pool->is_paused && !may_be_unfit) {
        int64_t oldest_ns;
        uint32_t on_the_way = pool->pending - stats->waiting;
        sim_check(count_live(world, pool, &oldest_ns) <= on_the_way,
                  "pool %u: %u wait beside %u idle", pool->place, stats->waiting, stats->idle);
    }
    if (coming > 0 || !must_open(world, pool, stats)) return;
    sim_check(pool->has_failed && pool->successes == 0,
              "pool %u: %u wait, total %u, room everywhere, and nothing is being opened",
              pool->place, stats->waiting, stats->total);
}

void sim_check_backoff(sim_pool *pool) {
    mantis_pool_stats stats = {0};
    if (mantis_pool_get_stats(pool->pool, &stats) != MANTIS_OK) return;
    if (stats.opening + stats.checking + stats.resetting > 0) return;
    if (!must_open(sim_world, pool, &stats)) return;
    int64_t pause_ns = pool->due_ns - sim_world->now_ns;
    int64_t most_ms = pool->backoff_ms; /* as it was when it failed */
    if (most_ms < pool->config.backoff_max_ms) most_ms = pool->config.backoff_max_ms;
    sim_check(pause_ns <= most_ms * MP_NS_PER_MS * 2, "backs off for %" PRId64 " ms",
              pause_ns / MP_NS_PER_MS);
}

static void check_oldest(const sim *world, const sim_pool *pool, const mantis_pool_stats *stats) {
    if (stats->waiting == 0) return;
    int64_t oldest_ns;
    count_live(world, pool, &oldest_ns);
    sim_check(stats->oldest_wait_ns <= world->now_ns - oldest_ns, "the oldest waits %" PRId64,
              stats->oldest_wait_ns);
    if (pool->pending == stats->waiting)
        sim_check(stats->oldest_wait_ns == world->now_ns - oldest_ns,
                  "the oldest waits %" PRId64 ", not %" PRId64, stats->oldest_wait_ns,
                  world->now_ns - oldest_ns);
}

static void check_pool(sim *world, sim_pool *pool) {
    mantis_pool_stats *stats = &pool->stats;
    mantis_status status = mantis_pool_get_stats(pool->pool, stats);
    sim_check(status == MANTIS_OK, "stats: %s", mantis_status_name(status));
    check_states(world, pool, stats);
    check_outcomes(pool, stats);
    check_size(pool, stats);
    check_progress(world, pool, stats);
    sim_check(stats->paused == pool->is_paused && !stats->closed, "paused %d, closed %d",
              stats->paused, stats->closed);
}

static void check_limit(sim_limit *limit) {
    uint32_t in_use = mantis_limit_in_use(limit->limit);
    sim_check(in_use <= limit->max || in_use <= limit->in_use_before,
              "%u connections under a limit of %" PRId64 ", before %u", in_use, limit->max,
              limit->in_use_before);
    limit->in_use_before = in_use;
}

void sim_check_touched(sim *world) {
    for (uint32_t i = 0; i < world->place_count; i++)
        if ((world->touched >> i & 1) && world->open[i]) check_pool(world, world->open[i]);
    world->touched = 0;
    for (uint32_t i = 0; i < world->limit_count; i++) check_limit(&world->limits[i]);
}

/* The tokens of a limit are the connections of its pools, closed ones included. */
static void check_tokens(const sim *world, uint32_t index) {
    uint32_t sum = 0, on_the_way = 0;
    for (uint32_t i = 0; i < SIM_POOLS_MAX; i++) {
        const sim_pool *pool = &world->pools[i];
        if (!pool->is_used || !(pool->limits >> index & 1)) continue;
        if (pool->is_open) sum += pool->stats.total;
        else sum += pool->natives + pool->ops[SIM_OPEN];
        if (!pool->is_open && has_homes(world)) on_the_way += 16;
    }
    uint32_t in_use = mantis_limit_in_use(world->limits[index].limit);
    sim_check(in_use >= sum && in_use <= sum + on_the_way,
              "%u count against limit %u, its pools have %u", in_use, index, sum);
}

void sim_check_all(sim *world) {
    for (uint32_t i = 0; i < world->place_count; i++) {
        if (!world->open[i]) continue;
        check_pool(world, world->open[i]);
        check_oldest(world, world->open[i], &world->open[i]->stats);
    }
    for (uint32_t i = 0; i < world->limit_count; i++) check_tokens(world, i);
    sim_forget_closed(world);
}
