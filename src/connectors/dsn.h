/* Which connector a DSN means. Only for programs: a library names its connector itself. */
#ifndef MP_CONNECTORS_DSN_H
#define MP_CONNECTORS_DSN_H

#include <mantis/connector.h>
#include <mantis/status.h>

/* What --help says about DSNs. */
#define MP_DSN_FORMS "mantis:DIR[?sync=interval|group] or mantis::memory:"

/* Find the connector for a DSN by its scheme; the rest of the DSN is the connector's to read.
 * Errors  INVALID (no DSN) UNSUPPORTED (a scheme that is not built in) */
mantis_status mp_dsn_find(const char *dsn, const mantis_connector **out, mantis_error *error);

#endif
