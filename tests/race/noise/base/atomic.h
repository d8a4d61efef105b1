/* Stands before src/base/atomic.h in the include path: the same operations, but now and then the
 * thread gives way before one, so that the others see every state between two of them. */
#ifndef MP_RACE_NOISE_ATOMIC_H
#define MP_RACE_NOISE_ATOMIC_H

#include_next "base/atomic.h"

#include <sched.h>

#define NOISE_ONE_IN 32

static inline void mp_noise(void) {
    static _Thread_local uint32_t state;
    if (state == 0) state = (uint32_t)(uintptr_t)&state | 1;
    state = state * 1664525 + 1013904223;
    if ((state >> 16) % NOISE_ONE_IN == 0) sched_yield();
}

#undef MP_STEP
#define MP_STEP() mp_noise()

#endif
