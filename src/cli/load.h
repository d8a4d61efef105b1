/* The load of a bench: threads which each borrow a connection, do one operation and give it back,
 * over and over, and note how long each step took. */
#ifndef MP_CLI_LOAD_H
#define MP_CLI_LOAD_H

#include "cli/keyspace.h"
#include "cli/mix.h"

#include <mantis/histogram.h>
#include <mantis/pool.h>
#include <stdint.h>

typedef struct mp_load mp_load;

/* What all threads did together. */
typedef struct mp_load_result {
    uint64_t operations; /* that succeeded */
    uint64_t errors;
    uint64_t misses; /* among the errors: a key that should be there is not */
    int64_t elapsed_ns;
    mantis_error error; /* the first one of some thread */
    mantis_histogram acquire;
    mantis_histogram by_operation[MP_OPERATIONS];
} mp_load_result;

/* Start the threads.
 * Owner   the caller, until mp_load_finish(). NULL: no memory or no threads.
 * mix and keyspace are copied. */
mp_load *mp_load_start(mantis_pool *pool, uint32_t threads, const mp_mix *mix,
                       const mp_keyspace *keyspace);

/* What was done so far. */
void mp_load_read(mp_load *load, uint64_t *operations, uint64_t *errors);

/* Stop the threads, sum up what they did, and free the load. */
void mp_load_finish(mp_load *load, mp_load_result *out);

#endif
