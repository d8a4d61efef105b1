/* Before RocksDB reads its logs: make them one line of history without a gap.
 *
 * RocksDB recovers to a point in time: it reads each log until the first damage. But it looks
 * neither for a log whose end is missing exactly after a record, nor for one that is missing, nor
 * for zeros where a record began; after a power cut all three happen, because the kernel may have
 * written a younger log, or a later page, before an older one. RocksDB then goes on behind the gap,
 * and shows late writes without earlier ones.
 *
 * So here each log is read first, with its checksums. What follows its last whole record is cut
 * off. Each record carries RocksDB's number of its first write, so a gap shows: a log that does not
 * begin where the one before ended is set aside (NNN.lost), and so are all after it.
 *
 *   R1  after it, the logs that RocksDB will read hold consecutive writes, the first of which is
 *       at most one beyond the last in its tables.
 *   R2  nothing is cut off that had been synced, unless a file was damaged: mp_wal_sync() syncs
 *       the oldest log first. */
#ifndef MP_STORE_RECOVERY_H
#define MP_STORE_RECOVERY_H

#include "store/directory.h"

#include <mantis/status.h>

/* Check the logs, and cut off what cannot be used. The engine must be closed.
 * Errors  FULL IO NOMEM UNSUPPORTED (a record of a kind that this version does not know) */
mantis_status mp_recovery_run(const mp_directory *directory, mantis_error *error);

#endif
