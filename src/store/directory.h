/* A directory as the place of one store: created, known as ours, and locked against other
 * processes.
 *
 *     DIR/MANTIS       the marker: name and version of the format. Written last, so a directory
 *                      with a marker has a complete store in it
 *     DIR/MANTIS.new   the creation has begun but not ended: nothing in it was acknowledged yet
 *     DIR/LOCK         locked by the process that uses the store, with its process id as text
 *     DIR/data         tables: RocksDB's
 *     DIR/wal          logs: RocksDB's, synced by wal.h */
#ifndef MP_STORE_DIRECTORY_H
#define MP_STORE_DIRECTORY_H

#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MP_DIRECTORY_PATH_MAX 3072u
#define MP_DIRECTORY_FORMAT 1

/* The identity of a directory, however it is spelled. */
typedef struct mp_directory_id {
    dev_t device;
    ino_t inode;
} mp_directory_id;

typedef struct mp_directory {
    char *path; /* absolute */
    char *data; /* path/data */
    char *wal;  /* path/wal */
    int fd;
    int lock_fd;
    bool is_new; /* not marked yet: the store in it is to be created */
} mp_directory;

/* Create the directory if its parent exists, and say which one it is. Touches nothing in it.
 * Errors  INVALID FULL IO NOMEM */
mantis_status mp_directory_find(const char *path, mp_directory_id *out, mantis_error *error);

/* Lock the directory and look whose it is. A failure leaves nothing open. To be called only if no
 * store of this process has it open: closing a second descriptor of DIR/LOCK would give up the
 * lock of the first (fcntl(2)).
 * Errors  LOCKED INVALID CORRUPT UNSUPPORTED FULL IO NOMEM */
mantis_status mp_directory_open(mp_directory *directory, const char *path, mantis_error *error);

/* The store in it is complete: write the marker.
 * Errors  FULL IO */
mantis_status mp_directory_mark(mp_directory *directory, mantis_error *error);

/* Give up the lock and free. A zeroed one is fine. */
void mp_directory_close(mp_directory *directory);

/* Is there room for want_bytes, and can they really be written? Errors as text for the log. */
bool mp_directory_has_room(const mp_directory *directory, uint64_t want_bytes);

#endif
