/* Which connector a DSN means. Only for programs: a library names its connector itself. */
#ifndef MP_CONNECTORS_DSN_H
#define MP_CONNECTORS_DSN_H

#include <mantis/connector.h>
#include <mantis/status.h>
#include <stddef.h>

/* What is said about DSNs: in one line for messages, and as lines for --help. */
#define MP_DSN_STORE "mantis:DIR[?sync=interval|group], mantis::memory:"
#define MP_DSN_POSTGRES "postgres://[USER@]HOST[:PORT][/DB]"
#define MP_DSN_REDIS "redis://HOST[:PORT][/DB]"
#ifdef MP_POSTGRES_VERSION
#define MP_DSN_AND_POSTGRES(between) between MP_DSN_POSTGRES
#else
#define MP_DSN_AND_POSTGRES(between)
#endif
#ifdef MP_REDIS_VERSION
#define MP_DSN_AND_REDIS(between) between MP_DSN_REDIS
#else
#define MP_DSN_AND_REDIS(between)
#endif
#define MP_DSN_FORMS MP_DSN_STORE MP_DSN_AND_POSTGRES(", ") MP_DSN_AND_REDIS(", ")
#define MP_DSN_LINES "  " MP_DSN_STORE MP_DSN_AND_POSTGRES("\n  ") MP_DSN_AND_REDIS("\n  ") "\n"

/* One kind of backend, and whether it is in this program. */
typedef struct mp_dsn_scheme {
    const char *name;                  /* of the backend: "redis" */
    const char *prefixes[3];           /* of its DSNs: "redis:" */
    const char *forms;                 /* for people */
    const mantis_connector *connector; /* NULL: not built in */
    const char *version;               /* of the library behind it, with its name */
} mp_dsn_scheme;

/* All that this version knows, the last without a name. */
extern const mp_dsn_scheme mp_dsn_schemes[];

/* Find the connector for a DSN by its scheme; the rest of the DSN is the connector's to read.
 * Errors  INVALID (no DSN) UNSUPPORTED (a scheme that is not built in) */
mantis_status mp_dsn_find(const char *dsn, const mantis_connector **out, mantis_error *error);

/* Write a DSN for people to read, without user and password. */
void mp_dsn_format(const char *dsn, char *out, size_t size);

#endif
