/* Borrowing and giving back: hand-off against wake-ups, cancels, deadlines and stale handles. */
#include "fixture.h"

/* ---- nobody sleeps while a connection is free ---- */

static void begin_one(void) {
    fx_begin();
    fx_open_pool(0, 1, 1);
}

static void begin_two(void) {
    fx_begin();
    fx_open_pool(0, 2, 2);
}

static void borrow_twice(void) {
    fx_borrow_for_sure();
    fx_borrow_for_sure();
}

static void begin_held_one(void) { fx_begin_held(1); }

static void try_twice(void) {
    fx_try_once();
    fx_try_once();
}

static void give_unused(void) {
    mantis_conn conn = {0};
    ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    fx_own(conn);
    fx_give_as(&conn, MANTIS_RELEASE_UNUSED);
}

static void try_once(void) { fx_try_once(); }

/* Try must not fail while one certain connection is free all the time and nobody waits. */
static void try_must_succeed(void) { ex_require(fx_try_once()); }

/* ---- a release that does not just free ---- */

static void give_dirty(void) {
    mantis_conn conn = {0};
    ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    fx_own(conn);
    fx_give_as(&conn, MANTIS_RELEASE_DIRTY);
}

static void give_broken(void) {
    mantis_conn conn = {0};
    ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    fx_own(conn);
    fx_give_as(&conn, MANTIS_RELEASE_BROKEN);
}

static void break_held_and_give(void) {
    fx.held_native->is_broken = true;
    fx_give_held();
}

/* ---- cancel ---- */

static void begin_held_mailbox(void) {
    fx_begin_held(1);
    fx_open_mailbox(0);
}

static void finish_cancel(uint32_t index) {
    mantis_waiter *waiter = &fx.waiters[index];
    mantis_status status = mantis_waiter_cancel(waiter);
    fx.outcomes++;
    if (status == MANTIS_CANCELLED) return;
    ex_require(status == MANTIS_OK);
    fx_own(waiter->conn);
    fx_give(&waiter->conn);
}

static void ask_and_cancel(void) {
    fx_ask(0, MANTIS_DEADLINE_NONE);
    finish_cancel(0);
}

static void ask_drain_and_cancel(void) {
    fx_ask(0, MANTIS_DEADLINE_NONE);
    mantis_waiter *out[1];
    if (mantis_mailbox_drain(fx.mailbox, out, 1) == 1) {
        ex_require(out[0] == &fx.waiters[0] && out[0]->status == MANTIS_OK);
        fx_own(out[0]->conn);
        fx_give(&out[0]->conn);
        ex_require(mantis_waiter_cancel(&fx.waiters[0]) == MANTIS_STALE); /* S5 */
        return;
    }
    finish_cancel(0);
}

static void ask_two_cancel_one(void) {
    fx_ask(0, MANTIS_DEADLINE_NONE);
    fx_ask(1, MANTIS_DEADLINE_NONE);
    finish_cancel(0);
    fx_take_outcomes(2);
}

/* ---- deadlines ---- */

static void borrow_until_deadline(void) {
    int64_t deadline_ns = ex_now_ns() + 1000;
    mantis_status status = fx_borrow(fx.pool, deadline_ns);
    ex_require(status == MANTIS_OK || status == MANTIS_TIMEOUT);
    if (status == MANTIS_TIMEOUT) ex_require(ex_now_ns() >= deadline_ns);
}

static void ask_until_deadline(void) {
    fx_ask(0, ex_now_ns() + 1000);
    fx_take_outcomes(1);
    ex_require(fx.status == MANTIS_OK || fx.status == MANTIS_TIMEOUT);
}

static void pass_time(void) { ex_pass_time(2000); }

/* ---- mailboxes ---- */

static void ask_and_wait(void) {
    fx_ask(0, MANTIS_DEADLINE_NONE);
    fx_take_outcomes(1);
    ex_require(fx.status == MANTIS_OK);
}

static void ask_two_and_wait(void) {
    fx_ask(0, MANTIS_DEADLINE_NONE);
    fx_ask(1, MANTIS_DEADLINE_NONE);
    fx_take_outcomes(2);
}

/* ---- stale handles ---- */

static mantis_conn shared_copy;

static void begin_shared_copy(void) {
    begin_one();
    ex_require(mantis_pool_try_acquire(fx.pool, &shared_copy, NULL) == MANTIS_OK);
}

static void release_shared_copy(void) {
    mantis_conn copy = shared_copy;
    mantis_status status = mantis_conn_release(&copy);
    ex_require(status == MANTIS_OK || status == MANTIS_STALE);
    ex_step(&fx.done, EX_WRITE);
    fx.done += status == MANTIS_OK;
}

static void release_shared_copy_dirty(void) {
    mantis_conn copy = shared_copy;
    mantis_status status = mantis_conn_release_as(&copy, MANTIS_RELEASE_DIRTY);
    ex_require(status == MANTIS_OK || status == MANTIS_STALE);
    ex_step(&fx.done, EX_WRITE);
    fx.done += status == MANTIS_OK;
}

static void check_released_once(void) {
    ex_require(fx.done == 1);
    fx_check();
}

static void release_twice(void) {
    mantis_conn conn = {0};
    ex_require(mantis_pool_acquire(fx.pool, MANTIS_DEADLINE_NONE, &conn, NULL) == MANTIS_OK);
    fx_own(conn);
    mantis_conn copy = conn;
    fx_give(&conn);
    void *native = NULL;
    ex_require(mantis_conn_native(copy, &native, NULL) == MANTIS_STALE);
    ex_require(mantis_conn_release(&copy) == MANTIS_STALE);
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

const ex_scenario ex_core_scenarios[] = {
    TWO("l1_s1_two_threads_share_one_connection", begin_one, fx_check, borrow_twice, borrow_twice),
    THREE("l1_s1_three_threads_share_one_connection", begin_one, fx_check, fx_borrow_for_sure,
          fx_borrow_for_sure, fx_borrow_for_sure),
    THREE("l1_s1_three_threads_share_two_connections", begin_two, fx_check, fx_borrow_for_sure,
          borrow_twice, give_unused),
    THREE("l1_one_release_serves_two_waiters_in_turn", begin_held_one, fx_check, fx_give_held,
          fx_borrow_for_sure, fx_borrow_for_sure),
    THREE("l1_try_does_not_swallow_a_wake_up", begin_held_one, fx_check, fx_give_held, try_twice,
          fx_borrow_for_sure),
    TWO("s1_try_and_release_race", begin_one, fx_check, try_twice, try_twice),
    TWO("s3_try_finds_one_of_two_whatever_the_other_does", begin_two, fx_check, try_must_succeed,
        try_once),
    THREE("l1_dirty_release_serves_a_waiter", begin_one, fx_check, give_dirty, fx_borrow_for_sure,
          fx_borrow_for_sure),
    THREE("l1_l2_broken_release_has_a_new_one_opened", begin_one, fx_check, give_broken,
          fx_borrow_for_sure, fx_borrow_for_sure),
    TWO("l1_l2_broken_connection_is_never_handed_on", begin_held_one, fx_check, break_held_and_give,
        fx_borrow_for_sure),
    TWO("s5_cancel_races_with_hand_off", begin_held_mailbox, fx_check, ask_and_cancel,
        fx_give_held),
    THREE("s5_l1_cancelled_grant_reaches_the_next_waiter", begin_held_mailbox, fx_check,
          ask_and_cancel, fx_give_held, fx_borrow_for_sure),
    TWO("s5_drain_or_cancel_but_not_both", begin_held_mailbox, fx_check, ask_drain_and_cancel,
        fx_give_held),
    TWO("s5_one_of_two_requests_is_cancelled", begin_held_mailbox, fx_check, ask_two_cancel_one,
        fx_give_held),
    THREE("l3_l1_deadline_races_with_hand_off", begin_held_one, fx_check, borrow_until_deadline,
          fx_give_held, fx_borrow_for_sure),
    THREE("l3_request_in_a_mailbox_expires_or_is_granted", begin_held_mailbox, fx_check,
          ask_until_deadline, fx_give_held, pass_time),
    TWO("l1_post_wakes_the_sleeping_owner", begin_held_mailbox, fx_check, ask_and_wait,
        fx_give_held),
    THREE("l1_mailbox_owner_and_a_thread_take_turns", begin_held_mailbox, fx_check,
          ask_two_and_wait, fx_give_held, fx_borrow_for_sure),
    TWO("s4_of_two_releases_of_one_handle_one_is_stale", begin_shared_copy, check_released_once,
        release_shared_copy, release_shared_copy),
    THREE("s4_s1_clean_and_dirty_release_of_one_handle", begin_shared_copy, check_released_once,
          release_shared_copy, release_shared_copy_dirty, fx_borrow_for_sure),
    TWO("s4_late_second_release_hits_nobody", begin_one, fx_check, release_twice, release_twice),
};
const size_t ex_core_scenarios_count = sizeof ex_core_scenarios / sizeof *ex_core_scenarios;
