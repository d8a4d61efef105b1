/* Failing with a SQLSTATE. */
#include "pg/sqlstate.h"

#include <stdarg.h>
#include <stdio.h>

mantis_status mp_sqlstate_fail(mantis_error *error, const char *sqlstate, const char *format, ...) {
    if (!error) return MANTIS_INVALID;
    *error = (mantis_error){.status = MANTIS_INVALID};
    snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return MANTIS_INVALID;
}
