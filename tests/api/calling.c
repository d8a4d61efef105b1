/* S6 to S9: what is called is called without a lock; close at any moment, from anywhere; fork. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <pthread.h>

/* ---- a connector that blocks ---- */

typedef struct borrower {
    mantis_pool *pool;
    _Atomic bool is_over;
} borrower;

static void *wait_for_one(void *arg) {
    borrower *self = arg;
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL);
    check(status == MANTIS_OK || status == MANTIS_CLOSED);
    if (status == MANTIS_OK) mantis_conn_release(&conn);
    self->is_over = true;
    return NULL;
}

/* Each call must return while the connector blocks; the limit is generous, for a loaded machine. */
#define returns_soon(call)                                                                         \
    do {                                                                                           \
        int64_t start_ns_ = mantis_now_ns();                                                       \
        (void)(call);                                                                              \
        check(mantis_now_ns() - start_ns_ < SECOND);                                               \
        check(backend.inside > 0);                                                                 \
    } while (0)

static void use_while_blocked(mantis_pool *pool) {
    mantis_conn conn = {0};
    mantis_pool_stats stats;
    mantis_holder holders[4];
    char text[256];
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter = {.mailbox = mailbox};
    returns_soon(mantis_pool_try_acquire(pool, &conn, NULL));
    returns_soon(mantis_pool_acquire(pool, mantis_deadline_ms(20), &conn, NULL));
    returns_soon(mantis_conn_release(&conn));
    returns_soon(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &waiter, NULL));
    returns_soon(mantis_pool_get_stats(pool, &stats));
    returns_soon(mantis_pool_explain(pool, text, sizeof text));
    returns_soon(mantis_pool_holders(pool, holders, 4));
    returns_soon(mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL));
    returns_soon(mantis_pool_resume(pool, NULL));
    returns_soon(mantis_pool_set(pool, "idle_timeout_ms", 1000, NULL));
    returns_soon(mantis_pool_wait_warm(pool, 9, mantis_deadline_ms(20), NULL));
    returns_soon(mantis_waiter_cancel(&waiter));
    if (waiter.status == MANTIS_OK) mantis_conn_release(&waiter.conn);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

static void blocked_in(int kind) {
    mantis_pool_config config = real_config(0, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    backend.blocks[kind] = true;
    borrower other = {.pool = pool};
    pthread_t thread;
    if (kind != OP_OPEN) {
        mantis_conn second = {0};
        check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &second, NULL), MANTIS_OK);
        mantis_conn_release_as(&second,
                               kind == OP_RESET ? MANTIS_RELEASE_DIRTY : MANTIS_RELEASE_BROKEN);
    } else {
        check(pthread_create(&thread, NULL, wait_for_one, &other) == 0);
    }
    wait_until(backend.inside > 0);
    use_while_blocked(pool);
    returns_soon(mantis_conn_release(&conn));
    if (kind == OP_OPEN) {
        wait_until(other.is_over); /* served by the connection that came back (L4) */
        pthread_join(thread, NULL);
    }
    use_while_blocked(pool);
    returns_soon(mantis_pool_evict(pool, MANTIS_EVICT_HARD, NULL));
    returns_soon(mantis_pool_resize(pool, 0, 1, NULL));
    mantis_status status = MANTIS_OK;
    returns_soon(status = mantis_pool_close(&pool, mantis_deadline_ms(20)));
    check_equal(status, MANTIS_TIMEOUT);
    backend.blocks[kind] = false;
    wait_until(backend.stops == 1);
    check_equal(backend.handles, 0);
}

TEST(s6_an_open_that_blocks_for_ever_delays_nobody) { blocked_in(OP_OPEN); }

TEST(s6_a_reset_that_blocks_for_ever_delays_nobody) { blocked_in(OP_RESET); }

TEST(s6_a_close_that_blocks_for_ever_delays_nobody) { blocked_in(OP_CLOSE); }

TEST(s6_a_check_that_blocks_for_ever_delays_nobody) {
    mantis_pool_config config = real_config(2, 2);
    config.check_interval_ms = 50;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_wait_warm(pool, 2, mantis_deadline_ms(5000), NULL), MANTIS_OK);
    backend.blocks[OP_CHECK] = true;
    wait_until(backend.inside > 0);
    use_while_blocked(pool);
    backend.blocks[OP_CHECK] = false;
    pool_close(&pool);
}

/* ---- calling back ---- */

static mantis_pool *called_pool;
static uint32_t calls[32];

/* Everything that takes the pool's lock: it would hang if the caller held it. */
static void call_back(uint32_t from) {
    calls[from]++;
    mantis_pool *pool = called_pool;
    if (!pool) return;
    mantis_pool_stats stats;
    mantis_conn conn = {0};
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    if (mantis_pool_try_acquire(pool, &conn, NULL) == MANTIS_OK)
        check_equal(mantis_conn_release_as(&conn, MANTIS_RELEASE_UNUSED), MANTIS_OK);
    check_equal(mantis_pool_set(pool, "reserve_after_ms", 77, NULL), MANTIS_OK);
    char text[64];
    mantis_pool_explain(pool, text, sizeof text);
}

enum { FROM_OPEN = 8, FROM_OPEN_FAILED, FROM_CLOSE, FROM_TIMEOUT, FROM_LEAK, FROM_LOG, FROM_MAX };

static void (*in_hook)(uint32_t from) = call_back;

static void from_connector(int kind) { call_back((uint32_t)kind); }

static void on_open(void *arg, void *native, int64_t took_ns) {
    (void)arg, (void)native, (void)took_ns;
    in_hook(FROM_OPEN);
}

static void on_open_failed(void *arg, const char *cause) {
    (void)arg;
    check_contains(cause, "down");
    in_hook(FROM_OPEN_FAILED);
}

static void on_close(void *arg, mantis_close_reason reason) {
    (void)arg, (void)reason;
    in_hook(FROM_CLOSE);
}

static void on_timeout(void *arg, int64_t waited_ns) {
    (void)arg, (void)waited_ns;
    in_hook(FROM_TIMEOUT);
}

static void on_leak(void *arg, uint32_t tid, const char *tag, int64_t held_ns) {
    (void)arg, (void)tid, (void)tag, (void)held_ns;
    in_hook(FROM_LEAK);
}

static void on_log(void *arg, mantis_log_level level, const char *text) {
    (void)arg, (void)level, (void)text;
    in_hook(FROM_LOG);
}

static const mantis_hooks all_hooks = {on_open, on_open_failed, on_close, on_timeout,
                                       on_leak, on_log,         NULL};

/* Bring about every operation and every hook. */
static void live_through_everything(mantis_pool **pool) {
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    for (int round = 0; round < 4 && *pool; round++) {
        backend.is_down = round == 1; /* then the next request times out while it backs off */
        waiter = (mantis_waiter){.mailbox = mailbox};
        if (mantis_pool_acquire_async(*pool, clock_now() + 50 * MS, &waiter, NULL) != MANTIS_OK)
            break;
        clock_advance(100 * MS);
        while (!drain_one(mailbox)) clock_advance(100 * MS);
        for (int i = 0; i < 30 && *pool; i++) {
            clock_advance(100 * MS);
            int64_t due_ns;
            mantis_pool_tend(*pool, clock_now(), &due_ns);
        }
        if (waiter.status != MANTIS_OK) continue;
        static const mantis_release forms[] = {MANTIS_RELEASE_CLEAN, MANTIS_RELEASE_BROKEN,
                                               MANTIS_RELEASE_CLEAN, MANTIS_RELEASE_DIRTY};
        mantis_conn_release_as(&waiter.conn, forms[round]);
        if (*pool) mantis_pool_evict(*pool, MANTIS_EVICT_SOFT, NULL);
    }
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

static mantis_pool_config hooked_config(void) {
    mantis_pool_config config = fake_config(2, 2);
    config.check_interval_ms = 500;
    config.leak_after_ms = 1000;
    config.backoff_min_ms = config.backoff_max_ms = 100;
    config.hooks = all_hooks;
    return config;
}

TEST(s6_connector_hooks_and_log_may_call_the_pool) {
    mantis_pool_config config = hooked_config();
    backend.on_call = from_connector;
    mantis_pool *pool = called_pool = pool_open(&config);
    live_through_everything(&pool);
    called_pool = NULL;
    pool_close(&pool);
    for (uint32_t i = 0; i < OP_KINDS; i++) check(calls[i] > 0);
    for (uint32_t i = FROM_OPEN; i < FROM_MAX; i++) check(calls[i] > 0);
}

/* ---- close ---- */

TEST(s8_close_of_nothing_is_fine_and_twice_too) {
    check_equal(mantis_pool_close(NULL, 1), MANTIS_OK);
    mantis_pool *pool = NULL;
    check_equal(mantis_pool_close(&pool, 1), MANTIS_OK);
    mantis_pool_config config = fake_config(1, 1);
    pool = pool_open(&config);
    check_equal(mantis_pool_close(&pool, 1), MANTIS_OK);
    check_equal(mantis_pool_close(&pool, 1), MANTIS_OK);
    check_equal(backend.handles, 0);
}

static mantis_pool *closing_pool;
static uint32_t closing_from;

static void close_in_hook(uint32_t from) {
    if (from != closing_from || !closing_pool) return;
    calls[from]++;
    mantis_pool_close(&closing_pool, 1);
    mantis_pool_close(&closing_pool, 1);
}

static void close_from(uint32_t from) {
    mantis_pool_config config = hooked_config();
    in_hook = close_in_hook;
    closing_from = from;
    closing_pool = pool_open(&config);
    live_through_everything(&closing_pool);
    check_equal(calls[from], 1);
    check_equal(backend.handles, 0);
    check_equal(backend.stops, 1);
}

TEST(s8_close_from_on_open) { close_from(FROM_OPEN); }
TEST(s8_close_from_on_open_failed) { close_from(FROM_OPEN_FAILED); }
TEST(s8_close_from_on_close) { close_from(FROM_CLOSE); }
TEST(s8_close_from_on_timeout) { close_from(FROM_TIMEOUT); }
TEST(s8_close_from_on_leak) { close_from(FROM_LEAK); }
TEST(s8_close_from_on_log) { close_from(FROM_LOG); }

typedef struct chaos {
    mantis_pool *pool, *closed;
    _Atomic bool is_closing;
} chaos;

static void *borrow_until_closed(void *arg) {
    chaos *self = arg;
    for (uint32_t i = 0; !self->is_closing; i++) {
        mantis_conn conn = {0};
        mantis_status status = mantis_pool_acquire(self->pool, mantis_deadline_ms(i % 3), &conn,
                                                   NULL);
        if (status == MANTIS_CLOSED) break;
        mantis_conn_release_as(&conn, (mantis_release)(i % 4));
    }
    return NULL;
}

static void *operate_until_closed(void *arg) {
    chaos *self = arg;
    for (uint32_t i = 0; !self->is_closing; i++) {
        mantis_pool_resize(self->pool, i % 3, 3 + i % 4, NULL);
        if (i % 4 == 0) mantis_pool_evict(self->pool, MANTIS_EVICT_HARD, NULL);
        if (i % 5 == 0) mantis_pool_pause(self->pool, MANTIS_PAUSE_WAIT, NULL);
        mantis_pool_stats stats;
        mantis_pool_get_stats(self->pool, &stats);
        mantis_pool_resume(self->pool, NULL);
    }
    return NULL;
}

/* Waits inside acquire when the pool is closed: it must be told. */
static void *wait_until_closed(void *arg) {
    chaos *self = arg;
    for (;;) {
        mantis_conn conn = {0};
        mantis_status status = mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL);
        mantis_conn_release(&conn);
        if (status == MANTIS_CLOSED || self->is_closing) return NULL;
    }
}

static void *close_it(void *arg) {
    chaos *self = arg;
    check_equal(mantis_pool_close(&self->closed, mantis_deadline_ms(10000)), MANTIS_OK);
    return NULL;
}

/* The test holds a connection, so close returns only after all threads have made their last
 * call. */
static void close_amid(int round) {
    void *(*const runs[4])(void *) = {borrow_until_closed, operate_until_closed,
                                      borrow_until_closed, wait_until_closed};
    mantis_pool_config config = real_config(1, 3);
    config.check_interval_ms = 1;
    chaos all = {.pool = pool_open(&config)};
    all.closed = all.pool;
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(all.pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    pthread_t threads[4], closer;
    for (int i = 0; i < 4; i++) check(pthread_create(&threads[i], NULL, runs[i], &all) == 0);
    sleep_ms(round % 8);
    check(pthread_create(&closer, NULL, close_it, &all) == 0);
    sleep_ms(round % 3);
    all.is_closing = true;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    mantis_conn_release(&conn);
    pthread_join(closer, NULL);
    wait_until(backend.handles == 0 && backend.starts == backend.stops);
}

TEST(s7_close_while_everything_runs_neither_hangs_nor_leaks) {
    for (int round = 0; round < 40; round++) close_amid(round);
}

TEST(s7_close_ends_every_request_with_closed) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_waiter waiters[5];
    for (int i = 0; i < 5; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check_equal(mantis_pool_close(&pool, 1), MANTIS_TIMEOUT);
    for (int i = 0; i < 5; i++) {
        check(drain_one(mailbox) == &waiters[i]);
        check_equal(waiters[i].status, MANTIS_CLOSED);
    }
    check_equal(mantis_conn_release(&conn), MANTIS_CLOSED);
    check_equal(backend.handles, 0);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

/* ---- fork ---- */

static void child_is_refused(mantis_pool *pool, mantis_conn conn, mantis_mailbox *mailbox) {
    mantis_conn other = {0};
    mantis_pool_stats stats;
    mantis_conn_info info;
    mantis_error error = {0};
    void *native = NULL;
    int64_t due_ns = 0;
    mantis_waiter waiter = {.mailbox = mailbox};
    int32_t handles = backend.handles;
    check_equal(mantis_pool_try_acquire(pool, &other, &error), MANTIS_FORKED);
    check(error.text[0]);
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &other, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &waiter, NULL),
                MANTIS_FORKED);
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_FORKED);
    check_equal(mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_resume(pool, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_resize(pool, 0, 1, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_set(pool, "lifetime_ms", 10, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_set_dsn(pool, "", NULL, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_HARD, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_wait_warm(pool, 1, MANTIS_DEADLINE_NONE, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_wait_idle(pool, MANTIS_DEADLINE_NONE, NULL), MANTIS_FORKED);
    check_equal(mantis_pool_tend(pool, mantis_now_ns(), &due_ns), MANTIS_FORKED);
    check_equal(mantis_pool_holders(pool, NULL, 0), 0);
    check_equal(mantis_conn_native(conn, &native, NULL), MANTIS_FORKED);
    check_equal(mantis_conn_tag(conn, "child"), MANTIS_FORKED);
    check_equal(mantis_conn_detach(conn), MANTIS_FORKED);
    check_equal(mantis_conn_get_info(conn, &info), MANTIS_FORKED);
    mantis_conn copy = conn;
    check_equal(mantis_conn_release(&copy), MANTIS_FORKED);
    copy = conn;
    check_equal(mantis_conn_release_as(&copy, MANTIS_RELEASE_BROKEN), MANTIS_FORKED);
    check_equal(mantis_pool_close(&pool, MANTIS_DEADLINE_NONE), MANTIS_FORKED);
    check_equal(backend.handles, handles); /* nothing was closed */
    check_equal(backend.begun[OP_CLOSE], 0);
}

static void fork_and_check(mantis_pool *pool, mantis_conn conn, mantis_mailbox *mailbox) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        alarm(20);
        child_is_refused(pool, conn, mailbox);
        mantis_pool_config config = real_config(1, 2); /* and it may have pools of its own */
        mantis_pool *own = pool_open(&config);
        mantis_conn mine = {0};
        check_equal(mantis_pool_acquire(own, MANTIS_DEADLINE_DEFAULT, &mine, NULL), MANTIS_OK);
        mantis_conn_release(&mine);
        check_equal(mantis_pool_close(&own, mantis_deadline_ms(5000)), MANTIS_OK);
        _exit(0);
    }
    int status = -1;
    check(waitpid(child, &status, 0) == child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(s9_a_forked_child_is_refused_everywhere_and_the_parent_goes_on) {
    if (tap_is_sanitized("thread")) tap_skip("ThreadSanitizer cannot fork with threads");
    mantis_pool_config config = real_config(2, 3);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, NULL), MANTIS_OK);
    fork_and_check(pool, conn, mailbox);
    check(handle_of(conn) != NULL);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, NULL), MANTIS_OK);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

static void *borrow_for_a_while(void *arg) {
    chaos *self = arg;
    while (!self->is_closing) {
        mantis_conn conn = {0};
        if (mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK)
            mantis_conn_release(&conn);
    }
    return NULL;
}

TEST(s9_a_fork_while_other_threads_borrow_leaves_no_lock_behind) {
    if (tap_is_sanitized("thread") || tap_is_sanitized("address"))
        tap_skip("the sanitizers' own locks do not survive a fork amid threads");
    mantis_pool_config config = real_config(2, 2);
    chaos all = {.pool = pool_open(&config)};
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(all.pool, MANTIS_DEADLINE_DEFAULT, &conn, NULL), MANTIS_OK);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, borrow_for_a_while, &all) == 0);
    for (int i = 0; i < 20; i++) fork_and_check(all.pool, conn, mailbox);
    all.is_closing = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    pool_close(&all.pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TAP_MAIN
