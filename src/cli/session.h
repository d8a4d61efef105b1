/* What every command does around its work: opening the pool that a DSN names, and saying what went
 * wrong. */
#ifndef MP_CLI_SESSION_H
#define MP_CLI_SESSION_H

#include "cli/args.h"

#include <mantis/pool.h>

#define MP_SESSION_DSN "mantis:mantis-data"

/* Open a pool of exactly this many connections, and wait until they are open. A failure is said on
 * standard error. Answers NULL then.
 * Owner   the caller, until mp_session_close(). */
mantis_pool *mp_session_open(const mp_command *command, const char *dsn, uint32_t connections,
                             int64_t memory_max_bytes);

/* Close it. NULL is fine. */
void mp_session_close(mantis_pool *pool);

#endif
