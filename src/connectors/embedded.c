/* `mantis:` DSNs as connections of a pool. A connection is a handle on a store: opening and closing
 * one only allocates and frees, so they run where they are needed (blocks is false). */
#include "connectors/embedded.h"

#include "base/error.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define SCHEME "mantis:"
#define MEMORY ":memory:"

/* What the connections of one pool share. */
typedef struct place {
    mp_store *store;
    bool group;
} place;

/* ---- DSN ---- */

/* One key=value of the query. */
static mantis_status parse_option(const char *option, size_t length, mp_embedded_dsn *out,
                                  mantis_error *error) {
    static const char interval[] = "sync=interval", group[] = "sync=group";
    if (length == sizeof interval - 1 && memcmp(option, interval, length) == 0) {
        out->group = false;
        return MANTIS_OK;
    }
    if (length == sizeof group - 1 && memcmp(option, group, length) == 0) {
        out->group = true;
        return MANTIS_OK;
    }
    return mp_error_set(error, MANTIS_INVALID,
                        "DSN: '%.*s' is not an option; there are sync=interval and sync=group",
                        (int)(length < 60 ? length : 60), option);
}

static mantis_status parse_query(const char *query, mp_embedded_dsn *out, mantis_error *error) {
    while (*query) {
        size_t length = strcspn(query, "&");
        mantis_status status = parse_option(query, length, out, error);
        if (status != MANTIS_OK) return status;
        query += length;
        if (*query == '&') query++;
    }
    return MANTIS_OK;
}

mantis_status mp_embedded_parse(const char *dsn, mp_embedded_dsn *out, mantis_error *error) {
    if (!dsn || !*dsn) dsn = SCHEME;
    if (strncmp(dsn, SCHEME, sizeof SCHEME - 1) != 0)
        return mp_error_set(error, MANTIS_INVALID, /* not shown: it may have a password in it */
                            "DSN: it does not begin with 'mantis:'; say "
                            "mantis:DIR?sync=interval|group or mantis::memory:");
    const char *directory = dsn + sizeof SCHEME - 1;
    size_t length = strcspn(directory, "?");
    mp_embedded_dsn parsed = {0};
    if (directory[length] == '?') {
        mantis_status status = parse_query(directory + length + 1, &parsed, error);
        if (status != MANTIS_OK) return status;
    }
    bool in_memory = length == sizeof MEMORY - 1 &&
                     memcmp(directory, MEMORY, sizeof MEMORY - 1) == 0;
    if (!in_memory && directory[0] == ':')
        return mp_error_set(error, MANTIS_INVALID,
                            "DSN: '%.60s' is not known; a store in memory is mantis::memory:", dsn);
    if (!in_memory) {
        parsed.directory = length > 0 ? strndup(directory, length) : strdup(MP_EMBEDDED_DIRECTORY);
        if (!parsed.directory) return mp_error_set(error, MANTIS_NOMEM, "store: out of memory");
    }
    *out = parsed;
    return MANTIS_OK;
}

/* ---- the connector ---- */

static mantis_status start(void **out, const char *dsn, void *config_place, mantis_error *error) {
    (void)config_place;
    mp_embedded_dsn parsed = {0};
    mantis_status status = mp_embedded_parse(dsn, &parsed, error);
    if (status != MANTIS_OK) return status;
    place *made = calloc(1, sizeof *made);
    if (made) {
        made->group = parsed.group;
        status = mp_store_open(&made->store, parsed.directory, error);
    } else {
        status = mp_error_set(error, MANTIS_NOMEM, "store: out of memory");
    }
    free(parsed.directory);
    if (status == MANTIS_OK) *out = made;
    else free(made);
    return status;
}

static void stop(void *opened) {
    place *made = opened;
    if (!made) return;
    mp_store_close(made->store);
    free(made);
}

static void open_handle(void *opened, mantis_op *op) {
    place *made = opened;
    mantis_store *handle = mp_handle_new(made->store, made->group);
    if (handle) mantis_op_done(op, handle);
    else mantis_op_failed(op, "out of memory");
}

static void close_handle(void *opened, void *native, mantis_op *op) {
    (void)opened;
    mp_handle_free(native);
    mantis_op_done(op, NULL);
}

/* What was left open by who had it last. */
static void reset_handle(void *opened, void *native, mantis_op *op) {
    (void)opened;
    mantis_error error = {0};
    if (mp_handle_rollback(native, &error) == MANTIS_OK) mantis_op_done(op, NULL);
    else mantis_op_failed_with(op, &error);
}

static mantis_status kv_write(void *native, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error) {
    return mp_handle_write(native, writes, count, durability, error);
}

static mantis_status kv_get(void *native, const void *key, size_t key_size, mantis_value *out,
                            mantis_error *error) {
    return mp_handle_get(native, key, key_size, out, error);
}

static mantis_status kv_exists(void *native, const void *key, size_t key_size, bool *out,
                               mantis_error *error) {
    return mp_handle_exists(native, key, key_size, out, error);
}

static mantis_status kv_scan(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                             mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                             mantis_error *error) {
    return mp_handle_scan(native, prefix, prefix_size, limit, cursor, on_entry, arg, error);
}

static mantis_status kv_compare_and_set(void *native, const mantis_write *write, uint64_t expected,
                                        mantis_durability durability, uint64_t *version,
                                        mantis_error *error) {
    return mp_handle_compare_and_set(native, write, expected, durability, version, error);
}

static mantis_status kv_begin(void *native, mantis_transaction kind, int64_t memory_max_bytes,
                              mantis_error *error) {
    return mp_handle_begin(native, kind, memory_max_bytes, error);
}

static mantis_status kv_commit(void *native, mantis_durability durability, mantis_error *error) {
    return mp_handle_commit(native, durability, error);
}

static mantis_status kv_rollback(void *native, mantis_error *error) {
    return mp_handle_rollback(native, error);
}

static mantis_status kv_submit(void *native, mantis_commit *commit, mantis_error *error) {
    return mp_handle_submit(native, commit, error);
}

static const mantis_kv kv = {.write = kv_write,
                             .get = kv_get,
                             .exists = kv_exists,
                             .scan = kv_scan,
                             .compare_and_set = kv_compare_and_set,
                             .begin = kv_begin,
                             .commit = kv_commit,
                             .rollback = kv_rollback,
                             .submit = kv_submit};

const mantis_connector mantis_embedded = {.name = "mantis",
                                          .blocks = false,
                                          .start = start,
                                          .stop = stop,
                                          .open = open_handle,
                                          .reset = reset_handle,
                                          .close = close_handle,
                                          .kv = &kv};
