/* A store: one directory with its records, shared by all pools of the process that name it, and
 * the light handles on it that connections are.
 *
 *   S1  what was acknowledged has reached the kernel; with sync=group or SYNCED, the disk.
 *   S2  while the fence is down no write and no flush reaches the engine.
 *   S3  the engine is exchanged only while the guard is paused (G1).
 *   S4  every write holds its stripes from before it takes its version until the engine has it.
 *   S5  a version is below the reservation on disk, so none is given out twice.
 *
 * The empty key is the store's own: its record holds the first version that is not reserved. */
#ifndef MP_STORE_STORE_H
#define MP_STORE_STORE_H

#include "store/committer.h"
#include "store/directory.h"
#include "store/engine.h"
#include "store/guard.h"
#include "store/registry.h"
#include "store/stripes.h"
#include "store/syncer.h"
#include "store/wal.h"

#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_STORE_BATCH_BYTES_MAX ((size_t)128 << 20) /* keys and values of one batch together */
#define MP_STORE_BATCH_COUNT_MAX ((size_t)1 << 20)
#define MP_STORE_KEPT_BATCH_BYTES ((size_t)2048) /* of memory that an idle handle keeps */
#define MP_STORE_VERSIONS_BLOCK UINT64_C(1000000)

typedef struct mp_store {
    mp_registry_entry registered; /* under the registry's lock */
    /* set at open, then const */
    mp_directory directory; /* empty for one in memory */
    bool is_in_memory;
    /* under the guard: exchanged while it is paused */
    mp_engine engine;
    mp_guard guard;
    mp_wal wal; /* opened and closed while the guard is paused */
    /* any thread, atomic */
    _Alignas(MP_CACHE_LINE) _Atomic uint64_t version_next;
    _Atomic uint64_t version_limit; /* written under versions_lock */
    _Atomic uint32_t fence;         /* 0, or the status that writes are answered with */
    mp_lock versions_lock;
    mp_lock txns_lock;
    mp_list txns; /* under txns_lock: the open transactions with a snapshot of this engine (X1) */
    mp_lock fence_lock;
    mantis_error fence_error; /* under fence_lock */
    bool must_flush;          /* under fence_lock: a sync failed, see mp_store_try_lift() */
    mp_committer committer;
    mp_syncer syncer;
    mp_lock stripes[MP_STRIPES];
} mp_store;

/* Open the store in a directory, or share the one that this process has open there. path NULL: a
 * new one in memory, shared with nobody.
 * Owner   the caller, until mp_store_close().
 * Blocks  for the disk: reading the logs, after a crash.
 * Errors  INVALID LOCKED CORRUPT UNSUPPORTED FULL IO NOMEM */
mantis_status mp_store_open(mp_store **out, const char *path, mantis_error *error);

/* Give it up; with its last user it is synced and closed. In a child made by fork() nothing is
 * touched. NULL is fine. */
void mp_store_close(mp_store *store);

/* A handle: what a connection is. One thread at a time may use it.
 * Owner   the caller, until mp_handle_free(); the store must outlive it.
 * Returns NULL if memory is out. */
mantis_store *mp_handle_new(mp_store *store, bool group);
void mp_handle_free(mantis_store *handle);

/* The operations of mantis_kv on a handle, with its contracts; sizes are checked here too. */
mantis_status mp_handle_write(mantis_store *handle, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error);
mantis_status mp_handle_get(mantis_store *handle, const void *key, size_t key_size,
                            mantis_value *out, mantis_error *error);
mantis_status mp_handle_exists(mantis_store *handle, const void *key, size_t key_size, bool *out,
                               mantis_error *error);
mantis_status mp_handle_scan(mantis_store *handle, const void *prefix, size_t prefix_size,
                             uint32_t limit, mantis_cursor *cursor, mantis_on_entry on_entry,
                             void *arg, mantis_error *error);
mantis_status mp_handle_compare_and_set(mantis_store *handle, const mantis_write *write,
                                        uint64_t expected, mantis_durability durability,
                                        uint64_t *version, mantis_error *error);
mantis_status mp_handle_begin(mantis_store *handle, mantis_transaction kind,
                              int64_t memory_max_bytes, mantis_error *error);
mantis_status mp_handle_commit(mantis_store *handle, mantis_durability durability,
                               mantis_error *error);
mantis_status mp_handle_rollback(mantis_store *handle, mantis_error *error);
mantis_status mp_handle_submit(mantis_store *handle, mantis_commit *commit, mantis_error *error);

/* ---- between the parts of the store ---- */

/* Why writes are refused, or OK. */
mantis_status mp_store_check_fence(mp_store *store, mantis_error *error);

/* A write or a sync has failed: let no other one reach the engine (S2). */
void mp_store_fence(mp_store *store, mantis_status status, const mantis_error *error);

/* If there is room again, reopen the engine behind the handles and lift the fence. Answers whether
 * it was reopened: with the fence still down, that was in vain. */
bool mp_store_try_lift(mp_store *store);

/* Sync the logs.
 * Errors  FULL IO: the store has to be fenced, and must write a table before it is lifted. */
mantis_status mp_store_sync(mp_store *store, mantis_error *error);

/* What is due every 100 ms while something is written: sync, reserve versions, look at RocksDB's
 * background errors.
 * Errors  FULL IO CORRUPT: the store has to be fenced. */
mantis_status mp_store_tend(mp_store *store, mantis_error *error);

/* Take count versions; *first is the lowest.
 * Errors  FULL IO: none could be reserved; the store has to be fenced. */
mantis_status mp_store_take_versions(mp_store *store, size_t count, uint64_t *first,
                                     mantis_error *error);

#endif
