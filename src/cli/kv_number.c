/* Times and versions, as they are written on the command line and in the shell. */
#include "cli/kv.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
enum { UNITS = sizeof units / sizeof units[0] };

const char *mp_kv_parse_time(const char *text, int64_t *ms) {
    static const char wrong[] =
        "it must be a number from 1 on with ms, s, m, h or d behind it, such "
        "as 500ms or 10s";
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9') return wrong;
    long long number = strtoll(text, &end, 10);
    for (size_t i = 0; i < UNITS; i++) {
        if (strcmp(end, units[i].name) != 0) continue;
        if (number == 0) return wrong;
        if (errno || number > MANTIS_TTL_MAX_MS / units[i].ms)
            return "it is too long: at most 9007199254740992ms, which is 285,000 years";
        *ms = number * units[i].ms;
        return NULL;
    }
    return wrong;
}

const char *mp_kv_parse_version(const char *text, uint64_t *version) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return "it must be a version, as get --version says it, or 0 for a key that is not there";
    *version = number;
    return NULL;
}

void mp_kv_write_left(int64_t expires_ms, FILE *out) {
    int64_t left_ms = expires_ms - mp_clock_wall_ms();
    if (expires_ms == 0) (void)fputs("never\n", out);
    else (void)fprintf(out, "%" PRId64 "ms\n", left_ms > 0 ? left_ms : 0);
}
