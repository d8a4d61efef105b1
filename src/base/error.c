/* Filling in the detail of a failure. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static mantis_status fill(mantis_error *error, mantis_status status, int os_errno,
                          const char *format, va_list args) {
    if (!error) return status;
    *error = (mantis_error){.status = status, .os_errno = os_errno};
    vsnprintf(error->text, sizeof error->text, format, args);
    return status;
}

mantis_status mp_error_set(mantis_error *error, mantis_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fill(error, status, 0, format, args);
    va_end(args);
    return status;
}

mantis_status mp_error_set_os(mantis_error *error, mantis_status status, int os_errno,
                              const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fill(error, status, os_errno, format, args);
    va_end(args);
    return status;
}
