/* The keys and values of a bench, made from their numbers, so that nobody needs a table of them.
 *
 * Key n is 16 random-looking characters. Its value begins with the key, so that a read can tell
 * whether what came out is what belongs there; the rest is random and does not compress. */
#ifndef MP_CLI_KEYSPACE_H
#define MP_CLI_KEYSPACE_H

#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_KEY_BYTES 16
#define MP_VALUES_KEPT 1024

typedef struct mp_keyspace {
    uint64_t keys; /* numbers 0 to keys - 1 are loaded */
    size_t value_bytes;
} mp_keyspace;

/* Key number. */
void mp_keyspace_key(uint64_t number, char out[MP_KEY_BYTES]);

/* Random bytes to cut values from. One per thread. */
typedef struct mp_values {
    char *bytes; /* NULL: no memory */
    size_t value_bytes;
    uint64_t next;
} mp_values;

bool mp_values_init(mp_values *values, size_t value_bytes, uint64_t seed);
void mp_values_finish(mp_values *values);

/* A value for this key, which stays as it is for the next MP_VALUES_KEPT calls. */
const char *mp_values_next(mp_values *values, const char key[MP_KEY_BYTES]);

/* Does the value belong to the key? */
bool mp_values_match(const mantis_value *value, const char key[MP_KEY_BYTES]);

/* Is a key space of at least these many keys, with values of this size, in the store? */
bool mp_keyspace_exists(const mp_keyspace *keyspace, mantis_pool *pool);

/* How a preload goes on, for whoever watches. */
typedef struct mp_preload mp_preload;

/* Start writing the whole key space with these many threads.
 * Owner   the caller, until mp_preload_finish(). NULL: no memory. */
mp_preload *mp_preload_start(const mp_keyspace *keyspace, mantis_pool *pool, uint32_t threads);

/* Keys written so far; *is_over: nobody writes any more. */
uint64_t mp_preload_done(mp_preload *preload, bool *is_over);

/* Stop it if it still runs, and free it. Marks the key space as loaded if all of it is.
 * Errors  CANCELLED (it was stopped early), and those of mantis_conn_batch() */
mantis_status mp_preload_finish(mp_preload *preload, mantis_error *error);

#endif
