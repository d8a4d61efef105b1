/* Transactions: their snapshot, what they read, what they will write, and their commit. */
#include "store/txn.h"

#include "base/error.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(MP_STORE_BATCH_BYTES_MAX / MP_TXN_KEY_BYTES <= MP_STORE_BATCH_COUNT_MAX,
               "what a transaction may hold can be one batch");

/* ---- begin and end ---- */

static size_t limit_bytes(int64_t memory_max_bytes) {
    bool is_lower = memory_max_bytes >= 0 && (uint64_t)memory_max_bytes < MP_STORE_BATCH_BYTES_MAX;
    return is_lower ? (size_t)memory_max_bytes : MP_STORE_BATCH_BYTES_MAX;
}

mantis_status mp_txn_new(mp_txn **out, mp_store *store, mantis_transaction kind,
                         int64_t memory_max_bytes, mantis_error *error) {
    mp_txn *txn = calloc(1, sizeof *txn);
    if (!txn) return mp_error_set(error, MANTIS_NOMEM, "store: no memory for a transaction");
    txn->store = store;
    txn->kind = kind;
    txn->bytes_max = limit_bytes(memory_max_bytes);
    txn->read = rocksdb_readoptions_create();
    mp_lock_acquire(&store->txns_lock);
    txn->snapshot = rocksdb_create_snapshot(store->engine.db);
    mp_list_push(&store->txns, &txn->node);
    mp_lock_release(&store->txns_lock);
    rocksdb_readoptions_set_snapshot(txn->read, txn->snapshot);
    *out = txn;
    return MANTIS_OK;
}

static void release_snapshot_locked(mp_store *store, mp_txn *txn) {
    if (!txn->snapshot) return;
    rocksdb_release_snapshot(store->engine.db, txn->snapshot);
    txn->snapshot = NULL;
    mp_list_remove(&store->txns, &txn->node);
}

static void free_replaced(mp_txn *txn) {
    for (mp_txn_value *value; (value = txn->replaced);) {
        txn->replaced = value->next;
        txn->bytes -= sizeof *value + value->size;
        free(value);
    }
}

void mp_txn_free(mp_txn *txn) {
    if (!txn) return;
    mp_lock_acquire(&txn->store->txns_lock);
    release_snapshot_locked(txn->store, txn);
    mp_lock_release(&txn->store->txns_lock);
    rocksdb_readoptions_destroy(txn->read);
    mp_txn_keys_finish(&txn->keys);
    free_replaced(txn);
    free(txn->writes);
    free(txn);
}

void mp_txn_doom_all(mp_store *store) {
    mp_lock_acquire(&store->txns_lock);
    for (mp_node *node; (node = store->txns.head);) {
        mp_txn *txn = mp_container_of(node, mp_txn, node);
        txn->doom = MANTIS_CONFLICT;
        release_snapshot_locked(store, txn);
    }
    mp_lock_release(&store->txns_lock);
}

mantis_status mp_txn_check(const mp_txn *txn, mantis_error *error) {
    if (mp_likely(txn->doom == MANTIS_OK)) return MANTIS_OK;
    if (txn->doom == MANTIS_NOMEM)
        return mp_error_set(error, MANTIS_NOMEM,
                            "transaction: memory was out for one of its writes; roll it back");
    return mp_error_set(error, txn->doom,
                        "transaction: the store has recovered from a failed disk meanwhile, and "
                        "what the transaction saw is gone; begin again");
}

/* ---- what it holds ---- */

/* Is there room for so many bytes more? */
static mantis_status check_room(const mp_txn *txn, size_t more_bytes, mantis_error *error) {
    if (mp_likely(more_bytes <= txn->bytes_max - txn->bytes)) return MANTIS_OK;
    return mp_error_set(error, MANTIS_TOO_BIG,
                        "transaction: it would hold %zu bytes (each key counts %zu beside its "
                        "own): at most %zu (conn_memory_max); commit it in parts",
                        txn->bytes + more_bytes, MP_TXN_KEY_BYTES, txn->bytes_max);
}

static size_t value_bytes(const mp_txn_key *key) { return key->value ? key->value->size : 0; }

/* ---- reads ---- */

mp_record mp_txn_record(const mp_txn_key *key) {
    return (mp_record){.value = key->value ? key->value->bytes : NULL,
                       .value_size = value_bytes(key),
                       .expires_ms = key->expires_ms};
}

/* Remember the version that a key had when it was first read (X2). */
static mantis_status add_read(mp_txn *txn, const void *bytes, size_t size, uint64_t version,
                              mantis_error *error) {
    mantis_status status = check_room(txn, MP_TXN_KEY_BYTES + size, error);
    if (status != MANTIS_OK) return status;
    mp_txn_key *key = mp_txn_keys_add(&txn->keys, bytes, size);
    if (!key) return mp_error_set(error, MANTIS_NOMEM, "transaction: out of memory");
    key->is_read = true;
    key->version = version;
    txn->bytes += MP_TXN_KEY_BYTES + size;
    return MANTIS_OK;
}

static mantis_status read_snapshot(mp_txn *txn, const void *key, size_t key_size, bool is_known,
                                   rocksdb_pinnableslice_t **pin, mp_record *record,
                                   mantis_error *error) {
    mantis_status status = mp_engine_read(&txn->store->engine, txn->read, key, key_size, pin,
                                          record, error);
    bool is_missing = status == MANTIS_NOT_FOUND;
    if ((status != MANTIS_OK && !is_missing) || is_known) return status;
    mantis_status added = add_read(txn, key, key_size, is_missing ? 0 : record->version, error);
    if (added == MANTIS_OK) return status;
    rocksdb_pinnableslice_destroy(*pin);
    *pin = NULL;
    return added;
}

mantis_status mp_txn_read(mp_txn *txn, const void *key, size_t key_size,
                          rocksdb_pinnableslice_t **pin, mp_record *record, mantis_error *error) {
    mantis_status status = mp_txn_check(txn, error);
    if (status != MANTIS_OK) return status;
    const mp_txn_key *known = mp_txn_keys_find(&txn->keys, key, key_size);
    if (!known || !known->is_written) {
        bool is_unchecked = known || txn->kind == MANTIS_TRANSACTION_SNAPSHOT;
        return read_snapshot(txn, key, key_size, is_unchecked, pin, record, error);
    }
    *record = mp_txn_record(known);
    bool is_there = record->value && !mp_engine_is_expired(&txn->store->engine, record);
    return is_there ? MANTIS_OK : MANTIS_NOT_FOUND;
}

void mp_txn_begin_scan(mp_txn *txn) { txn->scans++; }

void mp_txn_end_scan(mp_txn *txn) {
    if (--txn->scans == 0) free_replaced(txn);
}

/* ---- writes ---- */

/* How much more the transaction holds with these writes: at least, if one replaces another of
 * them. While a scan is under way, what is replaced is held besides. */
static size_t more_bytes(mp_txn *txn, const mantis_write *writes, size_t count) {
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        const mp_txn_key *known = mp_txn_keys_find(&txn->keys, writes[i].key, writes[i].key_size);
        size_t now = known && txn->scans == 0 ? value_bytes(known) : 0;
        if (txn->scans > 0) sum += sizeof(mp_txn_value);
        if (!known) sum += MP_TXN_KEY_BYTES + writes[i].key_size;
        if (writes[i].value_size > now) sum += writes[i].value_size - now;
    }
    return sum;
}

static bool add_write(mp_txn *txn, const mantis_write *write, int64_t now_ms) {
    size_t count = txn->keys.count;
    mp_txn_value *value = write->value ? malloc(sizeof *value + write->value_size) : NULL;
    mp_txn_key *key = value || !write->value
                          ? mp_txn_keys_add(&txn->keys, write->key, write->key_size)
                          : NULL;
    if (!key) {
        free(value);
        return false;
    }
    if (txn->keys.count > count) txn->bytes += MP_TXN_KEY_BYTES + write->key_size;
    if (value) {
        value->size = write->value_size;
        if (value->size > 0) memcpy(value->bytes, write->value, value->size);
    }
    txn->bytes += value ? value->size : 0;
    if (key->value) {
        txn->bytes += sizeof *key->value;
        key->value->next = txn->replaced;
        txn->replaced = key->value;
    }
    key->value = value;
    key->expires_ms = write->ttl_ms ? now_ms + write->ttl_ms : 0;
    key->is_written = true;
    if (txn->scans == 0) free_replaced(txn);
    return true;
}

mantis_status mp_txn_write(mp_txn *txn, const mantis_write *writes, size_t count,
                           mantis_error *error) {
    mantis_status status = mp_txn_check(txn, error);
    if (status != MANTIS_OK) return status;
    if (txn->kind == MANTIS_TRANSACTION_SNAPSHOT)
        return mp_error_set(error, MANTIS_INVALID,
                            "transaction: this one is a snapshot, which only reads; end it, and "
                            "begin one that writes");
    status = check_room(txn, more_bytes(txn, writes, count), error);
    if (status != MANTIS_OK) return status;
    int64_t now_ms = txn->store->engine.wall_ms();
    for (size_t i = 0; i < count; i++) {
        if (add_write(txn, &writes[i], now_ms)) continue;
        txn->doom = MANTIS_NOMEM; /* all or none: none, since it cannot be committed any more */
        return mp_error_set(error, MANTIS_NOMEM, "transaction: out of memory; roll it back");
    }
    return MANTIS_OK;
}

/* ---- commit ---- */

mantis_status mp_txn_prepare(mp_txn *txn, mp_commit *commit, mantis_error *error) {
    mantis_status status = mp_txn_check(txn, error);
    if (status != MANTIS_OK || txn->keys.count == 0) return status;
    size_t count = txn->keys.count;
    txn->writes = malloc(count * (sizeof(mantis_write) + sizeof(mp_condition)));
    if (!txn->writes)
        return mp_error_set(error, MANTIS_NOMEM, "transaction: no memory for its commit");
    mp_condition *conditions = (mp_condition *)(void *)(txn->writes + count);
    for (mp_txn_key *key = txn->keys.firsts[0]; key; key = mp_txn_key_next(key)) {
        const void *bytes = mp_txn_key_bytes(key);
        if (key->is_read)
            conditions[commit->conditions_count++] = (mp_condition){bytes, key->size, key->version};
        if (!key->is_written) continue;
        mp_record record = mp_txn_record(key);
        txn->writes[commit->count++] = (mantis_write){bytes, key->size, record.value,
                                                      record.value_size, record.expires_ms};
        commit->bytes += key->size + record.value_size;
    }
    commit->writes = txn->writes;
    commit->conditions = conditions;
    commit->born_ms = 0; /* what the writes have as ttl_ms is when they expire */
    return MANTIS_OK;
}
