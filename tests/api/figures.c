/* M: the figures are exact, and reading them blocks nobody. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <pthread.h>

static void check_sums(const mantis_pool_stats *stats) {
    check_equal(stats->attempts, stats->granted + stats->timed_out + stats->cancelled +
                                     stats->refused + stats->failed + stats->waiting);
    check_equal(stats->total, stats->idle + stats->busy + stats->opening + stats->checking +
                                  stats->resetting + stats->closing);
    check_equal(stats->closed_conns, stats->closed_idle + stats->closed_lifetime +
                                         stats->closed_evicted + stats->closed_broken +
                                         stats->closed_check + stats->closed_limit +
                                         stats->closed_pool);
}

TEST(m1_every_attempt_is_counted_with_its_one_outcome) {
    mantis_pool_config config = fake_config(1, 1);
    config.waiting_max = 3;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), none = {0};
    mantis_waiter waiters[3], refused = {.mailbox = mailbox};
    ask(pool, mailbox, &waiters[0], clock_now() + MS);
    ask(pool, mailbox, &waiters[1], MANTIS_DEADLINE_NONE);
    ask(pool, mailbox, &waiters[2], MANTIS_DEADLINE_NONE);
    check_equal(mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &refused, NULL),
                MANTIS_EXHAUSTED);
    check_equal(mantis_pool_try_acquire(pool, &none, NULL), MANTIS_EXHAUSTED);
    clock_advance(MS);
    check(drain_one(mailbox) == &waiters[0]);
    check_equal(mantis_waiter_cancel(&waiters[1]), MANTIS_CANCELLED);
    mantis_pool_stats stats = stats_of(pool);
    check_sums(&stats);
    check_equal(stats.attempts, 6);
    check_equal(stats.granted, 1);
    check_equal(stats.timed_out, 1);
    check_equal(stats.cancelled, 1);
    check_equal(stats.refused, 2);
    check_equal(stats.waiting, 1);
    mantis_pool_pause(pool, MANTIS_PAUSE_FAIL, NULL);
    check(drain_one(mailbox) == &waiters[2] && waiters[2].status == MANTIS_PAUSED);
    check_equal(mantis_pool_try_acquire(pool, &none, NULL), MANTIS_PAUSED);
    stats = stats_of(pool);
    check_sums(&stats);
    check_equal(stats.attempts, 7);
    check_equal(stats.refused + stats.failed, 4);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(m1_a_million_uncontended_grants_are_counted_to_the_last) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    uint32_t rounds = tap_is_sanitized("thread") ? 100000 : 1000000;
    for (uint32_t i = 0; i < rounds; i++) {
        mantis_conn conn = take(pool);
        mantis_conn_release(&conn);
    }
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.granted, rounds);
    check_equal(stats.attempts, rounds);
    check_equal(stats.waited, 0);
    pool_close(&pool);
}

/* Ask while the connection is lent, and give it after so long. */
static void wait_for_it(mantis_pool *pool, mantis_mailbox *mailbox, int64_t wait_ns) {
    mantis_conn conn = take(pool);
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    clock_advance(wait_ns);
    mantis_conn_release(&conn);
    check(drain_one(mailbox) == &waiter);
    check_equal(waiter.waited_ns, wait_ns);
    mantis_conn_release(&waiter.conn);
}

TEST(m2_the_wait_histogram_counts_the_grants_that_waited) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    for (int i = 0; i < 90; i++) wait_for_it(pool, mailbox, MS);
    for (int i = 0; i < 10; i++) wait_for_it(pool, mailbox, 100 * MS);
    mantis_conn conn = take(pool);
    mantis_waiter late;
    ask(pool, mailbox, &late, clock_now() + 5 * SECOND);
    clock_advance(5 * SECOND);
    check(drain_one(mailbox) == &late && late.status == MANTIS_TIMEOUT);
    mantis_conn_release(&conn);
    mantis_histogram waits;
    check_equal(mantis_pool_get_histogram(pool, MANTIS_HISTOGRAM_WAIT, &waits), MANTIS_OK);
    mantis_pool_stats stats = stats_of(pool);
    check_equal(waits.count, 100);
    check_equal(stats.waited, 100);
    check_equal(stats.granted, 201);
    check_equal(stats.timed_out, 1);
    check_equal(waits.sum_ns, 90 * MS + 10 * 100 * MS);
    check_equal(waits.max_ns, 100 * MS); /* what timed out is not among them */
    int64_t median_ns = mantis_histogram_quantile_ns(&waits, 0.5);
    int64_t p99_ns = mantis_histogram_quantile_ns(&waits, 0.99);
    check(median_ns >= MS * 7 / 8 && median_ns <= MS * 9 / 8);
    check(p99_ns >= 87 * MS && p99_ns <= 113 * MS);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(m2_the_use_histogram_counts_one_grant_in_64) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    for (int i = 0; i < 6400; i++) {
        mantis_conn conn = take(pool);
        clock_advance(MS);
        mantis_conn_release(&conn);
        if (i % 50 == 0) tend(pool); /* the keeper folds them in */
    }
    tend(pool);
    mantis_histogram uses;
    check_equal(mantis_pool_get_histogram(pool, MANTIS_HISTOGRAM_USE, &uses), MANTIS_OK);
    check(uses.count >= 60 && uses.count <= 101);
    check_equal(uses.max_ns, MS);
    check_equal(uses.sum_ns, (int64_t)uses.count * MS);
    check_equal(mantis_pool_get_histogram(pool, (mantis_pool_histogram)7, &uses), MANTIS_INVALID);
    pool_close(&pool);
}

TEST(m3_the_states_in_one_snapshot_add_up_while_everything_moves) {
    mantis_pool_config config = fake_config(0, 8);
    config.check_after_idle_ms = 500;
    config.opening_max = 8;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[8];
    for (int kind = 0; kind < OP_KINDS; kind++) backend.holds[kind] = true;
    for (int i = 0; i < 8; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check_equal(stats_of(pool).opening, 8);
    for (int i = 0; i < 7; i++) complete(0, true);
    for (int i = 0; i < 7; i++) check(drain_one(mailbox) == &waiters[i]);
    mantis_conn_release_as(&waiters[0].conn, MANTIS_RELEASE_BROKEN);
    check_equal(mantis_waiter_cancel(&waiters[7]), MANTIS_CANCELLED);
    mantis_conn_release_as(&waiters[1].conn, MANTIS_RELEASE_DIRTY);
    for (int i = 2; i < 4; i++) mantis_conn_release(&waiters[i].conn);
    run_for(pool, 3 * SECOND);
    ask(pool, mailbox, &waiters[7], MANTIS_DEADLINE_NONE);
    mantis_pool_stats stats = stats_of(pool);
    check_sums(&stats);
    check_equal(stats.opening, 1);
    check_equal(stats.closing, 1);
    check_equal(stats.resetting, 1);
    check_equal(stats.busy, 3);
    check_equal(stats.idle + stats.checking, 2);
    check_equal(stats.total, 8);
    for (int kind = 0; kind < OP_KINDS; kind++) backend.holds[kind] = false;
    mantis_waiter_cancel(&waiters[7]);
    complete_all(true);
    for (int i = 4; i < 7; i++) mantis_conn_release(&waiters[i].conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(m4_the_oldest_wait_falls_back_to_zero) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_waiter first, second;
    check_equal(stats_of(pool).oldest_wait_ns, 0);
    ask(pool, mailbox, &first, MANTIS_DEADLINE_NONE);
    clock_advance(3 * SECOND);
    ask(pool, mailbox, &second, MANTIS_DEADLINE_NONE);
    clock_advance(SECOND);
    check_equal(stats_of(pool).oldest_wait_ns, 4 * SECOND);
    mantis_waiter_cancel(&first);
    check_equal(stats_of(pool).oldest_wait_ns, SECOND);
    mantis_conn_release(&conn);
    check_equal(stats_of(pool).oldest_wait_ns, 0);
    check(drain_one(mailbox) == &second);
    mantis_conn_release(&second.conn);
    clock_advance(SECOND);
    check_equal(stats_of(pool).oldest_wait_ns, 0);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(m5_the_mean_wait_is_the_sum_over_all_finished_attempts) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_pool_stats none = stats_of(pool);
    check_equal(mantis_stats_wait_mean_ns(&none), 0);
    wait_for_it(pool, mailbox, 10 * MS); /* two grants, one of which waited */
    wait_for_it(pool, mailbox, 20 * MS);
    mantis_conn conn = take(pool);
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, clock_now() + 30 * MS);
    clock_advance(30 * MS);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_TIMEOUT);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    clock_advance(40 * MS);
    check_equal(mantis_waiter_cancel(&waiter), MANTIS_CANCELLED);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE); /* waits still: not finished */
    clock_advance(50 * MS);
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.wait_sum_ns, 100 * MS);
    check_equal(stats.granted + stats.timed_out + stats.cancelled, 7);
    check_equal(mantis_stats_wait_mean_ns(&stats), 100 * MS / 7);
    mantis_waiter_cancel(&waiter);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(m5_two_snapshots_give_what_happened_between_them) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    wait_for_it(pool, mailbox, 10 * MS);
    mantis_pool_stats before = stats_of(pool);
    clock_advance(SECOND);
    wait_for_it(pool, mailbox, 30 * MS);
    mantis_conn conn = take(pool);
    mantis_pool_stats now = stats_of(pool);
    mantis_pool_stats between = mantis_stats_since(&now, &before);
    check_equal(between.granted, 3);
    check_equal(between.attempts, 3);
    check_equal(between.waited, 1);
    check_equal(between.wait_sum_ns, 30 * MS);
    check_equal(mantis_stats_wait_mean_ns(&between), 10 * MS);
    check_equal(between.opened, 0);
    check_equal(between.busy, 1); /* how it stands is as now */
    check_equal(between.since_ns, before.now_ns);
    check_equal(between.now_ns, now.now_ns);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

typedef struct reader {
    mantis_pool *pool;
    _Atomic bool is_over;
} reader;

static void *read_all_the_time(void *arg) {
    reader *self = arg;
    while (!self->is_over) {
        mantis_pool_stats stats = stats_of(self->pool);
        check_sums(&stats);
        check(stats.busy <= 1);
    }
    return NULL;
}

static void *hold_and_wait(void *arg) {
    reader *self = arg;
    while (!self->is_over) {
        mantis_conn conn = {0};
        check_equal(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
        mantis_conn_release(&conn);
    }
    return NULL;
}

TEST(m6_reading_the_figures_all_the_time_blocks_nobody_and_they_always_add_up) {
    mantis_pool_config config = real_config(1, 1);
    reader self = {.pool = pool_open(&config)};
    pthread_t threads[3];
    check_equal(mantis_pool_wait_warm(self.pool, 1, mantis_deadline_ms(10000), NULL), MANTIS_OK);
    check(pthread_create(&threads[0], NULL, read_all_the_time, &self) == 0);
    check(pthread_create(&threads[1], NULL, read_all_the_time, &self) == 0);
    int64_t start_ns = mantis_now_ns();
    for (int i = 0; i < 100000; i++) {
        mantis_conn conn = take(self.pool);
        check_equal(mantis_conn_release(&conn), MANTIS_OK);
    }
    check(mantis_now_ns() - start_ns < 20 * SECOND);
    check(pthread_create(&threads[2], NULL, hold_and_wait, &self) == 0);
    sleep_ms(200);
    self.is_over = true;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    pool_close(&self.pool);
}

TAP_MAIN
