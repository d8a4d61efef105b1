/* Checking the values of settings. */
#include "base/knobs.h"

#include "base/error.h"

#include <stdbool.h>
#include <string.h>

static mantis_status refuse(const mp_knob *knob, int64_t value, mantis_error *error) {
    static const char *const negative[] = {"", ", or -1 for never", ", or -1 for unlimited"};
    return mp_error_set(error, MANTIS_INVALID, "%s is %lld: it must be %lld to %lld %s%s",
                        knob->name, (long long)value, (long long)knob->least, (long long)knob->most,
                        knob->unit, negative[knob->negative]);
}

/* Store one value as given. */
static mantis_status store(const mp_knob *knob, int64_t value, void *values, mantis_error *error) {
    int64_t *at = (int64_t *)(void *)((char *)values + knob->offset);
    int64_t meant = value == 0 ? knob->by_default : value;
    bool is_negative = meant < 0, is_refused = is_negative && knob->negative == MP_KNOB_REFUSED;
    if (is_refused || (!is_negative && (meant < knob->least || meant > knob->most)))
        return refuse(knob, value, error);
    *at = is_negative ? -1 : meant;
    return MANTIS_OK;
}

mantis_status mp_knobs_read(const mp_knob *knobs, size_t count, const void *config, void *values,
                            mantis_error *error) {
    mantis_status status = MANTIS_OK;
    for (size_t i = 0; i < count && status == MANTIS_OK; i++) {
        const void *at = (const char *)config + knobs[i].config_offset;
        status = store(&knobs[i], *(const int64_t *)at, values, error);
    }
    return status;
}

mantis_status mp_knobs_set(const mp_knob *knobs, size_t count, const char *name, int64_t value,
                           void *values, mantis_error *error) {
    for (size_t i = 0; i < count; i++)
        if (name && strcmp(knobs[i].name, name) == 0) return store(&knobs[i], value, values, error);
    return mp_error_set(error, MANTIS_INVALID,
                        "there is no setting '%s': docs/configuration.md lists them",
                        name ? name : "(null)");
}
