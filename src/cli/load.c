/* The threads of a bench. Each writes its own figures only; they are summed up at the end. */
#include "cli/load.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/park.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_LIMIT 10
#define SCAN_PREFIX_BYTES 2 /* of a million keys about 250 begin with the same two characters */

typedef struct mp_worker {
    /* set at start, then const */
    mp_load *load;
    pthread_t handle;
    /* its thread only, until it is joined */
    mp_random random;
    mp_values values;
    uint64_t misses;
    mantis_error error; /* the first */
    mantis_histogram acquire;
    mantis_histogram by_operation[MP_OPERATIONS];
    /* written by its thread, read by any: atomic */
    _Alignas(MP_CACHE_LINE) _Atomic uint64_t operations;
    _Atomic uint64_t errors;
} mp_worker;

struct mp_load {
    /* set at start, then const */
    mantis_pool *pool;
    mp_mix mix;
    mp_keyspace keyspace;
    uint64_t set_keys, delete_first; /* which keys sets take, and where those to delete begin */
    int64_t started_ns;
    uint32_t threads;
    mp_worker *workers;
    /* any thread, atomic */
    mp_word gate; /* 0: wait for the others, 1: go */
    _Alignas(MP_CACHE_LINE) _Atomic bool is_stopped;
};

/* ---- one operation ---- */

static mantis_status miss(mp_worker *worker, const char *text, mantis_error *error) {
    worker->misses++;
    *error = (mantis_error){.status = MANTIS_NOT_FOUND};
    (void)snprintf(error->text, sizeof error->text,
                   "%s: the key space is not what was loaded "
                   "(--preload always loads it again)",
                   text);
    return MANTIS_NOT_FOUND;
}

static mantis_status run_get(mp_worker *worker, mantis_conn conn, const char *key,
                             mantis_error *error) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(conn, key, MP_KEY_BYTES, &value, error);
    if (status == MANTIS_NOT_FOUND) return miss(worker, "get: there is no such key", error);
    if (status != MANTIS_OK) return status;
    if (!mp_values_match(&value, key)) status = miss(worker, "get: a foreign value", error);
    mantis_value_free(&value);
    return status;
}

static mantis_status run_exists(mp_worker *worker, mantis_conn conn, const char *key,
                                mantis_error *error) {
    bool is_there = false;
    mantis_status status = mantis_conn_exists(conn, key, MP_KEY_BYTES, &is_there, error);
    if (status != MANTIS_OK || is_there) return status;
    return miss(worker, "exists: there is no such key", error);
}

static bool count_entry(const mantis_entry *entry, void *arg) {
    (void)entry;
    ++*(uint32_t *)arg;
    return true;
}

static mantis_status run_scan(mp_worker *worker, mantis_conn conn, const char *key,
                              mantis_error *error) {
    uint32_t entries = 0;
    mantis_status status = mantis_conn_scan(conn, key, SCAN_PREFIX_BYTES, SCAN_LIMIT, NULL,
                                            count_entry, &entries, error);
    if (status != MANTIS_OK || entries) return status;
    return miss(worker, "scan: no key begins as this one", error);
}

/* The number of a key to work on. Deletes have keys of their own, which sets bring back, so that
 * no read of a loaded key misses. */
static uint64_t find_key(mp_worker *worker, mp_operation operation) {
    const mp_load *load = worker->load;
    if (operation == MP_OPERATION_SET) return mp_random_below(&worker->random, load->set_keys);
    uint64_t number = mp_random_below(&worker->random, load->keyspace.keys);
    return operation == MP_OPERATION_DELETE ? number + load->delete_first : number;
}

static mantis_status run_operation(mp_worker *worker, mp_operation operation, mantis_conn conn,
                                   const char key[MP_KEY_BYTES], mantis_error *error) {
    switch (operation) {
    case MP_OPERATION_GET: return run_get(worker, conn, key, error);
    case MP_OPERATION_SET:
        return mantis_conn_set(conn, key, MP_KEY_BYTES, mp_values_next(&worker->values, key),
                               worker->values.value_bytes, error);
    case MP_OPERATION_DELETE: return mantis_conn_delete(conn, key, MP_KEY_BYTES, error);
    case MP_OPERATION_EXISTS: return run_exists(worker, conn, key, error);
    default: return run_scan(worker, conn, key, error);
    }
}

/* ---- one thread ---- */

static void note_error(mp_worker *worker, const mantis_error *error) {
    if (worker->error.status == MANTIS_OK) worker->error = *error;
    mp_store_relaxed(&worker->errors, mp_load_relaxed(&worker->errors) + 1);
}

/* Borrow, work, give back. Three clock reads. */
static void run_once(mp_worker *worker) {
    char key[MP_KEY_BYTES];
    mantis_conn conn = {0};
    mantis_error error = {0};
    mp_operation operation = mp_mix_find(&worker->load->mix, mp_random_next(&worker->random) >> 16);
    mp_keyspace_key(find_key(worker, operation), key);

    int64_t start_ns = mp_clock_now_ns();
    mantis_status status = mantis_pool_acquire(worker->load->pool, MANTIS_DEADLINE_DEFAULT, &conn,
                                               &error);
    if (status != MANTIS_OK) {
        note_error(worker, &error);
        return;
    }
    int64_t acquired_ns = mp_clock_now_ns();
    status = run_operation(worker, operation, conn, key, &error);
    int64_t done_ns = mp_clock_now_ns();
    mantis_status released = mantis_conn_release(&conn);

    mp_histogram_add(&worker->acquire, acquired_ns - start_ns);
    if (released != MANTIS_OK && status == MANTIS_OK)
        (void)snprintf(error.text, sizeof error.text, "release: %s", mantis_status_text(released));
    if (status != MANTIS_OK || released != MANTIS_OK) {
        error.status = status != MANTIS_OK ? status : released;
        note_error(worker, &error);
        return;
    }
    mp_histogram_add(&worker->by_operation[operation], done_ns - acquired_ns);
    mp_store_relaxed(&worker->operations, mp_load_relaxed(&worker->operations) + 1);
}

static void *run_worker(void *arg) {
    mp_worker *worker = arg;
    mp_load *load = worker->load;
    while (mp_load_acquire(&load->gate) == 0) (void)mp_park_wait(&load->gate, 0, MP_NEVER_NS);
    while (!mp_load_relaxed(&load->is_stopped)) run_once(worker);
    return NULL;
}

/* ---- all threads ---- */

/* The workers' memory begins and ends at cache lines, so that they share none. */
static mp_load *new_load(mantis_pool *pool, uint32_t threads, const mp_mix *mix,
                         const mp_keyspace *keyspace) {
    mp_load *load = aligned_alloc(MP_CACHE_LINE, sizeof *load);
    mp_worker *workers = aligned_alloc(MP_CACHE_LINE, threads * sizeof *workers);
    if (!load || !workers) {
        free(load);
        free(workers);
        return NULL;
    }
    memset(load, 0, sizeof *load);
    memset(workers, 0, threads * sizeof *workers);
    load->pool = pool;
    load->mix = *mix;
    load->keyspace = *keyspace;
    load->set_keys = keyspace->keys * (mix->shares[MP_OPERATION_DELETE] ? 2 : 1);
    load->delete_first = keyspace->keys;
    load->workers = workers;
    return load;
}

static void free_load(mp_load *load) {
    for (uint32_t i = 0; i < load->threads; i++) mp_values_finish(&load->workers[i].values);
    free(load->workers);
    free(load);
}

static bool start_worker(mp_load *load, mp_worker *worker) {
    worker->load = load;
    mp_random_start(&worker->random, 0);
    if (!mp_values_init(&worker->values, load->keyspace.value_bytes, 0)) return false;
    if (pthread_create(&worker->handle, NULL, run_worker, worker) == 0) return true;
    mp_values_finish(&worker->values);
    return false;
}

static void open_gate(mp_load *load) {
    mp_store_release(&load->gate, 1);
    mp_park_wake_all(&load->gate);
}

mp_load *mp_load_start(mantis_pool *pool, uint32_t threads, const mp_mix *mix,
                       const mp_keyspace *keyspace) {
    mp_load *load = new_load(pool, threads, mix, keyspace);
    if (!load) return NULL;
    while (load->threads < threads && start_worker(load, &load->workers[load->threads]))
        load->threads++;
    if (load->threads < threads) {
        mp_load_result nothing;
        mp_load_finish(load, &nothing);
        return NULL;
    }
    load->started_ns = mp_clock_now_ns();
    open_gate(load);
    return load;
}

void mp_load_read(mp_load *load, uint64_t *operations, uint64_t *errors) {
    *operations = *errors = 0;
    for (uint32_t i = 0; i < load->threads; i++) {
        *operations += mp_load_relaxed(&load->workers[i].operations);
        *errors += mp_load_relaxed(&load->workers[i].errors);
    }
}

static void add_worker(const mp_worker *worker, mp_load_result *out) {
    out->misses += worker->misses;
    if (out->error.status == MANTIS_OK) out->error = worker->error;
    mp_histogram_merge(&out->acquire, &worker->acquire);
    for (int i = 0; i < MP_OPERATIONS; i++)
        mp_histogram_merge(&out->by_operation[i], &worker->by_operation[i]);
}

void mp_load_finish(mp_load *load, mp_load_result *out) {
    *out = (mp_load_result){0};
    mp_store_relaxed(&load->is_stopped, true);
    out->elapsed_ns = mp_clock_now_ns() - load->started_ns;
    open_gate(load); /* for the threads of a load that did not start */
    for (uint32_t i = 0; i < load->threads; i++) {
        (void)pthread_join(load->workers[i].handle, NULL);
        add_worker(&load->workers[i], out);
    }
    mp_load_read(load, &out->operations, &out->errors);
    free_load(load);
}
