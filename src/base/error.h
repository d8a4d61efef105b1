/* Filling in the detail of a failure. */
#ifndef MP_BASE_ERROR_H
#define MP_BASE_ERROR_H

#include <mantis/status.h>

/* Fill *error, if there is one, and return status. */
__attribute__((format(printf, 3, 4))) mantis_status mp_error_set(mantis_error *error,
                                                                 mantis_status status,
                                                                 const char *format, ...);

/* The same for a failure of the system, with its errno. */
__attribute__((format(printf, 4, 5))) mantis_status mp_error_set_os(mantis_error *error,
                                                                    mantis_status status,
                                                                    int os_errno,
                                                                    const char *format, ...);

#endif
