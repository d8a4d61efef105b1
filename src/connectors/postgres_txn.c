/* Transactions: those of PostgreSQL with one snapshot (REPEATABLE READ), which see their own
 * writes. What others wrote meanwhile to a key that is written here, the server refuses. What was
 * only read is locked at the commit, in the order of the keys, and refused if it was written since
 * the beginning: also by a plain set, which takes part in no checks of the server's own. */
#include "connectors/postgres_kv.h"

#include "base/clock.h"
#include "base/error.h"
#include "connectors/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

/* One key that was read. */
struct mp_postgres_read {
    bool is_found;
    size_t size;
    unsigned char key[];
};

/* The snapshot is taken by the first statement behind BEGIN. */
static const char begin_sql[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; SELECT 1";
static const char begin_snapshot_sql[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";

/* ---- what it has read ---- */

static struct mp_postgres_read **grow(mp_postgres_reads *reads) {
    size_t room = reads->room ? 2 * reads->room : 16;
    struct mp_postgres_read **keys = realloc(reads->keys, room * sizeof(struct mp_postgres_read *));
    if (!keys) return NULL;
    reads->keys = keys;
    reads->room = room;
    return keys;
}

mantis_status mp_postgres_txn_note(mp_postgres_session *session, const void *key, size_t key_size,
                                   bool is_found, mantis_error *error) {
    mp_postgres_reads *reads = &session->reads;
    if (!session->has_begun || session->kind != MANTIS_TRANSACTION_WRITE) return MANTIS_OK;
    if (reads->bytes_left >= 0 && reads->bytes_left < (int64_t)key_size)
        return mp_error_set(error, MANTIS_TOO_BIG,
                            "the transaction has read more keys than conn_memory_max allows: make "
                            "it shorter, or scan");
    struct mp_postgres_read *read = malloc(sizeof *read + key_size);
    if (!read || (reads->count == reads->room && !grow(reads))) {
        free(read);
        return mp_error_set(error, MANTIS_NOMEM, "transaction: out of memory");
    }
    read->is_found = is_found;
    read->size = key_size;
    memcpy(read->key, key, key_size);
    if (reads->bytes_left >= 0) reads->bytes_left -= (int64_t)key_size;
    reads->keys[reads->count++] = read;
    return MANTIS_OK;
}

/* ---- begin and rollback ---- */

bool mp_postgres_txn_is_open(const PGconn *conn) {
    return mp_postgres_session_of(conn)->has_begun && PQtransactionStatus(conn) != PQTRANS_IDLE;
}

mantis_status mp_postgres_txn_begin(void *native, mantis_transaction kind, int64_t memory_max_bytes,
                                    mantis_error *error) {
    PGconn *conn = native;
    mp_postgres_session *session = mp_postgres_session_of(conn);
    if (PQtransactionStatus(conn) == PQTRANS_INTRANS ||
        PQtransactionStatus(conn) == PQTRANS_INERROR)
        return mp_error_set(error, MANTIS_BUSY, "begin: the connection has a transaction already");
    mp_postgres_session_forget(session); /* one that was ended by hand, in SQL */
    /* A statement that cannot be prepared would end the transaction. */
    mantis_status status = mp_postgres_sql_prepare(conn, error);
    if (status != MANTIS_OK) return status;
    bool writes = kind == MANTIS_TRANSACTION_WRITE;
    mantis_error detail = {0};
    status = mp_postgres_link_run(conn, writes ? begin_sql : begin_snapshot_sql, MP_NEVER_NS, NULL,
                                  &detail);
    if (status == MANTIS_OK) {
        session->has_begun = true;
        session->kind = kind;
        session->reads.bytes_left = memory_max_bytes;
    } else if (error) {
        *error = detail;
    }
    return status;
}

mantis_status mp_postgres_txn_rollback(void *native, mantis_error *error) {
    PGconn *conn = native;
    mantis_error detail = {0};
    mantis_status status = MANTIS_OK;
    if (mp_postgres_txn_is_open(conn))
        status = mp_postgres_link_run(conn, "ROLLBACK", MP_NEVER_NS, NULL, &detail);
    mp_postgres_session_forget(mp_postgres_session_of(conn));
    if (status != MANTIS_OK && error) *error = detail;
    return status;
}

/* ---- commit ---- */

static int compare_reads(const void *left, const void *right) {
    const struct mp_postgres_read *a, *b;
    memcpy(&a, left, sizeof a);
    memcpy(&b, right, sizeof b);
    int order = memcmp(a->key, b->key, a->size < b->size ? a->size : b->size);
    if (order != 0) return order;
    return a->size < b->size ? -1 : a->size > b->size;
}

static void add_read(PGconn *conn, const struct mp_postgres_read *read, mp_postgres_statement found,
                     mp_postgres_statement absent) {
    mp_postgres_params params = {0};
    mp_postgres_sql_set_bytes(&params, 0, read->key, read->size);
    mp_postgres_sql_add(conn, read->is_found ? found : absent, &params);
}

/* One batch: lock all that was read, and commit. */
static mantis_status commit_all(PGconn *conn, mantis_durability durability, mantis_error *error) {
    mp_postgres_reads *reads = &mp_postgres_session_of(conn)->reads;
    mantis_status status = mp_postgres_sql_begin(conn, error);
    if (status != MANTIS_OK) return status;
    if (durability == MANTIS_DURABLE_SYNCED) mp_postgres_sql_add(conn, MP_POSTGRES_SYNC, NULL);
    if (reads->count) qsort(reads->keys, reads->count, sizeof *reads->keys, compare_reads);
    for (size_t i = 0; i < reads->count; i++)
        add_read(conn, reads->keys[i], MP_POSTGRES_LOCK, MP_POSTGRES_LOCK_ABSENT);
    for (size_t i = 0; i < reads->count; i++)
        if (!reads->keys[i]->is_found)
            add_read(conn, reads->keys[i], MP_POSTGRES_LOCK, MP_POSTGRES_UNLOCK_ABSENT);
    mp_postgres_sql_add(conn, MP_POSTGRES_COMMIT, NULL);
    return mp_postgres_sql_end(conn, "commit", NULL, error);
}

mantis_status mp_postgres_txn_commit(void *native, mantis_durability durability,
                                     mantis_error *error) {
    PGconn *conn = native;
    if (!mp_postgres_txn_is_open(conn)) {
        mp_postgres_session_forget(mp_postgres_session_of(conn));
        return mp_error_set(error, MANTIS_INVALID, "commit: there is no transaction");
    }
    mantis_status status = commit_all(conn, durability, error);
    if (status != MANTIS_OK) (void)mp_postgres_txn_rollback(conn, NULL);
    mp_postgres_session_forget(mp_postgres_session_of(conn));
    return status;
}
