/* Ceilings that several pools share.
 *
 * A token is held for each slot that is not EMPTY (C10). Who finds none queues its pool, once; a
 * token that comes back goes to the pool at the head, reserved for it. Lock order: a pool's lock,
 * then a limit's; a limit never takes a pool's lock. */
#ifndef MP_CORE_LIMIT_H
#define MP_CORE_LIMIT_H

#include "base/atomic.h"
#include "base/list.h"
#include "base/park.h"

#include <mantis/pool.h>
#include <stdbool.h>
#include <stdint.h>

/* A pool's membership in one limit. */
typedef struct mp_limit_link {
    mp_node member; /* under the limit's lock */
    mp_node want;   /* in the queue; under the limit's lock */
    mantis_limit *limit;
    mantis_pool *pool;
    bool is_wanting; /* in the queue; under the limit's lock */
    bool has_token;  /* one is reserved for it; under the limit's lock */
} mp_limit_link;

/* Join and leave. Not under a pool's lock. */
void mp_limit_join(mp_limit_link *link, mantis_limit *limit, mantis_pool *pool);
void mp_limit_leave(mp_limit_link *link);

/* Take one token of each of a pool's limits, or none. If one has none and may_queue, the pool
 * queues there. Under the pool's lock. */
bool mp_limit_take_all(mp_limit_link *links, uint32_t count, bool may_queue);

/* Give one token of each back. Under the pool's lock; then mp_limit_pass_on() without it. */
void mp_limit_give_all(mp_limit_link *links, uint32_t count);

/* Give back what was reserved for a pool that has no use for it, and take it out of the queues.
 * Under the pool's lock. True if a token came back: then mp_limit_pass_on(). */
bool mp_limit_withdraw(mp_limit_link *links, uint32_t count);

/* Reserve what is free for the pools at the heads of the queues of these limits, and let them
 * begin. Not under a pool's lock. */
void mp_limit_pass_on(mp_limit_link *links, uint32_t count);

/* Does another pool wait for a token of one of these limits? Under the pool's lock. */
bool mp_limit_is_wanted(mp_limit_link *links, uint32_t count);

/* Is one of these limits above its maximum, because that was lowered? Any thread. */
bool mp_limit_is_over(const mp_limit_link *links, uint32_t count);

/* Have an idle connection of another member closed, for a pool that queues. Not under a pool's
 * lock. */
void mp_limit_evict_sibling(mp_limit_link *links, uint32_t count);

/* Its first request has waited for long: let the member with the most connections owe one. Not
 * under a pool's lock. */
void mp_limit_charge(mp_limit_link *links, uint32_t count);

/* The name of a limit without room, for messages; NULL if all have some. */
const mantis_limit *mp_limit_full(const mp_limit_link *links, uint32_t count);
const char *mp_limit_name(const mantis_limit *limit);

#endif
