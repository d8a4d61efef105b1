/* Time: one int64 of nanoseconds on CLOCK_MONOTONIC, which no setting of the date can move. */
#ifndef MP_BASE_CLOCK_H
#define MP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define MP_NS_PER_US INT64_C(1000)
#define MP_NS_PER_MS INT64_C(1000000)
#define MP_NS_PER_S INT64_C(1000000000)
#define MP_NEVER_NS INT64_MAX

/* Monotonic nanoseconds now. */
int64_t mp_clock_now_ns(void);

/* Wall-clock milliseconds since 1970: for expiry times that must mean the same after a restart. */
int64_t mp_clock_wall_ms(void);

/* now + length, or MP_NEVER_NS if that is too large; a negative length counts as 0. */
int64_t mp_clock_after(int64_t now_ns, int64_t length_ns);

/* Milliseconds to nanoseconds, MP_NEVER_NS if that is too large; negative is MP_NEVER_NS too:
 * in settings a negative length means never. */
int64_t mp_clock_ns_of_ms(int64_t ms);

/* A length doubled so many times, but at most max_ms. */
int64_t mp_clock_doubled_ms(int64_t ms, uint32_t times, int64_t max_ms);

/* The same moment as the kernel's struct. */
struct timespec mp_clock_timespec(int64_t ns);

#endif
