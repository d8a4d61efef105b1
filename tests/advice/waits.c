/* Troubleshooting in docs/connection-pooling.md: high wait times. Each test makes the trouble, sees
 * it in the figures that the page names, follows the page's step, and sees that it is gone. */
#include "workers.h"

static mantis_pool *pool;
static door gate;

/* ---- every connection is in use ---- */

static void *hold_at_gate(void *arg) {
    (void)arg;
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, &error);
    if (status != MANTIS_OK) tap_fail(__FILE__, __LINE__, "acquire: %s", error.text);
    door_pass(&gate);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    return NULL;
}

TEST(a_pool_that_is_too_small_makes_requests_wait_until_it_is_larger) {
    mantis_pool_config config = real_config(0, 2);
    pool = pool_open(&config);
    workers eight = workers_start(8, hold_at_gate, NULL);
    wait_until(gate.inside == 2 && stats_of(pool).waiting == 6);
    sleep_ms(1);
    mantis_pool_stats before = stats_of(pool);
    check_equal(before.busy, before.conns_max);
    check(before.oldest_wait_ns > 0);

    check_equal(mantis_pool_resize(pool, 0, 8, NULL), MANTIS_OK);

    wait_until(gate.inside == 8);
    mantis_pool_stats after = stats_of(pool);
    check_equal(after.waiting, 0);
    check_equal(after.oldest_wait_ns, 0);
    door_open(&gate);
    workers_join(&eight);
    pool_close(&pool);
}

/* ---- connections are held while something else is done ---- */

static void *work_with_connection(void *arg) {
    (void)arg;
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_conn_tag(conn, "report");
    door_pass(&gate); /* a call to another service */
    mantis_conn_release(&conn);
    return NULL;
}

static void *work_without_connection(void *arg) {
    (void)arg;
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_conn_tag(conn, "report");
    mantis_conn_release(&conn);
    door_pass(&gate);
    return NULL;
}

TEST(connections_held_during_other_work_make_requests_wait_until_they_are_released_before_it) {
    mantis_pool_config config = real_config(0, 2);
    pool = pool_open(&config);
    workers four = workers_start(4, work_with_connection, NULL);
    wait_until(gate.inside == 2 && stats_of(pool).waiting == 2);
    mantis_holder holders[4];
    check_equal(mantis_pool_holders(pool, holders, 4), 2);
    for (int i = 0; i < 2; i++) check(strcmp(holders[i].tag, "report") == 0);
    gate.is_open = true;
    workers_join(&four);
    gate.is_open = false;

    four = workers_start(4, work_without_connection, NULL);

    wait_until(gate.inside == 4);
    check_equal(stats_of(pool).waiting, 0);
    check_equal(stats_of(pool).busy, 0);
    door_open(&gate);
    workers_join(&four);
    pool_close(&pool);
}

/* ---- the first requests wait for connections to open ---- */

static void *hold_briefly(void *arg) {
    (void)arg;
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL), MANTIS_OK);
    mantis_conn_release(&conn);
    return NULL;
}

TEST(a_cold_pool_makes_the_first_requests_wait_until_it_keeps_connections_and_is_warmed) {
    mantis_pool_config config = real_config(0, 4);
    backend.blocks[OP_OPEN] = true; /* a backend that takes its time */
    pool = pool_open(&config);
    workers two = workers_start(2, hold_briefly, NULL);
    wait_until(stats_of(pool).waiting == 2 && stats_of(pool).opening > 0);
    check_equal(stats_of(pool).busy, 0); /* nobody holds what they wait for */
    backend.blocks[OP_OPEN] = false;
    workers_join(&two);
    check(stats_of(pool).waited > 0);
    pool_close(&pool);

    config.conns_min = 4;
    pool = pool_open(&config);
    check_equal(mantis_pool_wait_warm(pool, 0, mantis_deadline_ms(60000), NULL), MANTIS_OK);

    mantis_conn conns[4];
    for (int i = 0; i < 4; i++) conns[i] = take(pool); /* does not wait */
    check_equal(stats_of(pool).waited, 0);
    for (int i = 0; i < 4; i++) mantis_conn_release(&conns[i]);
    pool_close(&pool);
}

/* ---- connections come and go ---- */

/* Four at once, every ten minutes, for an hour. */
static void burst_for_an_hour(mantis_mailbox *mailbox) {
    for (int burst = 0; burst < 6; burst++) {
        mantis_waiter waiters[4];
        for (int i = 0; i < 4; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
        run_for(pool, 10 * SECOND);
        for (int i = 0; i < 4; i++) {
            mantis_waiter *granted = drain_one(mailbox);
            check(granted && granted->status == MANTIS_OK);
            mantis_conn_release(&granted->conn);
        }
        run_for(pool, 590 * SECOND);
    }
}

TEST(connections_that_are_idle_between_bursts_are_opened_anew_until_the_idle_timeout_is_longer) {
    mantis_pool_config config = fake_config(0, 4);
    config.idle_timeout_ms = 300000; /* the default */
    pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    burst_for_an_hour(mailbox);
    mantis_pool_stats before = stats_of(pool);
    check_equal(before.opened, 6 * 4);
    check_equal(before.closed_idle, 6 * 4);

    check_equal(mantis_pool_set(pool, "idle_timeout_ms", 1800000, NULL), MANTIS_OK);

    burst_for_an_hour(mailbox);
    mantis_pool_stats now = stats_of(pool);
    mantis_pool_stats hour = mantis_stats_since(&now, &before);
    check_equal(hour.opened, 4);
    check_equal(hour.closed_idle, 0);
    mantis_mailbox_close(&mailbox);
    pool_close(&pool);
}

/* ---- something on the way ends quiet connections ---- */

/* Borrow, discard what is broken, and borrow again; then be quiet for ten minutes, while a firewall
 * forgets the connection. Six times; returns how often a borrower found out by itself. */
static uint64_t use_after_quiet_times(mantis_mailbox *mailbox) {
    uint64_t found_out = 0;
    for (int i = 0; i < 6; i++) {
        handle *native = NULL;
        while (!native) {
            mantis_waiter waiter;
            ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
            run_for(pool, SECOND);
            check(drain_one(mailbox) == &waiter);
            native = handle_of(waiter.conn);
            bool is_broken = native->is_broken;
            mantis_conn_release_as(&waiter.conn,
                                   is_broken ? MANTIS_RELEASE_BROKEN : MANTIS_RELEASE_CLEAN);
            if (is_broken) native = NULL;
            found_out += is_broken;
        }
        run_for(pool, 600 * SECOND);
        native->is_broken = true;
    }
    return found_out;
}

TEST(connections_that_are_ended_while_quiet_fail_their_borrowers_until_they_are_checked_before) {
    mantis_connector blind = fake;
    blind.is_broken = NULL; /* nothing of it is seen without asking the backend */
    mantis_pool_config config = fake_config(0, 1);
    config.connector = &blind;
    pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    check_equal(use_after_quiet_times(mailbox), 5);
    check_equal(stats_of(pool).closed_broken, 5);

    check_equal(mantis_pool_set(pool, "check_after_idle_ms", 60000, NULL), MANTIS_OK);
    run_for(pool, SECOND);

    check_equal(use_after_quiet_times(mailbox), 0);
    check_equal(stats_of(pool).closed_broken, 5);
    check_equal(stats_of(pool).closed_check, 6);
    mantis_mailbox_close(&mailbox);
    pool_close(&pool);
}

TAP_MAIN
