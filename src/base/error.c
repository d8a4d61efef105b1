/* Filling in the detail of a failure. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

mantis_status mp_error_set(mantis_error *error, mantis_status status, const char *format, ...) {
    if (!error) return status;
    *error = (mantis_error){.status = status};
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}
