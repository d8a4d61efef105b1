/* Settings that stand in one table: checking them, filling in defaults, changing one by name. */
#ifndef MP_BASE_KNOBS_H
#define MP_BASE_KNOBS_H

#include <mantis/status.h>
#include <stddef.h>
#include <stdint.h>

/* What a negative value means; the last two are stored as -1. */
enum mp_knob_negative { MP_KNOB_REFUSED, MP_KNOB_NEVER, MP_KNOB_UNLIMITED };

typedef struct mp_knob {
    const char *name, *unit;
    int64_t by_default, least, most; /* 0 as a value means by_default */
    enum mp_knob_negative negative;
    size_t offset;        /* of its int64_t among the values */
    size_t config_offset; /* in the config that values are read from */
} mp_knob;

/* Read all values from a config. Errors: INVALID, the text names setting, value and range; then
 * values are partly filled. */
mantis_status mp_knobs_read(const mp_knob *knobs, size_t count, const void *config, void *values,
                            mantis_error *error);

/* Change one value by its name. Errors: INVALID; then values are as before. */
mantis_status mp_knobs_set(const mp_knob *knobs, size_t count, const char *name, int64_t value,
                           void *values, mantis_error *error);

#endif
