/* Reading and writing keys. */
#include "connectors/postgres_kv.h"

#include "base/error.h"
#include "connectors/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

/* ---- writes ---- */

static mantis_status refuse_in_snapshot(const mp_postgres_session *session, mantis_error *error) {
    if (!session->has_begun || session->kind == MANTIS_TRANSACTION_WRITE) return MANTIS_OK;
    return mp_error_set(error, MANTIS_INVALID, "write: a snapshot only reads");
}

/* Outside of a transaction; within one, its commit says. */
static void add_sync(PGconn *conn, mantis_durability durability) {
    if (durability == MANTIS_DURABLE_SYNCED && PQtransactionStatus(conn) == PQTRANS_IDLE)
        mp_postgres_sql_add(conn, MP_POSTGRES_SYNC, NULL);
}

static void add_write(PGconn *conn, const mantis_write *write) {
    mp_postgres_params params = {0};
    mp_postgres_sql_set_bytes(&params, 0, write->key, write->key_size);
    if (write->value) {
        mp_postgres_sql_set_bytes(&params, 1, write->value, write->value_size);
        mp_postgres_sql_set_ttl(&params, 2, write->ttl_ms);
    }
    mp_postgres_sql_add(conn, write->value ? MP_POSTGRES_SET : MP_POSTGRES_DELETE, &params);
}

/* By key, and those of one key as they came. */
static int compare_writes(const void *left, const void *right) {
    const mantis_write *a, *b;
    memcpy(&a, left, sizeof a);
    memcpy(&b, right, sizeof b);
    int order = memcmp(a->key, b->key, a->key_size < b->key_size ? a->key_size : b->key_size);
    if (order != 0) return order;
    if (a->key_size != b->key_size) return a->key_size < b->key_size ? -1 : 1;
    return a < b ? -1 : a > b;
}

static mantis_status kv_write(void *native, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error) {
    PGconn *conn = native;
    mantis_status status = refuse_in_snapshot(mp_postgres_session_of(conn), error);
    if (status != MANTIS_OK) return status;
    const mantis_write *one = writes, **sorted = &one;
    if (count > 1) { /* two batches lock their rows in the same order, so neither waits for both */
        sorted = malloc(count * sizeof *sorted);
        if (!sorted) return mp_error_set(error, MANTIS_NOMEM, "write: out of memory");
        for (size_t i = 0; i < count; i++) sorted[i] = &writes[i];
        qsort(sorted, count, sizeof *sorted, compare_writes);
    }
    status = mp_postgres_sql_begin(conn, error);
    if (status == MANTIS_OK) {
        add_sync(conn, durability);
        for (size_t i = 0; i < count; i++) add_write(conn, sorted[i]);
        status = mp_postgres_sql_end(conn, "write", NULL, error);
    }
    if (sorted != &one) free(sorted);
    return status;
}

/* ---- reads ---- */

static void free_result(void *owner) { PQclear(owner); }

static mantis_status read_key(PGconn *conn, mp_postgres_statement statement, const void *key,
                              size_t key_size, PGresult **out, mantis_error *error) {
    mp_postgres_params params = {0};
    mp_postgres_sql_set_bytes(&params, 0, key, key_size);
    PGresult *result = NULL;
    mantis_status status = mp_postgres_sql_run(conn, statement, &params, "read", &result, error);
    if (status != MANTIS_OK) return status;
    status = mp_postgres_txn_note(mp_postgres_session_of(conn), key, key_size,
                                  PQntuples(result) > 0, error);
    if (status == MANTIS_OK) *out = result;
    else PQclear(result);
    return status;
}

static mantis_status kv_get(void *native, const void *key, size_t key_size, mantis_value *out,
                            mantis_error *error) {
    PGresult *result = NULL;
    mantis_status status = read_key(native, MP_POSTGRES_GET, key, key_size, &result, error);
    if (status != MANTIS_OK) return status;
    if (PQntuples(result) == 0) {
        PQclear(result);
        return mp_error_set(error, MANTIS_NOT_FOUND, "get: there is no such key");
    }
    *out = (mantis_value){.data = PQgetvalue(result, 0, 0),
                          .size = (size_t)PQgetlength(result, 0, 0),
                          .version = mp_postgres_sql_number(result, 0, 1),
                          .expires_ms = mp_postgres_scan_expires_ms(result, 0, 2),
                          .owner = result,
                          .free_owner = free_result};
    return MANTIS_OK;
}

static mantis_status kv_exists(void *native, const void *key, size_t key_size, bool *out,
                               mantis_error *error) {
    PGresult *result = NULL;
    mantis_status status = read_key(native, MP_POSTGRES_EXISTS, key, key_size, &result, error);
    if (status != MANTIS_OK) return status;
    *out = PQntuples(result) > 0;
    PQclear(result);
    return MANTIS_OK;
}

/* ---- compare and set ---- */

static mp_postgres_statement choose_statement(const mantis_write *write, uint64_t expected) {
    if (!write->value) return expected ? MP_POSTGRES_DELETE_IF : MP_POSTGRES_EXISTS;
    return expected ? MP_POSTGRES_SET_IF : MP_POSTGRES_SET_ABSENT;
}

static void set_params(mp_postgres_params *params, const mantis_write *write, uint64_t expected) {
    mp_postgres_sql_set_bytes(params, 0, write->key, write->key_size);
    if (write->value) {
        mp_postgres_sql_set_bytes(params, 1, write->value, write->value_size);
        mp_postgres_sql_set_ttl(params, 2, write->ttl_ms);
    }
    if (expected) mp_postgres_sql_set_number(params, write->value ? 3 : 1, expected);
}

static mantis_status kv_compare_and_set(void *native, const mantis_write *write, uint64_t expected,
                                        mantis_durability durability, uint64_t *version,
                                        mantis_error *error) {
    PGconn *conn = native;
    if (mp_postgres_txn_is_open(conn))
        return mp_error_set(error, MANTIS_INVALID,
                            "compare and set: not in a transaction, which checks what it has read");
    mp_postgres_statement statement = choose_statement(write, expected);
    mp_postgres_params params = {0};
    set_params(&params, write, expected);
    mantis_status status = mp_postgres_sql_begin(conn, error);
    if (status != MANTIS_OK) return status;
    add_sync(conn, durability);
    mp_postgres_sql_add(conn, statement, &params);
    PGresult *result = NULL;
    status = mp_postgres_sql_end(conn, "compare and set", &result, error);
    if (status != MANTIS_OK) return status;
    bool has_row = PQntuples(result) > 0;
    bool is_done = statement == MP_POSTGRES_EXISTS ? !has_row : has_row;
    if (is_done && version) *version = write->value ? mp_postgres_sql_number(result, 0, 0) : 0;
    PQclear(result);
    if (is_done) return MANTIS_OK;
    return mp_error_set(error, MANTIS_CONFLICT,
                        expected ? "compare and set: the key has another version by now"
                                 : "compare and set: the key is there already");
}

const mantis_kv mp_postgres_kv = {.write = kv_write,
                                  .get = kv_get,
                                  .exists = kv_exists,
                                  .scan = mp_postgres_scan,
                                  .compare_and_set = kv_compare_and_set,
                                  .begin = mp_postgres_txn_begin,
                                  .commit = mp_postgres_txn_commit,
                                  .rollback = mp_postgres_txn_rollback};
