/* Reading the clocks and adding times without overflow. */
#include "base/clock.h"

static int64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t); /* cannot fail for these two clocks */
    return (int64_t)t.tv_sec * MP_NS_PER_S + t.tv_nsec;
}

int64_t mp_clock_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t mp_clock_wall_ms(void) { return read_clock(CLOCK_REALTIME) / MP_NS_PER_MS; }

int64_t mp_clock_after(int64_t now_ns, int64_t length_ns) {
    if (length_ns <= 0) return now_ns;
    return now_ns > MP_NEVER_NS - length_ns ? MP_NEVER_NS : now_ns + length_ns;
}

int64_t mp_clock_doubled_ms(int64_t ms, uint32_t times, int64_t max_ms) {
    if (times > 30) times = 30;
    return ms <= max_ms >> times ? ms << times : max_ms;
}

int64_t mp_clock_ns_of_ms(int64_t ms) {
    return ms < 0 || ms > MP_NEVER_NS / MP_NS_PER_MS ? MP_NEVER_NS : ms * MP_NS_PER_MS;
}

struct timespec mp_clock_timespec(int64_t ns) {
    if (ns < 0) ns = 0;
    return (struct timespec){.tv_sec = (time_t)(ns / MP_NS_PER_S),
                             .tv_nsec = (long)(ns % MP_NS_PER_S)};
}
