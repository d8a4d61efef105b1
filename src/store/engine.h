/* RocksDB as the engine of a store: its options, opening and closing it, and the few calls that
 * the store makes. What is here is neither thread-safe against open and close (guard.h) nor
 * against writes after an error (the store's fence): see store.h. */
#ifndef MP_STORE_ENGINE_H
#define MP_STORE_ENGINE_H

#include "store/directory.h"
#include "store/record.h"

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
    rocksdb_compactionfilter_t *filter; /* takes out what is expired */
    int64_t (*wall_ms)(
        void); /* what says what is expired; tests plant another right after the open */
    bool is_in_memory;
    bool has_large_buffer; /* by a REOPEN, see mp_engine_open() */
} mp_engine;

/* A batch of writes that is used again. Zeroed but for kept_bytes it is ready for use. */
typedef struct mp_batch {
    rocksdb_writebatch_t *writes; /* NULL: none yet */
    size_t kept_bytes;            /* one that held more gives its memory back */
} mp_batch;

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

/* Is a record past its time? Reads the clock only if it has one. */
static inline bool mp_engine_is_expired(const mp_engine *engine, const mp_record *record) {
    return record->expires_ms != 0 && record->expires_ms <= engine->wall_ms();
}

/* Read the record of a key, as of now or of the options' snapshot. With OK, *pin holds it: the
 * caller destroys that.
 * Errors  NOT_FOUND (also if it is expired; *error is left as it is) CORRUPT IO */
mantis_status mp_engine_read(const mp_engine *engine, const rocksdb_readoptions_t *options,
                             const void *key, size_t key_size, rocksdb_pinnableslice_t **pin,
                             mp_record *record, mantis_error *error);

/* What is said of a record that is none: CORRUPT. */
mantis_status mp_engine_refuse_record(mantis_error *error);

/* Add a write to a batch. Its ttl_ms counts from born_ms. */
void mp_batch_add(mp_batch *batch, const mantis_write *write, uint64_t version, int64_t born_ms);

/* Write what is in the batch, which is empty then: on return it has reached the kernel.
 * Errors  FULL CORRUPT IO: fence the store, the engine must see no write any more */
mantis_status mp_engine_write(mp_engine *engine, mp_batch *batch, mantis_error *error);

/* Free its memory. */
void mp_batch_finish(mp_batch *batch);

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
