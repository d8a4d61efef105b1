/* A pool's settings: the config checked, defaults filled in. The table is settings.def. */
#ifndef MP_CORE_SETTINGS_H
#define MP_CORE_SETTINGS_H

#include <mantis/pool.h>

/* -1 is never or unlimited. */
typedef struct mp_settings {
#define MP_SETTING(name, unit, by_default, least, most, negative, meaning) int64_t name;
#include "core/settings.def"
#undef MP_SETTING
} mp_settings;

/* Fill out from a config. Errors: INVALID, the text names setting, value and range. */
mantis_status mp_settings_read(mp_settings *out, const mantis_pool_config *config,
                               mantis_error *error);

/* Change one by name; *settings is untouched on failure. Errors: INVALID. */
mantis_status mp_settings_set(mp_settings *settings, const char *name, int64_t value,
                              mantis_error *error);

#endif
