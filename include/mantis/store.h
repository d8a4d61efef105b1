/* Key-value operations on a borrowed connection, and the embedded store behind `mantis:` DSNs.
 *
 * The first part is part of libmantispool and works on every connection whose connector has them;
 * the second is libmantispool-store. Keys are 1 byte to 64 KiB, values 0 bytes to 64 MiB, both any
 * bytes. An `error` argument may be NULL. Results are untouched on failure. */
#ifndef MANTIS_STORE_H
#define MANTIS_STORE_H

#include <mantis/connector.h>
#include <mantis/pool.h>
#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MANTIS_KEY_MAX ((size_t)64 << 10)
#define MANTIS_VALUE_MAX ((size_t)64 << 20)

/* Bytes that came out, with their version (0 where the backend has none) and expiry (milliseconds
 * of wall-clock time since 1970; 0: never). Valid until mantis_value_free(), also after the release
 * of the connection. A zeroed one is empty. */
typedef struct mantis_value {
    const void *data;
    size_t size;
    uint64_t version;
    int64_t expires_ms;
    void *owner; /* what free_owner gives back */
    void (*free_owner)(void *owner);
} mantis_value;

/* Give a value back and clear it. An empty one is fine.
 * Threads any. */
MANTIS_API void mantis_value_free(mantis_value *value);

/* One write, of a batch or for mantis_conn_set_with(). */
typedef struct mantis_write {
    const void *key;
    size_t key_size;
    const void *value; /* NULL: delete the key */
    size_t value_size;
} mantis_write;

typedef enum mantis_durability {
    MANTIS_DURABLE_DEFAULT = 0, /* as the DSN's sync= says */
    MANTIS_DURABLE_SYNCED       /* on disk before it is acknowledged */
} mantis_durability;

/* One key and its value of a scan. Both belong to the scan's callback. */
typedef struct mantis_entry {
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    uint64_t version;
} mantis_entry;

/* Called for each entry in key order. Return false to stop: the cursor is then after this entry. */
typedef bool (*mantis_on_entry)(const mantis_entry *entry, void *arg);

/* Set a key. Acknowledged means: it survives a crash of the process (and with sync=group, or
 * SYNCED, of the machine).
 * Threads the connection's holder.    Blocks for a write.
 * Errors  STALE CLOSED FORKED INVALID TOO_BIG FULL IO NOMEM UNSUPPORTED */
MANTIS_API mantis_status mantis_conn_set(mantis_conn conn, const void *key, size_t key_size,
                                         const void *value, size_t value_size, mantis_error *error);

/* As mantis_conn_set(), and says how durable. A write whose value is NULL deletes the key.
 * Threads the connection's holder.    Blocks for a write.
 * Errors  as mantis_conn_set() */
MANTIS_API mantis_status mantis_conn_set_with(mantis_conn conn, const mantis_write *write,
                                              mantis_durability durability, mantis_error *error);

/* Read a key.
 * Owner   the caller frees *out with mantis_value_free().
 * Threads the connection's holder.    Blocks for a read.
 * Errors  NOT_FOUND STALE CLOSED FORKED INVALID TOO_BIG CORRUPT IO NOMEM UNSUPPORTED */
MANTIS_API mantis_status mantis_conn_get(mantis_conn conn, const void *key, size_t key_size,
                                         mantis_value *out, mantis_error *error);

/* Delete a key. One that is not there is no error.
 * Threads the connection's holder.    Blocks for a write.
 * Errors  as mantis_conn_set() */
MANTIS_API mantis_status mantis_conn_delete(mantis_conn conn, const void *key, size_t key_size,
                                            mantis_error *error);

/* Is the key there?
 * Threads the connection's holder.    Blocks for a read.
 * Errors  as mantis_conn_get(), but NOT_FOUND */
MANTIS_API mantis_status mantis_conn_exists(mantis_conn conn, const void *key, size_t key_size,
                                            bool *out, mantis_error *error);

/* Where a scan goes on. Start with a zeroed one; mantis_cursor_free() when done. */
typedef struct mantis_cursor {
    void *key; /* the next scan starts behind it */
    size_t key_size;
    bool at_end; /* nothing is left */
} mantis_cursor;

/* Free a cursor and clear it. An empty one is fine. */
MANTIS_API void mantis_cursor_free(mantis_cursor *cursor);

/* Visit the keys that begin with prefix in the order of their bytes: at most limit of them (0:
 * all), from where the cursor stands. The cursor may be NULL: then from the start. What is seen is
 * the store as it was when the call began.
 * Threads the connection's holder.    Blocks for reads; on_entry runs on this thread.
 * Errors  STALE CLOSED FORKED INVALID TOO_BIG CORRUPT IO NOMEM UNSUPPORTED */
MANTIS_API mantis_status mantis_conn_scan(mantis_conn conn, const void *prefix, size_t prefix_size,
                                          uint32_t limit, mantis_cursor *cursor,
                                          mantis_on_entry on_entry, void *arg, mantis_error *error);

/* Apply all writes, or none of them. The bytes of keys and values together may be at most the
 * pool's conn_memory_max.
 * Threads the connection's holder.    Blocks for a write.
 * Errors  as mantis_conn_set() */
MANTIS_API mantis_status mantis_conn_batch(mantis_conn conn, const mantis_write *writes,
                                           size_t count, mantis_durability durability,
                                           mantis_error *error);

/* What a connector offers for the calls above: the same operations on its native connection.
 * Members that are NULL answer UNSUPPORTED. Sizes of keys and values were checked before. */
typedef struct mantis_kv {
    mantis_status (*write)(void *native, const mantis_write *writes, size_t count,
                           mantis_durability durability, mantis_error *error);
    mantis_status (*get)(void *native, const void *key, size_t key_size, mantis_value *out,
                         mantis_error *error);
    mantis_status (*exists)(void *native, const void *key, size_t key_size, bool *out,
                            mantis_error *error);
    mantis_status (*scan)(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                          mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                          mantis_error *error);
} mantis_kv;

/* ---- libmantispool-store ---- */

/* The connector of the embedded store. DSN: `mantis:DIR?sync=interval|group` (default
 * `mantis:mantis-data`, interval), or `mantis::memory:` (gone with its pool). Within one process
 * any number of pools may open the same directory, each with its own sync=: they share one store.
 * Each `mantis::memory:` pool has a store of its own. The native connection is a mantis_store *. */
MANTIS_API extern const mantis_connector mantis_embedded;

/* A handle on one store, as mantis_conn_native() gives it for a `mantis:` connection. */
typedef struct mantis_store mantis_store;

/* The same operations without the pool, on a handle from mantis_conn_native(): its contracts are
 * those of the mantis_conn_ functions of the same name. Errors never include STALE. */
MANTIS_API mantis_status mantis_store_set(mantis_store *store, const void *key, size_t key_size,
                                          const void *value, size_t value_size,
                                          mantis_error *error);
/* As mantis_conn_get(). */
MANTIS_API mantis_status mantis_store_get(mantis_store *store, const void *key, size_t key_size,
                                          mantis_value *out, mantis_error *error);
/* As mantis_conn_delete(). */
MANTIS_API mantis_status mantis_store_delete(mantis_store *store, const void *key, size_t key_size,
                                             mantis_error *error);

/* What the store behind a handle is about. */
typedef struct mantis_store_info {
    char directory[256]; /* ":memory:" for one that is not on disk; cut off with "..." if longer */
    uint64_t version;    /* of the newest write */
    bool fenced;         /* no writes now: the disk is full or failed; reads go on */
    bool group;          /* sync=group */
} mantis_store_info;

/* Threads any holder of the handle. */
MANTIS_API mantis_status mantis_store_get_info(mantis_store *store, mantis_store_info *out);

#ifdef __cplusplus
}
#endif
#endif
