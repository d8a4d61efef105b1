/* The connector that counts, and the checks after each schedule. */
#include "fixture.h"

#include "core/slots.h"

#include <string.h>

#define GENERATION_FIRST 60

fx_state fx;

static mp_hints hints[EX_THREADS_MAX + 1];

mp_hints *mp_hints_of_thread(void) { return &hints[ex_self()]; }

/* ---- the connector ---- */

static uint32_t pool_of_place(void *place) { return (uint32_t)((uint32_t *)place - fx.max); }

static fx_native *new_native(uint32_t pool) {
    for (uint32_t i = 0; i < FX_NATIVES_MAX; i++) {
        fx_native *native = &fx.natives[i];
        if (native->is_open) continue;
        *native = (fx_native){.is_open = true, .serial = ++fx.serials, .pool = (uint8_t)pool};
        return native;
    }
    ex_fail("more than %d handles are open", FX_NATIVES_MAX);
}

static void check_limits(void) {
    for (uint32_t i = 0; i < FX_LIMITS_MAX; i++) {
        uint32_t sum = 0;
        for (uint32_t k = 0; k < FX_POOLS_MAX; k++)
            if (fx.members[i] & (1u << k)) sum += fx.handles[k];
        ex_require(!fx.limits[i] || sum <= fx.limits_max[i]);
    }
}

static void finish_open(uint32_t pool, mantis_op *op) {
    if (fx.fails_opens > 0) {
        fx.fails_opens--;
        fx.handles[pool]--;
        ex_require(mantis_op_failed(op, "planted") == MANTIS_OK);
        return;
    }
    ex_require(mantis_op_done(op, new_native(pool)) == MANTIS_OK);
}

static void on_open(void *place, mantis_op *op) {
    uint32_t pool = pool_of_place(place);
    fx.handles[pool]++;
    ex_require(fx.handles[pool] <= fx.max[pool]); /* S2 */
    check_limits();
    if (!fx.holds_opens) {
        finish_open(pool, op);
        return;
    }
    ex_require(fx.ops_count < FX_HELD_MAX);
    fx.ops[fx.ops_count++] = op;
    fx_set_flag(&fx.flag);
}

static void on_close(void *place, void *native, mantis_op *op) {
    fx_native *handle = native;
    ex_require(handle->is_open);
    ex_require(handle->owner == 0); /* S1: never closed under its holder */
    handle->is_open = false;
    fx.handles[pool_of_place(place)]--;
    ex_require(mantis_op_done(op, NULL) == MANTIS_OK);
}

static void on_reset(void *place, void *native, mantis_op *op) {
    (void)place;
    fx_native *handle = native;
    ex_require(handle->is_open && handle->owner == 0);
    handle->owner = FX_NOBODY + 1;
    ex_step(handle, EX_WRITE);
    handle->owner = 0;
    ex_require(mantis_op_done(op, NULL) == MANTIS_OK);
}

static bool on_is_broken(void *place, void *native) {
    (void)place;
    return ((fx_native *)native)->is_broken;
}

static const mantis_connector connector = {.name = "explored",
                                           .open = on_open,
                                           .reset = on_reset,
                                           .close = on_close,
                                           .is_broken = on_is_broken};

/* ---- set-up ---- */

/* Make a slot that was used by an earlier schedule as good as new, its generation a little below a
 * multiple of 64, which is sampled. */
static void rewind_slot(mp_slot *slot) {
    uint32_t index = slot->index;
    uint8_t bit = slot->bit;
    _Atomic uint64_t *bits = slot->bits;
    mantis_pool *pool = slot->pool;
    ex_require(mp_slot_state(slot->word) == MP_SLOT_EMPTY);
    memset(slot, 0, sizeof *slot);
    slot->index = index;
    slot->bit = bit;
    slot->bits = bits;
    slot->pool = pool; /* an old handle still finds a pool, as it must */
    slot->word = mp_slot_word(GENERATION_FIRST, MP_SLOT_EMPTY);
    *bits = 0;
}

/* Every schedule begins in the same state. */
static void rewind_slots(void) {
    mp_slot *slot;
    for (uint32_t i = MP_SLOT_GROUP; (slot = mp_slot_at(i)) != NULL; i++) rewind_slot(slot);
}

void fx_begin(void) {
    memset(&fx, 0, sizeof fx);
    memset(hints, 0, sizeof hints);
    rewind_slots();
}

void fx_open_limit(uint32_t index, uint32_t max, uint32_t members) {
    fx.limits_max[index] = max;
    fx.members[index] = members;
    ex_require(mantis_limit_open(&fx.limits[index], "shared", max, NULL) == MANTIS_OK);
}

static void fill_limits(mantis_pool_config *config, uint32_t pool) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < FX_LIMITS_MAX; i++)
        if (fx.members[i] & (1u << pool)) config->limits[count++] = fx.limits[i];
}

void fx_open_pool(uint32_t index, uint32_t max, uint32_t warm) {
    mantis_pool_config config = {.connector = &connector,
                                 .place = &fx.max[index],
                                 .name = "explored",
                                 .conns_max = max,
                                 .idle_timeout_ms = -1,
                                 .lifetime_ms = -1,
                                 .check_interval_ms = -1,
                                 .acquire_timeout_ms = -1,
                                 .open_timeout_ms = -1,
                                 .keeper = MANTIS_KEEPER_CALLER,
                                 .clock = ex_now_ns,
                                 .seed = 7};
    fill_limits(&config, index);
    fx.max[index] = max;
    ex_require(mantis_pool_open(&fx.pools[index], &config, NULL) == MANTIS_OK);
    if (index == 0) fx.pool = fx.pools[0];
    mantis_conn conns[4] = {{0}};
    for (uint32_t i = 0; i < warm; i++) {
        ex_require(mantis_pool_acquire(fx.pools[index], ex_now_ns() + 1, &conns[i], NULL) ==
                   MANTIS_OK);
    }
    for (uint32_t i = 0; i < warm; i++) mantis_conn_release(&conns[i]);
}

void fx_hold_one(uint32_t index) {
    ex_require(mantis_pool_try_acquire(fx.pools[index], &fx.held, NULL) == MANTIS_OK);
    void *native = NULL;
    ex_require(mantis_conn_native(fx.held, &native, NULL) == MANTIS_OK);
    fx.held_native = native;
    fx.held_native->owner = FX_NOBODY;
}

void fx_open_mailbox(uint32_t home) {
    ex_require(mantis_mailbox_open(&fx.mailbox, home, NULL) == MANTIS_OK);
}

void fx_begin_held(uint32_t max) {
    fx_begin();
    fx_open_pool(0, max, max);
    fx_hold_one(0);
}

/* ---- borrowing ---- */

static fx_native *native_of(mantis_conn conn) {
    void *native = NULL;
    mantis_status status = mantis_conn_native(conn, &native, NULL);
    if (status != MANTIS_OK)
        ex_fail("a borrowed connection answers %s", mantis_status_name(status));
    return native;
}

void fx_own(mantis_conn conn) {
    fx_native *native = native_of(conn);
    ex_require(native->is_open);
    if (native->owner != 0) ex_fail("S1: two owners, %u and %u", native->owner, ex_self());
    native->owner = ex_self();
    ex_step(native, EX_WRITE);
    ex_require(native->owner == ex_self());
}

void fx_give_as(mantis_conn *conn, mantis_release how) {
    fx_native *native = native_of(*conn);
    ex_require(native->owner == ex_self());
    native->owner = 0;
    ex_require(mantis_conn_release_as(conn, how) == MANTIS_OK);
}

void fx_give(mantis_conn *conn) { fx_give_as(conn, MANTIS_RELEASE_CLEAN); }

void fx_give_held(void) {
    ex_require(native_of(fx.held) == fx.held_native);
    ex_require(fx.held_native->owner == FX_NOBODY);
    fx.held_native->owner = 0;
    mantis_conn held = fx.held;
    fx.held = (mantis_conn){0};
    ex_require(mantis_conn_release(&held) == MANTIS_OK);
}

mantis_status fx_borrow(mantis_pool *pool, int64_t deadline_ns) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, deadline_ns, &conn, NULL);
    if (status != MANTIS_OK) return status;
    fx_own(conn);
    fx_give(&conn);
    return MANTIS_OK;
}

void fx_borrow_for_sure(void) {
    mantis_status status = fx_borrow(fx.pool, MANTIS_DEADLINE_NONE);
    if (status != MANTIS_OK) ex_fail("acquire answers %s", mantis_status_name(status));
}

bool fx_try_once(void) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_try_acquire(fx.pool, &conn, NULL);
    if (status != MANTIS_OK) {
        ex_require(status == MANTIS_EXHAUSTED);
        return false;
    }
    fx_own(conn);
    fx_give(&conn);
    return true;
}

/* ---- asynchronous requests ---- */

void fx_ask(uint32_t index, int64_t deadline_ns) {
    mantis_waiter *waiter = &fx.waiters[index];
    *waiter = (mantis_waiter){.mailbox = fx.mailbox};
    ex_require(mantis_pool_acquire_async(fx.pool, deadline_ns, waiter, NULL) == MANTIS_OK);
}

static void take_outcome(mantis_waiter *waiter) {
    ex_require(waiter == &fx.waiters[0] || waiter == &fx.waiters[1]);
    fx.outcomes++;
    fx.status = waiter->status;
    if (waiter->status != MANTIS_OK) return;
    fx_own(waiter->conn);
    fx_give(&waiter->conn);
}

void fx_take_outcomes(uint32_t count) {
    while (fx.outcomes < count) {
        mantis_waiter *out[2];
        size_t come = mantis_mailbox_drain(fx.mailbox, out, 2);
        for (size_t i = 0; i < come; i++) take_outcome(out[i]);
        if (come == 0)
            fx_wait_readable(mantis_mailbox_fd(fx.mailbox), mantis_mailbox_due_ns(fx.mailbox));
    }
}

/* ---- the rest of what threads do ---- */

void fx_complete_opens(void) {
    while (fx.ops_count == 0) fx_wait_flag(&fx.flag);
    while (fx.ops_count > 0) {
        mantis_op *op = fx.ops[--fx.ops_count];
        finish_open(0, op);
    }
}

void fx_set_flag(uint32_t *flag) {
    ex_step(flag, EX_WRITE);
    *flag = 1;
    ex_wake(flag, true);
}

void fx_wait_flag(uint32_t *flag) {
    ex_step(flag, EX_READ);
    while (!*flag) ex_sleep(flag, INT64_MAX);
}

void fx_tend_until_done(void) {
    for (;;) {
        int64_t due_ns = INT64_MAX;
        ex_require(mantis_pool_tend(fx.pool, ex_now_ns(), &due_ns) == MANTIS_OK);
        ex_step(&fx.done, EX_READ);
        if (fx.done) return;
        ex_sleep(&fx.done, due_ns);
    }
}

/* ---- afterwards ---- */

static void check_pool(uint32_t index) {
    mantis_pool *pool = fx.pools[index];
    uint32_t max = fx.max[index];
    memset(hints, 0, sizeof hints); /* so that slots are found by the bitmap */
    mantis_pool_stats stats;
    ex_require(mantis_pool_get_stats(pool, &stats) == MANTIS_OK);
    ex_require(stats.total == fx.handles[index]);
    ex_require(stats.waiting == 0);
    ex_require(stats.busy == 0 && stats.resetting == 0 && stats.closing == 0);
    ex_require(stats.attempts == stats.granted + stats.timed_out + stats.cancelled + stats.refused +
                                     stats.failed); /* M1 */
    mantis_conn conns[4] = {{0}}, more = {0};
    for (uint32_t i = 0; i < stats.idle; i++)
        ex_require(mantis_pool_try_acquire(pool, &conns[i], NULL) == MANTIS_OK);
    for (uint32_t i = stats.idle; i < max; i++)
        ex_require(mantis_pool_acquire(pool, ex_now_ns() + 1, &conns[i], NULL) == MANTIS_OK);
    ex_require(mantis_pool_try_acquire(pool, &more, NULL) == MANTIS_EXHAUSTED); /* S3 */
    ex_require(fx.handles[index] == max);
    for (uint32_t i = 0; i < max; i++) ex_require(mantis_conn_release(&conns[i]) == MANTIS_OK);
}

static void check_pools(void) {
    for (uint32_t i = 0; i < FX_POOLS_MAX; i++) {
        if (!fx.pools[i]) continue;
        check_pool(i);
        ex_require(mantis_pool_close(&fx.pools[i], ex_now_ns() + 1) == MANTIS_OK);
    }
}

void fx_check_closed(void) {
    for (uint32_t i = 0; i < FX_POOLS_MAX; i++) ex_require(fx.handles[i] == 0);
    ex_require(mantis_mailbox_close(&fx.mailbox) == MANTIS_OK);
    for (uint32_t i = 0; i < FX_LIMITS_MAX; i++) {
        ex_require(!fx.limits[i] || mantis_limit_in_use(fx.limits[i]) == 0);
        ex_require(mantis_limit_close(&fx.limits[i]) == MANTIS_OK);
    }
}

void fx_check(void) {
    fx.holds_opens = false;
    check_pools();
    fx_check_closed();
}
