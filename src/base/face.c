/* The public functions that need nothing else: statuses in words, the version, the clock. */
#include "base/clock.h"

#include <mantis/pool.h>
#include <mantis/status.h>

#ifndef MANTIS_VERSION
#define MANTIS_VERSION "0.1.0"
#endif

const char *mantis_version(void) { return MANTIS_VERSION; }

const char *mantis_status_name(mantis_status status) {
    switch (status) {
#define MP_NAME(name, number, text)                                                                \
    case MANTIS_##name: return #name;
        MANTIS_STATUS_LIST(MP_NAME)
#undef MP_NAME
    }
    return "UNKNOWN";
}

const char *mantis_status_text(mantis_status status) {
    switch (status) {
#define MP_TEXT(name, number, text)                                                                \
    case MANTIS_##name: return text;
        MANTIS_STATUS_LIST(MP_TEXT)
#undef MP_TEXT
    }
    return "no such status";
}

int64_t mantis_now_ns(void) { return mp_clock_now_ns(); }

int64_t mantis_deadline_ms(int64_t milliseconds) {
    int64_t length_ns = milliseconds < 0 ? 0 : mp_clock_ns_of_ms(milliseconds);
    return mp_clock_after(mp_clock_now_ns(), length_ns);
}
