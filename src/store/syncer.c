/* The thread behind a store. */
#include "store/syncer.h"

#include "base/error.h"
#include "base/thread.h"
#include "store/store.h"

static void sleep_until(mp_syncer *syncer, int64_t due_ns) {
    while (!mp_load_acquire(&syncer->is_stopping) && mp_clock_now_ns() < due_ns)
        mp_park_wait(&syncer->is_stopping, 0, due_ns);
}

/* One pass: sync what was written, and look after the versions and the fence. Answers when to come
 * again; MP_NEVER_NS: when something happens. */
static int64_t tend(mp_syncer *syncer) {
    mp_store *store = syncer->store;
    mantis_error error = {0};
    if (mp_store_check_fence(store, NULL) == MANTIS_OK) {
        mantis_status status = mp_store_tend(store, &error);
        if (status != MANTIS_OK) mp_store_fence(store, status, &error);
    }
    if (mp_store_check_fence(store, NULL) == MANTIS_OK)
        return mp_engine_is_busy(&store->engine)
                   ? mp_clock_after(mp_clock_now_ns(), MP_SYNC_INTERVAL_NS)
                   : MP_NEVER_NS;
    bool is_tried = mp_store_try_lift(store);
    if (mp_store_check_fence(store, NULL) == MANTIS_OK) {
        syncer->failures = 0;
        return MP_NEVER_NS;
    }
    /* Looking for room is cheap; reopening in vain is not, so that is done less and less often. */
    if (is_tried && syncer->failures < MP_SYNC_RETRY_DOUBLINGS) syncer->failures++;
    return mp_clock_after(mp_clock_now_ns(), MP_SYNC_RETRY_NS << syncer->failures);
}

static void run_thread(void *arg) {
    mp_syncer *syncer = arg;
    int64_t again_ns = MP_NEVER_NS;
    while (!mp_load_acquire(&syncer->is_stopping)) {
        if (mp_load_seq_cst(&syncer->has_work) == 0) {
            mp_park_wait(&syncer->has_work, 0, again_ns);
            if (mp_load_seq_cst(&syncer->has_work) || mp_clock_now_ns() < again_ns) continue;
        } else if (mp_store_check_fence(syncer->store, NULL) == MANTIS_OK) {
            sleep_until(syncer, mp_clock_after(mp_clock_now_ns(), MP_SYNC_INTERVAL_NS));
        }
        /* seq_cst: pairs with the load in mp_syncer_post() */
        mp_store_seq_cst(&syncer->has_work, 0);
        again_ns = tend(syncer);
    }
    mp_word *has_stopped = &syncer->has_stopped;
    /* release: pairs with the acquire in mp_syncer_stop(); the store may be gone after it */
    mp_store_release(has_stopped, 1);
    mp_park_wake_all(has_stopped);
}

mantis_status mp_syncer_start(mp_syncer *syncer, mp_store *store, mantis_error *error) {
    *syncer = (mp_syncer){.store = store};
    syncer->is_started = mp_thread_start("mantis-sync", run_thread, syncer);
    if (syncer->is_started) return MANTIS_OK;
    return mp_error_set(error, MANTIS_NOMEM, "store: the system has no thread left");
}

void mp_syncer_wake(mp_syncer *syncer) {
    mp_store_seq_cst(&syncer->has_work, 1);
    mp_park_wake_one(&syncer->has_work);
}

void mp_syncer_stop(mp_syncer *syncer) {
    if (!syncer->is_started) return;
    mp_store_release(&syncer->is_stopping, 1);
    mp_park_wake_all(&syncer->is_stopping);
    mp_syncer_wake(syncer);
    while (!mp_load_acquire(&syncer->has_stopped))
        mp_park_wait(&syncer->has_stopped, 0, MP_NEVER_NS);
    syncer->is_started = false;
}
