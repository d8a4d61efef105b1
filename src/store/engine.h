/* RocksDB as the engine of a store: its options, opening and closing it, and the few calls that
 * the store makes. What is here is neither thread-safe against open and close (guard.h) nor
 * against writes after an error (the store's fence): see store.h. */
#ifndef MP_STORE_ENGINE_H
#define MP_STORE_ENGINE_H

#include "store/directory.h"

#include <mantis/status.h>
#include <mantis/store.h>
#include <rocksdb/c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mp_engine_mode {
    MP_ENGINE_CREATE, /* a new store, or the remains of a creation that did not end */
    MP_ENGINE_WRITE,
    MP_ENGINE_REOPEN, /* as WRITE, but with as little new on the disk as possible */
    MP_ENGINE_READ    /* writes nothing at all to the disk: for a full one */
} mp_engine_mode;

typedef struct mp_engine {
    rocksdb_t *db; /* NULL: not open, and nothing to read */
    rocksdb_options_t *options;
    rocksdb_options_t *reopen_options; /* for MP_ENGINE_REOPEN */
    rocksdb_env_t *env;                /* memory only */
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    bool is_in_memory;
    bool has_large_buffer; /* by a REOPEN, see mp_engine_open() */
} mp_engine;

/* Make the options; directory NULL: in memory. Nothing is opened yet.
 * Errors  NOMEM IO */
mantis_status mp_engine_init(mp_engine *engine, const mp_directory *directory, mantis_error *error);

/* Open RocksDB. wal_bytes is the size of the logs there are: REOPEN reads them into one memtable,
 * so that nothing but a new, empty log and a manifest must be written.
 * Errors  CORRUPT LOCKED FULL IO */
mantis_status mp_engine_open(mp_engine *engine, const mp_directory *directory, mp_engine_mode mode,
                             uint64_t wal_bytes, mantis_error *error);

/* Close it, with what was written still in the logs. Nobody may be inside. */
void mp_engine_close(mp_engine *engine);

/* Free everything. A zeroed one is fine. */
void mp_engine_finish(mp_engine *engine);

/* Add writes to a batch, the first with this version, each next one with the next. */
void mp_engine_add(rocksdb_writebatch_t *batch, const mantis_write *writes, size_t count,
                   uint64_t version);

/* Write a batch: on return it has reached the kernel.
 * Errors  FULL CORRUPT IO: fence the store, the engine must see no write any more */
mantis_status mp_engine_write(mp_engine *engine, rocksdb_writebatch_t *batch, mantis_error *error);

/* Has a flush or a compaction failed since the open?
 * Errors  FULL CORRUPT IO: as for mp_engine_write() */
mantis_status mp_engine_check(mp_engine *engine, mantis_error *error);

/* Is a table being written, or about to be? Then mp_engine_check() is worth another look. */
bool mp_engine_is_busy(mp_engine *engine);

/* There is room again: back to a memtable of the usual size, which writes a table. */
void mp_engine_shrink_buffer(mp_engine *engine);

/* Write the memtable to a table, synced.
 * Errors  FULL IO */
mantis_status mp_engine_flush(mp_engine *engine, mantis_error *error);

/* Turn a message of RocksDB into a status and free it. */
mantis_status mp_engine_fault(char *message, const char *doing, mantis_error *error);

#endif
