/* The connector and the clock of the tests. */
#include "lib/backend.h"

#include "lib/tap.h"

#include <time.h>

#define FAKE_START (INT64_C(5000) * SECOND)

backend_state backend = {.now_ns = FAKE_START};

/* ---- connections ---- */

static void raise_max(_Atomic int32_t *max, int32_t value) {
    int32_t seen = atomic_load(max);
    while (seen < value && !atomic_compare_exchange_weak(max, &seen, value)) continue;
}

static handle *handle_new(void) {
    static _Atomic uint64_t numbers;
    handle *made = calloc(1, sizeof *made);
    check(made);
    made->opened_ns = backend.now_ns;
    made->number = ++numbers;
    made->version = (uint32_t)backend.starts;
    raise_max(&backend.handles_max, ++backend.handles);
    return made;
}

static void handle_free(handle *native) {
    check(native->owner == 0);
    backend.handles--;
    free(native);
}

/* ---- operations ---- */

static void begin(int kind) {
    uint64_t number = backend.begun[kind]++;
    if (kind == OP_OPEN) {
        raise_max(&backend.opening_max, ++backend.opening);
        if (number < 4096) backend.begun_ns[number] = backend.now_ns;
    }
    if (backend.on_call) backend.on_call(kind);
}

static void end(held_op *entry, bool is_done) {
    void *native = NULL;
    mantis_status status;
    if (entry->kind == OP_OPEN) backend.opening--;
    if (entry->kind == OP_OPEN && is_done) native = handle_new();
    if (entry->kind == OP_CLOSE) handle_free(entry->native);
    if (is_done || entry->kind == OP_CLOSE) status = mantis_op_done(entry->op, native);
    else status = mantis_op_failed(entry->op, "the backend is down");
    check_equal(status, MANTIS_OK);
}

static bool succeeds(int kind, handle *native) {
    if (kind == OP_CLOSE) return true;
    return !backend.is_down && !(native && native->is_broken);
}

static void fake_begin(int kind, handle *native, mantis_op *op) {
    held_op entry = {op, kind, native};
    begin(kind);
    if (!backend.holds[kind]) {
        end(&entry, succeeds(kind, native));
        return;
    }
    check(backend.held_count < BACKEND_HELD_MAX);
    backend.held[backend.held_count++] = entry;
}

void complete(uint32_t index, bool is_done) {
    check(index < backend.held_count);
    held_op entry = backend.held[index];
    backend.held_count--;
    for (uint32_t i = index; i < backend.held_count; i++) backend.held[i] = backend.held[i + 1];
    end(&entry, is_done);
}

void complete_all(bool is_done) {
    while (backend.held_count > 0) complete(0, is_done);
}

/* ---- the fake connector ---- */

static mantis_status on_start(void **place, const char *dsn, void *config_place,
                              mantis_error *error) {
    (void)config_place;
    if (strcmp(dsn, "bad") == 0) {
        if (error) {
            error->status = MANTIS_CONNECT_FAILED;
            snprintf(error->text, sizeof error->text, "bad is no place");
        }
        return MANTIS_CONNECT_FAILED;
    }
    backend.starts++;
    *place = &backend;
    return MANTIS_OK;
}

static void on_stop(void *place) {
    check(place == &backend);
    backend.stops++;
}

static void fake_open(void *place, mantis_op *op) {
    check(place == &backend);
    fake_begin(OP_OPEN, NULL, op);
}

static void fake_check(void *place, void *native, mantis_op *op) {
    (void)place;
    check(((handle *)native)->owner == 0);
    fake_begin(OP_CHECK, native, op);
}

static void fake_reset(void *place, void *native, mantis_op *op) {
    (void)place;
    fake_begin(OP_RESET, native, op);
}

static void fake_close(void *place, void *native, mantis_op *op) {
    (void)place;
    fake_begin(OP_CLOSE, native, op);
}

static void fake_abort(void *place, void *native, mantis_op *op) {
    (void)place;
    backend.aborted++;
    fake_begin(OP_CLOSE, native, op);
}

static void fake_interrupt(void *place, mantis_op *op) {
    (void)place;
    backend.interrupted++;
    for (uint32_t i = 0; i < backend.held_count; i++) {
        if (backend.held[i].op != op) continue;
        complete(i, false);
        return;
    }
}

static bool is_broken(void *place, void *native) {
    (void)place;
    backend.probed++;
    return ((handle *)native)->is_broken;
}

const mantis_connector fake = {
    .name = "fake",
    .start = on_start,
    .stop = on_stop,
    .open = fake_open,
    .check = fake_check,
    .reset = fake_reset,
    .close = fake_close,
    .abort = fake_abort,
    .interrupt = fake_interrupt,
    .is_broken = is_broken,
};

static void bare_open(void *place, mantis_op *op) {
    (void)place;
    fake_begin(OP_OPEN, NULL, op);
}

const mantis_connector bare = {.name = "bare", .open = bare_open, .close = fake_close};

/* ---- the slow connector ---- */

static void slow_begin(int kind, handle *native, mantis_op *op) {
    held_op entry = {op, kind, native};
    backend.inside++;
    begin(kind);
    if (kind == OP_OPEN && backend.delay_ns > 0) sleep_ms(backend.delay_ns / MS);
    while (backend.blocks[kind]) sleep_ms(1);
    backend.inside--;
    end(&entry, succeeds(kind, native));
}

static void slow_open(void *place, mantis_op *op) {
    (void)place;
    slow_begin(OP_OPEN, NULL, op);
}

static void slow_check(void *place, void *native, mantis_op *op) {
    (void)place;
    slow_begin(OP_CHECK, native, op);
}

static void slow_reset(void *place, void *native, mantis_op *op) {
    (void)place;
    slow_begin(OP_RESET, native, op);
}

static void slow_close(void *place, void *native, mantis_op *op) {
    (void)place;
    slow_begin(OP_CLOSE, native, op);
}

const mantis_connector slow = {
    .name = "slow",
    .blocks = true,
    .start = on_start,
    .stop = on_stop,
    .open = slow_open,
    .check = slow_check,
    .reset = slow_reset,
    .close = slow_close,
    .is_broken = is_broken,
};

/* ---- pools and time ---- */

int64_t clock_now(void) { return backend.now_ns; }

void clock_advance(int64_t ns) { backend.now_ns += ns; }

mantis_pool_config fake_config(int64_t conns_min, int64_t conns_max) {
    return (mantis_pool_config){
        .connector = &fake,
        .name = "orders",
        .conns_min = conns_min,
        .conns_max = conns_max,
        .idle_timeout_ms = -1,
        .lifetime_ms = -1,
        .check_interval_ms = -1,
        .keeper = MANTIS_KEEPER_CALLER,
        .clock = clock_now,
        .seed = 7,
    };
}

mantis_pool_config real_config(int64_t conns_min, int64_t conns_max) {
    return (mantis_pool_config){.connector = &slow,
                                .name = "orders",
                                .conns_min = conns_min,
                                .conns_max = conns_max,
                                .seed = 7};
}

mantis_pool *pool_open(const mantis_pool_config *config) {
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool, config, &error);
    if (status != MANTIS_OK) tap_fail(__FILE__, __LINE__, "open: %s", error.text);
    return pool;
}

void pool_close(mantis_pool **pool) {
    check_equal(mantis_pool_close(pool, mantis_deadline_ms(5000)), MANTIS_OK);
    check(*pool == NULL);
    check_equal(backend.handles, 0);
    check_equal(backend.starts, backend.stops);
}

int64_t tend(mantis_pool *pool) {
    int64_t due_ns = 0;
    check_equal(mantis_pool_tend(pool, backend.now_ns, &due_ns), MANTIS_OK);
    check(due_ns > backend.now_ns);
    return due_ns;
}

void run_for(mantis_pool *pool, int64_t ns) {
    int64_t end_ns = backend.now_ns + ns;
    int64_t due_ns = tend(pool);
    while (due_ns <= end_ns) {
        backend.now_ns = due_ns;
        due_ns = tend(pool);
    }
    backend.now_ns = end_ns;
}

mantis_pool_stats stats_of(mantis_pool *pool) {
    mantis_pool_stats stats = {0};
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    return stats;
}

mantis_conn take(mantis_pool *pool) {
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_try_acquire(pool, &conn, &error);
    if (status != MANTIS_OK) tap_fail(__FILE__, __LINE__, "take: %s", error.text);
    return conn;
}

handle *handle_of(mantis_conn conn) {
    void *native = NULL;
    check_equal(mantis_conn_native(conn, &native, NULL), MANTIS_OK);
    return native;
}

/* ---- requests ---- */

mantis_mailbox *mailbox_open(void) {
    mantis_mailbox *mailbox = NULL;
    check_equal(mantis_mailbox_open(&mailbox, 0, NULL), MANTIS_OK);
    return mailbox;
}

void ask(mantis_pool *pool, mantis_mailbox *mailbox, mantis_waiter *waiter, int64_t deadline_ns) {
    *waiter = (mantis_waiter){.mailbox = mailbox};
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire_async(pool, deadline_ns, waiter, &error);
    if (status != MANTIS_OK) tap_fail(__FILE__, __LINE__, "ask: %s", error.text);
}

mantis_waiter *drain_one(mantis_mailbox *mailbox) {
    mantis_waiter *waiter = NULL;
    return mantis_mailbox_drain(mailbox, &waiter, 1) ? waiter : NULL;
}

void sleep_ms(int64_t ms) {
    struct timespec length = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * MS};
    nanosleep(&length, NULL);
}
