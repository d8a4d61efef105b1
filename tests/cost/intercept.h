/* Counts what a program asks of its C library: memory, the clock, and futex wakes.
 *
 * intercept.c defines these functions in the test program, so the shared library calls ours. */
#ifndef MP_TESTS_COST_INTERCEPT_H
#define MP_TESTS_COST_INTERCEPT_H

#include <stdint.h>

typedef struct cost_counts {
    uint64_t allocations; /* malloc, calloc, realloc, aligned_alloc, posix_memalign */
    uint64_t clock_reads; /* clock_gettime */
    uint64_t wakes;       /* futex wakes through syscall() */
} cost_counts;

/* What the calling thread has asked for so far. */
extern _Thread_local cost_counts cost_thread;

/* Bytes of the heap that are in use, by all threads. */
int64_t cost_heap_bytes(void);

/* Wakes by all threads, of words in this range of memory or anywhere. */
void cost_watch_wakes(const void *from, const void *to);
uint64_t cost_wakes_watched(void);
uint64_t cost_wakes(void);

#endif
