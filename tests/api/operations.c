/* O: what operators do: settings, sizes, pause, evict, close, and what they are told. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <pthread.h>

static void set(mantis_pool *pool, const char *name, int64_t value) {
    mantis_error error = {0};
    mantis_status status = mantis_pool_set(pool, name, value, &error);
    if (status != MANTIS_OK) tap_fail(__FILE__, __LINE__, "set %s: %s", name, error.text);
}

/* A pool with count connections, all idle, none of which must stay. */
static mantis_pool *warm_pool(mantis_pool_config config, int64_t count) {
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_resize(pool, count, config.conns_max, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(stats_of(pool).idle, count);
    check_equal(mantis_pool_resize(pool, config.conns_min, config.conns_max, NULL), MANTIS_OK);
    return pool;
}

/* ---- O1: each knob changes at run time ---- */

TEST(o1_conns_min_and_conns_max) {
    mantis_pool_config config = fake_config(0, 4);
    mantis_pool *pool = pool_open(&config);
    set(pool, "conns_min", 3);
    run_for(pool, 2 * SECOND);
    check_equal(stats_of(pool).idle, 3);
    check_equal(stats_of(pool).conns_min, 3);
    set(pool, "conns_min", 0);
    set(pool, "conns_max", 1);
    run_for(pool, 2 * SECOND);
    check_equal(stats_of(pool).total, 1);
    check_equal(stats_of(pool).conns_max, 1);
    mantis_error error = {0};
    check_equal(mantis_pool_resize(pool, 3, 2, &error), MANTIS_INVALID);
    check_contains(error.text, "conns_min");
    pool_close(&pool);
}

TEST(o1_reserve_and_reserve_after_ms) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = take(pool);
    mantis_waiter waiters[2];
    ask(pool, mailbox, &waiters[0], MANTIS_DEADLINE_NONE);
    ask(pool, mailbox, &waiters[1], MANTIS_DEADLINE_NONE);
    run_for(pool, 10 * SECOND);
    check(drain_one(mailbox) == NULL);
    set(pool, "reserve_after_ms", 20000);
    set(pool, "reserve", 1);
    run_for(pool, 9 * SECOND);
    check(drain_one(mailbox) == NULL);
    run_for(pool, 2 * SECOND);
    check(drain_one(mailbox) == &waiters[0]);
    check_equal(stats_of(pool).total, 2);
    check(drain_one(mailbox) == NULL);
    mantis_waiter_cancel(&waiters[1]);
    mantis_conn_release(&conn);
    mantis_conn_release(&waiters[0].conn);
    run_for(pool, 2 * SECOND); /* nobody waits any more: back to the maximum */
    check_equal(stats_of(pool).total, 1);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o1_o2_waiting_max_is_answered_exhausted_at_once) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = take(pool), none = {0};
    mantis_waiter waiters[3], more = {.mailbox = mailbox};
    set(pool, "waiting_max", 2);
    ask(pool, mailbox, &waiters[0], MANTIS_DEADLINE_NONE);
    ask(pool, mailbox, &waiters[1], MANTIS_DEADLINE_NONE);
    mantis_error error = {0};
    check_equal(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &more, &error),
                MANTIS_EXHAUSTED);
    check_equal(error.status, MANTIS_EXHAUSTED);
    check_contains(error.text, "orders");
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &none, NULL), MANTIS_EXHAUSTED);
    check_equal(stats_of(pool).refused, 2);
    set(pool, "waiting_max", -1);
    ask(pool, mailbox, &waiters[2], MANTIS_DEADLINE_NONE);
    for (int i = 0; i < 3; i++) check_equal(mantis_waiter_cancel(&waiters[i]), MANTIS_CANCELLED);
    mantis_conn_release(&conn);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TEST(o1_acquire_timeout_ms) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = take(pool);
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_DEFAULT);
    check_equal(mantis_mailbox_due_ns(mailbox), clock_now() + 10 * SECOND);
    mantis_waiter_cancel(&waiter);
    set(pool, "acquire_timeout_ms", 70);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_DEFAULT);
    check_equal(mantis_mailbox_due_ns(mailbox), clock_now() + 70 * MS);
    mantis_waiter_cancel(&waiter);
    set(pool, "acquire_timeout_ms", -1);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_DEFAULT);
    check_equal(mantis_mailbox_due_ns(mailbox), MANTIS_DEADLINE_NONE);
    mantis_waiter_cancel(&waiter);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o1_open_timeout_ms_interrupts_what_takes_longer) {
    mantis_pool_config config = fake_config(0, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    set(pool, "open_timeout_ms", 3000);
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_op_deadline(backend.held[0].op), clock_now() + 3 * SECOND);
    run_for(pool, 2900 * MS);
    check_equal(backend.interrupted, 0);
    run_for(pool, 1100 * MS);
    check_equal(backend.interrupted, 1);
    check_equal(stats_of(pool).open_failed, 1);
    mantis_waiter_cancel(&waiter);
    complete_all(true);
    backend.holds[OP_OPEN] = false;
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o1_opening_max) {
    mantis_pool_config config = fake_config(0, 10);
    mantis_pool *pool = pool_open(&config);
    set(pool, "opening_max", 7);
    backend.holds[OP_OPEN] = true;
    check_equal(mantis_pool_resize(pool, 10, 10, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(backend.held_count, 7);
    set(pool, "opening_max", 2);
    for (int i = 0; i < 6; i++) complete(0, true);
    check_equal(backend.held_count, 2);
    complete_all(true);
    pool_close(&pool);
}

/* How many opens a backend that is down sees in ten seconds. */
static uint64_t opens_while_down(int64_t min_ms, int64_t max_ms) {
    mantis_pool_config config = fake_config(1, 1);
    backend.is_down = true;
    mantis_pool *pool = pool_open(&config);
    set(pool, "backoff_min_ms", min_ms);
    set(pool, "backoff_max_ms", max_ms);
    run_for(pool, 5 * SECOND);
    uint64_t before = backend.begun[OP_OPEN];
    run_for(pool, 10 * SECOND);
    uint64_t count = backend.begun[OP_OPEN] - before;
    pool_close(&pool);
    return count;
}

TEST(o1_backoff_min_ms_and_backoff_max_ms) {
    uint64_t often = opens_while_down(10, 100), seldom = opens_while_down(10, 1000);
    check(often >= 95 && often <= 140);
    check(seldom >= 9 && seldom <= 15);
    uint64_t at_least = opens_while_down(2000, 2000);
    check(at_least >= 4 && at_least <= 7);
}

TEST(o1_idle_timeout_ms) {
    mantis_pool_config config = fake_config(0, 3);
    mantis_pool *pool = warm_pool(config, 3);
    run_for(pool, 1000 * SECOND);
    check_equal(stats_of(pool).idle, 3);
    set(pool, "idle_timeout_ms", 1000);
    run_for(pool, 3 * SECOND);
    check_equal(stats_of(pool).closed_idle, 3);
    pool_close(&pool);
}

TEST(o1_lifetime_ms_and_lifetime_jitter_percent) {
    mantis_pool_config config = fake_config(0, 50);
    mantis_pool *pool = pool_open(&config);
    set(pool, "lifetime_ms", 100000);
    set(pool, "lifetime_jitter_percent", -1);
    check_equal(mantis_pool_resize(pool, 10, 50, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(mantis_pool_resize(pool, 0, 50, NULL), MANTIS_OK);
    run_for(pool, 97 * SECOND);
    check_equal(stats_of(pool).closed_lifetime, 0);
    run_for(pool, 5 * SECOND);
    check_equal(stats_of(pool).closed_lifetime, 10);
    set(pool, "lifetime_jitter_percent", 50);
    check_equal(mantis_pool_resize(pool, 10, 50, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(mantis_pool_resize(pool, 0, 50, NULL), MANTIS_OK);
    run_for(pool, 74 * SECOND);
    uint64_t half = stats_of(pool).closed_lifetime - 10;
    check(half >= 1 && half <= 9);
    run_for(pool, 30 * SECOND);
    check_equal(stats_of(pool).closed_lifetime, 20);
    pool_close(&pool);
}

TEST(o1_check_interval_ms) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = warm_pool(config, 1);
    run_for(pool, 100 * SECOND);
    check_equal(backend.begun[OP_CHECK], 0);
    set(pool, "check_interval_ms", 5000);
    mantis_conn conn = take(pool);
    mantis_conn_release(&conn);
    run_for(pool, 60 * SECOND);
    check(backend.begun[OP_CHECK] >= 10 && backend.begun[OP_CHECK] <= 14);
    pool_close(&pool);
}

TEST(o1_check_after_idle_ms) {
    mantis_pool_config config = fake_config(0, 2);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    set(pool, "check_after_idle_ms", 2000);
    run_for(pool, 5 * SECOND);
    check_equal(backend.begun[OP_CHECK], 0);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(backend.begun[OP_CHECK], 1);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    mantis_conn_release(&waiter.conn);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE); /* just used: no check */
    check_equal(backend.begun[OP_CHECK], 1);
    check(drain_one(mailbox) == &waiter);
    uint64_t first = handle_of(waiter.conn)->number;
    mantis_conn_release(&waiter.conn);
    run_for(pool, 5 * SECOND);
    backend.holds[OP_CHECK] = true; /* this one is dead: the waiter gets another */
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(backend.held_count, 1);
    complete(0, false);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    check(handle_of(waiter.conn)->number != first);
    mantis_conn_release(&waiter.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

static uint32_t leaks, leak_tid;
static char leak_tag[32];
static int64_t leak_held_ns;

static void on_leak(void *arg, uint32_t tid, const char *tag, int64_t held_ns) {
    (void)arg;
    leaks++;
    leak_tid = tid;
    snprintf(leak_tag, sizeof leak_tag, "%s", tag ? tag : "");
    leak_held_ns = held_ns;
}

TEST(o1_o7_leak_after_ms_reports_once_with_tag_and_thread) {
    mantis_pool_config config = fake_config(0, 2);
    config.hooks.on_leak = on_leak;
    mantis_pool *pool = warm_pool(config, 2);
    mantis_conn conn = take(pool), other = take(pool);
    check_equal(mantis_conn_tag(conn, "checkout"), MANTIS_OK);
    run_for(pool, 100 * SECOND);
    check_equal(leaks, 0);
    mantis_conn_release(&other);
    set(pool, "leak_after_ms", 110000);
    run_for(pool, 100 * SECOND);
    check_equal(leaks, 1);
    check_equal(leak_tid, (uint32_t)getpid());
    check(strcmp(leak_tag, "checkout") == 0);
    check(leak_held_ns >= 110 * SECOND && leak_held_ns <= 112 * SECOND);
    check_equal(stats_of(pool).leaked, 1);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

TEST(o7_holders_are_listed_longest_first_with_thread_and_tag) {
    mantis_pool_config config = fake_config(0, 3);
    mantis_pool *pool = warm_pool(config, 3);
    mantis_conn first = take(pool);
    mantis_conn_tag(first, "report");
    run_for(pool, 5 * SECOND);
    mantis_conn second = take(pool);
    mantis_conn_detach(second);
    run_for(pool, 3 * SECOND);
    mantis_holder holders[4];
    check_equal(mantis_pool_holders(pool, holders, 4), 2);
    check_equal(mantis_pool_holders(pool, holders, 1), 2);
    mantis_pool_holders(pool, holders, 4);
    check_equal(holders[0].conn.generation, first.generation);
    check(strcmp(holders[0].tag, "report") == 0);
    check_equal(holders[0].tid, (uint32_t)getpid());
    check(holders[0].held_ns >= 7 * SECOND && holders[0].held_ns <= 8 * SECOND);
    check(holders[1].tag == NULL);
    check_equal(holders[1].tid, 0);
    check(holders[1].held_ns >= 2 * SECOND && holders[1].held_ns <= 3 * SECOND);
    mantis_conn_release(&first);
    mantis_conn_release(&second);
    check_equal(mantis_pool_holders(pool, holders, 4), 0);
    pool_close(&pool);
}

TEST(o1_fail_fast_answers_the_cause_at_once) {
    mantis_pool_config config = fake_config(0, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter, late = {.mailbox = mailbox};
    backend.is_down = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    run_for(pool, 10 * SECOND);
    check(drain_one(mailbox) == NULL); /* without it one waits */
    set(pool, "fail_fast", 1);
    run_for(pool, 10 * SECOND);
    check(drain_one(mailbox) == &waiter);
    check_equal(waiter.status, MANTIS_CONNECT_FAILED);
    mantis_error error = {0};
    mantis_waiter_explain(&waiter, pool, &error);
    check_contains(error.text, "the backend is down");
    ask(pool, mailbox, &late, MANTIS_DEADLINE_NONE); /* the pause is over: it is who tries */
    check(drain_one(mailbox) == &late);
    check_equal(late.status, MANTIS_CONNECT_FAILED);
    late = (mantis_waiter){.mailbox = mailbox};
    check_equal(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &late, &error),
                MANTIS_CONNECT_FAILED);
    check_contains(error.text, "the backend is down");
    check_equal(stats_of(pool).failed, 3);
    backend.is_down = false;
    run_for(pool, 10 * SECOND);
    ask(pool, mailbox, &late, MANTIS_DEADLINE_NONE); /* and it recovers by itself */
    check(drain_one(mailbox) == &late);
    check_equal(late.status, MANTIS_OK);
    mantis_conn_release(&late.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o1_conn_memory_max_is_taken_and_its_range_kept) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_error error = {0};
    set(pool, "conn_memory_max", 2048);
    check_equal(mantis_pool_set(pool, "conn_memory_max", 1, &error), MANTIS_INVALID);
    check_contains(error.text, "conn_memory_max");
    check_contains(error.text, "1024");
    pool_close(&pool);
}

TEST(o1_an_unknown_setting_is_refused_by_name) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_error error = {0};
    check_equal(mantis_pool_set(pool, "idle_timeout", 1, &error), MANTIS_INVALID);
    check_contains(error.text, "idle_timeout");
    check_equal(error.status, MANTIS_INVALID);
    pool_close(&pool);
}

TEST(o1_new_parameters_replace_the_connections_with_the_old_ones) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = warm_pool(config, 2);
    mantis_conn conn = take(pool);
    mantis_conn_info info;
    check_equal(mantis_conn_get_info(conn, &info), MANTIS_OK);
    check_equal(info.configuration, 1);
    mantis_error error = {0};
    check_equal(mantis_pool_set_dsn(pool, "bad", NULL, &error), MANTIS_CONNECT_FAILED);
    check_contains(error.text, "bad is no place");
    check_equal(mantis_conn_get_info(conn, &info), MANTIS_OK);
    check_equal(mantis_pool_set_dsn(pool, "better", NULL, &error), MANTIS_OK);
    check_equal(backend.starts, 2);
    check_equal(backend.stops, 0); /* the old place still has a connection out */
    mantis_conn_release(&conn);
    check_equal(backend.stops, 1);
    run_for(pool, 2 * SECOND);
    for (int i = 0; i < 4; i++) {
        conn = take(pool);
        check_equal(handle_of(conn)->version, 2);
        check_equal(mantis_conn_get_info(conn, &info), MANTIS_OK);
        check_equal(info.configuration, 2);
        mantis_conn_release(&conn);
    }
    check_equal(stats_of(pool).closed_evicted, 2);
    pool_close(&pool);
}

/* ---- O3: pause ---- */

TEST(o3_a_pause_lets_requests_wait_and_their_deadlines_run) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = warm_pool(config, 2);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = take(pool), none = {0};
    mantis_waiter shorter, longer;
    check_equal(mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL), MANTIS_OK);
    check(stats_of(pool).paused);
    ask(pool, mailbox, &shorter, clock_now() + 100 * MS);
    ask(pool, mailbox, &longer, MANTIS_DEADLINE_NONE);
    check(mantis_pool_try_acquire(pool, &none, NULL) != MANTIS_OK);
    mantis_conn_release(&conn);
    run_for(pool, SECOND);
    check(drain_one(mailbox) == &shorter && shorter.status == MANTIS_TIMEOUT);
    check(drain_one(mailbox) == NULL);
    check_equal(mantis_pool_wait_idle(pool, mantis_deadline_ms(1000), NULL), MANTIS_OK);
    check_equal(mantis_pool_resume(pool, NULL), MANTIS_OK);
    check(drain_one(mailbox) == &longer && longer.status == MANTIS_OK);
    mantis_conn_release(&longer.conn);
    conn = take(pool);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o3_a_failing_pause_answers_paused_to_those_who_wait_and_come) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn conn = take(pool), none = {0};
    mantis_waiter waiter, late = {.mailbox = mailbox};
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_pool_pause(pool, MANTIS_PAUSE_FAIL, NULL), MANTIS_OK);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_PAUSED);
    mantis_error error = {0};
    check_equal(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &late, &error),
                MANTIS_PAUSED);
    check_contains(error.text, "paused");
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &none, NULL), MANTIS_PAUSED);
    check_equal(mantis_pool_try_acquire(pool, &none, NULL), MANTIS_PAUSED);
    mantis_conn_release(&conn);
    check_equal(mantis_pool_resume(pool, NULL), MANTIS_OK);
    conn = take(pool);
    mantis_conn_release(&conn);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TEST(o3_a_pause_is_at_rest_only_when_nothing_is_borrowed) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = warm_pool(config, 1);
    mantis_conn conn = take(pool);
    mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL);
    mantis_error error = {0};
    check_equal(mantis_pool_wait_idle(pool, 1, &error), MANTIS_TIMEOUT);
    check_equal(error.status, MANTIS_TIMEOUT);
    mantis_conn_release(&conn);
    check_equal(mantis_pool_wait_idle(pool, 1, &error), MANTIS_OK);
    pool_close(&pool);
}

/* ---- O4: evict ---- */

TEST(o4_after_an_evict_no_older_connection_is_lent) {
    mantis_pool_config config = fake_config(4, 4);
    mantis_pool *pool = warm_pool(config, 4);
    mantis_conn conns[2] = {take(pool), take(pool)};
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK);
    for (int i = 0; i < 2; i++) {
        check(handle_of(conns[i]) != NULL); /* still the holder's */
        mantis_conn_release(&conns[i]);
    }
    run_for(pool, 2 * SECOND);
    mantis_conn all[4];
    for (int i = 0; i < 4; i++) all[i] = take(pool);
    for (int i = 0; i < 4; i++) {
        check(handle_of(all[i])->number > 4);
        mantis_conn_release(&all[i]);
    }
    check_equal(stats_of(pool).closed_evicted, 4);
    pool_close(&pool);
}

TEST(o4_an_open_that_began_before_the_evict_is_not_lent_with_old_parameters) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_pool_set_dsn(pool, "better", NULL, NULL), MANTIS_OK);
    backend.holds[OP_OPEN] = false;
    complete_all(true);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    mantis_conn_info info;
    check_equal(mantis_conn_get_info(waiter.conn, &info), MANTIS_OK);
    check_equal(info.configuration, 2);
    check_equal(backend.begun[OP_OPEN], 2);
    mantis_conn_release(&waiter.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(o4_a_hard_evict_tells_the_holder_and_leaves_the_connection_with_it) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = warm_pool(config, 2);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_conn told = take(pool), untold = take(pool);
    mantis_waiter watch = {.mailbox = mailbox}, other = {.mailbox = mailbox};
    check_equal(mantis_conn_watch(told, &watch), MANTIS_OK);
    check_equal(mantis_conn_watch(untold, &other), MANTIS_OK);
    check_equal(mantis_conn_release(&untold), MANTIS_OK); /* and its watch is free again */
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK);
    check(drain_one(mailbox) == NULL);
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_HARD, NULL), MANTIS_OK);
    check(drain_one(mailbox) == &watch);
    check_equal(watch.status, MANTIS_CANCELLED);
    check_equal(watch.conn.generation, told.generation);
    check(drain_one(mailbox) == NULL);
    check(handle_of(told) != NULL);
    check_equal(mantis_conn_release(&told), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(stats_of(pool).idle, 2);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

/* ---- O5: close ---- */

TEST(o5_close_returns_by_its_deadline) {
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < 10; i++) {
        mantis_pool_config config = real_config(1, 1);
        mantis_pool *pool = pool_open(&config);
        mantis_conn conn = {0};
        check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
        int64_t deadline_ns = mantis_deadline_ms(20);
        check_equal(mantis_pool_close(&pool, deadline_ns), MANTIS_TIMEOUT);
        int64_t late_ns = mantis_now_ns() - deadline_ns;
        check(late_ns >= 0);
        if (late_ns < best_ns) best_ns = late_ns;
        check_equal(mantis_conn_release(&conn), MANTIS_CLOSED);
        wait_until(backend.handles == 0);
    }
    check(best_ns < 10 * MS);
}

static void *release_soon(void *arg) {
    sleep_ms(50);
    mantis_conn_release(arg);
    return NULL;
}

TEST(o5_close_returns_as_soon_as_the_last_connection_has_come_back) {
    mantis_pool_config config = real_config(2, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    pthread_t thread;
    check(pthread_create(&thread, NULL, release_soon, &conn) == 0);
    int64_t start_ns = mantis_now_ns();
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(30000)), MANTIS_OK);
    check(mantis_now_ns() - start_ns < 10 * SECOND);
    pthread_join(thread, NULL);
    check_equal(backend.handles, 0);
}

/* ---- O6: a thread that waits for itself ---- */

TEST(o6_a_thread_that_holds_the_only_connection_is_told_at_once) {
    mantis_pool_config config = real_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_conn conn = {0}, second = {0};
    mantis_error error = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &second, &error), MANTIS_EXHAUSTED);
    check_contains(error.text, "this thread");
    check_equal(mantis_conn_detach(conn), MANTIS_OK); /* another thread will release it */
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(20), &second, &error), MANTIS_TIMEOUT);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

typedef struct helper {
    mantis_pool *pool;
    mantis_conn conn;
    _Atomic bool has_it, may_end;
} helper;

static void *hold_one(void *arg) {
    helper *self = arg;
    check_equal(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &self->conn, NULL),
                MANTIS_OK);
    self->has_it = true;
    while (!self->may_end) sleep_ms(1);
    mantis_conn_release(&self->conn);
    return NULL;
}

TEST(o6_a_thread_waits_as_usual_when_another_holds_one_of_two) {
    mantis_pool_config config = real_config(2, 2);
    helper other = {.pool = pool_open(&config)};
    pthread_t thread;
    check(pthread_create(&thread, NULL, hold_one, &other) == 0);
    wait_until(other.has_it);
    mantis_conn conn = {0}, second = {0};
    check_equal(mantis_pool_acquire(other.pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    check_equal(mantis_pool_acquire(other.pool, mantis_deadline_ms(20), &second, NULL),
                MANTIS_TIMEOUT);
    other.may_end = true;
    check_equal(mantis_pool_acquire(other.pool, MANTIS_DEADLINE_NONE, &second, NULL), MANTIS_OK);
    pthread_join(thread, NULL);
    mantis_conn_release(&conn);
    mantis_conn_release(&second);
    pool_close(&other.pool);
}

/* ---- O8: warm ---- */

TEST(o8_wait_warm_answers_when_the_minimum_is_open_before_any_request) {
    mantis_pool_config config = real_config(4, 8);
    backend.delay_ns = 5 * MS;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_wait_warm(pool, 0, mantis_deadline_ms(10000), NULL), MANTIS_OK);
    check(backend.handles >= 4);
    check_equal(stats_of(pool).attempts, 0);
    mantis_conn conns[4];
    for (int i = 0; i < 4; i++) conns[i] = take(pool);
    for (int i = 0; i < 4; i++) mantis_conn_release(&conns[i]);
    pool_close(&pool);
}

TEST(o8_wait_warm_says_why_it_timed_out) {
    mantis_pool_config config = fake_config(2, 2);
    backend.is_down = true;
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_error error = {0};
    check_equal(mantis_pool_wait_warm(pool, 0, 1, &error), MANTIS_TIMEOUT);
    check_contains(error.text, "the backend is down");
    pool_close(&pool);
}

TAP_MAIN
