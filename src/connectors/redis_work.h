/* The operations that run on the library's threads now, so that interrupt can end one from another
 * thread: it shuts the socket down, and whoever waits for it sees that at once. */
#ifndef MP_CONNECTORS_REDIS_WORK_H
#define MP_CONNECTORS_REDIS_WORK_H

#include "base/park.h"

#include <mantis/connector.h>
#include <stdbool.h>

/* One operation, in the memory of who runs it. */
typedef struct mp_redis_work {
    struct mp_redis_works *works; /* set at its begin, then const */
    const mantis_op *op;
    /* under the lock of works */
    struct mp_redis_work *next;
    int fd; /* -1: none yet */
    bool is_interrupted;
} mp_redis_work;

/* All of a place. A zeroed one is empty. */
typedef struct mp_redis_works {
    mp_lock lock;
    mp_redis_work *first;
} mp_redis_works;

/* From here until its end an operation can be interrupted. fd is its socket, or -1. */
void mp_redis_work_begin(mp_redis_work *work, mp_redis_works *works, const mantis_op *op, int fd);

/* It has another socket now, or with -1 none: only then may the former be closed. False: it was
 * aborted. */
bool mp_redis_work_set(mp_redis_work *work, int fd);

/* Forget it, before it is completed. True: it was interrupted. */
bool mp_redis_work_end(mp_redis_work *work);

/* End the operation under way. False: there is none. Never blocks for longer than the lock. */
bool mp_redis_works_interrupt(mp_redis_works *works, const mantis_op *op);

#endif
