/* Threads of the library's own, the calling thread's id, and how often this process forked. */
#ifndef MP_BASE_THREAD_H
#define MP_BASE_THREAD_H

#include <stdbool.h>
#include <stdint.h>

/* Start a detached thread with a name of at most 15 characters and all signals blocked.
 * False: the system has no more threads. */
bool mp_thread_start(const char *name, void (*run)(void *arg), void *arg);

/* The kernel's id of the calling thread. One system call. */
uint32_t mp_thread_id(void);

#endif
