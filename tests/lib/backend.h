/* A connector for tests that counts what it opens, and a clock that a test sets.
 *
 * Every test runs in a process of its own, so there is one backend. With `fake` its operations
 * complete at once, or are held until the test completes them; with `slow` they run on the
 * library's opener threads and may block for as long as the test likes. */
#ifndef MP_TESTS_LIB_BACKEND_H
#define MP_TESTS_LIB_BACKEND_H

#include <mantis/pool.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define BACKEND_HELD_MAX 1024

enum { OP_OPEN, OP_CHECK, OP_RESET, OP_CLOSE, OP_KINDS };

/* A connection as the backend made it: what mantis_conn_native() gives. */
typedef struct handle {
    _Atomic uint32_t owner; /* the test's own word: who has it now */
    _Atomic bool is_broken;
    int64_t opened_ns;
    uint64_t number;  /* from 1 */
    uint32_t version; /* of the parameters: how often start had run */
} handle;

typedef struct held_op {
    mantis_op *op;
    int kind;
    handle *native;
} held_op;

typedef struct backend_state {
    _Atomic int64_t now_ns;           /* the fake clock */
    _Atomic bool is_down;             /* opens and checks fail */
    _Atomic bool holds[OP_KINDS];     /* keep operations of this kind until completed */
    _Atomic bool blocks[OP_KINDS];    /* slow: stay inside the call while this is set */
    _Atomic int64_t delay_ns;         /* slow: how long an open takes */
    _Atomic uint64_t begun[OP_KINDS]; /* operations begun so far */
    _Atomic uint64_t aborted, interrupted, starts, stops, probed; /* probed: calls of is_broken */
    _Atomic int32_t handles, handles_max;                         /* open now, and most at a time */
    _Atomic int32_t opening, opening_max; /* opens under way, and most at a time */
    _Atomic int32_t inside;               /* slow: calls inside the connector */
    void (*on_call)(int kind);            /* called inside each operation, if set */
    held_op held[BACKEND_HELD_MAX];
    uint32_t held_count;
    int64_t begun_ns[4096]; /* when opens began, the first 4096 */
} backend_state;

extern backend_state backend;

extern const mantis_connector fake, slow;
extern const mantis_connector bare; /* fake with nothing but open and close */

/* A pool of the fake connector on the fake clock, tended by the test, with a fixed seed. What is
 * not named here is the default, but: no check, no lifetime, no idle timeout. */
mantis_pool_config fake_config(int64_t conns_min, int64_t conns_max);

/* A pool of the slow connector on the real clock, with the library's keeper. */
mantis_pool_config real_config(int64_t conns_min, int64_t conns_max);

/* Open it, or fail the test. */
mantis_pool *pool_open(const mantis_pool_config *config);

/* Close it, and see that nothing is left in the backend. */
void pool_close(mantis_pool **pool);

/* The clock goes on. */
void clock_advance(int64_t ns);
int64_t clock_now(void);

/* One pass of the keeper now; returns when it is due again. */
int64_t tend(mantis_pool *pool);

/* The clock goes on by ns, with the passes of the keeper that are due on the way. */
void run_for(mantis_pool *pool, int64_t ns);

/* Complete the held operation with this index, or all, done or failed. */
void complete(uint32_t index, bool is_done);
void complete_all(bool is_done);

mantis_pool_stats stats_of(mantis_pool *pool);

/* The connection that must be there at once. */
mantis_conn take(mantis_pool *pool);
handle *handle_of(mantis_conn conn);

/* A mailbox without a home. */
mantis_mailbox *mailbox_open(void);

/* Ask through the mailbox, for ever or until the deadline; the call must be accepted. */
void ask(mantis_pool *pool, mantis_mailbox *mailbox, mantis_waiter *waiter, int64_t deadline_ns);

/* Drain one outcome; NULL if there is none. */
mantis_waiter *drain_one(mantis_mailbox *mailbox);

/* Wait in real time until the condition holds, at most ten seconds. */
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        int64_t end_ns_ = mantis_deadline_ms(10000);                                               \
        while (!(condition)) {                                                                     \
            check(mantis_now_ns() < end_ns_);                                                      \
            sleep_ms(1);                                                                           \
        }                                                                                          \
    } while (0)
void sleep_ms(int64_t ms);

#endif
