/* L, F: who waits is served, in the order of asking. */
#include "lib/backend.h"
#include "lib/tap.h"

#include <poll.h>
#include <pthread.h>

/* ---- L: liveness ---- */

typedef struct player {
    mantis_pool *pool;
    uint32_t rounds;
} player;

static void *borrow_by_turns(void *arg) {
    player *self = arg;
    for (uint32_t i = 0; i < self->rounds; i++) {
        mantis_conn conn = {0};
        check_equal(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
        check_equal(mantis_conn_release(&conn), MANTIS_OK);
    }
    return NULL;
}

TEST(l1_no_wake_up_is_lost_between_threads_that_share_one_connection) {
    mantis_pool_config config = real_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    player self = {pool, tap_is_long() ? 200000 : 20000};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, borrow_by_turns, &self) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    mantis_pool_stats stats = stats_of(pool);
    check_equal(stats.granted, 4 * self.rounds);
    check_equal(stats.waiting, 0);
    pool_close(&pool);
}

TEST(l2_who_waits_below_the_maximum_has_an_open_under_way) {
    mantis_pool_config config = fake_config(0, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[3];
    backend.holds[OP_OPEN] = true;
    for (int i = 0; i < 3; i++) {
        ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
        check_equal(stats_of(pool).opening, i < 2 ? i + 1 : 2);
    }
    backend.holds[OP_OPEN] = false;
    complete_all(true);
    check(drain_one(mailbox) == &waiters[0] && drain_one(mailbox) == &waiters[1]);
    /* The last connections die: the one who still waits gets a new one. */
    mantis_conn_release_as(&waiters[0].conn, MANTIS_RELEASE_BROKEN);
    check(drain_one(mailbox) == &waiters[2] && waiters[2].status == MANTIS_OK);
    mantis_conn_release_as(&waiters[1].conn, MANTIS_RELEASE_BROKEN);
    mantis_conn_release_as(&waiters[2].conn, MANTIS_RELEASE_BROKEN);
    check_equal(backend.handles, 0);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l2_waiters_are_not_stranded_when_an_evict_closes_everything) {
    mantis_pool_config config = fake_config(2, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn first = take(pool), second = take(pool);
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK);
    mantis_conn_release(&first);
    check(drain_one(mailbox) == &waiter && waiter.status == MANTIS_OK);
    check(handle_of(waiter.conn)->number > 2);
    mantis_conn_release(&second);
    mantis_conn_release(&waiter.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l2_a_waiter_waits_for_a_back_off_no_longer_than_its_maximum) {
    mantis_pool_config config = fake_config(0, 2);
    config.backoff_max_ms = 1000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.is_down = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    for (int i = 0; i < 50; i++) {
        int64_t due_ns = tend(pool);
        check(due_ns <= clock_now() + SECOND);
        backend.now_ns = due_ns;
    }
    check(backend.begun[OP_OPEN] > 20);
    check_equal(mantis_waiter_cancel(&waiter), MANTIS_CANCELLED);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l3_an_expired_request_is_never_granted) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_waiter expired, alive;
    ask(pool, mailbox, &expired, clock_now() + MS);
    ask(pool, mailbox, &alive, clock_now() + SECOND);
    clock_advance(2 * MS);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    check(drain_one(mailbox) == &expired);
    check_equal(expired.status, MANTIS_TIMEOUT);
    check(drain_one(mailbox) == &alive);
    check_equal(alive.status, MANTIS_OK);
    mantis_conn_release(&alive.conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l4_a_released_connection_reaches_the_waiter_whose_open_is_under_way) {
    mantis_pool_config config = fake_config(1, 2);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    uint32_t slot = conn.slot;
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(backend.held_count, 1);
    mantis_conn_release(&conn);
    check(drain_one(mailbox) == &waiter);
    check_equal(waiter.conn.slot, slot);
    complete_all(true); /* what was opened is there for the next one */
    mantis_conn next = take(pool);
    mantis_conn_release(&next);
    mantis_conn_release(&waiter.conn);
    check_equal(stats_of(pool).idle, 2);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l5_a_cancel_does_not_end_the_open_that_others_wait_for) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter first, second;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &first, clock_now() + MS);
    ask(pool, mailbox, &second, MANTIS_DEADLINE_NONE);
    clock_advance(2 * MS);
    check(drain_one(mailbox) == &first && first.status == MANTIS_TIMEOUT);
    check_equal(backend.aborted, 0);
    complete_all(true);
    check(drain_one(mailbox) == &second && second.status == MANTIS_OK);
    mantis_conn_release(&second.conn);
    check_equal(backend.begun[OP_OPEN], 1);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l5_an_open_whose_asker_gave_up_fills_the_pool) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check_equal(mantis_waiter_cancel(&waiter), MANTIS_CANCELLED);
    complete_all(true);
    mantis_conn conn = take(pool);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l6_the_pool_recovers_within_a_second_and_one_back_off) {
    mantis_pool_config config = fake_config(2, 4);
    config.backoff_max_ms = 2000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn dying[2] = {take(pool), take(pool)};
    backend.is_down = true;
    for (int i = 0; i < 2; i++) mantis_conn_release_as(&dying[i], MANTIS_RELEASE_BROKEN);
    run_for(pool, 100 * SECOND);
    check(stats_of(pool).failing);
    check_equal(backend.handles, 0);
    mantis_waiter waiters[4];
    for (int i = 0; i < 4; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    backend.is_down = false;
    run_for(pool, 3 * SECOND);
    for (int i = 0; i < 4; i++) {
        check(drain_one(mailbox) == &waiters[i]);
        check_equal(waiters[i].status, MANTIS_OK);
        check(waiters[i].waited_ns <= 3 * SECOND);
    }
    check(!stats_of(pool).failing);
    for (int i = 0; i < 4; i++) mantis_conn_release(&waiters[i].conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l7_resume_serves_as_many_as_there_are_connections_in_their_order) {
    mantis_pool_config config = fake_config(3, 3);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    check_equal(mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL), MANTIS_OK);
    mantis_waiter waiters[5];
    for (int i = 0; i < 5; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == NULL);
    check_equal(mantis_pool_resume(pool, NULL), MANTIS_OK);
    for (int i = 0; i < 3; i++) check(drain_one(mailbox) == &waiters[i]);
    check(drain_one(mailbox) == NULL);
    for (int i = 0; i < 3; i++) mantis_conn_release(&waiters[i].conn);
    for (int i = 3; i < 5; i++) {
        check(drain_one(mailbox) == &waiters[i]);
        mantis_conn_release(&waiters[i].conn);
    }
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l7_a_larger_maximum_serves_as_many_more) {
    mantis_pool_config config = fake_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[5];
    for (int i = 0; i < 5; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == &waiters[0] && drain_one(mailbox) == NULL);
    check_equal(mantis_pool_resize(pool, 0, 3, NULL), MANTIS_OK);
    check(drain_one(mailbox) == &waiters[1] && drain_one(mailbox) == &waiters[2]);
    check(drain_one(mailbox) == NULL);
    check_equal(backend.handles, 3);
    for (int i = 0; i < 3; i++) mantis_conn_release(&waiters[i].conn);
    for (int i = 3; i < 5; i++) {
        check(drain_one(mailbox) == &waiters[i]);
        mantis_conn_release(&waiters[i].conn);
    }
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(l7_a_larger_limit_serves_those_who_wait_under_it) {
    mantis_limit *limit = NULL;
    check_equal(mantis_limit_open(&limit, "database", 1, NULL), MANTIS_OK);
    mantis_pool_config config = fake_config(0, 4);
    config.limits[0] = limit;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiters[3];
    for (int i = 0; i < 3; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == &waiters[0] && drain_one(mailbox) == NULL);
    check_equal(mantis_limit_resize(limit, 3, NULL), MANTIS_OK);
    check(drain_one(mailbox) == &waiters[1] && drain_one(mailbox) == &waiters[2]);
    check_equal(mantis_limit_in_use(limit), 3);
    for (int i = 0; i < 3; i++) mantis_conn_release(&waiters[i].conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
    check_equal(mantis_limit_close(&limit), MANTIS_OK);
}

/* ---- F: fairness ---- */

TEST(f1_grants_come_in_the_order_of_asking) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_waiter waiters[40];
    for (int i = 0; i < 40; i++) {
        ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
        check_equal(waiters[i].ahead, i);
    }
    for (int i = 0; i < 40; i += 3)
        check_equal(mantis_waiter_cancel(&waiters[i]), MANTIS_CANCELLED);
    for (int i = 0; i < 40; i++) {
        if (i % 3 == 0) continue;
        check_equal(mantis_conn_release(&conn), MANTIS_OK);
        check(drain_one(mailbox) == &waiters[i]);
        check(drain_one(mailbox) == NULL);
        conn = waiters[i].conn;
    }
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

typedef struct sleeper {
    mantis_pool *pool;
    uint32_t number;
    pthread_t thread;
} sleeper;

static _Atomic uint32_t order[8], order_count;

static void *note_turn(void *arg) {
    sleeper *self = arg;
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(self->pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    order[order_count++] = self->number;
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    return NULL;
}

TEST(f1_blocking_threads_are_served_in_the_order_of_asking) {
    mantis_pool_config config = real_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    sleeper sleepers[8];
    for (uint32_t i = 0; i < 8; i++) {
        sleepers[i] = (sleeper){.pool = pool, .number = i};
        check(pthread_create(&sleepers[i].thread, NULL, note_turn, &sleepers[i]) == 0);
        wait_until(stats_of(pool).waiting == i + 1);
    }
    mantis_conn_release(&conn);
    for (uint32_t i = 0; i < 8; i++) pthread_join(sleepers[i].thread, NULL);
    for (uint32_t i = 0; i < 8; i++) check_equal(order[i], i);
    pool_close(&pool);
}

typedef struct homes {
    mantis_pool *pool;
    mantis_mailbox *boxes[3]; /* homes 0, 1, 2 */
} homes;

static homes homes_open(int64_t conns) {
    mantis_pool_config config = fake_config(0, conns);
    homes made = {.pool = pool_open(&config)};
    for (uint32_t i = 0; i < 3; i++)
        check_equal(mantis_mailbox_open(&made.boxes[i], i, NULL), MANTIS_OK);
    return made;
}

static void homes_close(homes *all) {
    mantis_thread_home(0);
    mantis_pool_close(&all->pool, 1);
    for (uint32_t i = 0; i < 3; i++) { /* the closes run at the homes */
        check(drain_one(all->boxes[i]) == NULL);
        check_equal(mantis_mailbox_close(&all->boxes[i]), MANTIS_OK);
    }
    check_equal(backend.handles, 0);
}

static void ask_at_home(homes *all, uint32_t home, mantis_waiter *waiter) {
    mantis_thread_home(home);
    ask(all->pool, all->boxes[home], waiter, MANTIS_DEADLINE_NONE);
}

/* The one connection, lent to home 1. */
static mantis_waiter take_at_home_1(homes *all) {
    mantis_waiter first;
    ask_at_home(all, 1, &first);
    mantis_waiter *out = NULL;
    for (int i = 0; i < 3; i++)
        if (mantis_mailbox_drain(all->boxes[1], &out, 1)) break;
    check(out == &first && first.status == MANTIS_OK);
    return first;
}

/* Home 1 releases and takes again while a request of home 2 waits; how often before that one? */
static uint32_t count_passes(homes *all, int64_t pause_ns) {
    mantis_waiter own = take_at_home_1(all);
    mantis_waiter foreign, mine[16];
    ask_at_home(all, 2, &foreign);
    for (int i = 0; i < 16; i++) ask_at_home(all, 1, &mine[i]);
    mantis_conn conn = own.conn;
    uint32_t passed = 0;
    for (int i = 0; i < 16; i++) {
        mantis_waiter *out = NULL;
        clock_advance(pause_ns);
        mantis_thread_home(1);
        mantis_conn_release(&conn);
        if (mantis_mailbox_drain(all->boxes[2], &out, 1)) break;
        check_equal(mantis_mailbox_drain(all->boxes[1], &out, 1), 1);
        check(out == &mine[passed]);
        conn = out->conn;
        passed++;
    }
    check_equal(foreign.status, MANTIS_OK);
    for (uint32_t i = passed; i < 16; i++) mantis_waiter_cancel(&mine[i]);
    mantis_conn_release(&foreign.conn);
    return passed;
}

TEST(f2_a_connection_stays_at_home_but_passes_nobody_over_more_than_eight_times) {
    homes all = homes_open(1);
    check_equal(count_passes(&all, 1), 8);
    homes_close(&all);
}

TEST(f2_nobody_is_passed_over_for_more_than_a_millisecond) {
    homes all = homes_open(1);
    uint32_t passed = count_passes(&all, 400000);
    check(passed >= 1 && passed <= 4);
    homes_close(&all);
}

TEST(f2_requests_without_a_home_are_passed_over_by_a_home_only_within_the_bound) {
    homes all = homes_open(1);
    mantis_waiter own = take_at_home_1(&all);
    mantis_waiter plain[3], *out = NULL;
    for (int i = 0; i < 3; i++) ask_at_home(&all, 0, &plain[i]);
    mantis_conn conn = own.conn;
    for (int i = 0; i < 3; i++) {
        mantis_thread_home(1);
        mantis_conn_release(&conn);
        check_equal(mantis_mailbox_drain(all.boxes[0], &out, 1), 1);
        check(out == &plain[i]);
        conn = out->conn;
    }
    mantis_conn_release(&conn);
    homes_close(&all);
}

TEST(f3_a_request_ends_at_its_deadline_and_not_before) {
    mantis_pool_config config = fake_config(0, 1);
    config.open_timeout_ms = 10000;
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    mantis_waiter waiter;
    backend.holds[OP_OPEN] = true; /* the deadline covers the queue and the open */
    int64_t deadline_ns = clock_now() + 250 * MS;
    ask(pool, mailbox, &waiter, deadline_ns);
    check_equal(mantis_mailbox_due_ns(mailbox), deadline_ns);
    backend.now_ns = deadline_ns - 1;
    check(drain_one(mailbox) == NULL);
    backend.now_ns = deadline_ns;
    check(drain_one(mailbox) == &waiter);
    check_equal(waiter.status, MANTIS_TIMEOUT);
    check_equal(waiter.waited_ns, 250 * MS);
    check_equal(mantis_mailbox_due_ns(mailbox), MANTIS_DEADLINE_NONE);
    complete_all(false);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(f3_a_blocking_acquire_returns_when_its_deadline_has_passed) {
    mantis_pool_config config = real_config(0, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_conn conn = {0}, other = {0};
    check_equal(mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &conn, NULL), MANTIS_OK);
    check_equal(mantis_conn_detach(conn), MANTIS_OK);
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        int64_t deadline_ns = mantis_deadline_ms(10);
        check_equal(mantis_pool_acquire(pool, deadline_ns, &other, NULL), MANTIS_TIMEOUT);
        int64_t late_ns = mantis_now_ns() - deadline_ns;
        check(late_ns >= 0);
        if (late_ns < best_ns) best_ns = late_ns;
    }
    check(best_ns < 2 * MS);
    mantis_conn_release(&conn);
    pool_close(&pool);
}

TEST(f4_nobody_takes_a_connection_from_under_one_who_waits) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    run_for(pool, SECOND);
    mantis_conn conn = take(pool), stolen = {0};
    mantis_waiter first, second;
    ask(pool, mailbox, &first, MANTIS_DEADLINE_NONE);
    for (int i = 0; i < 10; i++) {
        mantis_conn_release(&conn);
        check_equal(mantis_pool_try_acquire(pool, &stolen, NULL), MANTIS_EXHAUSTED);
        ask(pool, mailbox, &second, MANTIS_DEADLINE_NONE);
        check_equal(mantis_pool_try_acquire(pool, &stolen, NULL), MANTIS_EXHAUSTED);
        check(drain_one(mailbox) == &first && first.status == MANTIS_OK);
        conn = first.conn;
        check_equal(mantis_waiter_cancel(&second), MANTIS_CANCELLED);
        ask(pool, mailbox, &first, MANTIS_DEADLINE_NONE);
    }
    check_equal(mantis_waiter_cancel(&first), MANTIS_CANCELLED);
    mantis_conn_release(&conn);
    pool_close(&pool);
    mantis_mailbox_close(&mailbox);
}

TEST(h5_one_release_wakes_at_most_one_waiter) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_conn conn = take(pool);
    mantis_mailbox *boxes[5];
    mantis_waiter waiters[5];
    for (int i = 0; i < 5; i++) {
        boxes[i] = mailbox_open();
        ask(pool, boxes[i], &waiters[i], MANTIS_DEADLINE_NONE);
        check(drain_one(boxes[i]) == NULL);
    }
    for (int i = 0; i < 5; i++) {
        mantis_conn_release(&conn);
        for (int j = 0; j < 5; j++) {
            struct pollfd file = {.fd = mantis_mailbox_fd(boxes[j]), .events = POLLIN};
            check_equal(poll(&file, 1, 0), j == i ? 1 : 0);
        }
        check(drain_one(boxes[i]) == &waiters[i]);
        check(drain_one(boxes[i]) == NULL);
        conn = waiters[i].conn;
    }
    mantis_conn_release(&conn);
    pool_close(&pool);
    for (int i = 0; i < 5; i++) check_equal(mantis_mailbox_close(&boxes[i]), MANTIS_OK);
}

/* A waiter is granted by a release of its own thread, which said `drains` or not: is it told? */
static int descriptor_after_grant(mantis_pool *pool, mantis_mailbox *mailbox, bool drains) {
    mantis_conn conn = take(pool);
    mantis_waiter waiter;
    ask(pool, mailbox, &waiter, MANTIS_DEADLINE_NONE);
    check(drain_one(mailbox) == NULL);
    mantis_thread_drains(drains ? mailbox : NULL);
    mantis_conn_release(&conn);
    mantis_thread_drains(NULL);
    struct pollfd file = {.fd = mantis_mailbox_fd(mailbox), .events = POLLIN};
    int readable = poll(&file, 1, 0);
    check(drain_one(mailbox) == &waiter);
    check(drain_one(mailbox) == NULL);
    mantis_conn_release(&waiter.conn);
    return readable;
}

TEST(l1_a_thread_that_drains_its_mailbox_is_not_woken_by_itself) {
    mantis_pool_config config = fake_config(1, 1);
    mantis_pool *pool = pool_open(&config);
    run_for(pool, SECOND);
    mantis_mailbox *mailbox = mailbox_open();
    check_equal(descriptor_after_grant(pool, mailbox, true), 0);
    check_equal(descriptor_after_grant(pool, mailbox, false), 1);
    pool_close(&pool);
    check_equal(mantis_mailbox_close(&mailbox), MANTIS_OK);
}

TAP_MAIN
