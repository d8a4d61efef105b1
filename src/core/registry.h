/* The one mutable global: pool headers and chunks for reuse, the pools that are open, the homes.
 *
 * Headers and chunks are type-stable: they are never freed, so a thread that is late in a call
 * reads old memory of the right type, never somebody else's. A header waits until nobody is inside
 * a call of its old pool, and until MP_POOLS_RESTING others were closed after it. */
#ifndef MP_CORE_REGISTRY_H
#define MP_CORE_REGISTRY_H

#include "base/list.h"
#include "base/park.h"
#include "core/slots.h"

#include <mantis/pool.h>
#include <stdint.h>

#define MP_POOLS_RESTING 64
#define MP_HOMES 256

/* A header with a new id, in the list of pools; NULL: no memory. Its other fields are as its last
 * pool left them, or zero. */
struct mantis_pool *mp_registry_take_pool(void);

/* Its pool is gone. */
void mp_registry_give_pool(struct mantis_pool *pool);

/* A chunk of MP_CHUNK_FIRST << order EMPTY slots for this pool, new or used before; NULL: no memory,
 * or no index. */
mp_chunk *mp_registry_take_chunk(uint32_t order, struct mantis_pool *pool, uint32_t pool_id);
void mp_registry_give_chunk(mp_chunk *chunk, uint32_t order);

/* Call on each pool in the list, under the registry's lock. */
void mp_registry_each(void (*visit)(struct mantis_pool *pool));

/* The lock of the list; fork takes it. */
void mp_registry_lock(void);
void mp_registry_unlock(void);
void mp_registry_lock_homes(void);
void mp_registry_unlock_homes(void);
void mp_registry_forget_homes(void); /* in a child */

/* Make a mailbox the one of its home, or with NULL nobody's. False: the home has one already. */
bool mp_registry_set_home(uint32_t home, mantis_mailbox *mailbox);

/* Hand an operation to the mailbox of a home. False: the home has no mailbox. */
bool mp_registry_post_op(uint32_t home, mp_slot *slot);

#endif
