/* Passwords as SCRAM hashes them: prepared by SASLprep (RFC 4013), the way PostgreSQL does it, so
 * that both come to the same bytes. */
#ifndef MP_PG_SASLPREP_H
#define MP_PG_SASLPREP_H

#include "pg/view.h"

#include <stdbool.h>

/* A prepared password. A zeroed one is empty. */
typedef struct mp_saslprep {
    char *data; /* its own, on the heap */
    size_t size;
} mp_saslprep;

/* Prepare a password. One of ASCII alone stays as it is; so does one that is not UTF-8, or that
 * SASLprep prohibits, and PostgreSQL does the same.
 * Owner   the caller, until mp_saslprep_finish().
 * Errors  false: no memory */
bool mp_saslprep_init(mp_saslprep *prepared, mp_view password);

/* Wipe and free it. */
void mp_saslprep_finish(mp_saslprep *prepared);

#endif
