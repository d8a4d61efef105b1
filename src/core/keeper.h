/* The pass that keeps pools healthy, and the one thread that makes it for all pools that have no
 * other keeper. */
#ifndef MP_CORE_KEEPER_H
#define MP_CORE_KEEPER_H

#include "core/pool.h"

#define MP_KEEPER_PASS_NS INT64_C(1000000000)  /* between two passes of a pool, at most */
#define MP_KEEPER_STALL_NS INT64_C(2000000000) /* later than this: the process stood still */
#define MP_LIMIT_PATIENCE_NS INT64_C(1000000000)

/* One pass; returns when the next is due. The caller is inside the pool. */
int64_t mp_keeper_pass(mantis_pool *pool, int64_t now_ns);

/* Have the library's thread look after a pool; and no longer. Errors: NOMEM (no thread). */
mantis_status mp_keeper_add(mantis_pool *pool, mantis_error *error);
void mp_keeper_remove(mantis_pool *pool);

/* Come by at due_ns at the latest. Not under the pool's lock. */
void mp_keeper_poke(mantis_pool *pool, int64_t due_ns);

/* For fork, in the child, under the registry's lock: there is no thread any more. */
void mp_keeper_forget(void);

#endif
