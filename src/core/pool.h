/* The pool's own struct, and what the files of the core ask of each other. Reading order: pool.h,
 * slots.h, waitq.h, grant.c (how a connection finds its next borrower), supply.c (how a new one
 * comes to be), keeper.c.
 *
 * C10  total counts the slots that are not EMPTY. It changes under the lock only, and never grows
 *      above the maximum; each counted slot holds one token of each limit of its pool.
 * C11  If somebody waits, total is below the maximum, every limit has room and the pool is not
 *      paused, then an operation is under way that will bring a connection, or retry_at_ns is the
 *      time of the next attempt.
 * C12  Under the lock nothing is called: what is to be done outside is collected in an mp_todo. */
#ifndef MP_CORE_POOL_H
#define MP_CORE_POOL_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/park.h"
#include "base/random.h"
#include "core/limit.h"
#include "core/mailbox.h"
#include "core/settings.h"
#include "core/slots.h"
#include "core/waitq.h"

#include <mantis/pool.h>

/* attention: the number of those who wait, and reasons to leave the fast path. */
#define MP_ATTENTION_WAITERS UINT32_C(0x00ffffff)
#define MP_ATTENTION_STOPPED UINT32_C(0x01000000) /* closed or paused */
#define MP_ATTENTION_LIMIT UINT32_C(0x02000000)   /* a shared limit wants a connection back */
#define MP_ATTENTION_WATCHED UINT32_C(0x04000000) /* somebody waits for the pool to be idle */
#define MP_ATTENTION_FORKED UINT32_C(0x08000000)  /* this is the child, the pool the parent's */
#define MP_ATTENTION_NO_TAKING (MP_ATTENTION_WAITERS | MP_ATTENTION_STOPPED | MP_ATTENTION_FORKED)

/* One set of parameters, and what the connector's start() made of them. */
typedef struct mp_place {
    struct mp_place *older;
    void *place;
    char *dsn;
    uint32_t number;      /* from 1 */
    uint32_t first_epoch; /* connections opened in this epoch or later use it */
    uint32_t slots;       /* that do; under the lock */
    bool is_stopped;      /* the connector's stop() was called; under the lock */
} mp_place;

/* Counted under the lock. granted is not among them: it is the sum of the generations. */
typedef struct mp_counts {
    uint64_t waited, handed_off, timed_out, cancelled, failed;
    uint64_t opened, open_failed, checked, check_failed, was_reset, leaked;
    uint64_t closed[MANTIS_CLOSE_POOL + 1];
    int64_t wait_sum_ns;
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

    /* any thread, atomic */
    _Alignas(MP_CACHE_LINE) _Atomic uint32_t inside; /* threads in a slow path of this pool */
    _Atomic uint32_t total;                          /* C10; read without the lock by limits */
    _Atomic uint64_t refused;
    _Atomic uint64_t moved;
    _Atomic int64_t memory_max_bytes; /* conn_memory_max, for who holds no lock */
    mp_word changed;                  /* counts what the waits for a state wait for */

    /* under lock */
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
    bool is_closed, is_finished, is_freed, is_paused, pause_fails;
    bool is_check_all;   /* a check failed: check all idle ones at the next pass */
    int64_t retry_at_ns; /* not before, after a failed open */
    int64_t opened_ns;
    uint64_t granted_base; /* the sum of generations when the chunks came, and of grants undone */
    _Atomic(mp_place *) places; /* the newest first; read without the lock by holders */
    mantis_error *last_error;   /* of an open; NULL before the first */
    mp_figures *figures;
    mp_settings settings;
    mp_counts counts;
    mp_random random;

    /* set at open, then const */
    char *name;
    void *config_place;
    mantis_hooks hooks;
    mp_limit_link *limits; /* limit_count of them, in the order in which they are taken */
    uint32_t limit_count;

    /* the keeper's */
    int64_t tended_ns;   /* the last pass; under lock */
    int64_t tend_due_ns; /* the next one; under lock */
    int64_t stalled_ns;  /* taken off the clock: time in which nobody could act; under lock */
    /* under the registry's lock */
    bool is_tended;   /* a pass is being made: one at a time */
    bool has_thread;  /* the library's keeper looks after it */
    int64_t poked_ns; /* asked for during the pass */
    mp_heap_node due;
    mp_node registered;
};

/* ---- what is to be done once the lock is released (C12) ---- */

typedef struct mp_todo {
    mp_slot *ops;       /* operations to start, by next */
    mp_slot **ops_end;  /* where the next one goes; NULL: at ops */
    mp_word *wake;      /* a blocking owner to wake */
    mp_place *stop;     /* parameters that nobody uses any more */
    int64_t poke_ns;    /* the keeper has to come by then; 0: as planned */
    int64_t waited_ns;  /* with timed_out: how long the last of them waited */
    uint32_t timed_out; /* requests to call on_timeout for */
    bool gave_tokens;   /* tokens of the limits came back */
    bool evict_sibling; /* ask the limits' other members for a free connection */
    bool charge;        /* let another member owe one */
    bool changed;       /* wake those who wait for a state */
} mp_todo;

/* Add an operation to start. */
static inline void mp_todo_add_op(mp_todo *todo, mp_slot *slot)
{
    slot->next = NULL;
    *(todo->ops_end ? todo->ops_end : &todo->ops) = slot;
    todo->ops_end = &slot->next;
}

/* Remember whom to wake; the one before is woken now. */
static inline void mp_todo_add_wake(mp_todo *todo, mp_word *wake)
{
    if (todo->wake && wake) mp_park_wake_one(todo->wake);
    if (wake) todo->wake = wake;
}

/* Enter a slow path: OK, or why not (FORKED, CLOSED). With OK the caller calls mp_pool_leave(). */
mantis_status mp_pool_enter(mantis_pool *pool, uint32_t id, mantis_error *error);
void mp_pool_leave(mantis_pool *pool);

/* Now, on the pool's clock. */
static inline int64_t mp_pool_now(const mantis_pool *pool)
{
    return pool->clock();
}

/* Why a pool that is STOPPED lends nothing: CLOSED or PAUSED. */
mantis_status mp_pool_why_stopped(mantis_pool *pool);

/* The time that the keeper counts in: without what the process stood still. Under the lock. */
static inline int64_t mp_pool_kept_ns(const mantis_pool *pool, int64_t now_ns)
{
    return now_ns - pool->stalled_ns;
}

/* Connections that can be used or are in use. Under the lock. */
static inline uint32_t mp_pool_live_locked(const mantis_pool *pool)
{
    return mp_load_relaxed(&pool->total) - pool->opening - pool->closing;
}

/* Release the lock and do what was collected. */
void mp_pool_unlock(mantis_pool *pool, mp_todo *todo);

/* One line to the program's log. Not under the lock. */
__attribute__((format(printf, 3, 4))) void mp_pool_log(mantis_pool *pool, mantis_log_level level,
                                                       const char *format, ...);

/* Say that something changed which somebody may wait for. Under the lock. */
void mp_pool_changed_locked(mantis_pool *pool, mp_todo *todo);

/* If the pool is closed and nothing is left of it, give its memory back. Not under the lock. */
void mp_pool_finish_if_over(mantis_pool *pool);

/* ---- grant.c: how a connection finds its next borrower ---- */

/* Join the queue. Errors: EXHAUSTED PAUSED CLOSED CONNECT_FAILED. Under the lock. */
mantis_status mp_grant_enqueue_locked(mantis_pool *pool, mp_waiter *waiter);

/* Give those who wait what is free, and see to it that more comes. Not under the lock. */
void mp_grant_serve(mantis_pool *pool);

/* The same by a thread that is not inside the pool, and only if it still has this id. */
void mp_grant_serve_id(mantis_pool *pool, uint32_t id);

/* Decide about a slot in the caller's hands (not FREE, no operation under way): lend it to who
 * waits, free it, check it or close it. Under the lock. */
void mp_grant_settle_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo);

/* End a request that is in the queue. Under the lock. */
void mp_grant_end_locked(mantis_pool *pool, mp_waiter *waiter, mantis_status status, int64_t now_ns,
                         mp_todo *todo);

/* End all requests in the queue. Under the lock. */
void mp_grant_end_all_locked(mantis_pool *pool, mantis_status status, mp_todo *todo);

/* A request of the mailbox's owner has passed its deadline. */
void mp_pool_expire(mp_waiter *waiter);

/* Set RETIRE on what is FREE or BUSY, so that nothing moves but under the lock (C3); what is FREE is
 * closed instead if close is a reason and not 0. Under the lock. */
void mp_grant_sweep_locked(mantis_pool *pool, mantis_close_reason close, mp_todo *todo);

/* Have a borrowed slot come back by the slow path. Under the lock. */
void mp_grant_mark_busy_locked(mp_slot *slot);

/* Take a FREE slot into the core's hands, marked or not; false: it is not FREE. Under the lock. */
bool mp_grant_hold_locked(mp_slot *slot);

/* ---- supply.c: how a new connection comes to be, and how one goes ---- */

/* Start what brings connections to those who wait and to conns_min (C11). Under the lock. */
void mp_supply_locked(mantis_pool *pool, int64_t now_ns, mp_todo *todo);

/* Begin to close a slot in the caller's hands. Under the lock. */
void mp_supply_close_locked(mantis_pool *pool, mp_slot *slot, mantis_close_reason reason,
                            bool is_broken, mp_todo *todo);

/* Begin to check a slot in the caller's hands. Under the lock. */
void mp_supply_check_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo);

/* Begin to reset a slot in the caller's hands. Under the lock. */
void mp_supply_reset_locked(mantis_pool *pool, mp_slot *slot, int64_t now_ns, mp_todo *todo);

/* The one completion of the operation under way. Errors: STALE, if there is none. */
mantis_status mp_supply_complete(mp_slot *slot, void *native, const mantis_error *error);

/* How many connections may be open now: conns_max, and the reserve when its time has come. */
uint32_t mp_supply_max_locked(const mantis_pool *pool, int64_t now_ns);

/* The parameters that a slot was opened with. Under the lock, or by who holds the slot. */
mp_place *mp_supply_place(const mantis_pool *pool, const mp_slot *slot);

/* ---- holders.c, explain.c, stats.c ---- */

/* Fill out with those who hold connections, the longest first; returns how many there are in all.
 * Under the lock. */
size_t mp_holders_read_locked(mantis_pool *pool, int64_t now_ns, mantis_holder *out, size_t max);

/* Does this thread hold all connections that there can be? Under the lock. */
bool mp_holders_has_all_locked(mantis_pool *pool, uint32_t tid, int64_t now_ns);

/* Why a request got no connection, for its error. Takes the lock. */
void mp_explain_request(mantis_pool *pool, mantis_status status, int64_t waited_ns, uint32_t ahead,
                        mantis_error *error);

/* The same for a wait for a state of the whole pool. Takes the lock. */
void mp_explain_state(mantis_pool *pool, mantis_status status, mantis_error *error);

/* Count a finished wait. Under the lock. */
void mp_stats_add_wait_locked(mantis_pool *pool, int64_t wait_ns, bool is_granted);

/* ---- conn.c ---- */

/* A borrower of this home takes the slot. */
void mp_conn_set_home(mantis_pool *pool, mp_slot *slot, uint32_t home);

typedef struct mp_conn_view {
    const mantis_connector *connector;
    void *native;
    int64_t memory_max_bytes;
} mp_conn_view;

/* What a borrowed connection stands for. Errors: STALE CLOSED FORKED. */
mantis_status mp_conn_resolve(mantis_conn conn, mp_conn_view *view, mantis_error *error);

/* ---- mailbox.c ---- */

/* A waiter is its owner's again. */
void mp_waiter_finish(mantis_waiter *waiter);

#endif
