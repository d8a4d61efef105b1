/* What the parts of the PostgreSQL connector share: the state beside a PGconn, waiting for the
 * server until a deadline, and its errors as ours. The native connection is the PGconn itself. */
#ifndef MP_CONNECTORS_POSTGRES_H
#define MP_CONNECTORS_POSTGRES_H

#include "connectors/postgres_dsn.h"

#include <libpq-fe.h>
#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What target_session_attrs asks of the server, also later. */
typedef enum mp_postgres_role {
    MP_POSTGRES_ANY = 0, /* also prefer-standby: any will do */
    MP_POSTGRES_READ_WRITE,
    MP_POSTGRES_READ_ONLY,
    MP_POSTGRES_PRIMARY,
    MP_POSTGRES_STANDBY
} mp_postgres_role;

/* The keys that a transaction has read one by one. */
typedef struct mp_postgres_reads {
    struct mp_postgres_read **keys;
    size_t count, room;
    int64_t bytes_left; /* that may be kept; negative: no limit */
} mp_postgres_reads;

/* What belongs to one connection besides its PGconn, which frees it. */
typedef struct mp_postgres_session {
    /* set at open, then const */
    const mp_postgres_dsn *dsn;
    mp_postgres_role role;
    /* who has the connection only */
    bool is_dying;           /* the server has said that it ends this connection */
    bool has_table;          /* the one of the key-value operations */
    bool must_recall;        /* which of these, is not known for sure */
    uint32_t prepared;       /* bit i: the server knows statement i of ours */
    bool has_begun;          /* a transaction by mantis_conn_begin() */
    mantis_transaction kind; /* of it */
    mantis_status failure;   /* why it can only be rolled back; OK: it goes on */
    mp_postgres_reads reads; /* of it */
} mp_postgres_session;

/* ---- postgres_link ---- */

/* Connect, to the first of several hosts that will do; one that does not answer gets its share of
 * the time and no more.
 * Owner   the caller, until PQfinish(). NULL: *why says why not. */
PGconn *mp_postgres_link_open(const mp_postgres_dsn *dsn, int64_t deadline_ns, mantis_error *why);

/* Send SQL and wait for all of its results. What the last one with rows or an error is, comes out
 * in *out, if that is not NULL.
 * Owner   the caller frees *out with PQclear().
 * Errors  TIMEOUT IO, and those of mp_postgres_error_of_result() */
mantis_status mp_postgres_link_run(PGconn *conn, const char *sql, int64_t deadline_ns,
                                   PGresult **out, mantis_error *why);

/* Is there something to read, or has the server hung up? Then take it in. False: the connection is
 * of no use any more. At most one system call if there is nothing. */
bool mp_postgres_link_look(PGconn *conn);

/* ---- postgres_error ---- */

/* The error of a result, after the words `doing`, as ours. */
mantis_status mp_postgres_error_of_result(const PGresult *result, const char *doing,
                                          mantis_error *error);

/* The error of a connection, and with it its SQLSTATE where PQERRORS_VERBOSE shows it. */
mantis_status mp_postgres_error_of_conn(const PGconn *conn, mantis_status status,
                                        mantis_error *error);

/* ---- postgres ---- */

/* The state beside a connection that this connector opened. Never NULL. */
mp_postgres_session *mp_postgres_session_of(const PGconn *conn);

/* Forget its transaction, if there is one: the server's is over. */
void mp_postgres_session_forget(mp_postgres_session *session);

#endif
