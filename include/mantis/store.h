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
#define MANTIS_TTL_MAX_MS (INT64_C(1) << 53) /* 285,000 years */

/* Bytes that came out, with their version (0 where the backend has none, and for what a transaction
 * has yet to write) and expiry (milliseconds of wall-clock time since 1970; 0: never). Valid until
 * mantis_value_free(), also after the release of the connection. A zeroed one is empty. */
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
    int64_t ttl_ms; /* how long from now the key lives, by the wall clock: 1 to
                     * MANTIS_TTL_MAX_MS; 0: for ever, and for a delete */
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
    int64_t expires_ms; /* as in mantis_value */
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
 * Errors  NOT_FOUND STALE CLOSED FORKED INVALID TOO_BIG CORRUPT IO NOMEM UNSUPPORTED, and in a
 *         transaction CONFLICT (what it sees is lost: begin again) */
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
 * the store as it was when the call began. on_entry may read and write on the same connection; what
 * it writes in a transaction may be seen further on, or not.
 * Threads the connection's holder.    Blocks for reads; on_entry runs on this thread.
 * Errors  as mantis_conn_get(), but NOT_FOUND */
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

/* Set, or with a NULL value delete, a key if it still has the version that a get reported. Version
 * 0 stands for a key that is missing or expired, so it makes "only if it is not there".
 * *version, if not NULL, becomes the new version (0 for a delete).
 * Threads the connection's holder.    Blocks for a read and a write.
 * Errors  CONFLICT: the key has another version; INVALID also in a transaction, which checks what
 *         it has read by itself; else as mantis_conn_set() and mantis_conn_get() */
MANTIS_API mantis_status mantis_conn_compare_and_set(mantis_conn conn, const mantis_write *write,
                                                     uint64_t expected,
                                                     mantis_durability durability,
                                                     uint64_t *version, mantis_error *error);

/* ---- transactions ---- */

typedef enum mantis_transaction {
    MANTIS_TRANSACTION_WRITE = 0, /* reads and writes, checked at commit */
    MANTIS_TRANSACTION_SNAPSHOT   /* reads only, of the store as it is now; nothing is checked */
} mantis_transaction;

/* Begin a transaction on the connection. Until it is committed or rolled back, reads on this
 * connection see the store as it is now and the transaction's own writes, and writes are kept in
 * memory. Expired keys are missing for a transaction too: no snapshot keeps them. Releasing the
 * connection rolls back. What it holds is bounded by conn_memory_max: the keys that it has read one
 * by one, the keys and values that it has written, and 160 bytes for each key; what goes beyond it
 * is refused with TOO_BIG, and the transaction goes on without it. Should the store have to reopen
 * its engine meanwhile (after a full or failed disk), the transaction can only answer CONFLICT.
 * Threads the connection's holder.    Blocks for a read.
 * Errors  BUSY: it has one already; INVALID UNSUPPORTED STALE CLOSED FORKED IO FULL NOMEM */
MANTIS_API mantis_status mantis_conn_begin(mantis_conn conn, mantis_transaction kind,
                                           mantis_error *error);

/* Apply all writes of the transaction at once, if every key that it has read one by one (get,
 * exists) is still what it was: not written since, and not expired. What a scan has seen is not
 * checked. The transaction is over, however it ends. One without writes only checks.
 * Threads the connection's holder.    Blocks for a write.
 * Errors  CONFLICT: a key that was read is another by now, and nothing was applied: begin again;
 *         INVALID (there is none); BUSY (within its own scan: it goes on); else as
 *         mantis_conn_set() */
MANTIS_API mantis_status mantis_conn_commit(mantis_conn conn, mantis_durability durability,
                                            mantis_error *error);

/* Forget the transaction. Without one it does nothing.
 * Threads the connection's holder.    Never blocks.
 * Errors  STALE CLOSED FORKED UNSUPPORTED, BUSY (within its own scan: it goes on) */
MANTIS_API mantis_status mantis_conn_rollback(mantis_conn conn, mantis_error *error);

/* ---- writes that do not block ---- */

typedef enum mantis_commit_kind {
    MANTIS_COMMIT_WRITES = 0,      /* as mantis_conn_batch() */
    MANTIS_COMMIT_COMPARE_AND_SET, /* as mantis_conn_compare_and_set(), with writes[0] */
    MANTIS_COMMIT_TRANSACTION      /* as mantis_conn_commit() */
} mantis_commit_kind;

/* One write under way, in the caller's memory, for programs that must not block a thread on the
 * disk: an event loop, or another language's scheduler. */
typedef struct mantis_commit {
    mantis_commit_kind kind;
    mantis_durability durability;
    const mantis_write *writes; /* with what they point to, valid until on_done */
    size_t count;
    uint64_t expected; /* of a compare-and-set */
    /* Called exactly once, on any thread, also within mantis_conn_submit(). It must not block, nor
     * call the store; it may wake who waits. The commit is the caller's again when it is called. */
    void (*on_done)(struct mantis_commit *commit);
    void *arg; /* the caller's own */
    mantis_status status;
    /* New: of the last write, a transaction's being in the order of their keys. 0: nothing was
     * written, the backend has none, or a compare-and-set has deleted. */
    uint64_t version;
    mantis_error error;
    uint64_t reserved[16]; /* the store's own */
} mantis_commit;

/* Start a write, and have on_done told its outcome. Until then the connection is occupied: nothing
 * else may be done with it, nor may it be released.
 * Owner   *commit is the store's until on_done, and stays where it is.
 * Threads the connection's holder.    Blocks for no sync, but that of a store's very first write; a
 *         write that needs none is done at once, before this returns.
 * Errors  what is known at once, of those of the blocking call. Then on_done is not called, and the
 *         write is as over as if it had told it. */
MANTIS_API mantis_status mantis_conn_submit(mantis_conn conn, mantis_commit *commit,
                                            mantis_error *error);

/* What a connector offers for the calls above: the same operations on its native connection.
 * Members that are NULL answer UNSUPPORTED. Sizes of keys and values were checked before. While a
 * transaction is open, write, get, exists and scan are its. */
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
    mantis_status (*compare_and_set)(void *native, const mantis_write *write, uint64_t expected,
                                     mantis_durability durability, uint64_t *version,
                                     mantis_error *error);
    /* The connector's reset rolls back: a connection that began one is reset at its release. */
    mantis_status (*begin)(void *native, mantis_transaction kind, int64_t memory_max_bytes,
                           mantis_error *error);
    mantis_status (*commit)(void *native, mantis_durability durability, mantis_error *error);
    mantis_status (*rollback)(void *native, mantis_error *error);
    /* NULL: mantis_conn_submit() calls the blocking ones above, and is UNSUPPORTED without them. */
    mantis_status (*submit)(void *native, mantis_commit *commit, mantis_error *error);
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

/* Threads the connection's holder. */
MANTIS_API mantis_status mantis_store_get_info(mantis_store *store, mantis_store_info *out);

#ifdef __cplusplus
}
#endif
#endif
