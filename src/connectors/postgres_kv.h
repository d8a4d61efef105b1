/* Key-value operations on a table of PostgreSQL. */
#ifndef MP_CONNECTORS_POSTGRES_KV_H
#define MP_CONNECTORS_POSTGRES_KV_H

#include "connectors/postgres.h"

extern const mantis_kv mp_postgres_kv;

/* ---- postgres_txn: as mantis_kv has them ---- */

mantis_status mp_postgres_txn_begin(void *native, mantis_transaction kind, int64_t memory_max_bytes,
                                    mantis_error *error);
mantis_status mp_postgres_txn_commit(void *native, mantis_durability durability,
                                     mantis_error *error);
mantis_status mp_postgres_txn_rollback(void *native, mantis_error *error);

/* A transaction that writes has read this key: its commit fails if it is written meanwhile. Does
 * nothing in any other.
 * Errors  TOO_BIG NOMEM */
mantis_status mp_postgres_txn_note(mp_postgres_session *session, const void *key, size_t key_size,
                                   bool is_found, mantis_error *error);

/* Is one open that was begun with mantis_conn_begin()? */
bool mp_postgres_txn_is_open(const PGconn *conn);

/* ---- postgres_scan: as mantis_kv has it ---- */

mantis_status mp_postgres_scan(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                               mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                               mantis_error *error);

/* When a row expires, as borrowers are told: milliseconds since 1970, 0 for never. */
int64_t mp_postgres_scan_expires_ms(const PGresult *result, int row, int column);

#endif
