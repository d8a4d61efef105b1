/* Random numbers for jitter and tests, not for secrets: xorshift64* (S. Vigna, "An experimental
 * exploration of Marsaglia's xorshift generators, scrambled", 2014). */
#ifndef MP_BASE_RANDOM_H
#define MP_BASE_RANDOM_H

#include <stdint.h>

typedef struct mp_random {
    uint64_t state; /* never 0 once started */
} mp_random;

/* Start a sequence; seed 0 takes one from the operating system. */
void mp_random_start(mp_random *random, uint64_t seed);

/* The next 64 bits. */
uint64_t mp_random_next(mp_random *random);

/* A number from 0 to below - 1; below must not be 0. */
uint64_t mp_random_below(mp_random *random, uint64_t below);

/* A length of time made shorter by 0 to percent hundredths, so that things which began together do
 * not end together. MP_NEVER_NS stays. */
int64_t mp_random_shorten(mp_random *random, int64_t length_ns, int64_t percent);

#endif
