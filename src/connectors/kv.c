/* Key-value operations on a borrowed connection: check the arguments, find the connector's own
 * operation, call it. Needs nothing but the core, so it is part of libmantispool. */
#include <mantis/store.h>

#include "base/atomic.h"
#include "core/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((cold, format(printf, 3, 4))) static mantis_status refuse(mantis_error *error,
                                                                        mantis_status status,
                                                                        const char *format, ...) {
    if (!error) return status;
    *error = (mantis_error){.status = status};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}

__attribute__((cold)) static mantis_status refuse_key(const void *key, size_t key_size,
                                                      mantis_error *error) {
    if (key_size == 0) return refuse(error, MANTIS_INVALID, "the key is empty: 1 byte at least");
    if (!key) return refuse(error, MANTIS_INVALID, "key is NULL, and key_size is %zu", key_size);
    return refuse(error, MANTIS_TOO_BIG, "the key has %zu bytes: at most %zu (64 KiB)", key_size,
                  MANTIS_KEY_MAX);
}

static mantis_status check_key(const void *key, size_t key_size, mantis_error *error) {
    if (mp_likely(key && key_size - 1 < MANTIS_KEY_MAX)) return MANTIS_OK;
    return refuse_key(key, key_size, error);
}

__attribute__((cold)) static mantis_status check_ttl(const mantis_write *write,
                                                     mantis_error *error) {
    if (!write->value)
        return refuse(error, MANTIS_INVALID, "a delete has no time to live, and ttl_ms is %lld",
                      (long long)write->ttl_ms);
    if (write->ttl_ms > 0 && write->ttl_ms <= MANTIS_TTL_MAX_MS) return MANTIS_OK;
    return refuse(error, MANTIS_INVALID,
                  "ttl_ms is %lld: 0 for ever, or 1 to %lld (MANTIS_TTL_MAX_MS)",
                  (long long)write->ttl_ms, (long long)MANTIS_TTL_MAX_MS);
}

static mantis_status check_write(const mantis_write *write, mantis_error *error) {
    mantis_status status = check_key(write->key, write->key_size, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    if (mp_unlikely(write->value_size > MANTIS_VALUE_MAX))
        return refuse(error, MANTIS_TOO_BIG, "the value has %zu bytes: at most %zu (64 MiB)",
                      write->value_size, MANTIS_VALUE_MAX);
    if (mp_unlikely(!write->value && write->value_size))
        return refuse(error, MANTIS_INVALID,
                      "value is NULL, and value_size is %zu: NULL and 0 "
                      "delete the key",
                      write->value_size);
    if (mp_unlikely(write->ttl_ms != 0)) return check_ttl(write, error);
    return MANTIS_OK;
}

__attribute__((cold)) static mantis_status refuse_operation(const mp_conn_view *view,
                                                            const char *operation,
                                                            mantis_error *error) {
    const char *name = view->connector->name;
    return refuse(error, MANTIS_UNSUPPORTED, "%s: connections of '%s' cannot do that", operation,
                  name ? name : "this connector");
}

static const mantis_kv no_operations;

/* The connection's operations, in *kv: never NULL, but its members may be. */
static mantis_status find_kv(mantis_conn conn, mp_conn_view *view, const mantis_kv **kv,
                             mantis_error *error) {
    mantis_status status = mp_conn_resolve(conn, view, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    *kv = view->connector->kv ? view->connector->kv : &no_operations;
    return MANTIS_OK;
}

/* ---- writes ---- */

/* What the writes hold together is within the limit. Also checks each of them. */
static mantis_status check_batch(const mantis_write *writes, size_t count, int64_t max_bytes,
                                 mantis_error *error) {
    uint64_t bytes = 0; /* no overflow: at most 64 MiB a write were counted, by as many as fit */
    for (size_t i = 0; i < count; i++) {
        mantis_error why = {0};
        mantis_status status = check_write(&writes[i], &why);
        if (status != MANTIS_OK)
            return refuse(error, status, "write %zu of %zu: %.200s", i + 1, count, why.text);
        bytes += writes[i].key_size + writes[i].value_size;
        if (max_bytes >= 0 && bytes > (uint64_t)max_bytes)
            return refuse(error, MANTIS_TOO_BIG,
                          "the first %zu of %zu writes hold %llu bytes: at "
                          "most %lld in a batch (conn_memory_max); use smaller batches",
                          i + 1, count, (unsigned long long)bytes, (long long)max_bytes);
    }
    return MANTIS_OK;
}

static mantis_status check_durability(const char *operation, mantis_durability durability,
                                      mantis_error *error) {
    if ((unsigned)durability <= MANTIS_DURABLE_SYNCED) return MANTIS_OK;
    return refuse(error, MANTIS_INVALID, "%s: there is no durability %d", operation,
                  (int)durability);
}

static mantis_status write_one(mantis_conn conn, const mantis_write *write,
                               mantis_durability durability, mantis_error *error) {
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    if (mp_unlikely(!kv->write)) return refuse_operation(&view, "write", error);
    status = check_write(write, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    return kv->write(view.native, write, 1, durability, error);
}

mantis_status mantis_conn_set(mantis_conn conn, const void *key, size_t key_size, const void *value,
                              size_t value_size, mantis_error *error) {
    mantis_write write = {key, key_size, value, value_size, 0};
    if (!value && !value_size) write.value = ""; /* an empty value; NULL would delete the key */
    return write_one(conn, &write, MANTIS_DURABLE_DEFAULT, error);
}

mantis_status mantis_conn_set_with(mantis_conn conn, const mantis_write *write,
                                   mantis_durability durability, mantis_error *error) {
    if (!write) return refuse(error, MANTIS_INVALID, "set: write is NULL");
    mantis_status status = check_durability("set", durability, error);
    if (status != MANTIS_OK) return status;
    return write_one(conn, write, durability, error);
}

mantis_status mantis_conn_delete(mantis_conn conn, const void *key, size_t key_size,
                                 mantis_error *error) {
    mantis_write write = {key, key_size, NULL, 0, 0};
    return write_one(conn, &write, MANTIS_DURABLE_DEFAULT, error);
}

mantis_status mantis_conn_batch(mantis_conn conn, const mantis_write *writes, size_t count,
                                mantis_durability durability, mantis_error *error) {
    if (!writes && count)
        return refuse(error, MANTIS_INVALID, "batch: writes is NULL, and count is %zu", count);
    mantis_status status = check_durability("batch", durability, error);
    if (status != MANTIS_OK) return status;
    mp_conn_view view;
    const mantis_kv *kv;
    status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->write) return refuse_operation(&view, "batch", error);
    status = check_batch(writes, count, view.memory_max_bytes, error);
    if (status != MANTIS_OK || count == 0) return status;
    return kv->write(view.native, writes, count, durability, error);
}

mantis_status mantis_conn_compare_and_set(mantis_conn conn, const mantis_write *write,
                                          uint64_t expected, mantis_durability durability,
                                          uint64_t *version, mantis_error *error) {
    if (!write) return refuse(error, MANTIS_INVALID, "compare-and-set: write is NULL");
    mantis_status status = check_durability("compare-and-set", durability, error);
    if (status != MANTIS_OK) return status;
    mp_conn_view view;
    const mantis_kv *kv;
    status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->compare_and_set) return refuse_operation(&view, "compare-and-set", error);
    status = check_write(write, error);
    if (status != MANTIS_OK) return status;
    uint64_t made = 0;
    status = kv->compare_and_set(view.native, write, expected, durability, &made, error);
    if (status == MANTIS_OK && version) *version = made;
    return status;
}

/* ---- transactions ---- */

mantis_status mantis_conn_begin(mantis_conn conn, mantis_transaction kind, mantis_error *error) {
    if ((unsigned)kind > MANTIS_TRANSACTION_SNAPSHOT)
        return refuse(error, MANTIS_INVALID, "begin: there is no kind of transaction %d",
                      (int)kind);
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->begin) return refuse_operation(&view, "begin", error);
    /* Before it is open, so that no way leads from an open one to a release without a reset. */
    status = mantis_conn_mark_dirty(conn);
    if (status != MANTIS_OK) return refuse(error, status, "begin: %s", mantis_status_text(status));
    return kv->begin(view.native, kind, view.memory_max_bytes, error);
}

mantis_status mantis_conn_commit(mantis_conn conn, mantis_durability durability,
                                 mantis_error *error) {
    mantis_status status = check_durability("commit", durability, error);
    if (status != MANTIS_OK) return status;
    mp_conn_view view;
    const mantis_kv *kv;
    status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->commit) return refuse_operation(&view, "commit", error);
    return kv->commit(view.native, durability, error);
}

mantis_status mantis_conn_rollback(mantis_conn conn, mantis_error *error) {
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->rollback) return refuse_operation(&view, "rollback", error);
    return kv->rollback(view.native, error);
}

/* ---- writes that do not block ---- */

static mantis_status check_commit(const mantis_commit *commit, int64_t max_bytes,
                                  mantis_error *error) {
    size_t count = commit->count;
    if (!commit->on_done) return refuse(error, MANTIS_INVALID, "submit: on_done is NULL");
    if ((unsigned)commit->kind > MANTIS_COMMIT_TRANSACTION)
        return refuse(error, MANTIS_INVALID, "submit: there is no kind of commit %d",
                      (int)commit->kind);
    if (commit->kind == MANTIS_COMMIT_TRANSACTION && count != 0)
        return refuse(error, MANTIS_INVALID,
                      "submit: count is %zu, and a transaction has its own writes: 0", count);
    if (commit->kind == MANTIS_COMMIT_COMPARE_AND_SET && count != 1)
        return refuse(error, MANTIS_INVALID,
                      "submit: count is %zu, and a compare-and-set is one write: 1", count);
    if (!commit->writes && count != 0)
        return refuse(error, MANTIS_INVALID, "submit: writes is NULL, and count is %zu", count);
    mantis_status status = check_durability("submit", commit->durability, error);
    if (status != MANTIS_OK) return status;
    return count == 1 ? check_write(commit->writes, error) /* may be larger than a batch */
                      : check_batch(commit->writes, count, max_bytes, error);
}

/* What a commit asks for, by the calls that block. */
static mantis_status run_commit(const mantis_kv *kv, void *native, mantis_commit *commit) {
    mantis_error *error = &commit->error;
    switch (commit->kind) {
    case MANTIS_COMMIT_COMPARE_AND_SET:
        return kv->compare_and_set(native, commit->writes, commit->expected, commit->durability,
                                   &commit->version, error);
    case MANTIS_COMMIT_TRANSACTION: return kv->commit(native, commit->durability, error);
    default:
        return commit->count == 0
                   ? MANTIS_OK
                   : kv->write(native, commit->writes, commit->count, commit->durability, error);
    }
}

static bool can_commit(const mantis_kv *kv, mantis_commit_kind kind) {
    if (kv->submit) return true;
    if (kind == MANTIS_COMMIT_COMPARE_AND_SET) return kv->compare_and_set != NULL;
    return kind == MANTIS_COMMIT_TRANSACTION ? kv->commit != NULL : kv->write != NULL;
}

mantis_status mantis_conn_submit(mantis_conn conn, mantis_commit *commit, mantis_error *error) {
    if (!commit) return refuse(error, MANTIS_INVALID, "submit: commit is NULL");
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    status = check_commit(commit, view.memory_max_bytes, error);
    if (status != MANTIS_OK) return status;
    if (!can_commit(kv, commit->kind)) return refuse_operation(&view, "submit", error);
    commit->status = MANTIS_OK;
    commit->version = 0;
    commit->error = (mantis_error){0};
    if (kv->submit) return kv->submit(view.native, commit, error);
    commit->status = run_commit(kv, view.native, commit);
    commit->on_done(commit);
    return MANTIS_OK;
}

/* ---- reads ---- */

mantis_status mantis_conn_get(mantis_conn conn, const void *key, size_t key_size, mantis_value *out,
                              mantis_error *error) {
    if (mp_unlikely(!out)) return refuse(error, MANTIS_INVALID, "get: out is NULL");
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    if (mp_unlikely(!kv->get)) return refuse_operation(&view, "get", error);
    status = check_key(key, key_size, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    return kv->get(view.native, key, key_size, out, error);
}

mantis_status mantis_conn_exists(mantis_conn conn, const void *key, size_t key_size, bool *out,
                                 mantis_error *error) {
    if (!out) return refuse(error, MANTIS_INVALID, "exists: out is NULL");
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->exists) return refuse_operation(&view, "exists", error);
    status = check_key(key, key_size, error);
    if (status != MANTIS_OK) return status;
    return kv->exists(view.native, key, key_size, out, error);
}

static mantis_status check_scan(const void *prefix, size_t prefix_size, mantis_on_entry on_entry,
                                mantis_error *error) {
    if (!on_entry) return refuse(error, MANTIS_INVALID, "scan: on_entry is NULL");
    if (!prefix && prefix_size)
        return refuse(error, MANTIS_INVALID, "scan: prefix is NULL, and prefix_size is %zu",
                      prefix_size);
    if (prefix_size > MANTIS_KEY_MAX)
        return refuse(error, MANTIS_TOO_BIG, "scan: the prefix has %zu bytes: at most %zu (64 KiB)",
                      prefix_size, MANTIS_KEY_MAX);
    return MANTIS_OK;
}

mantis_status mantis_conn_scan(mantis_conn conn, const void *prefix, size_t prefix_size,
                               uint32_t limit, mantis_cursor *cursor, mantis_on_entry on_entry,
                               void *arg, mantis_error *error) {
    mp_conn_view view;
    const mantis_kv *kv;
    mantis_status status = find_kv(conn, &view, &kv, error);
    if (status != MANTIS_OK) return status;
    if (!kv->scan) return refuse_operation(&view, "scan", error);
    status = check_scan(prefix, prefix_size, on_entry, error);
    if (status != MANTIS_OK || (cursor && cursor->at_end)) return status;
    return kv->scan(view.native, prefix, prefix_size, limit, cursor, on_entry, arg, error);
}

/* ---- what came out ---- */

void mantis_value_free(mantis_value *value) {
    if (!value) return;
    if (value->free_owner) value->free_owner(value->owner);
    *value = (mantis_value){0};
}

void mantis_cursor_free(mantis_cursor *cursor) {
    if (!cursor) return;
    free(cursor->key);
    *cursor = (mantis_cursor){0};
}
