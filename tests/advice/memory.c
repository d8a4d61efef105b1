/* Troubleshooting in docs/connection-pooling.md: memory. Each test makes the trouble, sees it in
 * the figures that the page names, follows the page's step, and sees that it is gone. */
#include "lib/backend.h"
#include "lib/tap.h"

static mantis_pool *pool;

/* So many are borrowed at once, and given back. */
static void use_at_once(mantis_mailbox *mailbox, uint32_t count, int64_t *used) {
    mantis_waiter waiters[64];
    for (uint32_t i = 0; i < count; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    run_for(pool, SECOND);
    for (uint32_t i = 0; i < count; i++) {
        mantis_waiter *granted = drain_one(mailbox);
        check(granted && granted->status == MANTIS_OK);
        if (used) used[handle_of(granted->conn)->number]++;
    }
    for (uint32_t i = 0; i < count; i++) mantis_conn_release(&waiters[i].conn);
}

TEST(connections_of_a_peak_stay_open_until_the_idle_timeout_is_shorter) {
    mantis_pool_config config = fake_config(4, 64);
    pool = pool_open(&config); /* without an idle timeout */
    mantis_mailbox *mailbox = mailbox_open();
    use_at_once(mailbox, 64, NULL);
    for (int minute = 0; minute < 60; minute++) {
        use_at_once(mailbox, 2, NULL);
        run_for(pool, 59 * SECOND);
    }
    check_equal(stats_of(pool).total, 64);
    check_equal(stats_of(pool).idle, 64);
    check_equal(backend.handles, 64);

    check_equal(mantis_pool_set(pool, "idle_timeout_ms", 60000, NULL), MANTIS_OK);

    run_for(pool, 120 * SECOND);
    check_equal(stats_of(pool).total, 4);
    check_equal(stats_of(pool).closed_idle, 60);
    check_equal(backend.handles, 4);
    mantis_mailbox_close(&mailbox);
    pool_close(&pool);
}

/* What the connections hold at the backend that are open now, if each keeps one thing a use. */
static int64_t most_of_one(const int64_t *used, size_t count) {
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        if (used[i] > most) most = used[i];
    return most;
}

TEST(connections_that_grow_with_use_are_large_until_they_have_a_lifetime) {
    static int64_t used[4096];
    mantis_pool_config config = fake_config(2, 2);
    pool = pool_open(&config); /* without a lifetime */
    mantis_mailbox *mailbox = mailbox_open();
    for (int minute = 0; minute < 240; minute++) {
        use_at_once(mailbox, 2, used);
        run_for(pool, 59 * SECOND);
    }
    check_equal(stats_of(pool).closed_lifetime, 0);
    check_equal(most_of_one(used, 4096), 240);

    check_equal(mantis_pool_set(pool, "lifetime_ms", 1800000, NULL), MANTIS_OK);
    check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK);

    memset(used, 0, sizeof used);
    for (int minute = 0; minute < 240; minute++) {
        use_at_once(mailbox, 2, used);
        run_for(pool, 59 * SECOND);
    }
    check(stats_of(pool).closed_lifetime >= 2 * 240 / 30 - 2);
    check(most_of_one(used, 4096) <= 31);
    mantis_mailbox_close(&mailbox);
    pool_close(&pool);
}

TEST(requests_without_a_deadline_pile_up_until_the_queue_has_a_limit) {
    static mantis_waiter waiters[10000];
    mantis_pool_config config = fake_config(0, 1);
    config.waiting_max = -1;
    pool = pool_open(&config);
    mantis_mailbox *mailbox = mailbox_open();
    ask(pool, mailbox, &waiters[0], MANTIS_DEADLINE_NONE);
    run_for(pool, SECOND);
    for (int i = 1; i < 10000; i++) ask(pool, mailbox, &waiters[i], MANTIS_DEADLINE_NONE);
    check_equal(stats_of(pool).waiting, 9999);
    for (int i = 1; i < 10000; i++)
        check_equal(mantis_waiter_cancel(&waiters[i]), MANTIS_CANCELLED);

    check_equal(mantis_pool_set(pool, "waiting_max", 100, NULL), MANTIS_OK);

    uint32_t refused = 0;
    for (int i = 1; i < 10000; i++) {
        waiters[i] = (mantis_waiter){.mailbox = mailbox};
        refused += mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, &waiters[i], NULL) ==
                   MANTIS_EXHAUSTED;
    }
    check_equal(stats_of(pool).waiting, 100);
    check_equal(refused, 9899);
    for (int i = 1; i <= 100; i++) mantis_waiter_cancel(&waiters[i]);
    check(drain_one(mailbox) == &waiters[0]);
    mantis_conn_release(&waiters[0].conn);
    mantis_mailbox_close(&mailbox);
    pool_close(&pool);
}

TAP_MAIN
