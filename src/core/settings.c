/* Reading and changing settings. */
#include "core/settings.h"

#include "base/error.h"
#include "base/knobs.h"

static const mp_knob knobs[] = {
#define MP_SETTING(name, unit, by_default, least, most, negative, meaning)                         \
    {#name,                                                                                        \
     unit,                                                                                         \
     by_default,                                                                                   \
     least,                                                                                        \
     most,                                                                                         \
     MP_KNOB_##negative,                                                                           \
     offsetof(mp_settings, name),                                                                  \
     offsetof(mantis_pool_config, name)},
#include "core/settings.def"
#undef MP_SETTING
};
#define KNOBS (sizeof knobs / sizeof *knobs)

/* Each value is in its range: do they fit together? */
static mantis_status check_together(const mp_settings *settings, mantis_error *error) {
    int64_t max = settings->conns_max;
    if (max >= 0 && settings->conns_min > max)
        return mp_error_set(error, MANTIS_INVALID,
                            "conns_min is %lld: it must be at most conns_max, which is %lld",
                            (long long)settings->conns_min, (long long)max);
    if (settings->backoff_min_ms > settings->backoff_max_ms)
        return mp_error_set(error, MANTIS_INVALID,
                            "backoff_min_ms is %lld: it must be at most backoff_max_ms, %lld",
                            (long long)settings->backoff_min_ms,
                            (long long)settings->backoff_max_ms);
    return MANTIS_OK;
}

mantis_status mp_settings_read(mp_settings *out, const mantis_pool_config *config,
                               mantis_error *error) {
    mantis_status status = mp_knobs_read(knobs, KNOBS, config, out, error);
    return status == MANTIS_OK ? check_together(out, error) : status;
}

mantis_status mp_settings_set(mp_settings *settings, const char *name, int64_t value,
                              mantis_error *error) {
    mp_settings changed = *settings;
    mantis_status status = mp_knobs_set(knobs, KNOBS, name, value, &changed, error);
    if (status == MANTIS_OK) status = check_together(&changed, error);
    if (status == MANTIS_OK) *settings = changed;
    return status;
}
