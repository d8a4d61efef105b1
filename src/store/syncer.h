/* The one thread of a store: syncs its logs every 100 ms if something was written, and brings a
 * fenced store back once there is room. It sleeps while there is nothing to do. */
#ifndef MP_STORE_SYNCER_H
#define MP_STORE_SYNCER_H

#include "base/atomic.h"
#include "base/clock.h"
#include "base/park.h"

#include <mantis/status.h>

struct mp_store;

#define MP_SYNC_INTERVAL_NS (100 * MP_NS_PER_MS)
#define MP_SYNC_RETRY_NS (500 * MP_NS_PER_MS) /* between two attempts to lift the fence */
#define MP_SYNC_RETRY_DOUBLINGS 3u            /* of that time: at most 4 s */

typedef struct mp_syncer {
    struct mp_store *store;
    mp_word has_work;    /* 1: something was written since the last sync began, or the fence fell */
    mp_word is_stopping; /* also what the thread sleeps on between two syncs */
    mp_word has_stopped;
    bool is_started;
    uint32_t failures; /* the thread's own: reopened in vain, in a row */
} mp_syncer;

/* Start the thread.
 * Errors  NOMEM */
mantis_status mp_syncer_start(mp_syncer *syncer, struct mp_store *store, mantis_error *error);

/* Stop it and wait until it has. A zeroed one is fine. */
void mp_syncer_stop(mp_syncer *syncer);

void mp_syncer_wake(mp_syncer *syncer);

/* Something was written: it is to be synced. */
static inline void mp_syncer_post(mp_syncer *syncer) {
    /* seq_cst: the write before it was a system call; pairs with the swap in run_thread(), so that
     * either this finds 0 or that sync includes the write */
    if (mp_unlikely(mp_load_seq_cst(&syncer->has_work) == 0)) mp_syncer_wake(syncer);
}

#endif
