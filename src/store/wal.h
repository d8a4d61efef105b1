/* The log files of a store: making them durable, without going through RocksDB.
 *
 * RocksDB writes each record to the kernel before it returns (manual_wal_flush is off), so any
 * descriptor of the same file can sync it. We use our own, for two reasons. Debian's RocksDB is
 * built with assertions, and rocksdb_flush_wal() aborts the process if another thread's write to
 * the same log has just failed (WritableFileWriter::SyncWithoutFlush). And a failed sync is then
 * seen by us first, not by a writer inside RocksDB. Logs are never recycled, and a log is not
 * written any more once its successor exists. */
#ifndef MP_STORE_WAL_H
#define MP_STORE_WAL_H

#include "base/park.h"

#include <dirent.h>
#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_WAL_FILES_MAX 64u /* far more than memtables that can wait for their flush */

typedef struct mp_wal_file {
    uint64_t number;
    int fd;
    bool is_final; /* synced after its successor appeared: nothing can be added */
} mp_wal_file;

typedef struct mp_wal {
    const char *path; /* the directory's, owned by mp_directory */
    mp_lock lock;     /* one sync at a time */
    struct {          /* under lock */
        DIR *list;
        mp_wal_file files[MP_WAL_FILES_MAX]; /* by number */
        uint32_t files_count;
    } locked;
} mp_wal;

/* Errors  IO NOMEM CORRUPT (the directory is missing) */
mantis_status mp_wal_open(mp_wal *wal, const char *path, mantis_error *error);

/* Make durable what was written before the call. After a failure the engine must be fenced: what
 * the kernel could not write, it may have forgotten.
 * Threads any.    Blocks for the disk.
 * Errors  FULL IO */
mantis_status mp_wal_sync(mp_wal *wal, mantis_error *error);

/* Close all descriptors. A zeroed one is fine. */
void mp_wal_close(mp_wal *wal);

/* The sizes of all log files together. */
uint64_t mp_wal_size_bytes(mp_wal *wal);

#endif
