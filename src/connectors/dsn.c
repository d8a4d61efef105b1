/* The schemes and their connectors. */
#include "connectors/dsn.h"

#include "base/error.h"

#include <mantis/store.h>
#ifdef MP_POSTGRES_VERSION
#include <mantis/postgres.h>
#endif
#ifdef MP_REDIS_VERSION
#include <mantis/redis.h>
#endif

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#ifdef MP_POSTGRES_VERSION
#define POSTGRES &mantis_postgres, "libpq " MP_POSTGRES_VERSION
#else
#define POSTGRES NULL, NULL
#endif
#ifdef MP_REDIS_VERSION
#define REDIS &mantis_redis, "hiredis " MP_REDIS_VERSION
#else
#define REDIS NULL, NULL
#endif

const mp_dsn_scheme mp_dsn_schemes[] = {
    {"store", {"mantis:"}, MP_DSN_STORE, &mantis_embedded, "rocksdb " MP_ROCKSDB_VERSION},
    {"postgres", {"postgres:", "postgresql:"}, MP_DSN_POSTGRES, POSTGRES},
    {"redis", {"redis:", "redis+unix:", "rediss:"}, MP_DSN_REDIS, REDIS},
    {"mysql", {"mysql:"}, NULL, NULL, NULL},
    {NULL, {NULL}, NULL, NULL, NULL},
};

static bool is_of(const mp_dsn_scheme *scheme, const char *dsn) {
    for (size_t i = 0; i < sizeof scheme->prefixes / sizeof scheme->prefixes[0]; i++) {
        const char *prefix = scheme->prefixes[i];
        if (prefix && strncmp(dsn, prefix, strlen(prefix)) == 0) return true;
    }
    return false;
}

static mantis_status refuse_unknown(const char *dsn, mantis_error *error) {
    char shown[64];
    if (!*dsn) return mp_error_set(error, MANTIS_INVALID, "the DSN is empty: write " MP_DSN_FORMS);
    mp_dsn_format(dsn, shown, sizeof shown);
    if (strchr(dsn, ':'))
        return mp_error_set(error, MANTIS_INVALID, "'%s' is no DSN: write " MP_DSN_FORMS, shown);
    return mp_error_set(error, MANTIS_INVALID, "'%s' is no DSN: for a directory write mantis:%s",
                        shown, shown);
}

mantis_status mp_dsn_find(const char *dsn, const mantis_connector **out, mantis_error *error) {
    for (const mp_dsn_scheme *scheme = mp_dsn_schemes; scheme->name; scheme++) {
        if (!is_of(scheme, dsn)) continue;
        if (!scheme->connector)
            return mp_error_set(error, MANTIS_UNSUPPORTED,
                                "%s is not built into this program, which knows " MP_DSN_FORMS,
                                scheme->prefixes[0]);
        *out = scheme->connector;
        return MANTIS_OK;
    }
    return refuse_unknown(dsn, error);
}

void mp_dsn_format(const char *dsn, char *out, size_t size) {
    const char *query = strchr(dsn, '?'), *scheme = strstr(dsn, "://");
    bool has_password = query && strstr(query, "password");
    int end = (int)(has_password ? (size_t)(query - dsn) : strlen(dsn));
    const char *at = memrchr(dsn, '@', (size_t)end);
    int from = at ? (int)(at - dsn) : 0, head = scheme && scheme < at ? (int)(scheme + 3 - dsn) : 0;
    (void)snprintf(out, size, "%.*s%s%.*s%s", head, dsn, at ? "***" : "", end - from, dsn + from,
                   has_password ? "?***" : "");
}
