/* Scans: merging what is stored with what a transaction will write. */
#include "store/scan.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* Where a scan stands: before the next key, which one of its two sources has, or both. */
typedef struct position {
    const mp_scan *scan;
    rocksdb_iterator_t *iterator;
    const mp_txn_key *own;  /* NULL: none is left */
    bool is_stored, is_own; /* which of them has the next key; neither: there is none */
} position;

static bool has_prefix(const mp_scan *scan, const void *key, size_t size) {
    return size >= scan->prefix_size &&
           (scan->prefix_size == 0 || memcmp(key, scan->prefix, scan->prefix_size) == 0);
}

/* Pass over keys that the transaction has only read, and end with the prefix. */
static const mp_txn_key *written_from(const mp_scan *scan, const mp_txn_key *key) {
    while (key && !key->is_written) key = mp_txn_key_next(key);
    return key && has_prefix(scan, mp_txn_key_bytes(key), key->size) ? key : NULL;
}

static bool is_at(const void *key, size_t key_size, const mantis_cursor *cursor) {
    return key_size == cursor->key_size && memcmp(key, cursor->key, key_size) == 0;
}

/* Go behind the key of the cursor, or to the first key with the prefix. One zero byte is the
 * smallest key there can be: the empty one is the store's own. */
static void seek_start(position *at, const mantis_cursor *cursor) {
    const mp_scan *scan = at->scan;
    bool goes_on = cursor && cursor->key;
    const void *start = goes_on ? cursor->key : scan->prefix_size > 0 ? scan->prefix : "";
    size_t size = goes_on ? cursor->key_size : scan->prefix_size > 0 ? scan->prefix_size : 1;
    rocksdb_iter_seek(at->iterator, start, size);
    const mp_txn_key *own = scan->txn ? mp_txn_keys_seek(&scan->txn->keys, start, size) : NULL;
    if (goes_on && rocksdb_iter_valid(at->iterator)) {
        const char *key = rocksdb_iter_key(at->iterator, &size);
        if (is_at(key, size, cursor)) rocksdb_iter_next(at->iterator);
    }
    if (goes_on && own && is_at(mp_txn_key_bytes(own), own->size, cursor))
        own = mp_txn_key_next(own);
    at->own = written_from(scan, own);
}

/* Find out which of the sources has the next key. */
static void compare_sources(position *at) {
    size_t size = 0;
    const char *key = rocksdb_iter_valid(at->iterator) ? rocksdb_iter_key(at->iterator, &size)
                                                       : NULL;
    if (key && !has_prefix(at->scan, key, size)) key = NULL;
    int order = key ? -1 : 1;
    if (key && at->own)
        order = mp_txn_keys_compare(key, size, mp_txn_key_bytes(at->own), at->own->size);
    at->is_stored = key && order <= 0;
    at->is_own = at->own && order >= 0;
}

/* Go behind it, in each source that has it. What a callback has written since is not looked at,
 * also if it was this very key (Y2). */
static void pass(position *at) {
    if (at->is_stored) rocksdb_iter_next(at->iterator);
    if (at->is_own) at->own = written_from(at->scan, mp_txn_key_next(at->own));
}

/* Read what is next, from the source that counts (Y1). */
static mantis_status read_entry(const position *at, mantis_entry *entry, mp_record *record,
                                mantis_error *error) {
    if (at->is_own) {
        entry->key = mp_txn_key_bytes(at->own);
        entry->key_size = at->own->size;
        *record = mp_txn_record(at->own);
    } else {
        size_t size = 0;
        entry->key = rocksdb_iter_key(at->iterator, &entry->key_size);
        const char *data = rocksdb_iter_value(at->iterator, &size);
        if (!mp_record_read(data, size, record)) return mp_engine_refuse_record(error);
    }
    entry->value = record->value;
    entry->value_size = record->value_size;
    entry->version = record->version;
    entry->expires_ms = record->expires_ms;
    return MANTIS_OK;
}

/* Move on to the next entry that is to be seen. NULL in entry->key: there is none. */
static mantis_status find_entry(position *at, mantis_entry *entry, mantis_error *error) {
    for (;; pass(at)) {
        mp_record record = {0};
        compare_sources(at);
        if (!at->is_stored && !at->is_own) break;
        mantis_status status = read_entry(at, entry, &record, error);
        if (status != MANTIS_OK) return status;
        if (record.value && !mp_engine_is_expired(at->scan->engine, &record)) return MANTIS_OK;
    }
    entry->key = NULL;
    char *message = NULL;
    rocksdb_iter_get_error(at->iterator, &message);
    return message ? mp_engine_fault(message, "scan", error) : MANTIS_OK;
}

/* Remember the entry as the last one seen. */
static bool set_cursor(mantis_cursor *next, const mantis_entry *entry) {
    void *copy = realloc(next->key, entry->key_size);
    if (!copy) return false;
    memcpy(copy, entry->key, entry->key_size);
    next->key = copy;
    next->key_size = entry->key_size;
    return true;
}

/* Visit entries until one of the reasons to stop; *next is then behind the last one visited. */
static mantis_status visit(position *at, mantis_cursor *next, mantis_error *error) {
    const mp_scan *scan = at->scan;
    mantis_entry entry = {0};
    mantis_status status = find_entry(at, &entry, error);
    bool goes_on = true;
    for (uint32_t seen = 0; status == MANTIS_OK && entry.key && goes_on;) {
        goes_on = scan->on_entry(&entry, scan->arg) && (++seen < scan->limit || scan->limit == 0);
        if (!goes_on && next && !set_cursor(next, &entry))
            return mp_error_set(error, MANTIS_NOMEM, "store: no memory for a cursor");
        pass(at);
        status = find_entry(at, &entry, error);
    }
    if (next) next->at_end = status == MANTIS_OK && entry.key == NULL;
    return status;
}

mantis_status mp_scan_run(const mp_scan *scan, mantis_cursor *cursor, mantis_error *error) {
    position at = {.scan = scan};
    mantis_cursor next = {0};
    if (scan->txn) mp_txn_begin_scan(scan->txn);
    at.iterator = rocksdb_create_iterator(scan->engine->db,
                                          scan->txn ? scan->txn->read : scan->engine->read);
    seek_start(&at, cursor);
    mantis_status status = visit(&at, cursor ? &next : NULL, error);
    rocksdb_iter_destroy(at.iterator);
    if (scan->txn) mp_txn_end_scan(scan->txn);
    if (status == MANTIS_OK && cursor) {
        if (next.key) {
            free(cursor->key);
            cursor->key = next.key;
            cursor->key_size = next.key_size;
        }
        cursor->at_end = next.at_end;
    } else {
        free(next.key);
    }
    return status;
}
