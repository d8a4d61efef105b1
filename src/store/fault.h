/* What went wrong in the store, as a status. */
#ifndef MP_STORE_FAULT_H
#define MP_STORE_FAULT_H

#include <mantis/status.h>

/* The status that stands for an errno of a file operation: FULL, NOMEM, INVALID or IO. */
mantis_status mp_fault_of_errno(int os_errno);

/* The status that a message of RocksDB stands for: FULL, CORRUPT, LOCKED or IO. Its C interface
 * gives text alone; the texts are those of Status::ToString(). */
mantis_status mp_fault_of_text(const char *text);

#endif
