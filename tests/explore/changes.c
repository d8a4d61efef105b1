/* The rare operations against the common ones: close, pause, evict, resize, opens and limits. */
#include "fixture.h"

#include <string.h>

/* ---- close ---- */

static void begin_held_one(void) { fx_begin_held(1); }

static void begin_held_asked(void) {
    fx_begin_held(1);
    fx_open_mailbox(0);
    fx_ask(0, MANTIS_DEADLINE_NONE);
}

/* The handle may answer CLOSED at any moment, but the connection stays the borrower's. */
static void borrow_until_closed(mantis_conn *conn) {
    void *native = NULL;
    mantis_status status = mantis_conn_native(*conn, &native, NULL);
    if (status == MANTIS_OK) ex_require(((fx_native *)native)->is_open);
    else ex_require(status == MANTIS_CLOSED);
    status = mantis_conn_release(conn);
    ex_require(status == MANTIS_OK || status == MANTIS_CLOSED);
}

static void take_ok_or_closed(void) {
    while (fx.outcomes == 0) {
        mantis_waiter *out[1];
        if (mantis_mailbox_drain(fx.mailbox, out, 1) == 0) {
            fx_wait_readable(mantis_mailbox_fd(fx.mailbox), MANTIS_DEADLINE_NONE);
            continue;
        }
        fx.outcomes++;
        if (out[0]->status != MANTIS_OK) ex_require(out[0]->status == MANTIS_CLOSED);
        else borrow_until_closed(&out[0]->conn);
    }
}

static void close_and_drain(void) {
    ex_require(mantis_pool_close(&fx.pools[0], MANTIS_DEADLINE_NONE) == MANTIS_OK);
    ex_require(fx.pools[0] == NULL);
    ex_require(fx.handles[0] == 0);
}

static void close_until_deadline(void) {
    mantis_status status = mantis_pool_close(&fx.pools[0], ex_now_ns() + 1000);
    ex_require(status == MANTIS_OK || status == MANTIS_TIMEOUT); /* S7 */
}

static void give_held_or_closed(void) {
    mantis_conn held = fx.held;
    ex_require(fx.held_native->is_open);
    fx.held_native->owner = 0;
    mantis_status status = mantis_conn_release(&held);
    ex_require(status == MANTIS_OK || status == MANTIS_CLOSED);
}

static void cancel_or_closed(void) {
    mantis_status status = mantis_waiter_cancel(&fx.waiters[0]);
    if (status != MANTIS_OK) {
        ex_require(status == MANTIS_CANCELLED || status == MANTIS_CLOSED);
        return;
    }
    borrow_until_closed(&fx.waiters[0].conn);
}

static void borrow_or_closed(void) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL);
    if (status == MANTIS_OK) borrow_until_closed(&conn);
    else ex_require(status == MANTIS_CLOSED);
}

static void begin_opening_asked(void) {
    fx_begin();
    fx.holds_opens = true;
    fx_open_pool(0, 1, 0);
    fx_open_mailbox(0);
    fx_ask(0, MANTIS_DEADLINE_NONE);
}

/* ---- opens ---- */

/* One thread for both, since the outcome is read where it was asked for. */
static void complete_opens_and_take(void) {
    fx_complete_opens();
    fx_take_outcomes(1);
}

static void borrow_asked_for(void) {
    fx_take_outcomes(1);
    ex_require(fx.status == MANTIS_OK);
}

static void cancel_asked_for(void) {
    mantis_status status = mantis_waiter_cancel(&fx.waiters[0]);
    ex_require(status == MANTIS_OK || status == MANTIS_CANCELLED);
    if (status != MANTIS_OK) return;
    fx_own(fx.waiters[0].conn);
    fx_give(&fx.waiters[0].conn);
}

static void begin_cold_held_open(void) {
    fx_begin();
    fx.holds_opens = true;
    fx_open_pool(0, 1, 0);
}

static void begin_failing(void) {
    fx_begin();
    fx.fails_opens = 2;
    fx_open_pool(0, 1, 0);
}

static void borrow_and_say_done(void) {
    fx_borrow_for_sure();
    fx_set_flag(&fx.done);
}

/* ---- operations that run at a home ---- */

#define HOME 1
#define GUESTS 2 /* the other threads, which need the owner of the mailbox */

static void begin_home(void) {
    fx_begin();
    fx_open_pool(0, 1, 0);
    fx_open_mailbox(HOME);
}

static void live_at_home(void) {
    ex_require(mantis_thread_home(HOME) == MANTIS_OK);
    fx_ask(0, MANTIS_DEADLINE_NONE);
    fx_take_outcomes(1);
    ex_require(fx.status == MANTIS_OK);
    for (;;) {
        ex_step(&fx.done, EX_READ);
        if (fx.is_over) return;
        ex_require(mantis_mailbox_drain(fx.mailbox, NULL, 0) == 0);
        fx_wait_readable(mantis_mailbox_fd(fx.mailbox), MANTIS_DEADLINE_NONE);
    }
}

static void leave_home(void) {
    ex_step(&fx.done, EX_WRITE);
    if (++fx.done == GUESTS) fx_end_waits();
}

static void visit(void) {
    fx_borrow_for_sure();
    leave_home();
}

static void visit_and_break(void) {
    mantis_conn conn = {0};
    ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    fx_own(conn);
    fx_give_as(&conn, MANTIS_RELEASE_BROKEN);
    leave_home();
}

static void check_home(void) {
    ex_require(mantis_mailbox_close(&fx.mailbox) == MANTIS_OK);
    fx_check();
}

/* ---- pause, evict, resize ---- */

static void begin_one(void) {
    fx_begin();
    fx_open_pool(0, 1, 1);
}

static uint64_t granted(void) {
    mantis_pool_stats stats;
    ex_require(mantis_pool_get_stats(fx.pool, &stats) == MANTIS_OK);
    return stats.granted;
}

static void pause_and_resume(void) {
    ex_require(mantis_pool_pause(fx.pool, MANTIS_PAUSE_WAIT, NULL) == MANTIS_OK);
    uint64_t before = granted();
    ex_step(&fx.flag, EX_UNKNOWN);
    ex_require(granted() == before); /* nothing is granted once pause has returned */
    ex_require(mantis_pool_resume(fx.pool, NULL) == MANTIS_OK);
}

static void pause_failing_and_resume(void) {
    ex_require(mantis_pool_pause(fx.pool, MANTIS_PAUSE_FAIL, NULL) == MANTIS_OK);
    ex_require(mantis_pool_resume(fx.pool, NULL) == MANTIS_OK);
}

static void try_or_paused(void) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_try_acquire(fx.pool, &conn, NULL);
    if (status == MANTIS_OK) {
        fx_own(conn);
        fx_give(&conn);
    } else {
        ex_require(status == MANTIS_EXHAUSTED || status == MANTIS_PAUSED);
    }
    fx_set_flag(&fx.flag);
}

static void pause_until_tried(void) {
    ex_require(mantis_pool_pause(fx.pool, MANTIS_PAUSE_WAIT, NULL) == MANTIS_OK);
    uint64_t before = granted();
    fx_wait_flag(&fx.flag);
    ex_require(granted() == before);
    ex_require(mantis_pool_resume(fx.pool, NULL) == MANTIS_OK);
}

static void borrow_or_paused(void) {
    mantis_status status = fx_borrow(fx.pool, MANTIS_DEADLINE_NONE);
    ex_require(status == MANTIS_OK || status == MANTIS_PAUSED);
}

static void evict_all(void) {
    uint32_t last = fx.serials;
    ex_require(mantis_pool_evict(fx.pool, MANTIS_EVICT_SOFT, NULL) == MANTIS_OK);
    ex_step(&fx.flag, EX_WRITE);
    fx.flag = last; /* nothing up to this serial is lent to who asks from now on */
}

static void borrow_newer(void) {
    for (int i = 0; i < 2; i++) {
        ex_step(&fx.flag, EX_READ);
        uint32_t last = fx.flag;
        mantis_conn conn = {0};
        ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
        void *native = NULL;
        ex_require(mantis_conn_native(conn, &native, NULL) == MANTIS_OK);
        ex_require(((fx_native *)native)->serial > last); /* O4 */
        fx_own(conn);
        fx_give(&conn);
    }
}

static mantis_waiter watch;

static void begin_watched(void) {
    fx_begin_held(1);
    fx_open_mailbox(0);
    memset(&watch, 0, sizeof watch);
    watch.mailbox = fx.mailbox;
    ex_require(mantis_conn_watch(fx.held, &watch) == MANTIS_OK);
}

static void evict_hard(void) {
    ex_require(mantis_pool_evict(fx.pool, MANTIS_EVICT_HARD, NULL) == MANTIS_OK);
}

static void give_when_told(void) {
    mantis_waiter *out[1];
    while (mantis_mailbox_drain(fx.mailbox, out, 1) == 0)
        fx_wait_readable(mantis_mailbox_fd(fx.mailbox), MANTIS_DEADLINE_NONE);
    ex_require(out[0] == &watch && watch.status == MANTIS_CANCELLED);
    fx_give_held();
}

/* The watch is free with the release, or has been sent and is drained. */
static void give_without_being_told(void) {
    fx_give_held();
    mantis_waiter *out[1];
    size_t count = mantis_mailbox_drain(fx.mailbox, out, 1);
    if (count == 1) ex_require(out[0] == &watch);
}

static void begin_two(void) {
    fx_begin();
    fx_open_pool(0, 2, 2);
}

static void shrink_to_one(void) {
    ex_require(mantis_pool_resize(fx.pool, 0, 1, NULL) == MANTIS_OK);
    ex_step(&fx.max[0], EX_WRITE);
    fx.max[0] = 1;
}

static void grow_to_two(void) {
    ex_step(&fx.max[0], EX_WRITE);
    fx.max[0] = 2;
    ex_require(mantis_pool_resize(fx.pool, 0, 2, NULL) == MANTIS_OK);
}

static void wait_then_give_held(void) {
    fx_wait_flag(&fx.flag);
    fx_give_held();
}

static void borrow_then_flag(void) {
    fx_borrow_for_sure();
    fx_set_flag(&fx.flag);
}

static void read_stats(void) {
    mantis_pool_stats stats;
    for (int i = 0; i < 2; i++) {
        ex_require(mantis_pool_get_stats(fx.pool, &stats) == MANTIS_OK);
        ex_require(stats.total == stats.idle + stats.busy + stats.opening + stats.checking +
                                      stats.resetting + stats.closing); /* M3 */
        ex_require(stats.total <= 1);
    }
}

/* ---- a thread that was stopped for so long that its hint is another pool's slot ---- */

static void borrow_with_an_old_hint(void) {
    fx_borrow_for_sure();
    fx_set_flag(&fx.flag);
    borrow_or_closed();
}

static void close_and_open_another(void) {
    fx_wait_flag(&fx.flag);
    close_and_drain();
    fx_open_pool(1, 1, 0);
    for (int i = 0; i < 2; i++)
        ex_require(fx_borrow(fx.pools[1], MANTIS_DEADLINE_NONE) == MANTIS_OK);
}

/* ---- waiting for a state of the whole pool ---- */

static void wait_idle(void) {
    ex_require(mantis_pool_wait_idle(fx.pool, MANTIS_DEADLINE_NONE, NULL) == MANTIS_OK);
}

static void wait_warm(void) {
    ex_require(mantis_pool_wait_warm(fx.pool, 1, MANTIS_DEADLINE_NONE, NULL) == MANTIS_OK);
}

static void close_a_copy(void) {
    mantis_pool *copy = fx.pool;
    ex_require(mantis_pool_close(&copy, MANTIS_DEADLINE_NONE) == MANTIS_OK);
    fx.pools[0] = NULL;
}

/* ---- shared limits ---- */

static void begin_limited(void) {
    fx_begin();
    fx_open_limit(0, 1, 3);
    fx_open_pool(0, 1, 1);
    fx_open_pool(1, 1, 0);
}

static void begin_limited_held(void) {
    begin_limited();
    fx_hold_one(0);
}

static void borrow_from_second(void) {
    ex_require(fx_borrow(fx.pools[1], MANTIS_DEADLINE_NONE) == MANTIS_OK);
}

/* The first pool needs both limits; the third holds the only token of the second limit. */
static void begin_two_limits(void) {
    fx_begin();
    fx_open_limit(0, 1, 3);
    fx_open_limit(1, 1, 5);
    fx_open_pool(0, 1, 0);
    fx_open_pool(1, 1, 0);
    fx_open_pool(2, 1, 1);
    fx_hold_one(2);
}

/* Three pools and one token, which a connection of the first holds. */
static void begin_three_pools(void) {
    fx_begin();
    fx_open_limit(0, 1, 7);
    fx_open_pool(0, 1, 1);
    fx_open_pool(1, 1, 0);
    fx_open_pool(2, 1, 0);
    fx_open_mailbox(0);
    fx_hold_one(0);
}

static void borrow_from_third(void) {
    ex_require(fx_borrow(fx.pools[2], MANTIS_DEADLINE_NONE) == MANTIS_OK);
}

static void ask_second_and_cancel(void) {
    mantis_waiter *waiter = &fx.waiters[0];
    *waiter = (mantis_waiter){.mailbox = fx.mailbox};
    mantis_pool *second = fx.pools[1];
    ex_require(mantis_pool_acquire_async(second, MANTIS_DEADLINE_NONE, waiter, NULL) == MANTIS_OK);
    cancel_asked_for();
}

static void borrow_from_second_until_deadline(void) {
    mantis_status status = fx_borrow(fx.pools[1], ex_now_ns() + 1000);
    ex_require(status == MANTIS_OK || status == MANTIS_TIMEOUT);
}

static void ask_second_and_close(void) {
    mantis_waiter *waiter = &fx.waiters[0], *out[1];
    *waiter = (mantis_waiter){.mailbox = fx.mailbox};
    mantis_pool *second = fx.pools[1];
    ex_require(mantis_pool_acquire_async(second, MANTIS_DEADLINE_NONE, waiter, NULL) == MANTIS_OK);
    mantis_status status = mantis_pool_close(&second, ex_now_ns());
    ex_require(status == MANTIS_OK || status == MANTIS_TIMEOUT);
    fx.pools[1] = NULL;
    ex_require(mantis_mailbox_drain(fx.mailbox, out, 1) == 1 && out[0] == waiter);
    if (waiter->status == MANTIS_OK) mantis_conn_release(&waiter->conn);
    else ex_require(waiter->status == MANTIS_CLOSED);
}

static void borrow_from_second_and_say_done(void) {
    borrow_from_second();
    fx_set_flag(&fx.flag);
}

static void grow_limit(void) {
    fx.limits_max[0] = 2;
    ex_require(mantis_limit_resize(fx.limits[0], 2, NULL) == MANTIS_OK);
}

static void borrow_from_both(void) {
    fx_borrow_for_sure();
    borrow_from_second();
}

#define TWO(scenario_name, setup_, check_, first_, second_)                                        \
    {                                                                                              \
        .name = scenario_name, .threads = 2, .setup = setup_, .check = check_, .run = {            \
            first_,                                                                                \
            second_                                                                                \
        }                                                                                          \
    }
#define THREE(scenario_name, setup_, check_, first_, second_, third_)                              \
    {                                                                                              \
        .name = scenario_name, .threads = 3, .setup = setup_, .check = check_, .run = {            \
            first_,                                                                                \
            second_,                                                                               \
            third_                                                                                 \
        }                                                                                          \
    }

const ex_scenario ex_change_scenarios[] = {
    TWO("s7_close_races_with_release", begin_held_one, fx_check_closed, give_held_or_closed,
        close_and_drain),
    TWO("s7_close_gives_up_at_its_deadline", begin_held_one, fx_check_closed, give_held_or_closed,
        close_until_deadline),
    THREE("s7_close_races_with_hand_off", begin_held_asked, fx_check_closed, take_ok_or_closed,
          give_held_or_closed, close_and_drain),
    THREE("s7_s5_close_races_with_cancel", begin_held_asked, fx_check_closed, cancel_or_closed,
          give_held_or_closed, close_and_drain),
    TWO("s7_close_wakes_who_waits_or_comes_late", begin_one, fx_check_closed, borrow_or_closed,
        close_and_drain),
    THREE("s7_close_races_with_waiter_and_release", begin_held_one, fx_check_closed,
          borrow_or_closed, give_held_or_closed, close_and_drain),
    THREE("s7_close_races_with_open_completion", begin_opening_asked, fx_check_closed,
          take_ok_or_closed, fx_complete_opens, close_and_drain),
    THREE("l4_open_and_release_serve_two_waiters", begin_cold_held_open, fx_check,
          fx_borrow_for_sure, fx_borrow_for_sure, fx_complete_opens),
    TWO("l1_open_completion_wakes_the_mailbox", begin_opening_asked, fx_check, borrow_asked_for,
        fx_complete_opens),
    TWO("l5_s3_cancel_races_with_open_completion", begin_opening_asked, fx_check, cancel_asked_for,
        fx_complete_opens),
    THREE("l1_operations_at_home_wake_their_owner", begin_home, check_home, live_at_home, visit,
          visit_and_break),
    TWO("l2_l6_failed_open_is_tried_again_by_the_keeper", begin_failing, fx_check,
        borrow_and_say_done, fx_tend_until_done),
    THREE("o3_l7_pause_lends_nothing_and_resume_wakes", begin_one, fx_check, fx_borrow_for_sure,
          fx_borrow_for_sure, pause_and_resume),
    THREE("o3_pause_races_with_release_and_try", begin_held_one, fx_check, fx_give_held,
          try_or_paused, pause_until_tried),
    TWO("o3_pause_takes_every_free_connection", begin_two, fx_check, try_or_paused,
        pause_until_tried),
    TWO("o3_failing_pause_loses_nobody", begin_one, fx_check, borrow_or_paused,
        pause_failing_and_resume),
    THREE("o3_failing_pause_races_with_hand_off", begin_held_one, fx_check, borrow_or_paused,
          fx_give_held, pause_failing_and_resume),
    TWO("o4_evict_races_with_release", begin_one, fx_check, borrow_newer, evict_all),
    THREE("o4_l1_evict_races_with_hand_off", begin_one, fx_check, borrow_newer, borrow_newer,
          evict_all),
    TWO("o4_hard_evict_tells_the_holder", begin_watched, fx_check, give_when_told, evict_hard),
    TWO("o4_hard_evict_races_with_release", begin_watched, fx_check, give_without_being_told,
        evict_hard),
    THREE("s2_l1_shrink_races_with_release", begin_two, fx_check, fx_borrow_for_sure,
          fx_borrow_for_sure, shrink_to_one),
    THREE("l7_growing_serves_a_waiter", begin_held_one, fx_check, borrow_then_flag,
          wait_then_give_held, grow_to_two),
    THREE("m3_m6_stats_are_consistent_at_any_moment", begin_one, fx_check, fx_borrow_for_sure,
          fx_borrow_for_sure, read_stats),
    TWO("s1_s3_slot_that_moved_to_another_pool_is_given_back", begin_one, fx_check,
        borrow_with_an_old_hint, close_and_open_another),
    TWO("l2_two_pools_share_one_token", begin_limited, fx_check, fx_borrow_for_sure,
        borrow_from_second),
    TWO("l2_token_goes_back_and_forth", begin_limited, fx_check, borrow_from_both,
        borrow_from_both),
    THREE("l2_token_of_a_released_connection_moves", begin_limited_held, fx_check, fx_give_held,
          borrow_from_second, fx_borrow_for_sure),
    THREE("l2_token_that_was_rolled_back_reaches_who_queued", begin_two_limits, fx_check,
          fx_borrow_for_sure, borrow_from_second_and_say_done, wait_then_give_held),
    THREE("l2_s5_token_passes_a_request_that_is_cancelled", begin_three_pools, fx_check,
          ask_second_and_cancel, fx_give_held, borrow_from_third),
    THREE("l2_l3_token_passes_a_request_that_expires", begin_three_pools, fx_check,
          borrow_from_second_until_deadline, fx_give_held, borrow_from_third),
    THREE("l2_s7_token_passes_a_pool_that_is_closed", begin_three_pools, fx_check,
          ask_second_and_close, fx_give_held, borrow_from_third),
    THREE("l2_l7_growing_limit_serves_who_waits_for_it", begin_limited_held, fx_check,
          borrow_from_second_and_say_done, wait_then_give_held, grow_limit),
    THREE("l1_wait_idle_sees_the_last_one_come_back", begin_held_one, fx_check, wait_idle,
          fx_give_held, fx_borrow_for_sure),
    TWO("l1_o8_wait_warm_sees_the_open_complete", begin_opening_asked, fx_check, wait_warm,
        complete_opens_and_take),
    TWO("s8_two_threads_close_at_once", begin_one, fx_check_closed, close_a_copy, close_a_copy),
    THREE("s8_s7_two_threads_close_while_one_borrows", begin_one, fx_check_closed, close_a_copy,
          close_a_copy, borrow_or_closed),
};
const size_t ex_change_scenarios_count = sizeof ex_change_scenarios / sizeof *ex_change_scenarios;
