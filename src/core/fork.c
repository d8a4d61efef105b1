/* After fork() the child has copies of the parent's sockets and none of its threads. Every pool is
 * marked, so that each call on it or its connections leaves the fast path and answers FORKED; no
 * socket is touched, nothing is closed, and the parent goes on as before. */
#include "core/fork.h"

#include "core/keeper.h"
#include "core/opener.h"
#include "core/pool.h"
#include "core/registry.h"

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The locks that the child goes on to use, in the order in which they nest. */
static void before_fork(void)
{
    mp_registry_lock();
    mp_registry_lock_homes();
    mp_opener_lock();
}

static void after_fork(void)
{
    mp_opener_unlock();
    mp_registry_unlock_homes();
    mp_registry_unlock();
}

static void mark(mantis_pool *pool)
{
    mp_or_seq_cst(&pool->attention, MP_ATTENTION_FORKED);
}

static void in_child(void)
{
    mp_registry_each(mark);
    mp_opener_forget();
    mp_keeper_forget();
    mp_registry_forget_homes();
    mp_hints_of_thread()->tid = 0; /* this thread has another id now */
    after_fork();
}

static void watch(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

void mp_fork_watch(void)
{
    pthread_once(&once, watch);
}
