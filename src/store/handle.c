/* Reading and writing through a handle. */
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/record.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

/* A connection of the embedded store. */
struct mantis_store {
    mp_guard_entry entry;
    /* set at open, then const */
    mp_store *store;
    bool group;
    /* holder only */
    rocksdb_writebatch_t *batch; /* kept from write to write while it is small */
};

mantis_store *mp_handle_new(mp_store *store, bool group) {
    mantis_store *handle = aligned_alloc(MP_CACHE_LINE, sizeof *handle);
    if (!handle) return NULL;
    memset(handle, 0, sizeof *handle);
    handle->store = store;
    handle->group = group;
    mp_guard_add(&store->guard, &handle->entry);
    return handle;
}

void mp_handle_free(mantis_store *handle) {
    if (!handle || handle->store->registered.born != mp_registry_forks()) return;
    mp_guard_remove(&handle->store->guard, &handle->entry);
    if (handle->batch) rocksdb_writebatch_destroy(handle->batch);
    free(handle);
}

/* Be inside the store, so that its engine stays where it is. */
static mantis_status enter(mantis_store *handle, mantis_error *error) {
    if (mp_unlikely(handle->store->registered.born != mp_registry_forks()))
        return mp_error_set(error, MANTIS_FORKED,
                            "store: opened before fork(); the child must open a pool of its own");
    mp_guard_acquire(&handle->store->guard, &handle->entry);
    if (mp_likely(handle->store->engine.db != NULL)) return MANTIS_OK;
    mantis_status status = mp_store_check_fence(handle->store, error);
    mp_guard_release(&handle->entry);
    return status;
}

static void leave(mantis_store *handle) { mp_guard_release(&handle->entry); }

static mantis_status check_key(size_t key_size, mantis_error *error) {
    if (mp_likely(key_size >= 1 && key_size <= MANTIS_KEY_MAX)) return MANTIS_OK;
    if (key_size == 0)
        return mp_error_set(error, MANTIS_INVALID, "key: it is empty; a key has 1 to %zu bytes",
                            MANTIS_KEY_MAX);
    return mp_error_set(error, MANTIS_TOO_BIG, "key: %zu bytes; a key has 1 to %zu bytes", key_size,
                        MANTIS_KEY_MAX);
}

/* ---- write ---- */

static mantis_status check_writes(const mantis_write *writes, size_t count, size_t *bytes,
                                  mantis_error *error) {
    if (count > MP_STORE_BATCH_COUNT_MAX)
        return mp_error_set(error, MANTIS_TOO_BIG, "batch: %zu writes; at most %zu are allowed",
                            count, MP_STORE_BATCH_COUNT_MAX);
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        mantis_status status = check_key(writes[i].key_size, error);
        if (status != MANTIS_OK) return status;
        if (writes[i].value_size > MANTIS_VALUE_MAX)
            return mp_error_set(error, MANTIS_TOO_BIG, "value: %zu bytes; at most %zu are allowed",
                                writes[i].value_size, MANTIS_VALUE_MAX);
        *bytes += writes[i].key_size + (writes[i].value ? writes[i].value_size : 0);
        if (*bytes > MP_STORE_BATCH_BYTES_MAX)
            return mp_error_set(error, MANTIS_TOO_BIG,
                                "batch: more than %zu bytes of keys and values; write it in parts",
                                MP_STORE_BATCH_BYTES_MAX);
    }
    return MANTIS_OK;
}

/* With the stripes held (S4). */
static mantis_status write_locked(mantis_store *handle, const mantis_write *writes, size_t count,
                                  size_t bytes, mantis_error *error) {
    uint64_t version = 0;
    mantis_status status = mp_store_take_versions(handle->store, count, &version, error);
    if (status != MANTIS_OK) return status;
    if (!handle->batch) handle->batch = rocksdb_writebatch_create();
    mp_engine_add(handle->batch, writes, count, version);
    status = mp_engine_write(&handle->store->engine, handle->batch, error);
    if (bytes + count * MP_RECORD_HEAD_MAX > MP_STORE_KEPT_BATCH_BYTES) {
        rocksdb_writebatch_destroy(handle->batch);
        handle->batch = NULL;
    } else {
        rocksdb_writebatch_clear(handle->batch);
    }
    return status;
}

static mantis_status write_striped(mantis_store *handle, const mantis_write *writes, size_t count,
                                   size_t bytes, mantis_error *error) {
    mp_lock *locks = handle->store->stripes;
    mantis_status status;
    if (count == 1) {
        mp_lock *stripe = &locks[mp_stripes_find(writes->key, writes->key_size)];
        mp_lock_acquire(stripe);
        status = write_locked(handle, writes, count, bytes, error);
        mp_lock_release(stripe);
    } else {
        mp_stripes stripes = {0};
        mp_stripes_add(&stripes, writes, count);
        mp_stripes_acquire(locks, &stripes);
        status = write_locked(handle, writes, count, bytes, error);
        mp_stripes_release(locks, &stripes);
    }
    return status;
}

/* Acknowledged once the kernel has it. */
static mantis_status write_direct(mantis_store *handle, const mantis_write *writes, size_t count,
                                  size_t bytes, mantis_error *error) {
    mp_store *store = handle->store;
    mantis_status status = mp_store_check_fence(store, error);
    if (status != MANTIS_OK) return status;
    mantis_error detail = {0};
    status = write_striped(handle, writes, count, bytes, &detail);
    if (mp_likely(status == MANTIS_OK)) {
        if (!store->is_in_memory) mp_syncer_post(&store->syncer);
        return MANTIS_OK;
    }
    mp_store_fence(store, status, &detail);
    if (error) *error = detail;
    return status;
}

mantis_status mp_handle_write(mantis_store *handle, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error) {
    size_t bytes = 0;
    mantis_status status = check_writes(writes, count, &bytes, error);
    if (status != MANTIS_OK || count == 0) return status;
    status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    bool is_synced = handle->group || durability == MANTIS_DURABLE_SYNCED;
    if (is_synced && !handle->store->is_in_memory) {
        mp_commit commit = {.writes = writes, .count = count, .bytes = bytes, .error = error};
        status = mp_committer_write(&handle->store->committer, &commit);
    } else {
        status = write_direct(handle, writes, count, bytes, error);
    }
    leave(handle);
    return status;
}

/* ---- read ---- */

static mantis_status not_found(mantis_error *error) {
    return mp_error_set(error, MANTIS_NOT_FOUND, "there is no such key");
}

static mantis_status damaged(mantis_error *error) {
    return mp_error_set(error, MANTIS_CORRUPT,
                        "store: a stored value is not what was written; restore the directory "
                        "from a copy");
}

/* Read the record of a key. With OK, *pin holds it. */
static mantis_status read_record(mantis_store *handle, const void *key, size_t key_size,
                                 rocksdb_pinnableslice_t **pin, mp_record *record,
                                 mantis_error *error) {
    mp_engine *engine = &handle->store->engine;
    char *message = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned(engine->db, engine->read, key, key_size,
                                                        &message);
    if (message) return mp_engine_fault(message, "read", error);
    if (!found) return not_found(error);
    size_t size = 0;
    const char *data = rocksdb_pinnableslice_value(found, &size);
    mantis_status status = MANTIS_OK;
    if (!mp_record_read(data, size, record)) status = damaged(error);
    else if (mp_record_is_expired(record)) status = not_found(error);
    if (status == MANTIS_OK) *pin = found;
    else rocksdb_pinnableslice_destroy(found);
    return status;
}

/* The value is a copy: it stays valid when the engine is exchanged or closed. */
static mantis_status copy_value(const mp_record *record, mantis_value *out, mantis_error *error) {
    void *copy = malloc(record->value_size ? record->value_size : 1);
    if (!copy)
        return mp_error_set(error, MANTIS_NOMEM, "store: no memory for a value of %zu bytes",
                            record->value_size);
    if (record->value_size > 0) memcpy(copy, record->value, record->value_size);
    *out = (mantis_value){.data = copy,
                          .size = record->value_size,
                          .version = record->version,
                          .expires_ms = record->expires_ms,
                          .owner = copy,
                          .free_owner = free};
    return MANTIS_OK;
}

mantis_status mp_handle_get(mantis_store *handle, const void *key, size_t key_size,
                            mantis_value *out, mantis_error *error) {
    mantis_status status = check_key(key_size, error);
    if (status == MANTIS_OK) status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    rocksdb_pinnableslice_t *pin = NULL;
    mp_record record;
    status = read_record(handle, key, key_size, &pin, &record, error);
    if (status == MANTIS_OK) status = copy_value(&record, out, error);
    rocksdb_pinnableslice_destroy(pin);
    leave(handle);
    return status;
}

mantis_status mp_handle_exists(mantis_store *handle, const void *key, size_t key_size, bool *out,
                               mantis_error *error) {
    mantis_status status = check_key(key_size, error);
    if (status == MANTIS_OK) status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    rocksdb_pinnableslice_t *pin = NULL;
    mp_record record;
    status = read_record(handle, key, key_size, &pin, &record, NULL);
    rocksdb_pinnableslice_destroy(pin);
    leave(handle);
    if (status == MANTIS_OK || status == MANTIS_NOT_FOUND) {
        *out = status == MANTIS_OK;
        return MANTIS_OK;
    }
    return mp_error_set(error, status, "store: cannot read: %s", mantis_status_text(status));
}

/* ---- scan ---- */

typedef struct mp_scan {
    rocksdb_iterator_t *iterator;
    const void *prefix;
    size_t prefix_size;
} mp_scan;

/* Move on to the next entry that is to be seen. NULL in *key: there is none. */
static mantis_status find_entry(mp_scan *scan, mantis_entry *entry, mantis_error *error) {
    for (; rocksdb_iter_valid(scan->iterator); rocksdb_iter_next(scan->iterator)) {
        entry->key = rocksdb_iter_key(scan->iterator, &entry->key_size);
        if (entry->key_size < scan->prefix_size ||
            (scan->prefix_size > 0 && memcmp(entry->key, scan->prefix, scan->prefix_size) != 0))
            break; /* behind the last with this prefix */
        size_t size = 0;
        const char *data = rocksdb_iter_value(scan->iterator, &size);
        mp_record record;
        if (!mp_record_read(data, size, &record)) return damaged(error);
        if (mp_record_is_expired(&record)) continue;
        entry->value = record.value;
        entry->value_size = record.value_size;
        entry->version = record.version;
        return MANTIS_OK;
    }
    entry->key = NULL;
    char *message = NULL;
    rocksdb_iter_get_error(scan->iterator, &message);
    return message ? mp_engine_fault(message, "scan", error) : MANTIS_OK;
}

/* Go to where the cursor stands, or to the first key with the prefix. */
static void seek_start(mp_scan *scan, const mantis_cursor *cursor) {
    if (cursor && cursor->key) {
        rocksdb_iter_seek(scan->iterator, cursor->key, cursor->key_size);
        size_t size = 0;
        const char *key = rocksdb_iter_valid(scan->iterator)
                              ? rocksdb_iter_key(scan->iterator, &size)
                              : NULL;
        if (key && size == cursor->key_size && memcmp(key, cursor->key, size) == 0)
            rocksdb_iter_next(scan->iterator);
        return;
    }
    /* One zero byte is the smallest key there can be: the empty one is the store's own. */
    if (scan->prefix_size > 0) rocksdb_iter_seek(scan->iterator, scan->prefix, scan->prefix_size);
    else rocksdb_iter_seek(scan->iterator, "", 1);
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
static mantis_status visit(mp_scan *scan, uint32_t limit, mantis_cursor *next,
                           mantis_on_entry on_entry, void *arg, mantis_error *error) {
    mantis_entry entry = {0};
    mantis_status status = find_entry(scan, &entry, error);
    bool goes_on = true;
    for (uint32_t seen = 0; status == MANTIS_OK && entry.key && goes_on;) {
        goes_on = on_entry(&entry, arg) && (++seen < limit || limit == 0);
        if (!goes_on && next && !set_cursor(next, &entry))
            return mp_error_set(error, MANTIS_NOMEM, "store: no memory for a cursor");
        rocksdb_iter_next(scan->iterator);
        status = find_entry(scan, &entry, error);
    }
    if (next) next->at_end = status == MANTIS_OK && entry.key == NULL;
    return status;
}

mantis_status mp_handle_scan(mantis_store *handle, const void *prefix, size_t prefix_size,
                             uint32_t limit, mantis_cursor *cursor, mantis_on_entry on_entry,
                             void *arg, mantis_error *error) {
    if (cursor && cursor->at_end) return MANTIS_OK;
    if (prefix_size > MANTIS_KEY_MAX)
        return mp_error_set(error, MANTIS_TOO_BIG, "prefix: %zu bytes; a key has at most %zu bytes",
                            prefix_size, MANTIS_KEY_MAX);
    mantis_status status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    mp_engine *engine = &handle->store->engine;
    mp_scan scan = {.iterator = rocksdb_create_iterator(engine->db, engine->read),
                    .prefix = prefix,
                    .prefix_size = prefix_size};
    seek_start(&scan, cursor);
    mantis_cursor next = {0};
    status = visit(&scan, limit, cursor ? &next : NULL, on_entry, arg, error);
    rocksdb_iter_destroy(scan.iterator);
    leave(handle);
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

/* ---- the public functions on a handle ---- */

mantis_status mantis_store_set(mantis_store *store, const void *key, size_t key_size,
                               const void *value, size_t value_size, mantis_error *error) {
    mantis_write write = {key, key_size, value ? value : "", value_size, 0};
    return mp_handle_write(store, &write, 1, MANTIS_DURABLE_DEFAULT, error);
}

mantis_status mantis_store_get(mantis_store *store, const void *key, size_t key_size,
                               mantis_value *out, mantis_error *error) {
    return mp_handle_get(store, key, key_size, out, error);
}

mantis_status mantis_store_delete(mantis_store *store, const void *key, size_t key_size,
                                  mantis_error *error) {
    mantis_write write = {.key = key, .key_size = key_size};
    return mp_handle_write(store, &write, 1, MANTIS_DURABLE_DEFAULT, error);
}

mantis_status mantis_store_get_info(mantis_store *store, mantis_store_info *out) {
    mantis_error error = {0};
    mantis_status status = enter(store, &error);
    if (status == MANTIS_FORKED) return status;
    const mp_store *inside = store->store;
    *out = (mantis_store_info){.version = mp_load_relaxed(&inside->version_next) - 1,
                               .fenced = mp_load_acquire(&inside->fence) != MANTIS_OK,
                               .group = store->group};
    mp_text text = {out->directory, sizeof out->directory, 0};
    mp_text_add(&text, "%s", inside->is_in_memory ? ":memory:" : inside->directory.path);
    if (text.length >= sizeof out->directory)
        memcpy(out->directory + sizeof out->directory - 4, "...", 4);
    if (status == MANTIS_OK) leave(store);
    return MANTIS_OK;
}
