/* The pass that keeps pools healthy, and the one thread that makes it for all pools that have no
 * other keeper. */
#ifndef MP_CORE_KEEPER_H
#define MP_CORE_KEEPER_H

#include "base/ticker.h"
#include "core/pool.h"

#define MP_KEEPER_PASS_NS INT64_C(1000000000)  /* between two passes of a pool, at most */
#define MP_KEEPER_STALL_NS INT64_C(2000000000) /* later than this: the process stood still */
#define MP_LIMIT_PATIENCE_NS INT64_C(1000000000)

extern mp_ticker mp_keeper; /* makes the passes of all pools that have no other keeper */

#endif
