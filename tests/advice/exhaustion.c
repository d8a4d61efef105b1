/* Troubleshooting in docs/connection-pooling.md: exhaustion. Each test makes the trouble, sees it
 * in the errors and figures that the page names, follows the page's step, and sees that it is
 * gone. */
#include "workers.h"

static mantis_pool *pool;

/* ---- a connection is not given back ---- */

static int leaks_told;

static void on_leak(void *arg, uint32_t tid, const char *tag, int64_t held_ns) {
    (void)arg;
    check_equal(tid, getpid());
    check(strcmp(tag, "charge") == 0);
    check(held_ns >= 60 * SECOND);
    leaks_told++;
}

/* A function with the mistake: nothing is released if the card is declined. */
static void charge_and_forget(bool is_declined) {
    mantis_conn conn = take(pool);
    mantis_conn_tag(conn, "charge");
    if (is_declined) return;
    mantis_conn_release(&conn);
}

/* The same with one way out. */
static bool charge(bool is_declined) {
    mantis_conn conn = take(pool);
    mantis_conn_tag(conn, "charge");
    bool is_charged = !is_declined;
    mantis_conn_release(&conn);
    return is_charged;
}

TEST(a_connection_that_is_never_released_is_named_and_a_release_on_every_way_out_ends_it) {
    mantis_pool_config config = fake_config(2, 2);
    config.hooks.on_leak = on_leak;
    pool = pool_open(&config);
    run_for(pool, SECOND);
    charge_and_forget(false);
    charge_and_forget(true);
    charge_and_forget(true);
    mantis_conn conn = {0};
    mantis_error error = {0};
    check_equal(mantis_pool_try_acquire(pool, &conn, &error), MANTIS_EXHAUSTED);
    check_contains(error.text, "2 of 2 busy");
    check_contains(error.text, "tag charge");

    check_equal(mantis_pool_set(pool, "leak_after_ms", 60000, NULL), MANTIS_OK);
    run_for(pool, 62 * SECOND);
    check_equal(leaks_told, 2);
    check_equal(stats_of(pool).leaked, 2);
    mantis_holder holders[2];
    check_equal(mantis_pool_holders(pool, holders, 2), 2);
    check(strcmp(holders[0].tag, "charge") == 0 && holders[0].held_ns >= 60 * SECOND);
    for (int i = 0; i < 2; i++) mantis_conn_release(&holders[i].conn); /* what the program forgot */

    for (int i = 0; i < 100; i++) check_equal(charge(i % 2), i % 2 == 0);
    run_for(pool, 62 * SECOND);
    check_equal(stats_of(pool).busy, 0);
    check_equal(stats_of(pool).leaked, 2);
    pool_close(&pool);
}

/* ---- a thread that has one asks for another ---- */

static mantis_status look_up_price(mantis_error *error) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, error);
    mantis_conn_release(&conn);
    return status;
}

static mantis_status look_up_price_with(mantis_conn conn) {
    void *native = NULL;
    return mantis_conn_native(conn, &native, NULL);
}

TEST(a_thread_that_waits_for_itself_is_told_and_passing_its_connection_on_ends_it) {
    mantis_pool_config config = real_config(1, 1);
    pool = pool_open(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_error error = {0};
    check_equal(look_up_price(&error), MANTIS_EXHAUSTED);
    check_contains(error.text, "this thread holds all connections itself");

    check_equal(look_up_price_with(conn), MANTIS_OK);

    check_equal(stats_of(pool).refused, 1);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

/* ---- threads that each have one wait for each other ---- */

static _Atomic int timeouts, holders_of_one;

/* Ask for a second connection while holding the first. */
static void take_two(bool is_patient) {
    mantis_conn first = {0}, second = {0};
    mantis_error error = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &first, NULL), MANTIS_OK);
    holders_of_one++;
    wait_until(holders_of_one == 2);
    if (!is_patient) wait_until(stats_of(pool).waiting == 1);
    int64_t deadline_ns = is_patient ? MANTIS_DEADLINE_NONE : mantis_deadline_ms(100);
    if (mantis_pool_acquire(pool, deadline_ns, &second, &error) == MANTIS_TIMEOUT) {
        check_contains(error.text, "2 of 2 busy");
        check_contains(error.text, "1 waited before you");
        timeouts++;
    }
    mantis_conn_release(&second);
    mantis_conn_release(&first);
}

static void *take_two_patiently(void *arg) {
    take_two(true);
    return arg;
}

static void *take_one(void *arg) {
    (void)arg;
    mantis_conn conn = {0};
    if (mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL) != MANTIS_OK) timeouts++;
    else check_equal(look_up_price_with(conn), MANTIS_OK);
    mantis_conn_release(&conn);
    return NULL;
}

TEST(threads_that_each_hold_one_wait_for_each_other_and_one_connection_a_request_ends_it) {
    mantis_pool_config config = real_config(2, 2);
    pool = pool_open(&config);
    workers other = workers_start(1, take_two_patiently, NULL);
    take_two(false);
    workers_join(&other);
    check_equal(timeouts, 1);
    check_equal(stats_of(pool).timed_out, 1);

    workers many = workers_start(16, take_one, NULL);
    workers_join(&many);

    check_equal(timeouts, 1);
    check_equal(stats_of(pool).timed_out, 1);
    pool_close(&pool);
}

/* ---- the queue is full ---- */

static void *wait_for_one(void *arg) {
    mantis_conn conn = {0};
    *(mantis_status *)arg = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL);
    mantis_conn_release(&conn);
    return NULL;
}

TEST(a_full_queue_refuses_at_once_until_more_may_wait) {
    mantis_pool_config config = real_config(1, 1);
    config.waiting_max = 1;
    pool = pool_open(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_conn_detach(conn);
    mantis_status first = MANTIS_INVALID, second = MANTIS_INVALID;
    workers one = workers_start(1, wait_for_one, &first);
    wait_until(stats_of(pool).waiting == 1);
    mantis_conn none = {0};
    mantis_error error = {0};
    mantis_status refused = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &none, &error);
    check_equal(refused, MANTIS_EXHAUSTED);
    check_contains(error.text, "the queue is full");
    check_equal(stats_of(pool).refused, 1);

    check_equal(mantis_pool_set(pool, "waiting_max", 10, NULL), MANTIS_OK);

    workers another = workers_start(1, wait_for_one, &second);
    wait_until(stats_of(pool).waiting == 2);
    mantis_conn_release(&conn);
    workers_join(&one);
    workers_join(&another);
    check(first == MANTIS_OK && second == MANTIS_OK);
    check_equal(stats_of(pool).refused, 1);
    pool_close(&pool);
}

/* ---- the backend is away ---- */

TEST(a_backend_that_is_away_is_named_in_the_error_and_fail_fast_ends_the_waiting) {
    mantis_pool_config config = real_config(1, 2);
    config.backoff_max_ms = 200;
    backend.is_down = true;
    pool = pool_open(&config);
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(300), &conn, &error);
    check_equal(status, MANTIS_TIMEOUT);
    check_contains(error.text, "the last open failed: the backend is down");
    check(stats_of(pool).failing && stats_of(pool).open_failed > 0);

    check_equal(mantis_pool_set(pool, "fail_fast", 1, NULL), MANTIS_OK);

    status = mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, &error);
    check_equal(status, MANTIS_CONNECT_FAILED);
    check_contains(error.text, "the backend is down");
    backend.is_down = false; /* somebody repairs it: nothing is to be done to the pool */
    wait_until(!stats_of(pool).failing);
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

/* ---- the pool is paused ---- */

TEST(a_paused_pool_lends_nothing_until_it_is_resumed) {
    mantis_pool_config config = real_config(1, 2);
    pool = pool_open(&config);
    check_equal(mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL), MANTIS_OK);
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(50), &conn, &error);
    check_equal(status, MANTIS_TIMEOUT);
    check_contains(error.text, "paused");
    check(stats_of(pool).paused);

    check_equal(mantis_pool_resume(pool, NULL), MANTIS_OK);

    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

TAP_MAIN
