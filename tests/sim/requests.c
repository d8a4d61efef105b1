/* Requests and borrowed connections: what every grant must be, and who may be served before
 * whom. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PASSED_MAX 8
#define PASSED_NS_MAX MP_NS_PER_MS

uint64_t sim_number(void) { return ++sim_world->numbers; }

sim_request *sim_request_new(void) {
    sim *world = sim_world;
    uint32_t start = (uint32_t)sim_below(SIM_REQUESTS_MAX);
    for (uint32_t i = 0; i < SIM_REQUESTS_MAX; i++) {
        sim_request *request = &world->requests[(start + i) % SIM_REQUESTS_MAX];
        if (request->state == SIM_REQUEST_FREE) return request;
    }
    return NULL;
}

/* ---- fairness ---- */

/* `late` was asked after `early` and served before it. */
static void note_passed(const sim_recent *late, sim_recent *early) {
    bool is_strict = !late->is_handed || !late->home || late->home == early->home;
    sim_check(!is_strict, "request %" PRIu64 " was served before %" PRIu64 ", which is older",
              late->number, early->number);
    if (early->passed++ == 0) early->first_pass_ns = early->last_pass_ns = late->end_ns;
    if (late->end_ns < early->first_pass_ns) early->first_pass_ns = late->end_ns;
    if (late->end_ns > early->last_pass_ns) early->last_pass_ns = late->end_ns;
    if (early->passed > sim_world->passed_max) sim_world->passed_max = early->passed;
    sim_check(early->passed <= PASSED_MAX, "request %" PRIu64 " was passed over %u times",
              early->number, early->passed);
    sim_check(early->last_pass_ns - early->first_pass_ns <= PASSED_NS_MAX,
              "request %" PRIu64 " was passed over for %" PRId64 " ns", early->number,
              early->last_pass_ns - early->first_pass_ns);
}

static bool is_passed(const sim_recent *late, const sim_recent *early) {
    return late->is_granted && early->is_handed && late->number > early->number &&
           late->end_ns < early->end_ns;
}

void sim_fairness(sim_pool *pool, const sim_recent *request) {
    sim_recent *mine = &pool->recent[pool->recent_count++ % SIM_RECENT_MAX];
    *mine = *request;
    uint32_t count = pool->recent_count < SIM_RECENT_MAX ? pool->recent_count : SIM_RECENT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        sim_recent *other = &pool->recent[i];
        if (is_passed(other, mine)) note_passed(other, mine);
        else if (is_passed(mine, other)) note_passed(mine, other);
    }
}

/* ---- grants ---- */

static void check_when(const sim_pool *pool, const sim_native *native, int64_t granted_at_ns) {
    bool in_pause = pool->paused_at_ns && granted_at_ns > pool->paused_at_ns &&
                    (pool->is_paused || granted_at_ns < pool->resumed_at_ns);
    sim_check(!in_pause, "granted at %" PRId64 " while paused since %" PRId64, granted_at_ns,
              pool->paused_at_ns);
    sim_check(granted_at_ns <= pool->evicted_at_ns || native->opened_at_ns >= pool->evict_from_ns,
              "connection %" PRIu64 " was lent after an evict", native->number);
    sim_check(granted_at_ns <= pool->configured_at_ns ||
                  native->start->configuration >= pool->configured,
              "connection %" PRIu64 " of configuration %u was lent, now is %u", native->number,
              native->start->configuration, pool->configured);
}

static void check_info(mantis_conn conn, const sim_native *native) {
    mantis_conn_info info = {0};
    mantis_status status = mantis_conn_get_info(conn, &info);
    sim_check(status == MANTIS_OK, "get_info: %s", mantis_status_name(status));
    sim_check(info.age_ns == sim_world->now_ns - native->opened_at_ns,
              "the age is %" PRId64 ", not %" PRId64, info.age_ns,
              sim_world->now_ns - native->opened_at_ns);
    sim_check(info.configuration == native->start->configuration, "configuration %u, not %u",
              info.configuration, native->start->configuration);
}

void sim_granted(sim_pool *pool, mantis_conn conn, const sim_recent *how) {
    sim *world = sim_world;
    void *found = NULL;
    mantis_status status = mantis_conn_native(conn, &found, NULL);
    sim_native *native = found;
    if (pool->is_open) {
        sim_check(status == MANTIS_OK, "a fresh grant is %s", mantis_status_name(status));
        sim_check(native, "a grant without a native connection");
        sim_check(native->is_open, "granted connection %" PRIu64 " is closed", native->number);
        sim_check(native->start->pool == pool, "a connection of another pool");
        sim_check(!native->op, "connection %" PRIu64 " was lent during an operation",
                  native->number);
        check_when(pool, native, how->end_ns);
        if (sim_chance(5)) check_info(conn, native);
    }
    if (native) {
        sim_check(!native->is_out, "connection %" PRIu64 " has two owners", native->number);
        sim_check(!native->is_dirty, "connection %" PRIu64 " is lent dirty", native->number);
        native->is_out = true;
        if (sim_chance(5)) native->is_dirty = mantis_conn_mark_dirty(conn) == MANTIS_OK;
    }
    sim_check(world->held_count < SIM_HELD_MAX, "too many held");
    world->held[world->held_count++] = (sim_held){.conn = conn, .pool = pool, .native = native};
    pool->held++;
    world->granted++;
    if (sim_chance(10)) {
        status = mantis_conn_tag(conn, "simulated");
        sim_check(status == MANTIS_OK || !pool->is_open, "tag: %s", mantis_status_name(status));
    }
}

/* A request has ended; its waiter is ours again. */
void sim_outcome(sim_request *request, mantis_status status) {
    sim *world = sim_world;
    sim_pool *pool = request->pool;
    const mantis_waiter *waiter = &request->waiter;
    int64_t now_ns = world->now_ns;
    request->state = SIM_REQUEST_FREE;
    world->pending_count--;
    pool->pending--;
    pool->answered[status]++;
    sim_touch(pool);
    sim_log(mantis_status_name(status), pool->place, (int64_t)request->number, waiter->waited_ns);
    sim_check(waiter->status == status, "status %d in the waiter, %d answered", (int)waiter->status,
              (int)status);
    sim_check(waiter->waited_ns >= 0 && waiter->waited_ns <= now_ns - request->asked_at_ns,
              "waited %" PRId64 " ns of %" PRId64, waiter->waited_ns,
              now_ns - request->asked_at_ns);
    pool->wait_sum_ns += waiter->waited_ns;
    int64_t end_ns = request->asked_at_ns + waiter->waited_ns;
    sim_recent how = {.number = request->number,
                      .home = request->home,
                      .is_handed = true,
                      .is_granted = status == MANTIS_OK,
                      .end_ns = end_ns};
    if (how.end_ns > request->deadline_ns) how.end_ns = request->deadline_ns;
    if (status == MANTIS_OK) {
        sim_check(end_ns <= request->deadline_ns, "granted %" PRId64 " ns after its deadline",
                  end_ns - request->deadline_ns);
        sim_granted(pool, waiter->conn, &how);
    } else if (status == MANTIS_TIMEOUT) {
        sim_check(now_ns >= request->deadline_ns, "timed out %" PRId64 " ns too early",
                  request->deadline_ns - now_ns);
    } else {
        sim_check(status != MANTIS_CLOSED || !pool->is_open, "CLOSED by an open pool");
        sim_check(status == MANTIS_CLOSED || status == MANTIS_CANCELLED ||
                      status == MANTIS_PAUSED || status == MANTIS_CONNECT_FAILED,
                  "a request ended with %s", mantis_status_name(status));
    }
    if (!request->is_nested && world->depth == 0) sim_fairness(pool, &how);
    if (pool->is_open && status != MANTIS_OK && sim_chance(10)) {
        mantis_error error = {0};
        mantis_waiter_explain(waiter, pool->pool, &error);
        sim_check(error.status == status && error.text[0], "explained as %s: %s",
                  mantis_status_name(error.status), error.text);
    }
}

/* ---- releases ---- */

static void check_released(const sim_pool *pool, mantis_status status) {
    if (pool->is_open) sim_check(status == MANTIS_OK, "release: %s", mantis_status_name(status));
    else
        sim_check(status == MANTIS_OK || status == MANTIS_CLOSED, "late release: %s",
                  mantis_status_name(status));
}

void sim_release(uint32_t index, mantis_release how) {
    sim *world = sim_world;
    sim_held held = world->held[index];
    sim_pool *pool = held.pool;
    bool was_open = pool->is_open;
    world->held[index] = world->held[--world->held_count];
    pool->held--;
    sim_touch(pool);
    sim_log("release", pool->place, (int64_t)how, held.native ? (int64_t)held.native->number : 0);
    if (held.watch) {
        sim_act_as(held.watch->mailbox);
        if (held.watch->state == SIM_REQUEST_WATCHES) held.watch->state = SIM_REQUEST_FREE;
    }
    if (held.native) held.native->is_out = false;
    if (held.native && how != MANTIS_RELEASE_UNUSED)
        held.native->idle_since_ns = world->now_ns - pool->stalled_ns;
    world->stale[world->stale_count++ % SIM_STALE_MAX] = held.conn;
    mantis_status status = mantis_conn_release_as(&held.conn, how);
    if (was_open == pool->is_open) check_released(pool, status);
    const mantis_conn empty = {0};
    sim_check(memcmp(&held.conn, &empty, sizeof empty) == 0, "release has not cleared the handle");
}
