/* What a DSN of Redis says. */
#ifndef MP_CONNECTORS_REDIS_DSN_H
#define MP_CONNECTORS_REDIS_DSN_H

#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_REDIS_TIMEOUT_MS 5000 /* when the DSN names none */

/* A zeroed one is empty. The texts are one piece of memory: mp_redis_dsn_finish() gives it back. */
typedef struct mp_redis_dsn {
    char *texts;
    size_t texts_size;
    const char *path;     /* of the socket; NULL: host and port */
    const char *host;     /* without brackets */
    const char *port;     /* as text, in range */
    const char *user;     /* NULL: the default user */
    const char *password; /* NULL: no AUTH */
    const char *name;     /* for CLIENT SETNAME; NULL: none */
    uint32_t db;
    uint32_t timeout_ms; /* 0: none */
    bool wants_primary;  /* role=primary */
    char label[112];     /* for messages: host and port, or the path */
} mp_redis_dsn;

/* Read a DSN, see mantis/redis.h. No error text has anything of user and password.
 * Owner   the caller, until mp_redis_dsn_finish().
 * Errors  INVALID UNSUPPORTED (rediss) NOMEM */
mantis_status mp_redis_dsn_parse(const char *text, mp_redis_dsn *out, mantis_error *error);

/* Wipe and free it. An empty one is fine. */
void mp_redis_dsn_finish(mp_redis_dsn *dsn);

#endif
