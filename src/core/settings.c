/* Reading and changing settings; the table is settings.def. */
#include "core/settings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum never { REFUSED, NEVER, UNLIMITED };

static const struct setting {
    const char *name, *unit;
    int64_t by_default, least, most;
    enum never never;
    size_t offset, config_offset;
} table[] = {
#define MP_SETTING(name, unit, by_default, least, most, never, meaning)                            \
    {#name,                                                                                        \
     unit,                                                                                         \
     by_default,                                                                                   \
     least,                                                                                        \
     most,                                                                                         \
     never,                                                                                        \
     offsetof(mp_settings, name),                                                                  \
     offsetof(mantis_pool_config, name)},
#include "core/settings.def"
#undef MP_SETTING
};
enum { SETTINGS = sizeof table / sizeof *table };

mantis_status mp_error_set(mantis_error *error, mantis_status status, const char *format, ...)
{
    if (!error) return status;
    *error = (mantis_error){.status = status};
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}

static int64_t *value_at(mp_settings *settings, const struct setting *setting)
{
    return (int64_t *)(void *)((char *)settings + setting->offset);
}

static mantis_status refuse(const struct setting *setting, int64_t value, mantis_error *error)
{
    const char *negative = setting->never == NEVER       ? ", or -1 for never"
                           : setting->never == UNLIMITED ? ", or -1 for unlimited"
                                                         : "";
    return mp_error_set(error, MANTIS_INVALID, "%s is %lld: it must be %lld to %lld %s%s",
                        setting->name, (long long)value, (long long)setting->least,
                        (long long)setting->most, setting->unit, negative);
}

/* One value as given to one as stored. */
static mantis_status convert(const struct setting *setting, int64_t value, int64_t *out,
                             mantis_error *error)
{
    if (value == 0) value = setting->by_default;
    if (value < 0) {
        if (setting->never == REFUSED) return refuse(setting, value, error);
        *out = -1;
        return MANTIS_OK;
    }
    if (value < setting->least || value > setting->most) return refuse(setting, value, error);
    *out = value;
    return MANTIS_OK;
}

static mantis_status check_together(const mp_settings *settings, mantis_error *error)
{
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
                               mantis_error *error)
{
    mp_settings read = {0};
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *at = (const char *)config + table[i].config_offset;
        int64_t value = *(const int64_t *)(const void *)at;
        mantis_status status = convert(&table[i], value, value_at(&read, &table[i]), error);
        if (status != MANTIS_OK) return status;
    }
    mantis_status status = check_together(&read, error);
    if (status == MANTIS_OK) *out = read;
    return status;
}

mantis_status mp_settings_set(mp_settings *settings, const char *name, int64_t value,
                              mantis_error *error)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (!name || strcmp(table[i].name, name) != 0) continue;
        mp_settings changed = *settings;
        mantis_status status = convert(&table[i], value, value_at(&changed, &table[i]), error);
        if (status == MANTIS_OK) status = check_together(&changed, error);
        if (status == MANTIS_OK) *settings = changed;
        return status;
    }
    return mp_error_set(error, MANTIS_INVALID,
                        "there is no setting '%s': docs/configuration.md lists them",
                        name ? name : "(null)");
}
