/* What the core's scenarios share: pools over a connector that counts its handles, an owner word in
 * each connection, mailboxes whose owner sleeps, and what must hold after every schedule. */
#ifndef MP_EXPLORE_FIXTURE_H
#define MP_EXPLORE_FIXTURE_H

#include "explore.h"

#include <mantis/pool.h>

#define FX_NATIVES_MAX 32
#define FX_HELD_MAX 8
#define FX_POOLS_MAX 3
#define FX_LIMITS_MAX 2

typedef struct fx_native {
    uint32_t owner; /* the thread that has borrowed it; 0: none */
    uint32_t serial;
    bool is_open, is_broken;
    uint8_t pool;
} fx_native;

typedef struct fx_state {
    mantis_pool *pools[FX_POOLS_MAX];
    mantis_pool *pool; /* the first of them */
    uint32_t max[FX_POOLS_MAX];
    mantis_limit *limits[FX_LIMITS_MAX];
    uint32_t limits_max[FX_LIMITS_MAX];
    uint32_t members[FX_LIMITS_MAX]; /* of a limit: bit per pool */
    mantis_mailbox *mailbox;
    mantis_conn held; /* by nobody in particular, from the set-up */
    fx_native *held_native;
    mantis_waiter waiters[2];

    /* the connector */
    bool holds_opens;     /* opens complete when a thread says so */
    uint32_t fails_opens; /* so many fail first */
    mantis_op *ops[FX_HELD_MAX];
    uint32_t ops_count;
    uint32_t handles[FX_POOLS_MAX]; /* open or being opened or closed */
    uint32_t serials;
    fx_native natives[FX_NATIVES_MAX];

    /* the scenario's own */
    uint32_t flag, done, outcomes;
    bool is_over; /* fx_wait_readable() sleeps no more */
    mantis_status status;
} fx_state;

extern fx_state fx;

/* ---- set-up: each begins with fx_begin() ---- */

void fx_begin(void);
void fx_open_limit(uint32_t index, uint32_t max, uint32_t members); /* before its pools */
void fx_open_pool(uint32_t index, uint32_t max, uint32_t warm);
void fx_hold_one(uint32_t index);    /* borrow one of a pool into fx.held */
void fx_open_mailbox(uint32_t home); /* for thread 1 */
void fx_begin_held(uint32_t max);    /* a pool with all of max open, one of them held */

/* ---- what threads do ---- */

#define FX_NOBODY 99

void fx_own(mantis_conn conn);   /* it is the calling thread's alone */
void fx_give(mantis_conn *conn); /* release it, clean */
void fx_give_as(mantis_conn *conn, mantis_release how);
void fx_give_held(void);                                         /* release fx.held */
mantis_status fx_borrow(mantis_pool *pool, int64_t deadline_ns); /* acquire, own, give */
void fx_borrow_for_sure(void); /* from the first pool, without a deadline: it must succeed */
bool fx_try_once(void);        /* try, own, give */
void fx_ask(uint32_t index, int64_t deadline_ns); /* fx.waiters[index], asynchronously */
void fx_take_outcomes(uint32_t count); /* drain, sleep, … until so many have come in all */
void fx_complete_opens(void);          /* those that the connector holds */
void fx_wait_readable(int fd, int64_t deadline_ns); /* of an eventfd: in platform.c */
void fx_end_waits(void);                            /* for a descriptor, from now on */
void fx_set_flag(uint32_t *flag);                   /* and wake who waits for it */
void fx_wait_flag(uint32_t *flag);
void fx_tend_until_done(void); /* the keeper: until fx.done is 1 */

/* ---- afterwards ---- */

/* No slot lost, no handle leaked: the most connections can be borrowed, and not one more. */
void fx_check(void);
/* As fx_check(), for pools that the scenario has closed. */
void fx_check_closed(void);

#endif
