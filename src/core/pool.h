/* The pool's own struct, and what the files of the core ask of each other. Reading order: pool.h,
 * slots.h, waitq.h, grant.c (how a connection finds its next borrower), supply.c (how a new one
 * comes to be), keeper.c.
 *
 * C10  total counts the slots that are not EMPTY. It changes under the lock only, and never grows
 *      above the maximum; each counted slot holds one token of each limit of its pool.
 * C11  If somebody waits, total is below the maximum, every limit has room and the pool is not
 *      paused, then an operation is under way that will bring a connection, or retry_at_ns is the
 *      time of the next attempt.
 * C12  Under the lock nothing is called: what is to be done outside is noted in the turn. */
#ifndef MP_CORE_POOL_H
#define MP_CORE_POOL_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/park.h"
#include "base/random.h"
#include "base/ticker.h"
#include "core/mailbox.h"
#include "core/settings.h"
#include "core/slots.h"
#include "core/waitq.h"
#include "limit/limit.h"

#include <mantis/pool.h>

#define MP_SLOW_START_OVER (UINT32_C(1) << 20) /* mp_pool.slow_start without a limit of its own */

/* attention: the number of those who wait, and reasons to leave the fast path. */
#define MP_ATTENTION_WAITERS UINT32_C(0x00ffffff)
#define MP_ATTENTION_CLOSED UINT32_C(0x01000000)
#define MP_ATTENTION_PAUSED UINT32_C(0x10000000)
#define MP_ATTENTION_LIMIT UINT32_C(0x02000000)   /* a shared limit wants a connection back */
#define MP_ATTENTION_WATCHED UINT32_C(0x04000000) /* somebody waits for the pool to be idle */
#define MP_ATTENTION_FORKED UINT32_C(0x08000000)  /* this is the child, the pool the parent's */
#define MP_ATTENTION_NO_TAKING                                                                     \
    (MP_ATTENTION_WAITERS | MP_ATTENTION_CLOSED | MP_ATTENTION_PAUSED | MP_ATTENTION_FORKED)
/* One set of parameters, and what the connector's start() made of them. */
typedef struct mp_place {
    struct mp_place *older;
    void *place;
    uint32_t number;      /* from 1 */
    uint32_t first_epoch; /* connections opened in this epoch or later use it */
    uint32_t slots;       /* that do; under the lock */
    bool is_stopped;      /* the connector's stop() was called; under the lock */
    char dsn[];
} mp_place;

/* What a pool counts under its lock. Granted is not among them: it is the sum of the
 * generations. */
typedef struct mp_counts {
    uint64_t timed_out, cancelled, failed, waited, handed_off;
    int64_t wait_sum_ns;
    uint64_t opened, open_failed, checked, check_failed, was_reset, leaked;
    uint64_t closed[MANTIS_CLOSE_POOL]; /* by reason, the first of which is 1 */
} mp_counts;

/* What is kept only by pools in which somebody ever waited, or a use was sampled. */
typedef struct mp_figures {
    mantis_histogram wait, use;
} mp_figures;

struct mantis_pool {
    /* read by every acquire and release; any thread, atomic */
    _Alignas(MP_CACHE_LINE) _Atomic uint32_t attention;
    _Atomic uint32_t id; /* never used again; 0: no pool */
    /* set at open, then const */
    const mantis_connector *connector;
    bool (*is_broken)(void *place, void *native);
    int64_t (*clock)(void);
    mp_slots slots;
    char *name;
    const mantis_hooks *hooks; /* a copy; &mp_pool_no_hooks if there are none */
    mp_limit_link *limits;     /* limit_count of them, in the order in which they are taken */
    int64_t opened_ns;
    uint32_t limit_count;

    /* any thread, atomic */
    _Alignas(MP_CACHE_LINE) _Atomic uint32_t inside; /* threads in a slow path of this pool */
    _Atomic uint32_t total;                          /* C10; read without the lock by limits */
    _Atomic uint64_t refused;
    _Atomic uint64_t moved;
    _Atomic int64_t memory_max_bytes; /* conn_memory_max, for who holds no lock */
    mp_word changed;                  /* counts what the waits for a state wait for */

    /* under lock; from here to the next mark all is zero when a pool is opened */
    mp_lock lock;
    mp_waitq queue;
    mp_slot *empty;                                 /* EMPTY slots, by next */
    uint32_t opening, checking, resetting, closing; /* C10: the other total are FREE or BUSY */
    bool is_replacing;   /* one more is opened than conns_min, before an old one goes */
    uint32_t slow_start; /* how many may be opened at once: 1, 2, 4, … after a failure */
    uint32_t failures;   /* opens failed in a row */
    uint32_t epoch;      /* connections of older ones are not lent */
    uint32_t debt;       /* connections owed to a shared limit */
    uint32_t watchers;   /* threads that wait for changed */
    bool is_closed, is_freed, is_paused, pause_fails;
    bool is_check_all;     /* a check failed: check all idle ones at the next pass */
    bool is_interrupting;  /* the keeper tells operations to end: no place is stopped */
    int64_t retry_at_ns;   /* not before, after a failed open */
    uint64_t granted_base; /* the sum of generations when the chunks came, and of grants undone */
    _Atomic(mp_place *) places; /* the newest first; read without the lock by holders */
    mantis_error *last_error;   /* of an open; NULL before the first */
    mp_figures *figures;
    mp_settings settings;
    mp_counts counts;
    mp_random random;

    mp_member member; /* what the limits know of it */

    /* the keeper's */
    int64_t tended_ns;   /* the last pass; under lock */
    int64_t tend_due_ns; /* the next one; under lock */
    int64_t stalled_ns;  /* taken off the clock: time in which nobody could act; under lock */
    mp_tick tick;        /* not zeroed from here on; by the keeper's lock */
    mp_node registered;  /* under the registry's lock */
};

extern const mantis_hooks mp_pool_no_hooks;

/* ---- a turn: the time under a pool's lock ---- */

/* A function with _locked in its name takes the turn of its caller. What is not to be done under
 * the lock (C12) is noted in it, and done by mp_turn_end(). */
typedef struct mp_turn {
    mantis_pool *pool;
    int64_t now_ns;     /* on the pool's clock */
    mp_tasks ops;       /* operations to start */
    mp_word *wake;      /* a blocking owner to wake */
    mp_place *stop;     /* parameters that nobody uses any more */
    int64_t poke_ns;    /* the keeper has to come by then; 0: as planned */
    int64_t waited_ns;  /* with timed_out: how long the last of them waited */
    uint32_t timed_out; /* requests to call on_timeout for */
    bool gave_tokens;   /* tokens of the limits came back */
    bool wants_token;   /* ask the limits' other members for a free connection */
    bool is_patient;    /* and, having waited for long, for one of those in use */
    bool changed;       /* wake those who wait for a state */
} mp_turn;

/* Take the lock and read the clock. */
mp_turn mp_turn_begin(mantis_pool *pool);

/* Release the lock and do what was noted. */
void mp_turn_end(mp_turn *turn);

/* Remember whom to wake, if anybody; the one before is woken now. */
static inline void mp_turn_add_wake(mp_turn *turn, mp_word *wake) {
    if (turn->wake && wake) mp_park_wake_one(turn->wake);
    if (wake) turn->wake = wake;
}

/* Say that something changed which somebody may wait for. */
void mp_turn_changed_locked(mp_turn *turn);

/* The time that the keeper counts in: without what the process stood still. */
static inline int64_t mp_turn_kept_ns(const mp_turn *turn) {
    return turn->now_ns - turn->pool->stalled_ns;
}

/* ---- pool.c ---- */

/* Now, on the pool's clock. */
static inline int64_t mp_pool_now(const mantis_pool *pool) { return pool->clock(); }

/* Enter a slow path: OK, or why not (FORKED, CLOSED). With OK the caller calls mp_pool_leave(). */
mantis_status mp_pool_enter(mantis_pool *pool, uint32_t id, mantis_error *error);
void mp_pool_leave(mantis_pool *pool);

/* One line to the program's log. Not under the lock. */
__attribute__((format(printf, 3, 4))) void mp_pool_log(mantis_pool *pool, mantis_log_level level,
                                                       const char *format, ...);

/* Connections that can be used or are in use. Under the lock. */
static inline uint32_t mp_pool_live(const mantis_pool *pool) {
    return mp_load_relaxed(&pool->total) - pool->opening - pool->closing;
}

/* ---- grant.c: how a connection finds its next borrower ---- */

/* Join the queue. Errors: EXHAUSTED PAUSED CLOSED CONNECT_FAILED. */
mantis_status mp_grant_enqueue_locked(mp_turn *turn, mp_waiter *waiter);

/* Give those who wait what is free, and see to it that more comes. Not under the lock. */
void mp_grant_serve(mantis_pool *pool);

/* The same by a thread that is not inside the pool, and only if it still has this id. */
void mp_grant_serve_id(mantis_pool *pool, uint32_t id);

/* Decide about a slot in the caller's hands (not FREE, no operation under way): lend it to who
 * waits, free it, check it or close it. */
void mp_grant_settle_locked(mp_turn *turn, mp_slot *slot);

/* End a request that is in the queue, or all of them. */
void mp_grant_end_locked(mp_turn *turn, mp_waiter *waiter, mantis_status status);
void mp_grant_end_all_locked(mp_turn *turn, mantis_status status);

/* A request of the mailbox's owner has passed its deadline. Not under the lock. */
void mp_grant_expire(mp_waiter *waiter);

/* Set RETIRE on what is FREE or BUSY, so that nothing moves but under the lock (C3); what is FREE
 * is closed instead if close is a reason and not 0. */
void mp_grant_sweep_locked(mp_turn *turn, mantis_close_reason close);

/* Close one slot if it is FREE, or set its RETIRE if it is BUSY. Under the lock. */
void mp_grant_sweep_slot_locked(mp_turn *turn, mp_slot *slot, mantis_close_reason close);

/* Have a borrowed slot come back by the slow path. Under the lock. */
void mp_grant_mark_busy(mp_slot *slot);

/* Take a FREE slot into the core's hands, marked or not; false: it is not FREE. Under the lock. */
bool mp_grant_hold(mp_slot *slot);

/* A borrower of this home takes the slot. */
void mp_grant_set_home(mantis_pool *pool, mp_slot *slot, uint32_t home);

/* ---- supply.c: how a new connection comes to be, and how one goes ---- */

/* Start what brings connections to those who wait and to conns_min (C11). */
void mp_supply_locked(mp_turn *turn);

/* Begin to close, check or reset a slot in the caller's hands. */
void mp_supply_close_locked(mp_turn *turn, mp_slot *slot, mantis_close_reason reason,
                            bool is_broken);
void mp_supply_check_locked(mp_turn *turn, mp_slot *slot);
void mp_supply_reset_locked(mp_turn *turn, mp_slot *slot);

/* May an old connection go? Only if that leaves conns_min, or no other can be opened first. */
bool mp_supply_may_retire_locked(mp_turn *turn);

/* The one completion of the operation under way. Errors: STALE, if there is none. */
mantis_status mp_supply_complete(mp_slot *slot, void *native, const mantis_error *error);

/* How many connections may be open now: conns_max, and the reserve when its time has come. Under
 * the lock. */
uint32_t mp_supply_max(const mantis_pool *pool, int64_t now_ns);

/* How many more that would be, not counting those that are on their way out; negative: there are
 * too many. Under the lock. */
int64_t mp_supply_room(const mp_turn *turn);

/* The parameters that a slot was opened with. Under the lock, or by who holds the slot. */
mp_place *mp_supply_place(const mantis_pool *pool, const mp_slot *slot);

/* Is it of no use, as far as its connector can tell at once? By who holds the slot. */
static inline bool mp_supply_is_broken(mantis_pool *pool, mp_slot *slot) {
    if (mp_likely(!pool->is_broken)) return false;
    return pool->is_broken(mp_supply_place(pool, slot)->place, mp_load_relaxed(&slot->native));
}

/* ---- member.c: a pool as a member of shared limits ---- */

extern const mp_member_calls mp_pool_member_calls;

/* ---- op.c: calling the connector, and being called back ---- */

extern mp_crew mp_op_crew; /* the threads of blocking connectors */

/* Start all operations of a list: here, on their home, or on a thread of the crew. Not under the
 * lock. */
void mp_op_start_all(mp_tasks *ops);

/* Start what was put off because connectors called each other: before this thread sleeps. */
void mp_op_start_later(void);

/* Call the connector now, on this thread. Not under the lock. */
void mp_op_run(mp_task *task);

/* Ask the connector to give up the operation under way, if there still is one that is overdue. Not
 * under the lock. */
void mp_op_interrupt(mp_slot *slot);

/* ---- keeper.c ---- */

extern mp_ticker mp_keeper; /* makes the passes of all pools that have no other keeper */

/* ---- holders.c, explain.c ---- */

/* Read one slot as a holder; false if it is not borrowed. */
bool mp_holders_read_locked(const mp_turn *turn, mp_slot *slot, mantis_holder *out);

/* Does this thread hold all connections that there can be? */
bool mp_holders_has_all_locked(const mp_turn *turn, uint32_t tid);

/* Why a request got no connection, for its error. Takes the lock. */
void mp_explain_request(mantis_pool *pool, mantis_status status, int64_t waited_ns, uint32_t ahead,
                        mantis_error *error);

/* The same for a wait for a state of the whole pool. Takes the lock. */
void mp_explain_state(mantis_pool *pool, mantis_status status, mantis_error *error);

/* ---- conn.c: for those above the core ---- */

typedef struct mp_conn_view {
    mantis_pool *pool;
    mp_slot *slot;
    const mantis_connector *connector;
    void *native;
    int64_t memory_max_bytes;
} mp_conn_view;

/* What a borrowed connection stands for. Errors: STALE CLOSED FORKED. */
mantis_status mp_conn_resolve(mantis_conn conn, mp_conn_view *view, mantis_error *error);

#endif
