/* The counting functions: each counts, and calls the one it stands in front of. */
#include "intercept.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

_Thread_local cost_counts cost_thread;

static _Atomic int64_t heap_bytes;
static _Atomic uint64_t wakes, wakes_watched;
static _Atomic uintptr_t watch_from, watch_to;
static int (*next_clock_gettime)(clockid_t, struct timespec *);
static long (*next_syscall)(long, ...);

__attribute__((constructor)) static void find_next(void) {
    /* ISO C has no cast from an object pointer to a function pointer; POSIX has this. */
    *(void **)&next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&next_syscall = dlsym(RTLD_NEXT, "syscall");
}

static void *counted(void *memory) {
    cost_thread.allocations++;
    if (memory) atomic_fetch_add(&heap_bytes, (int64_t)malloc_usable_size(memory));
    return memory;
}

static void uncount(void *memory) {
    if (memory) atomic_fetch_sub(&heap_bytes, (int64_t)malloc_usable_size(memory));
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }

void *realloc(void *memory, size_t size) {
    uncount(memory);
    return counted(__libc_realloc(memory, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return counted(__libc_memalign(alignment, size));
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *memory = counted(__libc_memalign(alignment, size));
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

void free(void *memory) {
    uncount(memory);
    __libc_free(memory);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    cost_thread.clock_reads++;
    return next_clock_gettime(clock, out);
}

static void count_wake(uintptr_t word) {
    cost_thread.wakes++;
    atomic_fetch_add(&wakes, 1);
    if (word >= atomic_load(&watch_from) && word < atomic_load(&watch_to))
        atomic_fetch_add(&wakes_watched, 1);
}

long syscall(long number, ...) {
    long words[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) words[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_futex && (words[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)
        count_wake((uintptr_t)words[0]);
    return next_syscall(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}

int64_t cost_heap_bytes(void) { return atomic_load(&heap_bytes); }

void cost_watch_wakes(const void *from, const void *to) {
    atomic_store(&watch_from, (uintptr_t)from);
    atomic_store(&watch_to, (uintptr_t)to);
}

uint64_t cost_wakes_watched(void) { return atomic_load(&wakes_watched); }

uint64_t cost_wakes(void) { return atomic_load(&wakes); }
