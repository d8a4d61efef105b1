/* The threads on which blocking connectors run: at most MP_OPENERS at once a process, and one more
 * for each that has been stuck in a connector beyond its time. An idle one ends after 5 s. */
#ifndef MP_CORE_OPENER_H
#define MP_CORE_OPENER_H

#include "core/slots.h"

#define MP_OPENERS 4
#define MP_OPENERS_STUCK_MAX 60
#define MP_OPENER_IDLE_NS INT64_C(5000000000)

/* Queue an operation. Closes come after everything else. */
void mp_opener_push(mp_slot *slot);

/* See to it that stuck threads are replaced while there is work. Cheap; the keeper calls it. */
void mp_opener_tend(void);

/* For fork: take and release the lock; forget the threads, in the child. */
void mp_opener_lock(void);
void mp_opener_unlock(void);
void mp_opener_forget(void);

#endif
