/* The SQLSTATE codes that are said or looked for here, by PostgreSQL's names for them, and failing
 * with one. */
#ifndef MP_PG_SQLSTATE_H
#define MP_PG_SQLSTATE_H

#include <mantis/status.h>

#define MP_SQLSTATE_CONNECTION_FAILURE "08006"
#define MP_SQLSTATE_PROTOCOL_VIOLATION "08P01"
#define MP_SQLSTATE_FEATURE_NOT_SUPPORTED "0A000"
#define MP_SQLSTATE_INVALID_PARAMETER_VALUE "22023"
#define MP_SQLSTATE_INVALID_SQL_STATEMENT_NAME "26000"
#define MP_SQLSTATE_INVALID_AUTHORIZATION "28000"
#define MP_SQLSTATE_INVALID_PASSWORD "28P01"
#define MP_SQLSTATE_INVALID_CATALOG_NAME "3D000"
#define MP_SQLSTATE_SYNTAX_ERROR "42601"
#define MP_SQLSTATE_DUPLICATE_PREPARED_STATEMENT "42P05"
#define MP_SQLSTATE_INSUFFICIENT_RESOURCES "53000"
#define MP_SQLSTATE_OUT_OF_MEMORY "53200"
#define MP_SQLSTATE_TOO_MANY_CONNECTIONS "53300"
#define MP_SQLSTATE_QUERY_CANCELED "57014"
#define MP_SQLSTATE_ADMIN_SHUTDOWN "57P01"
#define MP_SQLSTATE_CANNOT_CONNECT_NOW "57P03"
#define MP_SQLSTATE_INTERNAL_ERROR "XX000"

/* Fill *error, if there is one, with INVALID, this code and this text; return INVALID. */
__attribute__((format(printf, 3, 4))) mantis_status mp_sqlstate_fail(mantis_error *error,
                                                                     const char *sqlstate,
                                                                     const char *format, ...);

#endif
