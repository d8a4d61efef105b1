/* Filling in the detail of a failure. */
#ifndef MP_BASE_ERROR_H
#define MP_BASE_ERROR_H

#include <mantis/status.h>

/* Fill *error, if there is one, and return status. */
__attribute__((format(printf, 3, 4))) mantis_status mp_error_set(mantis_error *error,
                                                                 mantis_status status,
                                                                 const char *format, ...);

#endif
