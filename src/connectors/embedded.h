/* The connector of the embedded store: joins core and store. */
#ifndef MP_CONNECTORS_EMBEDDED_H
#define MP_CONNECTORS_EMBEDDED_H

#include <mantis/status.h>
#include <mantis/store.h>
#include <stdbool.h>

#define MP_EMBEDDED_DIRECTORY "mantis-data" /* when the DSN names none */

/* What a DSN of the embedded store says. */
typedef struct mp_embedded_dsn {
    char *directory; /* NULL: in memory. Owner: the caller frees it */
    bool group;      /* sync=group */
} mp_embedded_dsn;

/* Read `mantis:DIR?sync=interval|group` or `mantis::memory:`.
 * Errors  INVALID NOMEM */
mantis_status mp_embedded_parse(const char *dsn, mp_embedded_dsn *out, mantis_error *error);

#endif
