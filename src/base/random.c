/* The random sequence. */
#include "base/random.h"

#include "base/clock.h"

#include <sys/random.h>

void mp_random_start(mp_random *random, uint64_t seed) {
    if (seed == 0 && getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)mp_clock_now_ns(); /* early boot: jitter needs no better */
    random->state = seed ? seed : 1;
}

uint64_t mp_random_next(mp_random *random) {
    uint64_t x = random->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * UINT64_C(2685821657736338717);
}

uint64_t mp_random_below(mp_random *random, uint64_t below) {
    return (mp_random_next(random) >> 16) % below;
}

int64_t mp_random_shorten(mp_random *random, int64_t length_ns, int64_t percent) {
    if (length_ns == MP_NEVER_NS || percent <= 0) return length_ns;
    return length_ns - (int64_t)mp_random_below(random, (uint64_t)(length_ns / 100 * percent) + 1);
}
