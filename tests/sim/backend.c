/* The backend of the simulator: operations are kept in a list and completed later, in any order,
 * done or failed; some complete inside the call, some never until they are interrupted. It knows
 * which connections are open and whose they are, so that every wrong call shows. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static sim_backend *backend_of(const sim_pool *pool) { return &sim_world->backends[pool->place]; }

/* ---- places ---- */

static mantis_status on_start(void **place, const char *dsn, void *config_place,
                              mantis_error *error) {
    sim_pool *pool = config_place;
    sim_check(dsn && strncmp(dsn, "sim:", 4) == 0, "start with another dsn");
    sim_start *start = NULL;
    for (uint32_t i = 0; i < SIM_STARTS_MAX && !start; i++)
        if (!sim_world->starts[i].is_used) start = &sim_world->starts[i];
    if (!start || (!sim_world->is_calm && sim_chance(5))) {
        if (error) {
            error->status = MANTIS_CONNECT_FAILED;
            snprintf(error->text, sizeof error->text, "no such place");
        }
        return MANTIS_CONNECT_FAILED;
    }
    *start = (sim_start){.is_used = true, .pool = pool, .configuration = ++pool->configuration};
    *place = start;
    pool->has_failed = false; /* new parameters get a chance at once */
    pool->failures = 0;
    return MANTIS_OK;
}

static void on_stop(void *place) {
    sim_start *start = place;
    sim_check(start->is_used, "stopped twice");
    sim_check(start->natives == 0, "stopped with %u connections open", start->natives);
    sim_check(start->ops == 0, "stopped with %u operations under way", start->ops);
    start->is_used = false;
}

/* ---- connections ---- */

static sim_native *native_new(sim_start *start) {
    sim *world = sim_world;
    sim_check(world->native_free_count > 0, "more than %d connections open", SIM_NATIVES_MAX);
    sim_native *native = &world->natives[world->native_free[--world->native_free_count]];
    int64_t kept_ns = world->now_ns - start->pool->stalled_ns;
    *native = (sim_native){.is_open = true,
                           .start = start,
                           .opened_at_ns = world->now_ns,
                           .born_ns = kept_ns,
                           .lifetime_ns = mp_clock_ns_of_ms(start->pool->config.lifetime_ms),
                           .idle_since_ns = kept_ns,
                           .number = sim_number()};
    start->natives++;
    start->pool->natives++;
    return native;
}

static void native_free(sim_native *native) {
    sim *world = sim_world;
    sim_check(native->is_open, "connection %" PRIu64 " closed twice", native->number);
    sim_check(!native->is_out, "connection %" PRIu64 " closed while lent", native->number);
    native->is_open = false;
    native->start->natives--;
    native->start->pool->natives--;
    world->native_free[world->native_free_count++] = (uint32_t)(native - world->natives);
}

int64_t sim_native_age_ns(const sim_native *native) {
    return sim_world->now_ns - native->start->pool->stalled_ns - native->born_ns;
}

int64_t sim_native_idle_ns(const sim_native *native) {
    return sim_world->now_ns - native->start->pool->stalled_ns - native->idle_since_ns;
}

/* Neither old enough to be replaced, nor idle for long enough to go. */
static bool is_premature(const sim_native *native) {
    const mantis_pool_config *config = &native->start->pool->config;
    int64_t idle_ns = mp_clock_ns_of_ms(config->idle_timeout_ms);
    return sim_native_idle_ns(native) < idle_ns &&
           sim_native_age_ns(native) < native->lifetime_ns / 2;
}

/* ---- how operations end ---- */

static void note_opened(sim_op *op) {
    sim_pool *pool = op->start->pool;
    if (op->is_prober) pool->probers--;
    if (pool->has_failed) pool->successes++;
    pool->failures = 0;
}

static void note_open_failed(sim_op *op) {
    sim_pool *pool = op->start->pool;
    if (op->is_prober || pool->failures == 0) pool->failed_at_ns = sim_world->now_ns;
    pool->has_failed = true;
    pool->successes = 0;
    pool->failures++;
    if (pool->backoff_ms < pool->config.backoff_max_ms || op->is_prober)
        pool->backoff_ms = pool->config.backoff_max_ms;
    pool->probers = 0; /* what was under way before this failure is no prober */
    for (uint32_t i = 0; i < sim_world->under_way_count; i++)
        if (sim_world->under_way[i].start->pool == pool) sim_world->under_way[i].is_prober = false;
}

/* How many opens the pool has decided on that have not come here yet: what it does after a failure
 * counts only from the next one on. Before the failure is told. */
static uint32_t count_decided(const sim_pool *pool) {
    mantis_pool_stats stats = {0};
    if (!pool->is_open) return SIM_OPS_MAX; /* not known while it is being opened */
    mantis_pool_get_stats(pool->pool, &stats);
    return stats.opening - 1 - pool->ops[SIM_OPEN];
}

/* Take the operation out of the list and tell the pool. */
static void finish(uint32_t index, bool is_done) {
    sim *world = sim_world;
    sim_op op = world->under_way[index];
    sim_pool *pool = op.start->pool;
    world->under_way[index] = world->under_way[--world->under_way_count];
    sim_touch(pool);
    sim_log(is_done ? "done" : "failed", pool->place, op.kind,
            op.native ? (int64_t)op.native->number : 0);
    pool->ops[op.kind]--;
    op.start->ops--;
    void *native = NULL;
    if (op.native) op.native->op = NULL;
    if (op.kind == SIM_RESET) op.native->is_dirty = false;
    if (op.kind == SIM_OPEN && is_done) native = native_new(op.start);
    if (op.kind == SIM_OPEN && is_done) note_opened(&op);
    if (op.kind == SIM_OPEN && !is_done) {
        pool->decided = count_decided(pool);
        note_open_failed(&op);
    }
    if (op.kind == SIM_CLOSE) native_free(op.native);
    mantis_status status;
    if (is_done) status = mantis_op_done(op.op, native);
    else status = mantis_op_failed(op.op, "the backend says no");
    sim_check(status == MANTIS_OK, "completing: %s", mantis_status_name(status));
}

static bool goes_well(const sim_op *op, bool is_healthy) {
    const sim_backend *backend = backend_of(op->start->pool);
    if (op->kind == SIM_CLOSE) return true;
    if (op->is_interrupted) return op->kind == SIM_OPEN && sim_chance(10);
    if (op->native && op->native->is_broken) return false;
    if (is_healthy) return true;
    return !backend->is_down && !sim_chance(backend->fail_percent);
}

void sim_backend_complete(uint32_t index, bool is_healthy) {
    finish(index, goes_well(&sim_world->under_way[index], is_healthy));
}

void sim_backend_complete_all(void) {
    for (uint32_t round = 0; sim_world->under_way_count > 0 && round < 100000; round++)
        sim_backend_complete(sim_world->under_way_count - 1, true);
}

/* ---- how they begin ---- */

/* True: it was decided on after the last failure. */
static bool check_open_allowed(sim_pool *pool) {
    if (!pool->has_failed) return true;
    if (pool->decided > 0) {
        pool->decided--;
        return false;
    }
    uint32_t allowed = pool->successes < 16 ? 1u << pool->successes : 1u << 16;
    sim_check(pool->probers < allowed, "%u opens under way, %u successes after the last failure",
              pool->probers + 1, pool->successes);
    if (pool->successes > 0) return true;
    int64_t pause_ns = sim_world->now_ns - pool->failed_at_ns;
    int64_t least_ns = pool->config.backoff_min_ms * MP_NS_PER_MS / 2;
    sim_check(pause_ns >= least_ns, "opened again %" PRId64 " ns after failure %u", pause_ns,
              pool->failures);
    return true;
}

static void begin(sim_op_kind kind, sim_start *start, sim_native *native, mantis_op *op) {
    bool is_new = kind == SIM_OPEN && check_open_allowed(start->pool);
    sim *world = sim_world;
    const sim_backend *backend = backend_of(start->pool);
    sim_check(start->is_used, "an operation on a place that was stopped");
    sim_check(world->under_way_count < SIM_OPS_MAX, "too many operations");
    sim_op *entry = &world->under_way[world->under_way_count++];
    *entry = (sim_op){.op = op,
                      .kind = kind,
                      .start = start,
                      .native = native,
                      .started_at_ns = world->now_ns,
                      .deadline_ns = mantis_op_deadline(op)};
    if (is_new && start->pool->has_failed) {
        entry->is_prober = true;
        start->pool->probers++;
    }
    if (kind == SIM_CLOSE && is_premature(native)) start->pool->premature++;
    sim_touch(start->pool);
    sim_log("begin", start->pool->place, kind, native ? (int64_t)native->number : 0);
    start->ops++;
    start->pool->ops[kind]++;
    if (native) {
        sim_check(native->is_open, "connection %" PRIu64 " is closed already", native->number);
        sim_check(!native->op, "two operations on connection %" PRIu64, native->number);
        sim_check(!native->is_out, "an operation on connection %" PRIu64 ", which is lent",
                  native->number);
        sim_check(native->start == start, "connection %" PRIu64 " is of another place",
                  native->number);
        native->op = op;
    }
    bool may_be_late = world->mailboxes[0].home != 0; /* it lay in the mailbox of its home */
    sim_check(may_be_late || entry->deadline_ns > world->now_ns,
              "an operation whose deadline is past");
    bool may_stick = start->pool->has_interrupt && !world->is_calm;
    if (may_stick && sim_chance(backend->stuck_percent)) entry->is_stuck = true;
    else if (sim_chance(backend->inline_percent))
        sim_backend_complete(world->under_way_count - 1, world->is_calm);
}

static void on_begin_open(void *place, mantis_op *op) { begin(SIM_OPEN, place, NULL, op); }

static void on_begin_check(void *place, void *native, mantis_op *op) {
    begin(SIM_CHECK, place, native, op);
}

static void on_begin_reset(void *place, void *native, mantis_op *op) {
    begin(SIM_RESET, place, native, op);
}

static void on_begin_close(void *place, void *native, mantis_op *op) {
    begin(SIM_CLOSE, place, native, op);
}

static void on_abort(void *place, void *native, mantis_op *op) {
    begin(SIM_CLOSE, place, native, op);
}

/* An operation under way shall end now. */
static void on_interrupt(void *place, mantis_op *op) {
    sim *world = sim_world;
    for (uint32_t i = 0; i < world->under_way_count; i++) {
        sim_op *entry = &world->under_way[i];
        if (entry->op != op) continue;
        sim_check(entry->start == place, "interrupt of another place's operation");
        entry->is_interrupted = true;
        entry->is_stuck = false;
        if (sim_chance(50)) sim_backend_complete(i, false);
        return;
    }
    sim_check(false, "interrupt of an operation that is not under way");
}

static bool is_broken(void *place, void *native) {
    const sim_native *asked = native;
    sim_check(asked->is_open && asked->start == place, "is_broken of a closed connection");
    sim_check(!asked->is_out && !asked->op, "is_broken of a connection in use");
    return asked->is_broken;
}

const mantis_connector sim_connector = {
    .name = "sim",
    .start = on_start,
    .stop = on_stop,
    .open = on_begin_open,
    .check = on_begin_check,
    .reset = on_begin_reset,
    .close = on_begin_close,
    .abort = on_abort,
    .interrupt = on_interrupt,
    .is_broken = is_broken,
};

/* Only what must be there (and start, for the books). */
const mantis_connector sim_plain_connector = {
    .name = "plain",
    .start = on_start,
    .stop = on_stop,
    .open = on_begin_open,
    .close = on_begin_close,
};
