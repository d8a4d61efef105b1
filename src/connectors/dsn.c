/* The schemes and their connectors. */
#include "connectors/dsn.h"

#include <mantis/store.h>

#include <stdio.h>
#include <string.h>

static bool is_scheme(const char *dsn, const char *scheme) {
    return strncmp(dsn, scheme, strlen(scheme)) == 0;
}

static mantis_status refuse_dsn(const char *dsn, mantis_error *error) {
    static const char *const known[] = {"postgres:", "postgresql:", "redis:", "rediss:", "mysql:"};
    mantis_error why = {.status = MANTIS_INVALID};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!is_scheme(dsn, known[i])) continue;
        why.status = MANTIS_UNSUPPORTED;
        (void)snprintf(why.text, sizeof why.text,
                       "%s is not built into this program, which knows " MP_DSN_FORMS,
                       known[i]); /* no more of it: it may hold a password */
    }
    if (why.status == MANTIS_INVALID && *dsn)
        (void)snprintf(why.text, sizeof why.text,
                       "'%.60s' is no DSN: for a directory write "
                       "mantis:%.60s",
                       dsn, strchr(dsn, ':') ? "DIR" : dsn);
    if (!*dsn) (void)snprintf(why.text, sizeof why.text, "the DSN is empty: write " MP_DSN_FORMS);
    if (error) *error = why;
    return why.status;
}

mantis_status mp_dsn_find(const char *dsn, const mantis_connector **out, mantis_error *error) {
    if (!is_scheme(dsn, "mantis:")) return refuse_dsn(dsn, error);
    *out = &mantis_embedded;
    return MANTIS_OK;
}
