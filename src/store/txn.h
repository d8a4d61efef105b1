/* A transaction: a snapshot to read from, the keys that were read one by one with the versions they
 * had, and the writes to come. It takes no lock while it is open. Its commit is one mp_commit, with
 * a condition for each key that was read: so what it has read is still true when it writes.
 *
 *   X1  a transaction that is in the store's list has a snapshot of the engine there is: whoever
 *       exchanges the engine first takes all out of the list and releases their snapshots, which
 *       ends them. So an open transaction delays no exchange.
 *   X2  a key read is known with its version, or the read has failed: none is left unchecked.
 *   X3  a transaction that is doomed does nothing but end.
 *
 * Used inside the store's guard, but for mp_txn_free(). */
#ifndef MP_STORE_TXN_H
#define MP_STORE_TXN_H

#include "base/list.h"
#include "store/commit.h"
#include "store/txn_keys.h"

#include <mantis/store.h>
#include <rocksdb/c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_store;

/* What a key counts for beside its bytes; so at most 840,000 of them fit. */
#define MP_TXN_KEY_BYTES ((size_t)160)

typedef struct mp_txn {
    /* set at its begin, then const */
    struct mp_store *store;
    mantis_transaction kind;
    size_t bytes_max;
    rocksdb_readoptions_t *read; /* from the snapshot */
    /* under the store's txns_lock; the guard's pause lets the exchange write them */
    mp_node node;
    const rocksdb_snapshot_t *snapshot; /* NULL: not in the list any more (X1) */
    /* holder only */
    mantis_status doom; /* OK, or what it is answered with (X3) */
    uint32_t scans;     /* that are under way: their callbacks may write */
    size_t bytes;       /* held; at most bytes_max */
    mp_txn_keys keys;
    mp_txn_value *replaced; /* a scan's callback may see them still */
    mantis_write *writes;   /* of its commit, in one piece with conditions */
} mp_txn;

/* Begin one. memory_max_bytes bounds what it holds; negative: as much as a batch may have.
 * Owner   the caller, until mp_txn_free().
 * Errors  NOMEM */
mantis_status mp_txn_new(mp_txn **out, struct mp_store *store, mantis_transaction kind,
                         int64_t memory_max_bytes, mantis_error *error);

/* End it. NULL is fine. Also outside the guard; never blocks. */
void mp_txn_free(mp_txn *txn);

/* The engine is about to be closed, with the guard paused: release all snapshots (X1). */
void mp_txn_doom_all(struct mp_store *store);

/* May it go on?
 * Errors  CONFLICT: the engine was exchanged. NOMEM: there was no memory for one of its writes */
mantis_status mp_txn_check(const mp_txn *txn, mantis_error *error);

/* Read a key: what the transaction will write, or what the snapshot has. As mp_engine_read(), but
 * *pin is left as it is for a write to come, whose version is 0.
 * Errors  NOT_FOUND TOO_BIG NOMEM CORRUPT IO, and those of mp_txn_check() */
mantis_status mp_txn_read(mp_txn *txn, const void *key, size_t key_size,
                          rocksdb_pinnableslice_t **pin, mp_record *record, mantis_error *error);

/* Remember writes, all of them or none.
 * Errors  INVALID (it is for reading) TOO_BIG NOMEM, and those of mp_txn_check() */
mantis_status mp_txn_write(mp_txn *txn, const mantis_write *writes, size_t count,
                           mantis_error *error);

/* Make it a commit, whose parts are the transaction's.
 * Errors  NOMEM, and those of mp_txn_check() */
mantis_status mp_txn_prepare(mp_txn *txn, mp_commit *commit, mantis_error *error);

/* What will be written at this key, as a record; its value NULL: it will be deleted. */
mp_record mp_txn_record(const mp_txn_key *key);

/* Between these two, entries and values stay as they are in memory. */
void mp_txn_begin_scan(mp_txn *txn);
void mp_txn_end_scan(mp_txn *txn);

#endif
