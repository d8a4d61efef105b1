/* H, T: nothing happens in herds, and no clock can make it. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <sys/syscall.h>
#include <time.h>

/* ---- H: herds ---- */

TEST(h1_connections_born_together_do_not_end_together) {
    mantis_pool_config config = fake_config(0, 1000);
    config.lifetime_ms = 100000;
    config.lifetime_jitter_percent = 20;
    config.opening_max = 1000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    static mantis_waiter waiters[1000];
    for (int i = 0; i < 1000; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    while (drain_one(mailbox)) continue;
    for (int i = 0; i < 1000; i++) mantis_conn_release(&waiters[i].conn);
    check_equal(stats_of(pool).idle, 1000);
    uint64_t before = 0, most = 0;
    for (int i = 0; i < 105; i++) { /* windows of one percent of the lifetime */
        run_for(pool, SECOND);
        uint64_t closed = stats_of(pool).closed_lifetime;
        if (i < 79) check_equal(closed, 0);
        if (closed - before > most) most = closed - before;
        before = closed;
    }
    check_equal(before, 1000);
    check(most <= 100); /* 50 each would be even */
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(h2_a_failed_backend_sees_one_open_at_a_time_and_fewer_and_fewer) {
    mantis_pool_config config = fake_config(5, 20);
    config.backoff_min_ms = 100;
    config.backoff_max_ms = 5000;
    backend.is_down = true;
    backend.holds[OP_OPEN] = true;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    static mantis_waiter waiters[50];
    for (int i = 0; i < 50; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    complete_all(false);
    check_equal(backend.held_count, 0);
    uint64_t first_minute = 0, begun = backend.begun[OP_OPEN];
    for (int second = 0; second < 180; second++) {
        for (int i = 0; i < 10; i++) {
            run_for(pool, 100 * MS);
            check(backend.held_count <= 1);
            if (backend.held_count) complete(0, false);
        }
        if (second == 59) first_minute = backend.begun[OP_OPEN] - begun;
    }
    uint64_t next_minutes = backend.begun[OP_OPEN] - begun - first_minute;
    check(first_minute >= 10 && first_minute <= 25);
    check(next_minutes >= 20 && next_minutes <= 34); /* two minutes at 3.75 to 5 s */
    for (int i = 0; i < 50; i++) mantis_waiter_cancel(&waiters[i]);
    complete_all(true);
    check_equal(mantis_pool_close(&pool, 1), MANTIS_OK);
    mantis_mailbox_close(&mailbox);
}

TEST(h3_after_a_failure_opens_start_slowly_one_two_four) {
    mantis_pool_config config = fake_config(0, 40);
    config.opening_max = 16;
    config.backoff_min_ms = config.backoff_max_ms = 100;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    static mantis_waiter waiters[40];
    backend.is_down = true;
    ask(pool, mailbox, &waiters[0], MANTIS_DEADLINE_NONE);
    check(stats_of(pool).failing);
    for (int i = 1; i < 40; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    backend.is_down = false;
    backend.holds[OP_OPEN] = true;
    run_for(pool, 200 * MS);
    check_equal(backend.held_count, 1);
    complete(0, true);
    check_equal(backend.held_count, 2);
    complete(0, true);
    check_equal(backend.held_count, 4);
    complete_all(true);
    check_equal(backend.opening_max, 16);
    for (int i = 0; i < 40; i++) {
        check(drain_one(mailbox) == &waiters[i]);
        mantis_conn_release(&waiters[i].conn);
    }
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(h4_no_more_than_opening_max_are_opened_at_a_time) {
    mantis_pool_config config = fake_config(30, 30);
    config.opening_max = 3;
    backend.holds[OP_OPEN] = true;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    static mantis_waiter waiters[30];
    for (int i = 0; i < 30; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    run_for(pool, 10 * SECOND);
    check_equal(backend.held_count, 3);
    complete_all(true);
    check_equal(backend.opening_max, 3);
    check_equal(backend.handles, 30);
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK);
    while (drain_one(mailbox)) continue;
    for (int i = 0; i < 30; i++) mantis_conn_release(&waiters[i].conn);
    run_for(pool, SECOND);
    complete_all(true);
    check_equal(backend.opening_max, 3);
    backend.holds[OP_OPEN] = false;
    run_for(pool, 10 * SECOND);
    check_equal(stats_of(pool).idle, 30);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

/* ---- T: time ---- */

/* The date of this process jumps by an hour with every look at it. The library's own calls come
 * here, as it is linked into the test. */
static _Atomic int64_t date_jumps;

int clock_gettime(clockid_t clock, struct timespec *out) {
    int result = (int)syscall(SYS_clock_gettime, clock, out);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        out->tv_sec += date_jumps++ % 2 ? 3600 : -3600;
    return result;
}

TEST(t1_setting_the_date_has_no_effect) {
    struct timespec one, two;
    clock_gettime(CLOCK_REALTIME, &one);
    clock_gettime(CLOCK_REALTIME, &two);
    check(two.tv_sec - one.tv_sec > 3600); /* the date does jump */
    int64_t jumps = date_jumps;
    mantis_pool_config config = real_config(2, 2);
    config.idle_timeout_ms = 60000;
    config.lifetime_ms = 60000;
    config.leak_after_ms = 60000;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_wait_warm(pool, 2, mantis_deadline_ms(10000), NULL), MANTIS_OK);
    mantis_conn one_conn = take(pool), two_conn = take(pool), third = {0};
    mantis_conn_detach(one_conn);
    int64_t start_ns = mantis_now_ns();
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(50), &third, NULL), MANTIS_TIMEOUT);
    int64_t waited_ns = mantis_now_ns() - start_ns;
    check(waited_ns >= 50 * MS && waited_ns < 5 * SECOND);
    mantis_conn_release(&one_conn);
    mantis_conn_release(&two_conn);
    sleep_ms(1500); /* a pass of the keeper or two */
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.closed_conns, 0);
    check_equal(stats.leaked, 0);
    check_equal(date_jumps, jumps); /* nobody has looked at the date at all */
    pool_close(&pool);
}

static void stand_still(int64_t ns) {
    mantis_pool_config config = fake_config(2, 10);
    config.idle_timeout_ms = 10000;
    config.lifetime_ms = 50000;
    config.leak_after_ms = 20000;
    mantis_pool *pool = pool_open(&config);
    mantis_conn conns[10];
    check_equal(mantis_pool_resize(pool, 10, 10, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(mantis_pool_resize(pool, 2, 10, NULL), MANTIS_OK);
    for (int i = 0; i < 10; i++) conns[i] = take(pool);
    for (int i = 2; i < 10; i++) mantis_conn_release(&conns[i]);
    run_for(pool, 3 * SECOND);
    clock_advance(ns); /* the process is stopped, or the machine sleeps */
    tend(pool);
    run_for(pool, 3 * SECOND);
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.closed_conns, 0);
    check_equal(stats.leaked, 0);
    check_equal(stats.idle, 8);
    run_for(pool, 30 * SECOND); /* and then time counts again */
    stats = stats_of(pool);
    check_equal(stats.closed_idle, 8);
    check_equal(stats.leaked, 2);
    mantis_conn_release(&conns[0]);
    mantis_conn_release(&conns[1]);
    pool_close(&pool);
}

TEST(t2_a_process_that_was_stopped_for_a_minute_evicts_nothing) { stand_still(60 * SECOND); }

TEST(t2_a_machine_that_slept_for_a_day_evicts_nothing) { stand_still(86400 * SECOND); }

TEST(t3_a_lifetime_is_kept_on_a_pool_that_is_never_idle) {
    mantis_pool_config config = fake_config(1, 1);
    config.lifetime_ms = 10000;
    config.lifetime_jitter_percent = -1;
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    uint64_t first = handle_of(conn)->number;
    for (int i = 0; i < 150; i++) { /* always lent, handed from one to the next */
        run_for(pool, 100 * MS);
        int64_t age_ns = clock_now() - handle_of(conn)->opened_ns;
        check(age_ns <= 12 * SECOND);
        mantis_conn_release(&conn);
        conn = take(pool);
    }
    check(handle_of(conn)->number == first + 1);
    check_equal(stats_of(pool).closed_lifetime, 1);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

TEST(t3_a_replacement_is_opened_before_the_old_one_goes) {
    mantis_pool_config config = fake_config(3, 4);
    config.lifetime_ms = 10000;
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    backend.holds[OP_OPEN] = true; /* each open takes 300 ms from here on */
    for (int i = 0; i < 600; i++) {
        run_for(pool, 100 * MS);
        mantis_pool_stats stats = stats_of(pool);
        check(stats.idle + stats.busy >= 3);
        if (i % 3 == 0) complete_all(true);
    }
    check(stats_of(pool).closed_lifetime >= 12);
    complete_all(true);
    backend.holds[OP_OPEN] = false;
    pool_close(&pool);
}

TEST(t4_idle_connections_go_until_the_minimum_is_left_and_no_further) {
    mantis_pool_config config = fake_config(3, 8);
    config.idle_timeout_ms = 10000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[8];
    for (int i = 0; i < 8; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    for (int i = 0; i < 8; i++) check(drain_one(mailbox) != NULL);
    for (int i = 0; i < 8; i++) mantis_conn_release(&waiters[i].conn);
    run_for(pool, 9 * SECOND);
    check_equal(stats_of(pool).idle, 8);
    for (int i = 0; i < 100; i++) {
        run_for(pool, SECOND);
        check(stats_of(pool).idle >= 3);
    }
    check_equal(stats_of(pool).idle, 3);
    check_equal(stats_of(pool).closed_idle, 5);
    check_equal(backend.begun[OP_OPEN], 8);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(t4_a_connection_given_back_unused_counts_as_idle_since_before) {
    mantis_pool_config config = fake_config(0, 2);
    config.idle_timeout_ms = 10000;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_resize(pool, 2, 2, NULL), MANTIS_OK);
    run_for(pool, 2 * SECOND);
    check_equal(mantis_pool_resize(pool, 0, 2, NULL), MANTIS_OK);
    for (int i = 0; i < 12; i++) { /* one is looked at, the other used, every second */
        mantis_conn one = take(pool), two = take(pool);
        bool swap = one.slot > two.slot;
        mantis_conn_release_as(swap ? &two : &one, MANTIS_RELEASE_UNUSED);
        mantis_conn_release_as(swap ? &one : &two, MANTIS_RELEASE_CLEAN);
        run_for(pool, SECOND);
        if (stats_of(pool).idle < 2) break;
    }
    check_equal(stats_of(pool).closed_idle, 1);
    check_equal(stats_of(pool).idle, 1);
    pool_close(&pool);
}

TEST(t5_idle_connections_are_checked_every_interval_and_lent_ones_never) {
    mantis_pool_config config = fake_config(4, 4);
    config.check_interval_ms = 30000;
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn lent[2] = {take(pool), take(pool)};
    handle_of(lent[0])->owner = handle_of(lent[1])->owner = 1; /* the backend looks at that */
    run_for(pool, 25 * SECOND);
    check_equal(backend.begun[OP_CHECK], 0);
    run_for(pool, 275 * SECOND);
    check(backend.begun[OP_CHECK] >= 2 * 9 && backend.begun[OP_CHECK] <= 2 * 12);
    check_equal(stats_of(pool).checked, backend.begun[OP_CHECK]);
    handle_of(lent[0])->owner = handle_of(lent[1])->owner = 0;
    mantis_conn_release(&lent[0]);
    mantis_conn_release(&lent[1]);
    pool_close(&pool);
}

TEST(t5_one_failed_check_has_the_other_idle_ones_checked_at_once) {
    mantis_pool_config config = fake_config(0, 6);
    config.check_interval_ms = 30000;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_pool_resize(pool, 6, 6, NULL), MANTIS_OK);
    run_for(pool, SECOND);
    check_equal(mantis_pool_resize(pool, 0, 6, NULL), MANTIS_OK);
    backend.is_down = true;
    int64_t start_ns = clock_now();
    while (backend.begun[OP_CHECK] == 0) run_for(pool, 100 * MS);
    run_for(pool, 2 * SECOND);
    check_equal(backend.begun[OP_CHECK], 6);
    check_equal(stats_of(pool).check_failed, 6);
    check_equal(stats_of(pool).closed_check, 6);
    check_equal(backend.handles, 0);
    check(clock_now() - start_ns < 34 * SECOND);
    pool_close(&pool);
}

TAP_MAIN
