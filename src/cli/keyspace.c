/* Keys from numbers, values from a pool of random bytes, and writing them all. */
#include "cli/keyspace.h"

#include "base/atomic.h"
#include "base/park.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What says that a key space is loaded. It has a space, which no key has. */
static const char marker_key[] = "mantispool bench";

/* ---- keys ---- */

/* The finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, 2014). */
static uint64_t scatter(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void mp_keyspace_key(uint64_t number, char out[MP_KEY_BYTES]) {
    static const char letters[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz_";
    uint64_t high = scatter(2 * number + UINT64_C(0x9e3779b97f4a7c15));
    uint64_t low = scatter(2 * number + UINT64_C(0x9e3779b97f4a7c16));
    for (int i = 0; i < MP_KEY_BYTES / 2; i++) {
        out[i] = letters[(high >> (6 * i)) & 63];
        out[MP_KEY_BYTES / 2 + i] = letters[(low >> (6 * i)) & 63];
    }
}

/* ---- values ---- */

/* Values are cut from one buffer at MP_VALUES_KEPT places, so many bytes apart. */
#define CUT_BYTES 128

bool mp_values_init(mp_values *values, size_t value_bytes, uint64_t seed) {
    size_t size = value_bytes + MP_VALUES_KEPT * CUT_BYTES;
    mp_random random;
    *values = (mp_values){.bytes = malloc(size), .value_bytes = value_bytes};
    if (!values->bytes) return false;
    mp_random_start(&random, seed);
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t bits = mp_random_next(&random);
        memcpy(values->bytes + i, &bits, sizeof bits);
    }
    memset(values->bytes + size / 8 * 8, 'v', size % 8);
    return true;
}

void mp_values_finish(mp_values *values) {
    free(values->bytes);
    *values = (mp_values){0};
}

static size_t head_bytes(size_t value_bytes) {
    return value_bytes < MP_KEY_BYTES ? value_bytes : MP_KEY_BYTES;
}

const char *mp_values_next(mp_values *values, const char key[MP_KEY_BYTES]) {
    char *value = values->bytes + (values->next++ % MP_VALUES_KEPT) * CUT_BYTES;
    memcpy(value, key, head_bytes(values->value_bytes));
    return value;
}

bool mp_values_match(const mantis_value *value, const char key[MP_KEY_BYTES]) {
    return value->size == 0 || memcmp(value->data, key, head_bytes(value->size)) == 0;
}

/* ---- the marker ---- */

bool mp_keyspace_exists(const mp_keyspace *keyspace, mantis_pool *pool) {
    mantis_conn conn = {0};
    mantis_value value = {0};
    char text[64] = "";
    unsigned long long keys = 0, value_bytes = 0;
    if (mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, NULL) != MANTIS_OK) return false;
    if (mantis_conn_get(conn, marker_key, sizeof marker_key - 1, &value, NULL) == MANTIS_OK)
        (void)snprintf(text, sizeof text, "%.*s", (int)(value.size < 63 ? value.size : 63),
                       (const char *)value.data);
    mantis_value_free(&value);
    (void)mantis_conn_release(&conn);
    return sscanf(text, "keys=%llu value_bytes=%llu", &keys, &value_bytes) == 2 &&
           keys >= keyspace->keys && value_bytes == keyspace->value_bytes;
}

/* Set the marker, or delete it while the key space is neither the old one nor the new one. */
static mantis_status write_marker(const mp_keyspace *keyspace, mantis_pool *pool, bool is_loaded,
                                  mantis_error *error) {
    char text[64];
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, error);
    if (status != MANTIS_OK) return status;
    (void)snprintf(text, sizeof text, "keys=%llu value_bytes=%llu",
                   (unsigned long long)keyspace->keys, (unsigned long long)keyspace->value_bytes);
    mantis_write write = {marker_key, sizeof marker_key - 1, is_loaded ? text : NULL,
                          is_loaded ? strlen(text) : 0, 0};
    mantis_error why = {0};
    status = mantis_conn_set_with(conn, &write, MANTIS_DURABLE_SYNCED, &why);
    if (status == MANTIS_UNSUPPORTED) /* a server that does not say what is on disk */
        status = mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, &why);
    if (status != MANTIS_OK) *error = why;
    (void)mantis_conn_release(&conn);
    return status;
}

/* ---- preload ---- */

#define BATCH_WRITES 1000
#define BATCH_BYTES ((size_t)256 << 10)
_Static_assert(BATCH_WRITES < MP_VALUES_KEPT,
               "values of a batch stay as they are until it is done");

struct mp_preload {
    /* set at start, then const */
    mp_keyspace keyspace;
    mantis_pool *pool;
    uint32_t threads, batch_writes;
    pthread_t *handles;
    /* any thread, atomic */
    _Atomic uint64_t claimed, written;
    _Atomic uint32_t running;
    _Atomic bool is_stopped;
    /* under lock */
    mp_lock lock;
    mantis_error error; /* the first */
};

static void stop_preload(mp_preload *preload, const mantis_error *error) {
    mp_lock_acquire(&preload->lock);
    if (preload->error.status == MANTIS_OK) preload->error = *error;
    mp_lock_release(&preload->lock);
    mp_store_relaxed(&preload->is_stopped, true);
}

typedef struct mp_chunk {
    mp_values values;
    char keys[BATCH_WRITES][MP_KEY_BYTES];
    mantis_write writes[BATCH_WRITES];
} mp_chunk;

/* Write keys first to first + count - 1. */
static mantis_status write_chunk(mp_preload *preload, mp_chunk *chunk, uint64_t first,
                                 uint32_t count, mantis_error *error) {
    mantis_conn conn = {0};
    for (uint32_t i = 0; i < count; i++) {
        mp_keyspace_key(first + i, chunk->keys[i]);
        chunk->writes[i] = (mantis_write){chunk->keys[i], MP_KEY_BYTES,
                                          mp_values_next(&chunk->values, chunk->keys[i]),
                                          preload->keyspace.value_bytes, 0};
    }
    mantis_status status = mantis_pool_acquire(preload->pool, MANTIS_DEADLINE_DEFAULT, &conn,
                                               error);
    if (status != MANTIS_OK) return status;
    status = count == 1 /* a single value may be larger than a batch */
                 ? mantis_conn_set_with(conn, chunk->writes, MANTIS_DURABLE_DEFAULT, error)
                 : mantis_conn_batch(conn, chunk->writes, count, MANTIS_DURABLE_DEFAULT, error);
    (void)mantis_conn_release(&conn);
    return status;
}

static void write_chunks(mp_preload *preload, mp_chunk *chunk) {
    uint64_t keys = preload->keyspace.keys;
    mantis_error error = {0};
    while (!mp_load_relaxed(&preload->is_stopped)) {
        uint64_t first = mp_add_relaxed(&preload->claimed, preload->batch_writes);
        if (first >= keys) return;
        uint32_t count = keys - first < preload->batch_writes ? (uint32_t)(keys - first)
                                                              : preload->batch_writes;
        if (write_chunk(preload, chunk, first, count, &error) != MANTIS_OK)
            stop_preload(preload, &error);
        else (void)mp_add_relaxed(&preload->written, count);
    }
}

static void *run_preload(void *arg) {
    mp_preload *preload = arg;
    mantis_error no_memory = {.status = MANTIS_NOMEM, .text = "no memory for a batch of values"};
    mp_chunk *chunk = malloc(sizeof *chunk);
    if (chunk && mp_values_init(&chunk->values, preload->keyspace.value_bytes, 0)) {
        write_chunks(preload, chunk);
        mp_values_finish(&chunk->values);
    } else {
        stop_preload(preload, &no_memory);
    }
    free(chunk);
    (void)mp_sub_seq_cst(&preload->running, 1);
    return NULL;
}

mp_preload *mp_preload_start(const mp_keyspace *keyspace, mantis_pool *pool, uint32_t threads) {
    mp_preload *preload = calloc(1, sizeof *preload);
    pthread_t *handles = calloc(threads, sizeof *handles);
    if (!preload || !handles) {
        free(preload);
        free(handles);
        return NULL;
    }
    size_t fitting = BATCH_BYTES / (keyspace->value_bytes + MP_KEY_BYTES);
    preload->keyspace = *keyspace;
    preload->pool = pool;
    preload->handles = handles;
    preload->batch_writes = fitting < 1              ? 1
                            : fitting > BATCH_WRITES ? BATCH_WRITES
                                                     : (uint32_t)fitting;
    mantis_error error = {0};
    if (write_marker(keyspace, pool, false, &error) != MANTIS_OK) stop_preload(preload, &error);
    mantis_error no_thread = {.status = MANTIS_NOMEM, .text = "the system has no more threads"};
    for (; preload->threads < threads; preload->threads++) {
        (void)mp_add_relaxed(&preload->running, 1);
        if (pthread_create(&handles[preload->threads], NULL, run_preload, preload) == 0) continue;
        (void)mp_sub_seq_cst(&preload->running, 1);
        stop_preload(preload, &no_thread);
        break;
    }
    return preload;
}

uint64_t mp_preload_done(mp_preload *preload, bool *is_over) {
    *is_over = mp_load_seq_cst(&preload->running) == 0;
    return mp_load_relaxed(&preload->written);
}

mantis_status mp_preload_finish(mp_preload *preload, mantis_error *error) {
    mp_store_relaxed(&preload->is_stopped, true);
    for (uint32_t i = 0; i < preload->threads; i++) (void)pthread_join(preload->handles[i], NULL);
    mantis_error first = preload->error;
    if (first.status == MANTIS_OK && mp_load_relaxed(&preload->written) < preload->keyspace.keys)
        first = (mantis_error){.status = MANTIS_CANCELLED, .text = "stopped while loading"};
    if (first.status == MANTIS_OK)
        (void)write_marker(&preload->keyspace, preload->pool, true, &first);
    if (first.status != MANTIS_OK && error) *error = first;
    free(preload->handles);
    free(preload);
    return first.status;
}
