/* S: no connection has two owners, none is lost, and no handle or pool can be misused. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <pthread.h>

/* ---- one owner ---- */

typedef struct worker {
    mantis_pool *pool;
    uint32_t number; /* from 1 */
    uint32_t rounds;
    uint64_t served;
} worker;

static void own_and_release(mantis_conn *conn, uint32_t number) {
    handle *native = handle_of(*conn);
    uint32_t nobody = 0;
    check(atomic_compare_exchange_strong(&native->owner, &nobody, number));
    check_equal(native->owner, number);
    native->owner = 0;
    check_equal(mantis_conn_release(conn), MANTIS_OK);
}

static void *own_in_turn(void *arg) {
    worker *self = arg;
    for (uint32_t i = 0; i < self->rounds; i++) {
        mantis_conn conn = {0};
        check_equal(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
        own_and_release(&conn, self->number);
        if (mantis_pool_try_acquire(self->pool, &conn, NULL) != MANTIS_OK) continue;
        own_and_release(&conn, self->number);
    }
    return NULL;
}

static void run_workers(mantis_pool *pool, void *(*run)(void *), uint32_t rounds) {
    pthread_t threads[6];
    worker workers[6];
    for (uint32_t i = 0; i < 6; i++) {
        workers[i] = (worker){.pool = pool, .number = i + 1, .rounds = rounds};
        check(pthread_create(&threads[i], NULL, run, &workers[i]) == 0);
    }
    for (uint32_t i = 0; i < 6; i++) pthread_join(threads[i], NULL);
}

TEST(s1_no_connection_has_two_owners) {
    mantis_pool_config config = real_config(0, 3);
    mantis_pool *pool = pool_open(&config);
    run_workers(pool, own_in_turn, 5000);
    check(backend.handles_max <= 3);
    check_equal(stats_of(pool).busy, 0);
    pool_close(&pool);
}

/* ---- never more than the maximum ---- */

TEST(s2_connections_being_opened_count_against_the_maximum) {
    mantis_pool_config config = fake_config(0, 3);
    config.opening_max = 100;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[20];
    backend.holds[OP_OPEN] = true;
    for (int i = 0; i < 20; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check_equal(backend.held_count, 3);
    complete(1, true);
    complete(0, false);
    check(backend.handles + backend.opening <= 3);
    check_equal(stats_of(pool).total, (uint32_t)(backend.handles + backend.opening));
    for (int i = 0; i < 20; i++)
        if (mantis_waiter_cancel(&waiters[i]) == MANTIS_OK) mantis_conn_release(&waiters[i].conn);
    complete_all(true);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TEST(s2_connections_being_closed_count_against_the_maximum) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    backend.holds[OP_CLOSE] = true;
    check_equal(mantis_conn_release_as(&waiter.conn, MANTIS_RELEASE_BROKEN), MANTIS_OK);
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == NULL);
    check_equal(backend.begun[OP_OPEN], 1);
    complete(0, true);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    check_equal(backend.handles_max, 1);
    mantis_conn_release(&waiter.conn);
    backend.holds[OP_CLOSE] = false;
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(s2_after_a_shrink_only_borrowed_ones_are_above_the_maximum) {
    mantis_pool_config config = fake_config(8, 8);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conns[5];
    for (int i = 0; i < 5; i++) conns[i] = take(pool);
    check_equal(mantis_pool_resize(pool, 1, 2, NULL), MANTIS_OK);
    check_equal(stats_of(pool).total, 5);
    check_equal(stats_of(pool).idle, 0);
    for (int i = 0; i < 5; i++) check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
    check_equal(stats_of(pool).total, 2);
    check_equal(stats_of(pool).closed_idle, 6);
    pool_close(&pool);
}

TEST(s2_a_shrink_closes_the_surplus_and_no_more_however_long_the_closes_take) {
    mantis_pool_config config = fake_config(6, 6);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    backend.holds[OP_CLOSE] = true;
    check_equal(mantis_pool_resize(pool, 0, 4, NULL), MANTIS_OK);
    for (int i = 0; i < 5; i++) {
        mantis_conn conn = take(pool);
        mantis_conn_release_as(&conn, i % 2 ? MANTIS_RELEASE_CLEAN : MANTIS_RELEASE_UNUSED);
        run_for(pool, 2 * SECOND);
        check_equal(stats_of(pool).closing, 2);
        check_equal(stats_of(pool).idle, 4);
    }
    backend.holds[OP_CLOSE] = false;
    complete_all(true);
    check_equal(stats_of(pool).total, 4);
    pool_close(&pool);
}

TEST(s2_a_shared_limit_holds_over_all_its_pools) {
    mantis_limit *limit = NULL;
    check_equal(mantis_limit_open(&limit, "database", 3, NULL), MANTIS_OK);
    mantis_pool_config config = fake_config(0, 3);
    config.limits[0] = limit;
    mantis_pool *pools[3];
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[3][3];
    for (int i = 0; i < 3; i++) {
        pools[i] = pool_open(&config);
        for (int j = 0; j < 3; j++) ask(pools[i], mailbox, &waiters[i][j], MANTIS_DEADLINE_NONE);
    }
    uint32_t served = 0;
    for (mantis_waiter *waiter; (waiter = drain_one(mailbox)); served++) {
        check_equal(waiter->status, MANTIS_OK);
        check_equal(mantis_limit_in_use(limit), 3);
        mantis_conn_release(&waiter->conn);
    }
    for (int i = 0; i < 200 && served < 9; i++) {
        clock_advance(100 * MS);
        for (int j = 0; j < 3; j++) tend(pools[j]);
        for (mantis_waiter *waiter; (waiter = drain_one(mailbox)); served++)
            mantis_conn_release(&waiter->conn);
    }
    check_equal(served, 9);
    check(backend.handles_max <= 3);
    for (int i = 0; i < 3; i++) mantis_pool_close(&pools[i], 1);
    check_equal(mantis_limit_in_use(limit), 0);
    check_equal(mantis_limit_close(&limit), MANTIS_OK);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
    check_equal(backend.handles, 0);
}

TEST(s2_a_limit_that_is_named_by_a_pool_cannot_be_closed) {
    mantis_limit *limit = NULL;
    mantis_error error = {0};
    check_equal(mantis_limit_open(&limit, "user", 0, &error), MANTIS_INVALID);
    check_equal(mantis_limit_open(&limit, "user", 1, NULL), MANTIS_OK);
    check_equal(mantis_limit_resize(limit, -5, &error), MANTIS_INVALID);
    mantis_pool_config config = fake_config(0, 1);
    config.limits[0] = limit;
    mantis_pool *pool = pool_open(&config);
    check_equal(mantis_limit_close(&limit), MANTIS_BUSY);
    check(limit != NULL);
    pool_close(&pool);
    check_equal(mantis_limit_close(&limit), MANTIS_OK);
    check(limit == NULL);
    check_equal(mantis_limit_close(&limit), MANTIS_OK);
}

/* ---- every slot comes back ---- */

static void exactly_max_can_be_taken(mantis_pool *pool, uint32_t max) {
    mantis_conn conns[64];
    for (uint32_t i = 0; i < max; i++) conns[i] = take(pool);
    mantis_conn one_more = {0};
    check_equal(mantis_pool_try_acquire(pool, &one_more, NULL), MANTIS_EXHAUSTED);
    check_equal(one_more.pool, 0);
    check_equal(stats_of(pool).total, max);
    check_equal(backend.handles, max);
    for (uint32_t i = 0; i < max; i++) check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
}

static void *cancel_in_a_storm(void *arg) {
    worker *self = arg;
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[4];
    for (uint32_t i = 0; i < self->rounds; i++) {
        for (int j = 0; j < 4; j++)
            ask(self->pool, mailbox, &waiters[j],
                j == 3 ? mantis_now_ns() + 20000 : MANTIS_DEADLINE_NONE);
        mantis_waiter *drained = i % 3 ? NULL : drain_one(mailbox);
        for (int j = 0; j < 4; j++) {
            bool was_drained = drained == &waiters[j];
            mantis_status status = mantis_waiter_cancel(&waiters[j]);
            if (was_drained) check_equal(status, MANTIS_STALE);
            else
                check(status == MANTIS_OK || status == MANTIS_CANCELLED ||
                      status == MANTIS_TIMEOUT);
            if (waiters[j].status == MANTIS_OK) own_and_release(&waiters[j].conn, self->number);
        }
    }
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
    return NULL;
}

TEST(s3_after_a_storm_of_cancels_exactly_max_can_be_taken) {
    mantis_pool_config config = real_config(5, 5);
    mantis_pool *pool = pool_open(&config);
    run_workers(pool, cancel_in_a_storm, 3000);
    check_equal(mantis_pool_wait_warm(pool, 5, mantis_deadline_ms(10000), NULL), MANTIS_OK);
    exactly_max_can_be_taken(pool, 5);
    pool_close(&pool);
}

TEST(s3_each_slot_comes_back_after_failed_opens_checks_and_resets) {
    mantis_pool_config config = fake_config(0, 4);
    config.check_after_idle_ms = 10;
    config.backoff_min_ms = config.backoff_max_ms = 10;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[8];
    for (int round = 0; round < 200; round++) {
        backend.is_down = round % 3 == 1;
        for (int i = 0; i < 8; i++)
            ask(pool, mailbox, &waiters[i], clock_now() + (i + 1) * 10 * MS);
        for (int i = 0; i < 12; i++) {
            run_for(pool, 10 * MS);
            for (mantis_waiter *waiter; (waiter = drain_one(mailbox));)
                if (waiter->status == MANTIS_OK)
                    mantis_conn_release_as(&waiter->conn, (mantis_release)((round + i) % 4));
        }
    }
    backend.is_down = false;
    check_equal(mantis_pool_resize(pool, 4, 4, NULL), MANTIS_OK);
    run_for(pool, 10 * SECOND);
    check_equal(mantis_pool_set(pool, "check_after_idle_ms", -1, NULL), MANTIS_OK);
    run_for(pool, 10 * SECOND);
    exactly_max_can_be_taken(pool, 4);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

/* ---- stale handles ---- */

static void every_call_answers(mantis_conn conn, mantis_status expected) {
    void *native = NULL;
    mantis_conn_info info;
    mantis_waiter waiter = {.mailbox = mailbox_open()};
    mantis_error error = {0};
    check_equal(mantis_conn_native(conn, &native, &error), expected);
    check(native == NULL && error.status == expected && error.text[0]);
    check_equal(mantis_conn_tag(conn, "late"), expected);
    check_equal(mantis_conn_detach(conn), expected);
    check_equal(mantis_conn_get_info(conn, &info), expected);
    check_equal(mantis_conn_watch(conn, &waiter), expected);
    for (int how = MANTIS_RELEASE_CLEAN; how <= MANTIS_RELEASE_UNUSED; how++) {
        mantis_conn copy = conn;
        check_equal(mantis_conn_release_as(&copy, (mantis_release)how), expected);
        check_equal(copy.pool, 0);
    }
    check_equal(mantis_mailbox_close(&waiter.mailbox), MANTIS_OK);
}

TEST(s4_a_second_release_answers_stale) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), copy = conn;
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_equal(conn.generation, 0);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_equal(mantis_conn_release(&copy), MANTIS_STALE);
    check_equal(mantis_conn_release(NULL), MANTIS_OK);
    pool_close(&pool);
}

TEST(s4_a_copy_kept_after_the_release_is_stale_for_every_call_for_ever) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), old = conn;
    mantis_conn_release(&conn);
    every_call_answers(old, MANTIS_STALE);
    conn = take(pool); /* the same slot again: the old copy must not touch it */
    check_equal(conn.slot, old.slot);
    every_call_answers(old, MANTIS_STALE);
    check(handle_of(conn) != NULL);
    check_equal(stats_of(pool).busy, 1);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    pool_close(&pool);
}

TEST(s4_a_handle_used_after_close_answers_closed) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), copy = conn;
    check_equal(mantis_pool_close(&pool, 1), MANTIS_TIMEOUT);
    check(pool == NULL);
    check_equal(backend.handles, 1);
    check_equal(mantis_conn_release(&conn), MANTIS_CLOSED);
    check_equal(backend.handles, 0);
    check_equal(backend.stops, 1);
    every_call_answers(copy, MANTIS_CLOSED);
}

TEST(s4_a_handle_of_a_pool_that_is_gone_does_not_reach_the_next_one) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_conn old[100];
    for (int i = 0; i < 100; i++) {
        mantis_pool *pool = pool_open(&config);
        run_for(pool, SECOND);
        mantis_conn conn = old[i] = take(pool);
        for (int j = 0; j < i; j++) {
            mantis_conn copy = old[j];
            mantis_status status = mantis_conn_release(&copy);
            check(status == MANTIS_CLOSED || status == MANTIS_STALE);
        }
        check_equal(stats_of(pool).busy, 1);
        check_equal(mantis_conn_release(&conn), MANTIS_OK);
        pool_close(&pool);
    }
}

TEST(s4_an_invented_handle_is_stale) {
    mantis_conn invented = {.pool = 77, .slot = UINT32_MAX, .generation = 5};
    void *native = NULL;
    check(mantis_conn_native(invented, &native, NULL) != MANTIS_OK);
    invented.slot = 123456;
    check(mantis_conn_native(invented, &native, NULL) != MANTIS_OK);
    check(mantis_conn_release(&invented) != MANTIS_OK);
    check(native == NULL);
}

/* ---- cancel ---- */

TEST(s5_a_cancelled_request_has_exactly_one_outcome) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_waiter first, second, never = {0};
    ask(pool, mailbox, &first, MANTIS_DEADLINE_NONE);
    ask(pool, mailbox, &second, MANTIS_DEADLINE_NONE);
    check_equal(mantis_waiter_cancel(&first), MANTIS_CANCELLED);
    check_equal(mantis_waiter_cancel(&first), MANTIS_STALE);
    mantis_conn_release(&conn); /* granted to second, which then cancels */
    check_equal(mantis_waiter_cancel(&second), MANTIS_OK);
    check(handle_of(second.conn) != NULL);
    check(drain_one(mailbox) == NULL);
    check_equal(mantis_waiter_cancel(&second), MANTIS_STALE);
    check_equal(mantis_waiter_cancel(&never), MANTIS_STALE);
    check_equal(mantis_conn_release(&second.conn), MANTIS_OK);
    check_equal(stats_of(pool).idle, 1);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TEST(s5_a_mailbox_with_a_request_cannot_be_closed) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_BUSY);
    complete_all(true);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_BUSY);
    check(drain_one(mailbox) == &waiter);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
    mantis_conn_release(&waiter.conn);
    pool_close(&pool);
}

/* Released as `how` after it was marked: is it reset? */
static void check_marked(mantis_release how, uint64_t resets, uint64_t aborts) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), copy = conn;
    check_equal(mantis_conn_mark_dirty(conn), MANTIS_OK);
    handle *native = handle_of(conn);
    native->is_broken = how != MANTIS_RELEASE_BROKEN; /* not asked: the reset finds out */
    aborts += backend.aborted;
    backend.holds[OP_RESET] = true;
    check_equal(mantis_conn_release_as(&conn, how), MANTIS_OK);
    check_equal(mantis_conn_mark_dirty(copy), MANTIS_STALE);
    check_equal(stats_of(pool).resetting, resets);
    check_equal(backend.aborted, aborts);
    native->is_broken = false;
    backend.holds[OP_RESET] = false;
    complete_all(true);
    conn = take(pool);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check_equal(stats_of(pool).was_reset, resets); /* once */
    pool_close(&pool);
}

TEST(s10_a_connection_marked_dirty_is_reset_however_it_is_released) {
    check_marked(MANTIS_RELEASE_CLEAN, 1, 0);
    check_marked(MANTIS_RELEASE_UNUSED, 1, 0);
    check_marked(MANTIS_RELEASE_DIRTY, 1, 0);
    check_marked(MANTIS_RELEASE_BROKEN, 0, 1);
}

TAP_MAIN
