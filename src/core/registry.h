/* The one mutable global: pool headers and chunks for reuse, the pools that are open.
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

/* A header with a new id, in the list of pools; NULL: no memory. Its other fields are as its last
 * pool left them, or zero. */
struct mantis_pool *mp_registry_take_pool(void);

/* Its pool is gone. */
void mp_registry_give_pool(struct mantis_pool *pool);

/* A chunk of MP_CHUNK_FIRST << order EMPTY slots for this pool, new or used before; NULL: no
 * memory, or no index. */
mp_chunk *mp_registry_take_chunk(uint32_t order, struct mantis_pool *pool);
void mp_registry_give_chunk(mp_chunk *chunk, uint32_t order);

/* From now on a fork() marks all pools in the child as FORKED. Once a process is enough. */
void mp_registry_watch_fork(void);

#endif
