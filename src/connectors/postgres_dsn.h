/* What a DSN of PostgreSQL says: our own parameters, and the rest as libpq is to have it. */
#ifndef MP_CONNECTORS_POSTGRES_DSN_H
#define MP_CONNECTORS_POSTGRES_DSN_H

#include <mantis/status.h>
#include <stdint.h>

#define MP_POSTGRES_HOSTS_MAX 64
#define MP_POSTGRES_TABLE "mantis_kv"   /* without mantis_table */
#define MP_POSTGRES_RESET "DISCARD ALL" /* without mantis_reset */

/* One of several hosts, as libpq has them: NULL where the DSN names none. */
typedef struct mp_postgres_host {
    char *host, *hostaddr, *port;
} mp_postgres_host;

/* A zeroed one is empty. All of it is its own: mp_postgres_dsn_finish() gives it back. */
typedef struct mp_postgres_dsn {
    char *conninfo;                                /* for libpq, without our parameters */
    char *table;                                   /* as it stands in SQL: "schema"."name" */
    char *reset;                                   /* SQL */
    int64_t connect_timeout_ns;                    /* for one host; MP_NEVER_NS: none */
    mp_postgres_host hosts[MP_POSTGRES_HOSTS_MAX]; /* only if there are several */
    uint32_t hosts_count;                          /* 0: at most one host is named */
} mp_postgres_dsn;

/* Read a DSN, see mantis/postgres.h. No error text has anything of a password.
 * Owner   the caller, until mp_postgres_dsn_finish().
 * Errors  INVALID NOMEM */
mantis_status mp_postgres_dsn_parse(const char *text, mp_postgres_dsn *out, mantis_error *error);

/* Wipe and free it. An empty one is fine. */
void mp_postgres_dsn_finish(mp_postgres_dsn *dsn);

#endif
