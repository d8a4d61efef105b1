/* Reading and writing through a handle. */
#include "base/assert.h"
#include "base/atomic.h"
#include "base/bytes.h"
#include "base/error.h"
#include "store/scan.h"
#include "store/store.h"
#include "store/txn.h"

#include <stdlib.h>
#include <string.h>

/* A connection of the embedded store. */
struct mantis_store {
    mp_guard_entry entry;
    /* set at open, then const */
    mp_store *store;
    bool group;
    /* holder only; while a submitted commit is under way, whoever leads */
    mp_batch batch;
    mp_txn *txn; /* NULL: none is open */
};

mantis_store *mp_handle_new(mp_store *store, bool group) {
    mantis_store *handle = aligned_alloc(MP_CACHE_LINE, sizeof *handle);
    if (!handle) return NULL;
    memset(handle, 0, sizeof *handle);
    handle->store = store;
    handle->group = group;
    handle->batch.kept_bytes = MP_STORE_KEPT_BATCH_BYTES;
    mp_guard_add(&store->guard, &handle->entry);
    return handle;
}

static bool is_forked(const mantis_store *handle) {
    return mp_unlikely(handle->store->registered.born != mp_registry_forks());
}

/* End the transaction, if there is one. */
static void end_txn(mantis_store *handle) {
    mp_txn_free(handle->txn);
    handle->txn = NULL;
}

void mp_handle_free(mantis_store *handle) {
    if (!handle || is_forked(handle)) return;
    mp_assert(mp_load_relaxed(&handle->entry.depth) == 0); /* nothing of it is under way */
    end_txn(handle);
    mp_guard_remove(&handle->store->guard, &handle->entry);
    mp_batch_finish(&handle->batch);
    free(handle);
}

static mantis_status refuse_fork(mantis_error *error) {
    return mp_error_set(error, MANTIS_FORKED,
                        "store: opened before fork(); the child must open a pool of its own");
}

/* Be inside the store, so that its engine stays where it is. */
static mantis_status enter(mantis_store *handle, mantis_error *error) {
    if (is_forked(handle)) return refuse_fork(error);
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

/* Make writes a commit. */
static mantis_status prepare_writes(const mantis_store *handle, const mantis_write *writes,
                                    size_t count, mp_commit *commit, mantis_error *error) {
    if (count > MP_STORE_BATCH_COUNT_MAX)
        return mp_error_set(error, MANTIS_TOO_BIG, "batch: %zu writes; at most %zu are allowed",
                            count, MP_STORE_BATCH_COUNT_MAX);
    bool has_ttl = false;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        mantis_status status = check_key(writes[i].key_size, error);
        if (status != MANTIS_OK) return status;
        if (writes[i].value_size > MANTIS_VALUE_MAX)
            return mp_error_set(error, MANTIS_TOO_BIG, "value: %zu bytes; at most %zu are allowed",
                                writes[i].value_size, MANTIS_VALUE_MAX);
        bytes += writes[i].key_size + (writes[i].value ? writes[i].value_size : 0);
        if (bytes > MP_STORE_BATCH_BYTES_MAX)
            return mp_error_set(error, MANTIS_TOO_BIG,
                                "batch: more than %zu bytes of keys and values; write it in parts",
                                MP_STORE_BATCH_BYTES_MAX);
        mp_assert(writes[i].ttl_ms >= 0 && writes[i].ttl_ms <= MANTIS_TTL_MAX_MS);
        has_ttl = has_ttl || writes[i].ttl_ms > 0;
    }
    commit->writes = writes;
    commit->count = count;
    commit->bytes = bytes;
    commit->born_ms = has_ttl ? handle->store->engine.wall_ms() : 0;
    return MANTIS_OK;
}

/* Is it to be on disk before it is acknowledged, and does that take more than applying it? */
static bool is_synced(const mantis_store *handle, const mp_commit *commit,
                      mantis_durability durability) {
    return (handle->group || durability == MANTIS_DURABLE_SYNCED) && commit->count > 0 &&
           !handle->store->is_in_memory;
}

/* Inside the guard: apply it on this thread; acknowledged once the kernel has it. */
static void apply_here(mantis_store *handle, mp_commit *commit) {
    mp_list group = {0};
    mp_list_push(&group, &commit->node);
    mp_commit_apply(handle->store, &group, &handle->batch, false);
}

/* Inside the guard: have it applied, and wait for it. */
static mantis_status run_commit(mantis_store *handle, mp_commit *commit,
                                mantis_durability durability, mantis_error *error) {
    commit->error = error;
    if (is_synced(handle, commit, durability))
        mp_committer_write(&handle->store->committer, commit);
    else apply_here(handle, commit);
    return commit->status;
}

mantis_status mp_handle_write(mantis_store *handle, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error) {
    mp_commit commit = {0};
    mantis_status status = prepare_writes(handle, writes, count, &commit, error);
    if (status != MANTIS_OK || count == 0) return status;
    status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    if (mp_unlikely(handle->txn != NULL)) status = mp_txn_write(handle->txn, writes, count, error);
    else status = run_commit(handle, &commit, durability, error);
    leave(handle);
    return status;
}

/* Make a write that depends on a version a commit; condition is the commit's memory for it. */
static mantis_status prepare_compare(const mantis_store *handle, const mantis_write *write,
                                     uint64_t expected, mp_commit *commit, mp_condition *condition,
                                     mantis_error *error) {
    if (handle->txn)
        return mp_error_set(error, MANTIS_INVALID,
                            "compare-and-set: a transaction is open, which checks what it has read "
                            "by itself: get and set the key in it, or end it first");
    *condition = (mp_condition){write->key, write->key_size, expected};
    commit->conditions = condition;
    commit->conditions_count = 1;
    return prepare_writes(handle, write, 1, commit, error);
}

/* The version of what a compare-and-set has written; a delete leaves none. */
static uint64_t version_left(const mp_commit *commit) {
    return commit->writes->value ? commit->version : 0;
}

mantis_status mp_handle_compare_and_set(mantis_store *handle, const mantis_write *write,
                                        uint64_t expected, mantis_durability durability,
                                        uint64_t *version, mantis_error *error) {
    mp_commit commit = {0};
    mp_condition condition;
    mantis_status status = prepare_compare(handle, write, expected, &commit, &condition, error);
    if (status == MANTIS_OK) status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    status = run_commit(handle, &commit, durability, error);
    leave(handle);
    if (status == MANTIS_OK) *version = version_left(&commit);
    return status;
}

/* ---- transactions ---- */

static mantis_status refuse_within_scan(const char *doing, mantis_error *error) {
    return mp_error_set(error, MANTIS_BUSY, "%s: a scan of the transaction is under way", doing);
}

mantis_status mp_handle_begin(mantis_store *handle, mantis_transaction kind,
                              int64_t memory_max_bytes, mantis_error *error) {
    if (handle->txn)
        return mp_error_set(error, MANTIS_BUSY,
                            "begin: the connection has a transaction; commit it or roll it back");
    mantis_status status = enter(handle, error);
    if (status != MANTIS_OK) return status;
    status = mp_txn_new(&handle->txn, handle->store, kind, memory_max_bytes, error);
    leave(handle);
    return status;
}

/* Be inside the guard with the transaction as a commit. If that fails it is over, unless it cannot
 * end now. */
static mantis_status enter_to_commit(mantis_store *handle, mp_commit *commit, mantis_error *error) {
    if (is_forked(handle)) return refuse_fork(error);
    if (!handle->txn)
        return mp_error_set(error, MANTIS_INVALID,
                            "commit: the connection has no transaction; begin one");
    if (handle->txn->scans > 0) return refuse_within_scan("commit", error);
    mantis_status status = enter(handle, error);
    if (status == MANTIS_OK) {
        status = mp_txn_prepare(handle->txn, commit, error);
        if (status != MANTIS_OK) leave(handle);
    }
    if (status != MANTIS_OK) end_txn(handle);
    return status;
}

mantis_status mp_handle_commit(mantis_store *handle, mantis_durability durability,
                               mantis_error *error) {
    mp_commit commit = {0};
    mantis_status status = enter_to_commit(handle, &commit, error);
    if (status != MANTIS_OK) return status;
    status = run_commit(handle, &commit, durability, error);
    end_txn(handle);
    leave(handle);
    return status;
}

mantis_status mp_handle_rollback(mantis_store *handle, mantis_error *error) {
    if (is_forked(handle)) return refuse_fork(error);
    if (handle->txn && handle->txn->scans > 0) return refuse_within_scan("rollback", error);
    end_txn(handle);
    return MANTIS_OK;
}

/* ---- writes that do not block ---- */

/* What is in the reserved words of a mantis_commit. */
typedef struct submitted {
    mp_commit commit;
    mp_condition condition; /* of a compare-and-set */
    mantis_store *handle;
} submitted;
_Static_assert(sizeof(submitted) <= sizeof(((mantis_commit *)0)->reserved) &&
                   _Alignof(submitted) <= _Alignof(uint64_t),
               "a commit that is under way fits into its reserved words");

/* It is answered, on whatever thread. The connection is free again before its holder is told. */
static void finish_submitted(mp_commit *commit) {
    submitted *inside = mp_container_of(commit, submitted, commit);
    mantis_commit *outside = mp_container_of(inside, mantis_commit, reserved);
    mantis_store *handle = inside->handle;
    if (commit->status == MANTIS_OK && commit->version > 0)
        outside->version = outside->kind == MANTIS_COMMIT_COMPARE_AND_SET
                               ? version_left(commit)
                               : commit->version + commit->count - 1;
    if (outside->kind == MANTIS_COMMIT_TRANSACTION) end_txn(handle);
    outside->status = commit->status;
    leave(handle);
    outside->on_done(outside);
}

static mantis_status enter_submitted(submitted *inside, const mantis_commit *outside,
                                     mantis_error *error) {
    mantis_store *handle = inside->handle;
    mp_commit *commit = &inside->commit;
    if (outside->kind == MANTIS_COMMIT_TRANSACTION) return enter_to_commit(handle, commit, error);
    mantis_status status = outside->kind == MANTIS_COMMIT_COMPARE_AND_SET
                               ? prepare_compare(handle, outside->writes, outside->expected, commit,
                                                 &inside->condition, error)
                               : prepare_writes(handle, outside->writes, outside->count, commit,
                                                error);
    return status == MANTIS_OK ? enter(handle, error) : status;
}

mantis_status mp_handle_submit(mantis_store *handle, mantis_commit *outside, mantis_error *error) {
    submitted *inside = (submitted *)(void *)outside->reserved;
    mp_commit *commit = &inside->commit;
    *inside = (submitted){.handle = handle,
                          .commit = {.error = &outside->error, .on_done = finish_submitted}};
    mantis_status status = enter_submitted(inside, outside, error);
    if (status != MANTIS_OK) return status;
    if (handle->txn && outside->kind == MANTIS_COMMIT_WRITES) {
        commit->status = mp_txn_write(handle->txn, commit->writes, commit->count, commit->error);
    } else if (!is_synced(handle, commit, outside->durability)) {
        apply_here(handle, commit);
    } else {
        if (mp_committer_submit(&handle->store->committer, commit)) return MANTIS_OK;
        commit->status = mp_error_set(commit->error, MANTIS_NOMEM,
                                      "store: the system has no thread left");
    }
    finish_submitted(commit);
    return MANTIS_OK;
}

/* ---- read ---- */

/* Inside the guard: read a key as it is, or as the transaction sees it. */
static mantis_status read_record(mantis_store *handle, const void *key, size_t key_size,
                                 rocksdb_pinnableslice_t **pin, mp_record *record,
                                 mantis_error *error) {
    mp_engine *engine = &handle->store->engine;
    if (mp_unlikely(handle->txn != NULL))
        return mp_txn_read(handle->txn, key, key_size, pin, record, error);
    return mp_engine_read(engine, engine->read, key, key_size, pin, record, error);
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
    else if (status == MANTIS_NOT_FOUND) mp_error_set(error, status, "there is no such key");
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
    status = read_record(handle, key, key_size, &pin, &record, error);
    rocksdb_pinnableslice_destroy(pin);
    leave(handle);
    if (status != MANTIS_OK && status != MANTIS_NOT_FOUND) return status;
    *out = status == MANTIS_OK;
    return MANTIS_OK;
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
    if (handle->txn) status = mp_txn_check(handle->txn, error);
    const mp_scan scan = {
        &handle->store->engine, handle->txn, prefix, prefix_size, limit, on_entry, arg};
    if (status == MANTIS_OK) status = mp_scan_run(&scan, cursor, error);
    leave(handle);
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
