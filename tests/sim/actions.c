/* Random operations of borrowers, and the choice of what comes next. */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

static bool has_room(const sim *world) {
    return world->held_count + world->pending_count + 2 < SIM_HELD_MAX;
}

/* ---- asking ---- */

static void check_try_refused(sim_pool *pool, mantis_status status, uint64_t nested) {
    sim_check(status != MANTIS_PAUSED || pool->is_paused, "PAUSED, but it is not");
    sim_check(status == MANTIS_PAUSED || status == MANTIS_EXHAUSTED, "try answered %s",
              mantis_status_name(status));
    if (nested != sim_world->nested || pool->is_paused || pool->has_suspects) return;
    mantis_pool_stats stats = {0};
    mantis_pool_get_stats(pool->pool, &stats);
    sim_check(stats.idle == 0 || stats.waiting > 0, "try was refused with %u idle, nobody waits",
              stats.idle);
}

void sim_try(sim_pool *pool) {
    sim *world = sim_world;
    if (!has_room(world)) return;
    uint64_t nested = world->nested;
    uint32_t mailbox = (uint32_t)sim_below(world->mailbox_count);
    sim_act_as(mailbox);
    mantis_conn conn = {0};
    mantis_error error = {0};
    sim_recent how = {.number = sim_number(),
                      .home = world->mailboxes[mailbox].home,
                      .is_granted = true,
                      .end_ns = world->now_ns};
    pool->attempts++;
    mantis_status status = mantis_pool_try_acquire(pool->pool, &conn, &error);
    sim_log("try", pool->place, status, 0);
    if (!pool->is_open) { /* closed by a hook meanwhile */
        if (status == MANTIS_OK) sim_granted(pool, conn, &how);
        return;
    }
    pool->answered[status]++;
    if (status == MANTIS_OK) {
        sim_granted(pool, conn, &how);
        if (world->depth == 0 && nested == world->nested) sim_fairness(pool, &how);
        return;
    }
    sim_check(error.status == status && error.text[0], "a refusal without a text");
    check_try_refused(pool, status, nested);
}

/* The blocking form, with a deadline that is past: it must not block. */
static void ask_blocking(sim_pool *pool) {
    sim *world = sim_world;
    if (!has_room(world)) return;
    sim_act_as((uint32_t)sim_below(world->mailbox_count));
    mantis_conn conn = {0};
    pool->attempts++;
    sim_recent how = {.number = sim_number(), .is_granted = true, .end_ns = world->now_ns};
    mantis_status status = mantis_pool_acquire(pool->pool, 1, &conn, NULL);
    sim_log("acquire", pool->place, status, 0);
    if (pool->is_open) pool->answered[status]++;
    if (status == MANTIS_OK) sim_granted(pool, conn, &how);
    else
        sim_check(status == MANTIS_TIMEOUT || status == MANTIS_EXHAUSTED ||
                      status == MANTIS_PAUSED || status == MANTIS_CONNECT_FAILED ||
                      (status == MANTIS_CLOSED && !pool->is_open),
                  "acquire answered %s", mantis_status_name(status));
}

static int64_t random_deadline(const sim_pool *pool, int64_t *ends_ns) {
    int64_t now_ns = sim_world->now_ns;
    switch (sim_below(8)) {
    case 0: *ends_ns = MP_NEVER_NS; return MANTIS_DEADLINE_NONE;
    case 1:
        *ends_ns = pool->config.acquire_timeout_ms < 0
                       ? MP_NEVER_NS
                       : now_ns + pool->config.acquire_timeout_ms * MP_NS_PER_MS;
        return MANTIS_DEADLINE_DEFAULT;
    case 2: return *ends_ns = now_ns - sim_between(0, 1000);
    case 3: return *ends_ns = now_ns + sim_between(1, MP_NS_PER_MS);
    default: return *ends_ns = now_ns + sim_between(1, 2 * MP_NS_PER_S);
    }
}

static void check_ask_refused(const sim_pool *pool, mantis_status status) {
    switch (status) {
    case MANTIS_EXHAUSTED:
        sim_check(pool->config.waiting_max > 0, "EXHAUSTED with an unlimited queue");
        break;
    case MANTIS_PAUSED: sim_check(pool->is_paused, "PAUSED, but it is not"); break;
    case MANTIS_CONNECT_FAILED:
        sim_check(pool->config.fail_fast == 1, "CONNECT_FAILED without fail_fast");
        break;
    default: sim_fail("asking answered %s", mantis_status_name(status));
    }
}

void sim_ask(sim_pool *pool) {
    sim *world = sim_world;
    sim_request *request = has_room(world) ? sim_request_new() : NULL;
    if (!request) return;
    uint64_t nested = world->nested;
    uint32_t mailbox = (uint32_t)sim_below(world->mailbox_count);
    sim_act_as(mailbox);
    *request = (sim_request){.state = SIM_REQUEST_WAITS,
                             .pool = pool,
                             .mailbox = mailbox,
                             .home = world->mailboxes[mailbox].home,
                             .number = sim_number(),
                             .asked_at_ns = world->now_ns,
                             .is_nested = world->depth > 0};
    uint64_t number = request->number;
    memset(&request->waiter, 0x5a, sizeof request->waiter);
    request->waiter.mailbox = world->mailboxes[mailbox].mailbox;
    int64_t deadline_ns = random_deadline(pool, &request->deadline_ns);
    world->pending_count++;
    pool->pending++;
    pool->attempts++;
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire_async(pool->pool, deadline_ns, &request->waiter,
                                                     &error);
    sim_log("ask", pool->place, (int64_t)number, request->deadline_ns - world->now_ns);
    if (nested != world->nested && request->number == number) request->is_nested = true;
    if (status == MANTIS_OK) return;
    request->state = SIM_REQUEST_FREE;
    world->pending_count--;
    pool->pending--;
    if (!pool->is_open) return;
    pool->answered[status]++;
    check_ask_refused(pool, status);
}

/* ---- what comes back ---- */

static void take_drained(mantis_waiter *waiter, uint32_t mailbox) {
    sim *world = sim_world;
    sim_request *request = (sim_request *)(void *)waiter;
    sim_check(request >= world->requests && request < world->requests + SIM_REQUESTS_MAX,
              "a mailbox gave out what is no request");
    sim_check(request->mailbox == mailbox, "an outcome came through another mailbox");
    if (request->state == SIM_REQUEST_WAITS) {
        sim_outcome(request, waiter->status);
        return;
    }
    sim_check(request->state == SIM_REQUEST_SENT, "an outcome came twice, or was never asked for");
    sim_check(waiter->status == MANTIS_CANCELLED, "an eviction is told as %s",
              mantis_status_name(waiter->status));
    request->state = SIM_REQUEST_FREE;
    world->pending_count--;
    for (uint32_t i = 0; i < world->held_count; i++) {
        if (world->held[i].watch != request) continue;
        sim_check(memcmp(&world->held[i].conn, &waiter->conn, sizeof waiter->conn) == 0,
                  "told of another connection");
        world->held[i].watch = NULL;
    }
}

size_t sim_drain(uint32_t mailbox, size_t max) {
    mantis_waiter *drained[8];
    sim_mailbox *box = &sim_world->mailboxes[mailbox];
    sim_check(max <= 8, "at most 8 at a time");
    size_t count = mantis_mailbox_drain(box->mailbox, drained, max);
    sim_check(count <= max, "%zu drained of at most %zu", count, max);
    sim_log("drain", mailbox, (int64_t)count, (int64_t)max);
    for (size_t i = 0; i < count; i++) take_drained(drained[i], mailbox);
    if (count > 0 || sim_world->depth > 0) return count;
    int64_t due_ns = mantis_mailbox_due_ns(box->mailbox);
    sim_check(due_ns > sim_world->now_ns, "drained, but a deadline is past by %" PRId64 " ns",
              sim_world->now_ns - due_ns);
    return count;
}

static void do_drain(sim_pool *pool) {
    (void)pool;
    uint32_t mailbox = (uint32_t)sim_below(sim_world->mailbox_count);
    sim_act_as(mailbox);
    sim_drain(mailbox, (size_t)sim_between(1, 8));
}

static void cancel(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    uint32_t start = (uint32_t)sim_below(SIM_REQUESTS_MAX);
    for (uint32_t i = 0; i < 32; i++) {
        sim_request *request = &world->requests[(start + i) % SIM_REQUESTS_MAX];
        if (request->state != SIM_REQUEST_WAITS) continue;
        uint64_t number = request->number;
        sim_act_as(request->mailbox);
        sim_log("cancel", request->pool->place, (int64_t)number, 0);
        mantis_status status = mantis_waiter_cancel(&request->waiter);
        if (request->state != SIM_REQUEST_WAITS || request->number != number) return;
        sim_check(status != MANTIS_STALE, "a pending request is STALE");
        sim_outcome(request, status);
        sim_check(mantis_waiter_cancel(&request->waiter) == MANTIS_STALE, "cancelled twice");
        return;
    }
}

/* ---- releasing ---- */

static void release(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    if (world->held_count == 0) return;
    sim_act_as((uint32_t)sim_below(world->mailbox_count));
    static const uint8_t forms[] = {MANTIS_RELEASE_CLEAN,  MANTIS_RELEASE_CLEAN,
                                    MANTIS_RELEASE_CLEAN,  MANTIS_RELEASE_DIRTY,
                                    MANTIS_RELEASE_BROKEN, MANTIS_RELEASE_UNUSED};
    sim_release((uint32_t)sim_below(world->held_count),
                (mantis_release)forms[sim_below(sizeof forms)]);
}

static void use_stale(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    uint32_t count = world->stale_count < SIM_STALE_MAX ? world->stale_count : SIM_STALE_MAX;
    if (count == 0) return;
    mantis_conn conn = world->stale[sim_below(count)];
    mantis_conn_info info = {0};
    void *native = world;
    mantis_status status = MANTIS_OK;
    uint32_t which = (uint32_t)sim_below(5);
    switch (which) {
    case 0: status = mantis_conn_release_as(&conn, (mantis_release)sim_below(4)); break;
    case 1: status = mantis_conn_native(conn, &native, NULL); break;
    case 2: status = mantis_conn_tag(conn, "stale"); break;
    case 3: status = mantis_conn_detach(conn); break;
    default: status = mantis_conn_get_info(conn, &info); break;
    }
    sim_log("stale", which, status, 0);
    sim_check(status == MANTIS_STALE || status == MANTIS_CLOSED, "a stale handle answers %s",
              mantis_status_name(status));
    sim_check(native == world && info.generation == 0, "a stale handle has filled its result");
}

static void watch(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    sim_request *request = sim_request_new();
    if (world->held_count == 0 || !request) return;
    sim_held *held = &world->held[sim_below(world->held_count)];
    if (held->watch || !held->native || !held->pool->is_open) return;
    if (held->native->opened_at_ns <= held->pool->hard_evicted_at_ns) return;
    uint32_t mailbox = (uint32_t)sim_below(world->mailbox_count);
    sim_act_as(mailbox);
    *request = (sim_request){.state = SIM_REQUEST_WATCHES,
                             .pool = held->pool,
                             .mailbox = mailbox,
                             .number = sim_number()};
    request->waiter.mailbox = world->mailboxes[mailbox].mailbox;
    sim_log("watch", held->pool->place, (int64_t)held->native->number, 0);
    mantis_status status = mantis_conn_watch(held->conn, &request->waiter);
    sim_check(status == MANTIS_OK, "watch: %s", mantis_status_name(status));
    held->watch = request;
}

static void break_connection(sim_pool *pool) {
    (void)pool;
    sim_native *native = &sim_world->natives[sim_below(32)];
    if (native->is_open && native->start->pool->has_checks) native->is_broken = true;
}

static void complete(sim_pool *pool) {
    (void)pool;
    sim *world = sim_world;
    if (world->under_way_count == 0) return;
    uint32_t index = (uint32_t)sim_below(world->under_way_count);
    if (world->under_way[index].is_stuck) return;
    sim_act_as((uint32_t)sim_below(world->mailbox_count));
    sim_backend_complete(index, false);
}

/* ---- the keeper and the clock ---- */

/* T4: what is idle for too long goes, but the minimum stays. */
static void check_min(const sim_pool *pool, const mantis_pool_stats *before) {
    mantis_pool_stats stats = {0};
    mantis_pool_get_stats(pool->pool, &stats);
    uint64_t closed = stats.closed_idle - before->closed_idle;
    uint64_t others = stats.closed_conns - before->closed_conns - closed;
    uint64_t failed = stats.open_failed - before->open_failed;
    int64_t left = (int64_t)(stats.total - stats.closing + others + failed);
    sim_check(closed == 0 || left >= pool->config.conns_min,
              "%" PRIu64 " idle ones closed, %" PRId64 " left of at least %" PRId64, closed, left,
              pool->config.conns_min);
}

/* T2: time in which the pool stood still ends no connection. */
static void check_stall(const sim_pool *pool, const mantis_pool_stats *before, uint64_t premature) {
    mantis_pool_stats stats = {0};
    mantis_pool_get_stats(pool->pool, &stats);
    uint32_t most = before->total > stats.total ? before->total : stats.total;
    bool is_above = pool->config.conns_max >= 0 && most > pool->config.conns_max;
    if (is_above || pool->config.reserve > 0) return; /* a surplus goes */
    uint64_t others = (stats.closed_conns - stats.closed_idle - stats.closed_lifetime) -
                      (before->closed_conns - before->closed_idle - before->closed_lifetime);
    sim_check(premature <= others,
              "%" PRIu64 " closed before their time, %" PRIu64 " of them for other reasons",
              premature, others);
}

/* From when it was due until now the pool stood still: nothing grew older or idler meanwhile. */
static void stand_still(sim_pool *pool, int64_t late_ns) {
    int64_t kept_ns = pool->due_ns - pool->stalled_ns;
    for (uint32_t i = 0; i < SIM_NATIVES_MAX; i++) {
        sim_native *native = &sim_world->natives[i];
        if (!native->is_open || native->start->pool != pool) continue;
        if (native->idle_since_ns > kept_ns) native->idle_since_ns = kept_ns;
        if (native->born_ns > kept_ns) native->born_ns = kept_ns;
    }
    pool->stalled_ns += late_ns;
}

void sim_tend(sim_pool *pool) {
    sim *world = sim_world;
    if (pool->is_tended) return; /* one pass at a time: this is inside a hook of another */
    int64_t due_ns = 0, late_ns = world->now_ns - pool->due_ns;
    uint64_t premature = pool->premature, nested = world->nested;
    sim_log("tend", pool->place, late_ns, 0);
    if (pool->was_tended && late_ns > 2 * MP_NS_PER_S) stand_still(pool, late_ns);
    pool->was_tended = true;
    mantis_pool_stats before = {0};
    mantis_pool_get_stats(pool->pool, &before);
    pool->is_tended = true;
    mantis_status status = mantis_pool_tend(pool->pool, world->now_ns, &due_ns);
    pool->is_tended = false;
    if (!pool->is_open) return;
    sim_check(status == MANTIS_OK, "tend: %s", mantis_status_name(status));
    sim_check(due_ns > world->now_ns, "tend is due again already, since %" PRId64 " ns",
              world->now_ns - due_ns);
    pool->due_ns = due_ns;
    sim_check_backoff(pool);
    if (nested != world->nested) return;
    check_min(pool, &before);
    check_stall(pool, &before, pool->premature - premature);
}

static void tend_if_due(sim_pool *pool) {
    if (sim_world->now_ns >= pool->due_ns || sim_chance(20)) sim_tend(pool);
}

static void advance(sim_pool *pool) {
    sim *world = sim_world;
    if (world->depth > 0) return; /* what a hook does takes no time */
    uint64_t kind = sim_below(1000);
    int64_t length_ns;
    if (kind < 850) length_ns = sim_between(1, 2 * MP_NS_PER_MS);
    else if (kind < 960) length_ns = sim_between(1, 100 * MP_NS_PER_MS);
    else if (kind < 990) length_ns = sim_between(1, 2 * MP_NS_PER_S);
    else if (kind < 998) length_ns = sim_between(1, 30 * MP_NS_PER_S);
    else length_ns = sim_between(60, 172800) * MP_NS_PER_S; /* stopped, or the machine slept */
    if (kind < 100 && pool->due_ns > world->now_ns && pool->due_ns < world->now_ns + MP_NS_PER_S)
        length_ns = pool->due_ns - world->now_ns;
    world->now_ns += length_ns;
    sim_log("advance", 0, 0, length_ns);
}

/* ---- reading ---- */

static void read_histogram(sim_pool *pool) {
    mantis_histogram histogram;
    mantis_status status = mantis_pool_get_histogram(pool->pool, MANTIS_HISTOGRAM_WAIT, &histogram);
    sim_check(status == MANTIS_OK, "histogram: %s", mantis_status_name(status));
    mantis_pool_stats stats = {0};
    mantis_pool_get_stats(pool->pool, &stats);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < MANTIS_HISTOGRAM_BUCKETS; i++) sum += histogram.buckets[i];
    sim_check(sum == histogram.count && histogram.count == stats.waited,
              "the histogram has %" PRIu64 " of %" PRIu64 ", %" PRIu64 " waited", sum,
              histogram.count, stats.waited);
}

static void read_holders(sim_pool *pool) {
    mantis_holder holders[4];
    mantis_pool_stats stats = {0};
    mantis_pool_get_stats(pool->pool, &stats);
    size_t count = mantis_pool_holders(pool->pool, holders, 4);
    sim_check(count == stats.busy, "%zu holders, %u busy", count, stats.busy);
    for (size_t i = 1; i < count && i < 4; i++)
        sim_check(holders[i - 1].held_ns >= holders[i].held_ns, "holders are not in order");
}

static void read_something(sim_pool *pool) {
    char text[256];
    switch (sim_below(3)) {
    case 0: read_histogram(pool); break;
    case 1: read_holders(pool); break;
    default:
        mantis_pool_explain(pool->pool, text, sizeof text);
        sim_check(strlen(text) > 0, "nothing explained");
    }
}

/* ---- what comes next ---- */

static void change(sim_pool *pool) {
    (void)pool;
    sim_change((uint32_t)sim_below(SIM_CHANGES));
}

static void reopen(sim_pool *pool) {
    (void)pool;
    uint32_t place = (uint32_t)sim_below(sim_world->place_count);
    if (!sim_world->open[place]) sim_pool_open(sim_world, place);
}

static void close_pool(sim_pool *pool) {
    if (sim_chance(20)) sim_pool_close(pool);
}

/* Each acts on an open pool, or on none in particular. */
static const struct {
    void (*run)(sim_pool *pool);
    uint32_t weight;
} kinds[] = {
    {sim_try, 1000},     {sim_ask, 2000}, {do_drain, 1600},       {release, 1800},
    {complete, 2400},    {advance, 600},  {tend_if_due, 1200},    {cancel, 400},
    {use_stale, 200},    {watch, 100},    {break_connection, 30}, {read_something, 100},
    {ask_blocking, 150}, {change, 100},   {reopen, 100},          {close_pool, 10},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

void sim_new_weights(sim *world) {
    static const uint32_t quarters[] = {1, 2, 4, 4, 4, 4, 8, 16};
    world->weight_sum = 0;
    for (uint32_t i = 0; i < KINDS; i++) {
        world->weights[i] = kinds[i].weight * quarters[sim_below(8)];
        world->weight_sum += world->weights[i];
    }
}

static void step(sim *world) {
    sim_pool *pool = sim_random_pool(world);
    uint64_t chosen = sim_below(world->weight_sum);
    uint32_t i = 0;
    while (chosen >= world->weights[i]) chosen -= world->weights[i++];
    if (!pool) reopen(NULL);
    else kinds[i].run(pool);
}

void sim_step(sim *world) {
    sim_tick();
    step(world);
}

void sim_hook_step(sim_pool *pool) {
    sim *world = sim_world;
    sim_touch(pool);
    if (world->is_quiet_hooks || world->is_calm || world->depth >= 2 || !sim_chance(10)) return;
    world->depth++;
    world->nested++;
    sim_log("in a hook", pool->place, world->depth, 0);
    step(world);
    world->depth--;
}
