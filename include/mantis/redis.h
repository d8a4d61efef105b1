/* Connections to Redis for a pool: libmantispool-redis, on hiredis.
 *
 * The native connection is a `redisContext *` of hiredis: connected, logged in, in blocking mode.
 * Key-value operations of mantis/store.h work on it too. docs/redis.md says how a pool of them
 * behaves when a server fails, and what each operation does. */
#ifndef MANTIS_REDIS_H
#define MANTIS_REDIS_H

#include <mantis/connector.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The connector. A DSN is `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, with an IPv6 address in
 * brackets, port 6379 and database 0 if none is given, or for a socket in the file system
 * `redis+unix://[[USER]:PASSWORD@]/PATH`. Everything in it is percent-encoded. TLS (`rediss://`) is
 * UNSUPPORTED. Options stand behind a `?`, with `&` between them: `db=N` is the database;
 * `name=TEXT` what CLIENT LIST calls the connection; `timeout_ms=N` how long a server may be silent
 * before a command fails (5000; 0: for ever); `role=primary` lends connections to a primary alone,
 * since opens and checks fail at a replica.
 *
 * Key-value operations: a write is as durable as the server's own configuration makes it, and
 * SYNCED is UNSUPPORTED. A batch is MULTI and EXEC. A scan has no order and no snapshot: it visits
 * every key that is there from its beginning to its end at least once, one that comes or goes
 * meanwhile perhaps, and one may come twice; keys that hold no string are passed over. Its cursor
 * goes on at any connection to the same server. Values have no version; compare-and-set and
 * transactions are UNSUPPORTED. */
MANTIS_API extern const mantis_connector mantis_redis;

#ifdef __cplusplus
}
#endif
#endif
