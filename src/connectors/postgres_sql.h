/* The statements of the key-value operations, run in batches: one trip to the server each and,
 * outside of a transaction, one transaction. A statement is prepared on its first trip. */
#ifndef MP_CONNECTORS_POSTGRES_SQL_H
#define MP_CONNECTORS_POSTGRES_SQL_H

#include "connectors/postgres.h"

typedef enum mp_postgres_statement {
    MP_POSTGRES_GET = 0,       /* key: value, version, expires */
    MP_POSTGRES_EXISTS,        /* key: a row if it is there */
    MP_POSTGRES_SET,           /* key, value, ttl */
    MP_POSTGRES_DELETE,        /* key */
    MP_POSTGRES_SET_ABSENT,    /* key, value, ttl: version, if it was not there */
    MP_POSTGRES_SET_IF,        /* key, value, ttl, expected: version, if it was the expected one */
    MP_POSTGRES_DELETE_IF,     /* key, expected: a row, if it was the expected one */
    MP_POSTGRES_SCAN,          /* first key, limit: key, value, version, expires */
    MP_POSTGRES_SCAN_BELOW,    /* the same below a third key */
    MP_POSTGRES_LOCK,          /* key, that was there: fails if it was written since BEGIN */
    MP_POSTGRES_LOCK_ABSENT,   /* key, that was not there: the same; leaves a mark */
    MP_POSTGRES_UNLOCK_ABSENT, /* key: takes the mark away again */
    MP_POSTGRES_SYNC,          /* this transaction is on disk before it is acknowledged */
    MP_POSTGRES_COMMIT,
    MP_POSTGRES_STATEMENTS
} mp_postgres_statement;

#define MP_POSTGRES_PARAMS_MAX 4

/* Parameters in binary. They point into the caller's memory. */
typedef struct mp_postgres_params {
    const char *values[MP_POSTGRES_PARAMS_MAX]; /* NULL: null */
    int sizes[MP_POSTGRES_PARAMS_MAX];
    unsigned char numbers[MP_POSTGRES_PARAMS_MAX][8]; /* what a value of 8 bytes may point to */
} mp_postgres_params;

void mp_postgres_sql_set_bytes(mp_postgres_params *params, int index, const void *bytes,
                               size_t size);
void mp_postgres_sql_set_number(mp_postgres_params *params, int index, uint64_t number);

/* How long a key lives; 0, or longer than a date can be: for ever. */
void mp_postgres_sql_set_ttl(mp_postgres_params *params, int index, int64_t ttl_ms);

/* A number of 8 bytes in a result. */
uint64_t mp_postgres_sql_number(const PGresult *result, int row, int column);

/* See that nothing stands against a batch, and make the table if it is not there.
 * Errors  INVALID (pipeline mode); why the transaction can only be rolled back; those of
 *         mp_postgres_error_of_result() */
mantis_status mp_postgres_sql_prepare(PGconn *conn, mantis_error *error);

/* Begin a batch, of at least one statement, on a connection that nothing else is under way on.
 * Errors  as mp_postgres_sql_prepare() */
mantis_status mp_postgres_sql_begin(PGconn *conn, mantis_error *error);

/* Add a statement. A failure shows at the end. */
void mp_postgres_sql_add(PGconn *conn, mp_postgres_statement statement,
                         const mp_postgres_params *params);

/* Run the batch. *out, if not NULL, is the result of its last statement.
 * Owner   the caller frees *out with PQclear().
 * Errors  those of mp_postgres_error_of_result() */
mantis_status mp_postgres_sql_end(PGconn *conn, const char *doing, PGresult **out,
                                  mantis_error *error);

/* A batch of one statement. */
mantis_status mp_postgres_sql_run(PGconn *conn, mp_postgres_statement statement,
                                  const mp_postgres_params *params, const char *doing,
                                  PGresult **out, mantis_error *error);

#endif
