/* Key-value operations for Go: detail in memory of its own, writes that do not block, pages. */
#include "inside.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static bridge_outcome outcome_of(mantis_status status, const mantis_error *error) {
    bridge_outcome outcome = {.status = status};
    if (status == MANTIS_OK) return outcome;
    outcome.error = malloc(sizeof *error);
    if (outcome.error) *outcome.error = *error;
    return outcome;
}

/* ---- one key ---- */

bridge_outcome bridge_set(bridge_conn conn, const void *key, size_t key_size, const void *value,
                          size_t value_size) {
    mantis_error error;
    mantis_status status = mantis_conn_set(bridge_handle(conn), key, key_size, value, value_size,
                                           &error);
    return outcome_of(status, &error);
}

bridge_outcome bridge_delete(bridge_conn conn, const void *key, size_t key_size) {
    mantis_error error;
    mantis_status status = mantis_conn_delete(bridge_handle(conn), key, key_size, &error);
    return outcome_of(status, &error);
}

bridge_outcome bridge_exists(bridge_conn conn, const void *key, size_t key_size, bool *out) {
    mantis_error error;
    mantis_status status = mantis_conn_exists(bridge_handle(conn), key, key_size, out, &error);
    return outcome_of(status, &error);
}

bridge_value bridge_get(bridge_conn conn, const void *key, size_t key_size) {
    mantis_error error;
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(bridge_handle(conn), key, key_size, &value, &error);
    return (bridge_value){.outcome = outcome_of(status, &error),
                          .data = value.data,
                          .size = value.size,
                          .version = value.version,
                          .expires_ms = value.expires_ms,
                          .owner = value.owner,
                          .free_owner = value.free_owner};
}

void bridge_value_free(void *owner, void (*free_owner)(void *owner)) {
    mantis_value value = {.owner = owner, .free_owner = free_owner};
    mantis_value_free(&value);
}

static bool on_nothing(const mantis_entry *entry, void *arg) {
    (void)entry;
    (void)arg;
    return false;
}

bridge_outcome bridge_ping(bridge_conn conn) {
    static const char prefix[] = "\xff\xff\xff\xff"; /* behind nearly all keys: nothing to skip */
    mantis_error error;
    mantis_status status = mantis_conn_scan(bridge_handle(conn), prefix, sizeof prefix - 1, 1, NULL,
                                            on_nothing, NULL, &error);
    return outcome_of(status, &error);
}

/* ---- transactions ---- */

bridge_outcome bridge_begin(bridge_conn conn, mantis_transaction kind) {
    mantis_error error;
    mantis_status status = mantis_conn_begin(bridge_handle(conn), kind, &error);
    return outcome_of(status, &error);
}

bridge_outcome bridge_rollback(bridge_conn conn) {
    mantis_error error;
    mantis_status status = mantis_conn_rollback(bridge_handle(conn), &error);
    return outcome_of(status, &error);
}

/* ---- writes that do not block ---- */

enum { STARTING = 0, WAITED_FOR, OVER };

bool bridge_is_durable(bridge_conn conn, bool *is_known) {
    void *native = NULL;
    mantis_store_info info = {.group = false};
    mantis_status status = mantis_conn_native(bridge_handle(conn), &native, NULL);
    if (status == MANTIS_OK) status = mantis_store_get_info(native, &info);
    *is_known = status == MANTIS_OK;
    return info.group;
}

bridge_commit *bridge_commit_new(uint32_t number) {
    bridge_commit *made = calloc(1, sizeof *made);
    if (made) made->number = number;
    return made;
}

void bridge_commit_trim(bridge_commit *commit) {
    free(commit->memory);
    commit->memory = NULL;
    commit->size_max = 0;
}

/* On whatever thread: the submitting one, which then says so itself, or another. */
static void on_done(mantis_commit *commit) {
    bridge_commit *done = (bridge_commit *)commit;
    uint32_t before = STARTING;
    if (!atomic_compare_exchange_strong(&done->progress, &before, OVER))
        bridge_hub_post_commit(done);
}

/* Make room for this many bytes; false: there is none. */
static bool reserve(bridge_commit *commit, size_t size) {
    if (size <= commit->size_max) return true;
    bridge_commit_trim(commit);
    commit->memory = malloc(size);
    commit->size_max = commit->memory ? size : 0;
    return commit->memory;
}

/* Lay out the writes in the commit's memory, with keys and values behind them. */
static bool copy_writes(bridge_commit *commit, const bridge_write *writes, size_t count,
                        const void *bytes, size_t size) {
    size_t head = count * sizeof(mantis_write);
    if (!reserve(commit, head + size + 1)) return false; /* a pointer behind the last is valid */
    mantis_write *out = (mantis_write *)(void *)commit->memory;
    char *at = commit->memory + head;
    if (size) memcpy(at, bytes, size);
    for (size_t i = 0; i < count; i++) {
        out[i] = (mantis_write){.key = at,
                                .key_size = writes[i].key_size,
                                .value = writes[i].is_delete ? NULL : at + writes[i].key_size,
                                .value_size = writes[i].value_size,
                                .ttl_ms = writes[i].ttl_ms};
        at += writes[i].key_size + writes[i].value_size;
    }
    commit->commit.writes = out;
    commit->commit.count = count;
    return true;
}

bridge_submitted bridge_submit(bridge_conn conn, bridge_commit *commit, mantis_commit_kind kind,
                               mantis_durability durability, uint64_t expected,
                               const bridge_write *writes, size_t count, const void *bytes,
                               size_t size) {
    mantis_commit *inner = &commit->commit;
    mantis_error error = {.status = MANTIS_NOMEM, .text = "out of memory"};
    *inner = (mantis_commit){
        .kind = kind, .durability = durability, .expected = expected, .on_done = on_done};
    commit->progress = STARTING;
    mantis_status status = MANTIS_NOMEM;
    if (copy_writes(commit, writes, count, bytes, size))
        status = mantis_conn_submit(bridge_handle(conn), inner, &error);
    if (status != MANTIS_OK) {
        inner->status = status;
        inner->error = error;
        return BRIDGE_DONE;
    }
    uint32_t before = STARTING;
    bool is_pending = atomic_compare_exchange_strong(&commit->progress, &before, WAITED_FOR);
    return is_pending ? BRIDGE_PENDING : BRIDGE_DONE;
}

/* ---- scans ---- */

bridge_scan *bridge_scan_new(size_t page_bytes) {
    bridge_scan *made = calloc(1, sizeof *made);
    if (made) made->page = page_bytes;
    return made;
}

static bool append(bridge_scan *scan, const void *bytes, size_t size) {
    if (size > scan->size_max - scan->size) {
        size_t wanted = scan->size + size > scan->page ? scan->size + size : scan->page;
        char *grown = realloc(scan->bytes, wanted + wanted / 2);
        if (!grown) return false;
        scan->bytes = grown;
        scan->size_max = wanted + wanted / 2;
    }
    if (size) memcpy(scan->bytes + scan->size, bytes, size);
    scan->size += size;
    return true;
}

static bool on_entry(const mantis_entry *entry, void *arg) {
    bridge_scan *scan = arg;
    bridge_entry head = {.key_size = entry->key_size,
                         .value_size = entry->value_size,
                         .version = entry->version,
                         .expires_ms = entry->expires_ms};
    if (!append(scan, &head, sizeof head) || !append(scan, entry->key, entry->key_size) ||
        !append(scan, entry->value, entry->value_size)) {
        scan->is_out_of_memory = true;
        return false;
    }
    scan->count++;
    return scan->size < scan->page;
}

bridge_outcome bridge_scan_page(bridge_conn conn, bridge_scan *scan, const void *prefix,
                                size_t prefix_size) {
    mantis_error error;
    scan->size = 0;
    scan->count = 0;
    mantis_status status = mantis_conn_scan(bridge_handle(conn), prefix, prefix_size, 0,
                                            &scan->cursor, on_entry, scan, &error);
    if (!scan->is_out_of_memory) return outcome_of(status, &error);
    return (bridge_outcome){.status = MANTIS_NOMEM};
}

void bridge_scan_free(bridge_scan *scan) {
    mantis_cursor_free(&scan->cursor);
    free(scan->bytes);
    free(scan);
}
