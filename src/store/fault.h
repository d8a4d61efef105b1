/* What went wrong in the store, as a status and one line for a person. */
#ifndef MP_STORE_FAULT_H
#define MP_STORE_FAULT_H

#include <mantis/status.h>

/* Fill *error, if there is one, and return status. */
__attribute__((format(printf, 4, 5))) mantis_status mp_fault_set(mantis_error *error,
                                                                 mantis_status status, int os_errno,
                                                                 const char *format, ...);

/* The status that stands for an errno of a file operation: FULL, NOMEM, INVALID or IO. */
mantis_status mp_fault_of_errno(int os_errno);

/* The status that a message of RocksDB stands for: FULL, CORRUPT, LOCKED or IO. Its C interface
 * gives text alone; the texts are those of Status::ToString(). */
mantis_status mp_fault_of_text(const char *text);

#endif
