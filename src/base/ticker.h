/* One thread that does things when they are due, in the order of their times. It is started with
 * the first of them and ends when there have been none for 5 s. */
#ifndef MP_BASE_TICKER_H
#define MP_BASE_TICKER_H

#include "base/heap.h"
#include "base/park.h"

#include <stdbool.h>
#include <stdint.h>

#define MP_TICKER_IDLE_NS INT64_C(5000000000)

/* Something to be done again and again, in the caller's memory; zeroed it is ready for use. Under
 * the ticker's lock. */
typedef struct mp_tick {
    mp_heap_node due;
    int64_t poked_ns; /* asked for while it was being done */
    bool is_added;
    bool is_claimed; /* being done, by the thread or by a caller: one at a time */
} mp_tick;

/* Zeroed but for the first four it is ready for use. */
typedef struct mp_ticker {
    const char *name;              /* of the thread */
    void (*hold)(mp_tick *tick);   /* under the lock: its memory must stay until release() */
    int64_t (*run)(mp_tick *tick); /* do it; returns when it is due next, monotonic ns */
    void (*release)(mp_tick *tick);
    mp_word word; /* counts what a sleeping thread has to look at */
    mp_lock lock;
    struct {
        mp_heap due;
        bool has_thread;
    } locked;
} mp_ticker;

/* Do it from now on. False: the system has no more threads. */
bool mp_ticker_add(mp_ticker *ticker, mp_tick *tick);

/* No longer, once what is under way is over. One that was not added is fine. */
void mp_ticker_remove(mp_ticker *ticker, mp_tick *tick);

/* Do it at due_ns at the latest. */
void mp_ticker_poke(mp_ticker *ticker, mp_tick *tick, int64_t due_ns);

/* A caller wants to do it: false if it was added, or somebody does it already. */
bool mp_ticker_claim(mp_ticker *ticker, mp_tick *tick);
void mp_ticker_unclaim(mp_ticker *ticker, mp_tick *tick);

/* In a child process there is no thread and nothing to do. Under the lock. */
void mp_ticker_forget(mp_ticker *ticker);

#endif
