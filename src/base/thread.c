/* Starting threads that stay out of the program's way. */
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct start {
    const char *name;
    void (*run)(void *arg);
    void *arg;
};

static void *run_thread(void *arg) {
    struct start start = *(struct start *)arg;
    free(arg);
    pthread_setname_np(pthread_self(), start.name);
    start.run(start.arg);
    return NULL;
}

bool mp_thread_start(const char *name, void (*run)(void *arg), void *arg) {
    struct start *start = malloc(sizeof *start);
    if (!start) return false;
    *start = (struct start){.name = name, .run = run, .arg = arg};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run_thread, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        free(start);
        return false;
    }
    pthread_detach(thread);
    return true;
}

uint32_t mp_thread_id(void) { return (uint32_t)syscall(SYS_gettid); }
