/* Opening, sharing, fencing and closing a store. */
#include "store/store.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "store/fault.h"
#include "store/record.h"
#include "store/recovery.h"
#include "store/txn.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_PATIENCE_NS (200 * MP_NS_PER_MS)
#define ROOM_BYTES ((uint64_t)512 << 10) /* for a new log, a manifest and an options file */

/* ---- versions ---- */

static mantis_status write_reservation(mp_store *store, uint64_t limit, mantis_error *error) {
    unsigned char bytes[8];
    mp_bytes_put_u64(bytes, limit);
    mantis_write write = {"", 0, bytes, sizeof bytes, 0};
    mp_batch batch = {0};
    mp_batch_add(&batch, &write, 0, 0);
    mantis_status status = mp_engine_write(&store->engine, &batch, error);
    return status == MANTIS_OK ? mp_store_sync(store, error) : status;
}

/* Reserve versions so that those up to wanted are (S5): on disk first, then for use. */
static mantis_status reserve_versions(mp_store *store, uint64_t wanted, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    mp_lock_acquire(&store->versions_lock);
    if (wanted > mp_load_relaxed(&store->version_limit)) {
        uint64_t limit = wanted + MP_STORE_VERSIONS_BLOCK;
        status = write_reservation(store, limit, error);
        /* release: pairs with the acquire in mp_store_take_versions() */
        if (status == MANTIS_OK) mp_store_release(&store->version_limit, limit);
    }
    mp_lock_release(&store->versions_lock);
    return status;
}

mantis_status mp_store_take_versions(mp_store *store, size_t count, uint64_t *first,
                                     mantis_error *error) {
    uint64_t version = mp_add_relaxed(&store->version_next, count);
    /* acquire: pairs with the release in reserve_versions() */
    if (mp_unlikely(version + count > mp_load_acquire(&store->version_limit))) {
        mantis_status status = reserve_versions(store, version + count, error);
        if (status != MANTIS_OK) return status;
    }
    *first = version;
    return MANTIS_OK;
}

static mantis_status load_versions(mp_store *store, mantis_error *error) {
    uint64_t next = 1;
    char *message = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned(store->engine.db, store->engine.read, "", 0,
                                                        &message);
    if (message) return mp_engine_fault(message, "read the store's own record", error);
    size_t size = 0;
    const char *data = found ? rocksdb_pinnableslice_value(found, &size) : NULL;
    mp_record record;
    bool is_good = !found || (mp_record_read(data, size, &record) && record.value_size == 8);
    if (found && is_good) next = mp_bytes_get_u64(record.value);
    rocksdb_pinnableslice_destroy(found);
    if (!is_good || next == 0)
        return mp_error_set(error, MANTIS_CORRUPT,
                            "store '%.120s' is damaged: its own record is not what was written; "
                            "restore the directory from a copy",
                            store->is_in_memory ? ":memory:" : store->directory.path);
    mp_store_relaxed(&store->version_next, next);
    mp_store_relaxed(&store->version_limit, next);
    return MANTIS_OK;
}

/* ---- the fence ---- */

mantis_status mp_store_check_fence(mp_store *store, mantis_error *error) {
    /* acquire: pairs with the release in mp_store_fence() */
    uint32_t fence = mp_load_acquire(&store->fence);
    if (mp_likely(fence == MANTIS_OK)) return MANTIS_OK;
    if (error) {
        mp_lock_acquire(&store->fence_lock);
        *error = store->fence_error;
        mp_lock_release(&store->fence_lock);
    }
    return (mantis_status)fence;
}

void mp_store_fence(mp_store *store, mantis_status status, const mantis_error *error) {
    mp_lock_acquire(&store->fence_lock);
    if (mp_load_relaxed(&store->fence) == MANTIS_OK) {
        static const char prefix[] = "store: ";
        bool has_prefix = strncmp(error->text, prefix, sizeof prefix - 1) == 0;
        mp_error_set_os(&store->fence_error, status, error->os_errno,
                        "store: no writes for now, reads go on: %.210s",
                        error->text + (has_prefix ? sizeof prefix - 1 : 0));
        /* release: pairs with the acquire in mp_store_check_fence() */
        mp_store_release(&store->fence, (uint32_t)status);
    }
    mp_lock_release(&store->fence_lock);
    mp_syncer_wake(&store->syncer);
}

/* Exchange the engine. If it cannot be opened for writing, it is for reading, so that reads go on;
 * if not even that, they answer with the fence's error. */
static mantis_status exchange_engine(mp_store *store, mantis_error *error) {
    uint64_t wal_bytes = mp_wal_size_bytes(&store->wal);
    mp_txn_doom_all(store);
    mp_engine_close(&store->engine);
    mp_wal_close(&store->wal);
    mantis_status status = mp_wal_open(&store->wal, store->directory.wal, error);
    /* What the old engine left in the logs stays there (avoid_flush_during_recovery). */
    if (status == MANTIS_OK) status = mp_wal_sync(&store->wal, error);
    if (status == MANTIS_OK)
        status = mp_engine_open(&store->engine, &store->directory, MP_ENGINE_REOPEN, wal_bytes,
                                error);
    /* After a failed sync the kernel may hold pages as clean that are not on disk: write what
     * they hold once more, into a table. */
    if (status == MANTIS_OK && store->must_flush) status = mp_engine_flush(&store->engine, error);
    if (status == MANTIS_OK) return MANTIS_OK;
    mp_engine_close(&store->engine);
    mp_engine_open(&store->engine, &store->directory, MP_ENGINE_READ, wal_bytes, NULL);
    return status;
}

bool mp_store_try_lift(mp_store *store) {
    if (store->is_in_memory || !mp_directory_has_room(&store->directory, ROOM_BYTES)) return false;
    if (!mp_guard_pause(&store->guard, PAUSE_PATIENCE_NS)) return false;
    mantis_error error = {0};
    mantis_status status = exchange_engine(store, &error);
    mp_lock_acquire(&store->fence_lock);
    if (status == MANTIS_OK) {
        store->must_flush = false;
        /* release: pairs with the acquire in mp_store_check_fence() */
        mp_store_release(&store->fence, MANTIS_OK);
    }
    mp_lock_release(&store->fence_lock);
    mp_guard_resume(&store->guard);
    return true;
}

mantis_status mp_store_sync(mp_store *store, mantis_error *error) {
    if (store->is_in_memory) return MANTIS_OK;
    mantis_status status = mp_wal_sync(&store->wal, error);
    if (status == MANTIS_OK) return MANTIS_OK;
    mp_lock_acquire(&store->fence_lock);
    store->must_flush = true;
    mp_lock_release(&store->fence_lock);
    return status;
}

mantis_status mp_store_tend(mp_store *store, mantis_error *error) {
    mantis_status status = mp_engine_check(&store->engine, error);
    if (status == MANTIS_OK) status = mp_store_sync(store, error);
    if (status != MANTIS_OK) return status;
    if (store->engine.has_large_buffer &&
        mp_directory_has_room(&store->directory, 4 * mp_wal_size_bytes(&store->wal)))
        mp_engine_shrink_buffer(&store->engine);
    uint64_t soon = mp_load_relaxed(&store->version_next) + MP_STORE_VERSIONS_BLOCK / 2;
    return soon > mp_load_relaxed(&store->version_limit) ? reserve_versions(store, soon, error)
                                                         : MANTIS_OK;
}

/* ---- open and close ---- */

/* Open the engine; a store whose disk is full is opened for reading, and fenced. */
static mantis_status open_engine(mp_store *store, mantis_error *error) {
    if (store->is_in_memory)
        return mp_engine_open(&store->engine, NULL, MP_ENGINE_CREATE, 0, error);
    mantis_status status = mp_recovery_run(&store->directory, error);
    if (status == MANTIS_OK) status = mp_wal_open(&store->wal, store->directory.wal, error);
    /* A crash may have left in the logs what is not on disk yet. */
    if (status == MANTIS_OK) status = mp_wal_sync(&store->wal, error);
    if (status != MANTIS_OK) return status;
    bool is_new = store->directory.is_new;
    mantis_error detail = {0};
    status = mp_engine_open(&store->engine, &store->directory,
                            is_new ? MP_ENGINE_CREATE : MP_ENGINE_WRITE, 0, &detail);
    if (status == MANTIS_FULL && !is_new &&
        mp_engine_open(&store->engine, &store->directory, MP_ENGINE_READ, 0, NULL) == MANTIS_OK) {
        mp_store_fence(store, status, &detail);
        return MANTIS_OK;
    }
    if (status != MANTIS_OK && error) *error = detail;
    return status;
}

/* Versions are reserved by the first write: an open for reading writes nothing. */
static mantis_status open_parts(mp_store *store, mantis_error *error) {
    mantis_status status = mp_engine_init(&store->engine,
                                          store->is_in_memory ? NULL : &store->directory, error);
    if (status == MANTIS_OK) status = open_engine(store, error);
    if (status == MANTIS_OK) status = load_versions(store, error);
    if (status == MANTIS_OK && store->directory.is_new)
        status = mp_directory_mark(&store->directory, error);
    return status;
}

static void free_store(mp_store *store) {
    mp_engine_finish(&store->engine);
    mp_wal_close(&store->wal);
    mp_directory_close(&store->directory);
    free(store);
}

static mantis_status open_new(mp_store **out, const char *path, mantis_error *error) {
    mp_store *store = aligned_alloc(MP_CACHE_LINE, sizeof *store);
    if (!store) return mp_error_set(error, MANTIS_NOMEM, "store: out of memory");
    memset(store, 0, sizeof *store);
    store->is_in_memory = path == NULL;
    store->registered.born = mp_registry_forks();
    store->registered.users = 1;
    mp_committer_init(&store->committer, store);
    mantis_status status = path ? mp_directory_open(&store->directory, path, error) : MANTIS_OK;
    if (status == MANTIS_OK) status = open_parts(store, error);
    if (status == MANTIS_OK && path) status = mp_syncer_start(&store->syncer, store, error);
    if (status != MANTIS_OK) {
        free_store(store);
        return status;
    }
    if (mp_store_check_fence(store, NULL) != MANTIS_OK) mp_syncer_wake(&store->syncer);
    *out = store;
    return MANTIS_OK;
}

mantis_status mp_store_open(mp_store **out, const char *path, mantis_error *error) {
    mp_directory_id id = {0};
    mp_registry_acquire();
    mantis_status status = path ? mp_directory_find(path, &id, error) : MANTIS_OK;
    mp_registry_entry *found = status == MANTIS_OK && path ? mp_registry_find(id) : NULL;
    if (found) {
        found->users++;
        *out = mp_container_of(found, mp_store, registered);
    } else if (status == MANTIS_OK) {
        status = open_new(out, path, error);
        if (status == MANTIS_OK && path) {
            (*out)->registered.id = id;
            mp_registry_add(&(*out)->registered);
        }
    }
    mp_registry_release();
    return status;
}

/* Nobody else uses it any more. What is unsaved goes to disk; the next open continues with the
 * version after the last. */
static void close_last(mp_store *store) {
    mp_assert(mp_list_is_empty(&store->txns)); /* their connections are closed */
    mp_syncer_stop(&store->syncer);
    mp_committer_finish(&store->committer);
    uint64_t next = mp_load_relaxed(&store->version_next);
    bool has_reserved = mp_load_relaxed(&store->version_limit) != next;
    if (has_reserved && !store->is_in_memory && mp_store_check_fence(store, NULL) == MANTIS_OK)
        write_reservation(store, next, NULL);
    free_store(store);
}

void mp_store_close(mp_store *store) {
    if (!store || store->registered.born != mp_registry_forks()) return;
    mp_registry_acquire();
    mp_assert(store->registered.users > 0); /* closed once for each open */
    if (--store->registered.users == 0) {
        if (!store->is_in_memory) mp_registry_remove(&store->registered);
        close_last(store);
    }
    mp_registry_release();
}
