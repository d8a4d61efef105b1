/* The core under a seeded simulator: one real thread plays several, on a clock of its own, with a
 * faulty backend, and after every operation the pools are compared with the simulator's own model.
 *
 *     world.c      pools, limits and mailboxes of one run; the log of the last operations
 *     backend.c    the connector: what is opened and closed when, and what goes wrong
 *     requests.c   requests and borrowed connections: what a grant must be, fairness
 *     actions.c    random operations of borrowers
 *     changes.c    random operations of operators: settings, pause, evict, close, the clock
 *     checks.c     the invariants, checked after each operation
 *     calm.c       from time to time all faults stop: then everybody must be served
 *     main.c       seeds, arguments, results */
#ifndef MP_TESTS_SIM_SIM_H
#define MP_TESTS_SIM_SIM_H

#include "base/clock.h"
#include "base/random.h"

#include <mantis/pool.h>
#include <stdbool.h>
#include <stdint.h>

#define SIM_PLACES 6     /* pools that are open at a time */
#define SIM_POOLS_MAX 48 /* with those that were closed while connections were out */
#define SIM_LIMITS_MAX 3
#define SIM_MAILBOXES_MAX 5
#define SIM_REQUESTS_MAX 192
#define SIM_HELD_MAX 192
#define SIM_NATIVES_MAX 768
#define SIM_OPS_MAX 1024
#define SIM_STARTS_MAX 96
#define SIM_STALE_MAX 32
#define SIM_RECENT_MAX 48
#define SIM_STATUSES 20
#define SIM_LOG_MAX 20

typedef struct sim_pool sim_pool;

/* What connector->start gave: one set of parameters of one pool. */
typedef struct sim_start {
    bool is_used;
    sim_pool *pool;
    uint32_t configuration; /* from 1 */
    uint32_t natives, ops;  /* that still belong to it */
} sim_start;

typedef enum sim_op_kind { SIM_OPEN, SIM_CHECK, SIM_RESET, SIM_CLOSE, SIM_OP_KINDS } sim_op_kind;

/* A connection as the backend knows it. */
typedef struct sim_native {
    bool is_open, is_broken, is_out; /* is_out: lent, and not released yet */
    bool is_dirty;                   /* marked so by its holder, and not reset yet */
    sim_start *start;
    mantis_op *op; /* under way on it, or NULL */
    int64_t opened_at_ns;
    int64_t lifetime_ns;            /* as it was set when it was opened, before the jitter */
    int64_t born_ns, idle_since_ns; /* without the time in which the pool stood still */
    uint64_t number;
} sim_native;

/* An operation under way. */
typedef struct sim_op {
    mantis_op *op;
    sim_op_kind kind;
    sim_start *start;
    sim_native *native;
    int64_t started_at_ns, deadline_ns;
    bool is_interrupted, is_stuck, is_prober;
} sim_op;

/* How a request ended, kept for a while for the fairness of those around it. */
typedef struct sim_recent {
    uint64_t number; /* in the order of asking */
    int64_t end_ns;  /* when it was granted or gave up */
    uint32_t home;
    bool is_granted;
    bool is_handed; /* a waiter, and no try */
    uint32_t passed;
    int64_t first_pass_ns, last_pass_ns;
} sim_recent;

typedef struct sim_request {
    mantis_waiter waiter; /* first, so that a drained waiter is its request */
    enum { SIM_REQUEST_FREE, SIM_REQUEST_WAITS, SIM_REQUEST_WATCHES, SIM_REQUEST_SENT } state;
    sim_pool *pool;
    uint32_t mailbox, home;
    bool is_nested; /* asked inside a hook, or a hook ran while asking: its place is not known */
    uint64_t number;
    int64_t asked_at_ns, deadline_ns;
} sim_request;

typedef struct sim_held {
    mantis_conn conn;
    sim_pool *pool;
    sim_native *native; /* NULL: the pool was closed before it was known */
    sim_request *watch;
} sim_held;

/* One pool from open to its last release, and what the simulator knows about it. */
struct sim_pool {
    bool is_used, is_open;
    mantis_pool *pool;
    uint32_t place, number;
    mantis_pool_config config; /* as it is now, after all changes */
    uint32_t limits;           /* one bit each */
    bool has_checks, has_interrupt;
    bool has_suspects; /* idle ones may have to be checked first: try does not lend those */

    uint64_t attempts, answered[SIM_STATUSES], granted_waiting;
    int64_t wait_sum_ns;
    uint32_t held, pending, natives, ops[SIM_OP_KINDS];
    uint32_t configuration; /* how often it was started */
    uint32_t configured;    /* what all connections have that are lent after configured_at_ns */
    int64_t evict_from_ns, evicted_at_ns, hard_evicted_at_ns, configured_at_ns;
    int64_t paused_at_ns, resumed_at_ns;
    bool is_paused, is_failing; /* how it is paused */
    int64_t due_ns;             /* of the next tend */
    bool is_tended, was_tended; /* now; ever */

    /* the backend's view of its opens */
    bool has_failed;
    uint32_t failures, successes;     /* in a row: failures, and successes after the last of them */
    uint32_t probers;                 /* opens under way that began after the last failure */
    int64_t failed_at_ns, backoff_ms; /* the latter: the longest pause, as set at that time */
    uint32_t decided;                 /* opens still to begin that were decided on before that */
    uint64_t premature; /* closes of connections that were neither old nor idle for long */
    int64_t stalled_ns; /* how long it stood still: nobody tended it when it was due */

    uint32_t total_before;   /* as of the last check */
    mantis_pool_stats stats; /* likewise */
    sim_recent recent[SIM_RECENT_MAX];
    uint32_t recent_count;
};

typedef struct sim_limit {
    mantis_limit *limit;
    int64_t max;
    uint32_t in_use_before;
} sim_limit;

typedef struct sim_mailbox {
    mantis_mailbox *mailbox;
    uint32_t home;
    bool is_armed; /* the last drain returned 0 */
} sim_mailbox;

typedef struct sim_backend {
    bool is_down;
    uint32_t inline_percent, fail_percent, stuck_percent;
} sim_backend;

typedef struct sim_log_entry {
    const char *name;
    uint64_t number;
    int64_t now_ns, a, b, c;
} sim_log_entry;

typedef struct sim {
    uint64_t seed, op, ops;
    bool is_verbose, is_calm, is_quiet_hooks;
    uint32_t depth;  /* of operations inside hooks */
    uint64_t nested; /* operations inside hooks so far */
    mp_random random;
    int64_t now_ns;
    uint64_t numbers;

    uint32_t limit_count, mailbox_count;
    sim_limit limits[SIM_LIMITS_MAX];
    sim_mailbox mailboxes[SIM_MAILBOXES_MAX];
    sim_pool pools[SIM_POOLS_MAX];
    sim_pool *open[SIM_PLACES];    /* NULL: closed at the moment */
    uint32_t place_count, opening; /* opening: one bit a place, where a pool is being opened */
    sim_backend backends[SIM_PLACES];
    sim_start starts[SIM_STARTS_MAX];
    sim_native natives[SIM_NATIVES_MAX];
    uint32_t native_free[SIM_NATIVES_MAX], native_free_count;
    sim_op under_way[SIM_OPS_MAX];
    uint32_t under_way_count;
    sim_request requests[SIM_REQUESTS_MAX];
    sim_held held[SIM_HELD_MAX];
    uint32_t held_count, pending_count;
    mantis_conn stale[SIM_STALE_MAX];
    uint32_t stale_count;

    uint32_t touched; /* one bit a place: to be checked after this operation */
    uint32_t weights[32];
    uint64_t weight_sum;
    uint64_t granted, passed_max;
    sim_log_entry log[SIM_LOG_MAX];
    uint64_t logged;
} sim;

extern sim *sim_world;

/* world.c */
void sim_world_start(sim *world, uint64_t seed, uint64_t index);
void sim_world_finish(sim *world); /* closes everything; nothing may be left */
_Noreturn __attribute__((format(printf, 1, 2))) void sim_fail(const char *format, ...);
void sim_log(const char *name, int64_t a, int64_t b, int64_t c);
void sim_tick(void); /* a little time passes */
uint64_t sim_below(uint64_t below);
bool sim_chance(uint32_t percent);
int64_t sim_between(int64_t least, int64_t most);
void sim_pool_open(sim *world, uint32_t place);
void sim_pool_close(sim_pool *pool);
sim_pool *sim_random_pool(sim *world); /* an open one, or NULL */
void sim_touch(const sim_pool *pool);
void sim_forget_closed(sim *world); /* pools of which nothing is left */
void sim_act_as(uint32_t mailbox);  /* the thread that owns this mailbox is the calling one */

#define sim_check(condition, ...)                                                                  \
    (__builtin_expect(!!(condition), 1) ? (void)0 : sim_fail(__VA_ARGS__))

/* backend.c */
extern const mantis_connector sim_connector, sim_plain_connector;
void sim_backend_complete(uint32_t index, bool is_healthy);
void sim_backend_complete_all(void);

/* How long it has been open and idle, but for the time in which its pool stood still. */
int64_t sim_native_age_ns(const sim_native *native);
int64_t sim_native_idle_ns(const sim_native *native);

/* requests.c */
void sim_granted(sim_pool *pool, mantis_conn conn, const sim_recent *how);
void sim_refused(sim_pool *pool, mantis_status status);
void sim_outcome(sim_request *request, mantis_status status);
void sim_fairness(sim_pool *pool, const sim_recent *request);
void sim_release(uint32_t index, mantis_release how);
sim_request *sim_request_new(void);
uint64_t sim_number(void);

/* actions.c, changes.c */
void sim_step(sim *world); /* one random operation */
void sim_new_weights(sim *world);
void sim_hook_step(sim_pool *pool); /* perhaps one inside a hook */
size_t sim_drain(uint32_t mailbox, size_t max);
void sim_try(sim_pool *pool);
void sim_ask(sim_pool *pool);
void sim_tend(sim_pool *pool);
void sim_resume(sim_pool *pool);
void sim_change(uint32_t which); /* one of the operators' operations */
#define SIM_CHANGES 14

/* checks.c */
void sim_check_touched(sim *world);
void sim_check_all(sim *world);
void sim_check_backoff(sim_pool *pool); /* just tended */

/* calm.c */
void sim_calm(sim *world);

#endif
