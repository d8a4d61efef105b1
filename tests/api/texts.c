/* What errors and explanations say, and what a config must be. */
#include "lib/backend.h"
#include "lib/tap.h"

TEST(a_timeout_says_the_limit_the_busy_the_waiting_and_who_holds_longest) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn first = take(pool), second = take(pool);
    mantis_conn_tag(first, "report");
    run_for(pool, 12 * SECOND);
    mantis_waiter waiters[4];
    for (int i = 0; i < 3; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    ask(pool, mailbox, &waiters[3], clock_now() + 250 * MS);
    clock_advance(250 * MS);
    check(drain_one(mailbox) == &waiters[3]);
    mantis_error error = {0};
    mantis_waiter_explain(&waiters[3], pool, &error);
    check_equal(error.status, MANTIS_TIMEOUT);
    char thread[32];
    snprintf(thread, sizeof thread, "thread %d", (int)getpid());
    const char *const words[] = {"'orders'",        "250 ms", "2 of 2 busy", "3 waited before you",
                                 "longest held 12", thread,   "tag report"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        check_contains(error.text, words[i]);
    char text[256];
    mantis_pool_explain(pool, text, sizeof text);
    check_contains(text, "orders");
    for (int i = 0; i < 3; i++) mantis_waiter_cancel(&waiters[i]);
    mantis_conn_release(&first);
    mantis_conn_release(&second);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(a_timeout_carries_the_cause_of_the_last_failed_open) {
    mantis_pool_config config = fake_config(0, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.is_down = true;
    ask(pool, mailbox, &waiter, clock_now() + SECOND);
    run_for(pool, SECOND);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_TIMEOUT);
    mantis_error error = {0};
    mantis_waiter_explain(&waiter, pool, &error);
    check_contains(error.text, "the backend is down");
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(a_failure_keeps_the_errno_and_sqlstate_of_its_cause) {
    mantis_pool_config config = fake_config(0, 1);
    config.fail_fast = 1;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    mantis_error cause = {.status = MANTIS_CONNECT_FAILED,
                          .os_errno = 111,
                          .sqlstate = "53300",
                          .text = "too many clients already"};
    mantis_op *op = backend.held[0].op;
    backend.held_count = 0;
    backend.opening--;
    check_equal(mantis_op_failed_with(op, &cause), MANTIS_OK);
    check(drain_one(mailbox) == &waiter);
    mantis_error error = {0};
    mantis_waiter_explain(&waiter, pool, &error);
    check_equal(error.status, MANTIS_CONNECT_FAILED);
    check_equal(error.os_errno, 111);
    check(strcmp(error.sqlstate, "53300") == 0);
    check_contains(error.text, "too many clients already");
    check_equal(mantis_op_failed_with(op, &cause), MANTIS_STALE);
    check_equal(mantis_op_done(op, NULL), MANTIS_STALE);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(a_name_that_is_long_or_has_odd_letters_fits_every_text) {
    char name[600];
    memset(name, '%', sizeof name - 1);
    name[sizeof name - 1] = 0;
    mantis_pool_config config = fake_config(0, 1);
    config.name = name;
    mantis_pool *pool = pool_open(&config);
    mantis_conn none = {0};
    mantis_error error = {0};
    check_equal(mantis_pool_try_acquire(pool, &none, &error), MANTIS_EXHAUSTED);
    check(strlen(error.text) < sizeof error.text);
    char text[40];
    memset(text, 'x', sizeof text);
    mantis_pool_explain(pool, text, 10);
    check(strlen(text) < 10 && text[10] == 'x');
    check(strcmp(mantis_pool_name(pool), name) == 0);
    pool_close(&pool);
}

/* ---- configs ---- */

static void is_refused(mantis_pool_config config, const char *field, const char *value,
                       const char *range) {
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check(pool == NULL);
    check_equal(error.status, MANTIS_INVALID);
    check_contains(error.text, field);
    check_contains(error.text, value);
    check_contains(error.text, range);
    check_equal(backend.starts, 0);
}

TEST(a_bad_value_names_the_field_the_value_and_the_range) {
    mantis_pool_config good = fake_config(0, 4), bad;
    bad = good, bad.conns_max = 131065, is_refused(bad, "conns_max", "131065", "131064");
    bad = good, bad.conns_min = -1, is_refused(bad, "conns_min", "-1", "0");
    bad = good, bad.conns_min = 5, is_refused(bad, "conns_min", "5", "4");
    bad = good, bad.opening_max = -1, is_refused(bad, "opening_max", "-1", "1000");
    bad = good, bad.fail_fast = 2, is_refused(bad, "fail_fast", "2", "1");
    bad = good, bad.backoff_min_ms = -7, is_refused(bad, "backoff_min_ms", "-7", "1");
    bad = good, bad.lifetime_jitter_percent = 51,
    is_refused(bad, "lifetime_jitter_percent", "51", "50");
    bad = good, bad.conn_memory_max = 5, is_refused(bad, "conn_memory_max", "5", "1024");
}

TEST(a_config_without_what_is_needed_is_refused) {
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    mantis_pool_config config = fake_config(0, 1);
    config.connector = NULL;
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check_contains(error.text, "connector");
    mantis_connector half = {.name = "half"};
    config.connector = &half;
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check_equal(mantis_pool_open(&pool, NULL, &error), MANTIS_INVALID);
    check_equal(mantis_pool_open(NULL, &config, &error), MANTIS_INVALID);
    config = fake_config(0, 1);
    config.dsn = "bad";
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_CONNECT_FAILED);
    check_contains(error.text, "bad is no place");
    check(pool == NULL);
}

TEST(a_config_of_zeros_has_the_defaults_and_negative_is_never) {
    mantis_pool_config config = {
        .connector = &fake, .keeper = MANTIS_KEEPER_CALLER, .clock = clock_now};
    mantis_pool *pool = pool_open(&config);
    check(strcmp(mantis_pool_name(pool), "pool") == 0);
    check_equal(stats_of(pool).conns_max, 16);
    check_equal(stats_of(pool).conns_min, 0);
    check_equal(mantis_pool_resize(pool, 0, MANTIS_UNLIMITED, NULL), MANTIS_OK);
    mantis_mailbox *mailbox = mailbox_open();
    static mantis_waiter waiters[100];
    for (int i = 0; i < 100; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    for (int i = 0; i < 100; i++) check(drain_one(mailbox) == &waiters[i]);
    check_equal(stats_of(pool).busy, 100);
    for (int i = 0; i < 100; i++) mantis_conn_release(&waiters[i].conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(a_connector_with_nothing_but_open_and_close_is_enough) {
    mantis_pool_config config = fake_config(0, 2);
    config.connector = &bare;
    config.place = &backend;
    config.check_interval_ms = 1000;
    config.open_timeout_ms = 1000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    for (int how = MANTIS_RELEASE_CLEAN; how <= MANTIS_RELEASE_UNUSED; how++) {
        ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
        check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
        check_equal(mantis_conn_release_as(&waiter.conn, (mantis_release)how), MANTIS_OK);
        run_for(pool, 5 * SECOND);
    }
    check_equal(backend.begun[OP_CHECK], 0);
    check_equal(backend.begun[OP_CLOSE], 2); /* dirty and broken */
    backend.holds[OP_OPEN] = true;           /* an open past its time is waited for */
    mantis_conn conn = take(pool);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    run_for(pool, 10 * SECOND);
    check(drain_one(mailbox) == NULL);
    complete_all(true);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    mantis_conn_release(&conn);
    mantis_conn_release(&waiter.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(a_connection_that_is_known_to_be_broken_is_not_lent) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    handle *native = handle_of(conn);
    native->is_broken = true;
    mantis_conn_release(&conn);
    for (int i = 0; i < 10; i++) {
        conn = take(pool);
        check(!handle_of(conn)->is_broken);
        mantis_conn_release(&conn);
    }
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.closed_broken, 1);
    check_equal(stats.granted, 11);
    check_equal(stats.attempts, 11);
    pool_close(&pool);
}

TEST(the_library_says_its_names) {
    check(strcmp(mantis_status_name(MANTIS_OK), "OK") == 0);
    check(strcmp(mantis_status_name(MANTIS_UNSUPPORTED), "UNSUPPORTED") == 0);
    check(strcmp(mantis_status_name((mantis_status)99), "UNKNOWN") == 0);
    check(mantis_status_text((mantis_status)99) != NULL);
    check_contains(mantis_status_text(MANTIS_TIMEOUT), "deadline");
    check(strlen(mantis_version()) >= 5);
    check(mantis_deadline_ms(-5) <= mantis_now_ns());
    int64_t now_ns = mantis_now_ns(), later_ns = mantis_deadline_ms(1000);
    check(later_ns - now_ns >= SECOND && later_ns - now_ns < 2 * SECOND);
    check(mantis_deadline_ms(INT64_MAX) > now_ns);
}

TAP_MAIN
