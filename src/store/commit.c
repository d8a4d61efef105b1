/* Applying commits. */
#include "store/commit.h"

#include "base/error.h"
#include "store/store.h"

#include <ctype.h>
#include <string.h>

#define SHOWN_KEY_BYTES 40u

/* What a group needs and what it does, found in one pass. */
typedef struct group_sum {
    mp_stripes stripes;
    bool has_conditions, has_writes;
    bool has_written; /* some commit's conditions held, or it has none */
} group_sum;

static mp_commit *first_of(const mp_list *group) {
    return group->head ? mp_container_of(group->head, mp_commit, node) : NULL;
}

static mp_commit *next_of(const mp_commit *commit) {
    return commit->node.next ? mp_container_of(commit->node.next, mp_commit, node) : NULL;
}

static void add_stripes(mp_stripes *stripes, const mp_commit *commit) {
    for (size_t i = 0; i < commit->count; i++)
        mp_stripes_add(stripes, commit->writes[i].key, commit->writes[i].key_size);
}

static void sum_up(group_sum *sum, const mp_list *group) {
    mp_stripes_init(&sum->stripes);
    sum->has_conditions = sum->has_writes = sum->has_written = false;
    for (const mp_commit *commit = first_of(group); commit; commit = next_of(commit)) {
        add_stripes(&sum->stripes, commit);
        for (size_t i = 0; i < commit->conditions_count; i++)
            mp_stripes_add(&sum->stripes, commit->conditions[i].key,
                           commit->conditions[i].key_size);
        sum->has_conditions = sum->has_conditions || commit->conditions_count > 0;
        sum->has_writes = sum->has_writes || commit->count > 0;
    }
}

/* ---- conditions ---- */

static mantis_status refuse_version(const mp_condition *condition, uint64_t found,
                                    mantis_error *error) {
    char shown[SHOWN_KEY_BYTES + 1];
    const unsigned char *key = condition->key;
    size_t count = condition->key_size < SHOWN_KEY_BYTES ? condition->key_size : SHOWN_KEY_BYTES;
    for (size_t i = 0; i < count; i++) shown[i] = isprint(key[i]) ? (char)key[i] : '?';
    shown[count] = 0;
    const char *more = count < condition->key_size ? "..." : "";
    unsigned long long now = found, expected = condition->version;
    if (found == 0)
        return mp_error_set(error, MANTIS_CONFLICT,
                            "key '%s%s' is not there, and was expected with version %llu: it was "
                            "deleted or has expired; read it again",
                            shown, more, expected);
    if (expected == 0)
        return mp_error_set(error, MANTIS_CONFLICT,
                            "key '%s%s' has version %llu, and was expected not to be there: it was "
                            "written meanwhile; read it again",
                            shown, more, now);
    return mp_error_set(error, MANTIS_CONFLICT,
                        "key '%s%s' has version %llu now, not %llu: it was written since it was "
                        "read; read it again",
                        shown, more, now, expected);
}

/* With its stripe held (W1). */
static mantis_status check_condition(const mp_engine *engine, const mp_condition *condition,
                                     mantis_error *error) {
    rocksdb_pinnableslice_t *pin = NULL;
    mp_record record = {0};
    mantis_status status = mp_engine_read(engine, engine->read, condition->key, condition->key_size,
                                          &pin, &record, error);
    rocksdb_pinnableslice_destroy(pin);
    if (status != MANTIS_OK && status != MANTIS_NOT_FOUND) return status;
    uint64_t found = status == MANTIS_OK ? record.version : 0;
    return found == condition->version ? MANTIS_OK : refuse_version(condition, found, error);
}

static mantis_status check_conditions(const mp_engine *engine, const mp_commit *commit) {
    mantis_status status = MANTIS_OK;
    for (size_t i = 0; i < commit->conditions_count && status == MANTIS_OK; i++)
        status = check_condition(engine, &commit->conditions[i], commit->error);
    return status;
}

/* May what is in the batch bear on one of the conditions? */
static bool must_write_first(const mp_stripes *unwritten, const mp_commit *commit) {
    for (size_t i = 0; i < commit->conditions_count; i++)
        if (mp_stripes_has(unwritten, commit->conditions[i].key, commit->conditions[i].key_size))
            return true;
    return false;
}

/* ---- a group ---- */

static mantis_status add_writes(mp_store *store, mp_commit *commit, mp_batch *batch,
                                mantis_error *error) {
    if (commit->count == 0) return MANTIS_OK;
    mantis_status status = mp_store_take_versions(store, commit->count, &commit->version, error);
    if (status != MANTIS_OK) return status;
    for (size_t i = 0; i < commit->count; i++)
        mp_batch_add(batch, &commit->writes[i], commit->version + i, commit->born_ms);
    return MANTIS_OK;
}

/* With all stripes held (S4). Answers for the engine; what becomes of each commit is in it. */
static mantis_status write_locked(mp_store *store, const mp_list *group, group_sum *sum,
                                  mp_batch *batch, mantis_error *error) {
    mp_stripes unwritten; /* of the keys in the batch */
    mp_stripes_init(&unwritten);
    for (mp_commit *commit = first_of(group); commit; commit = next_of(commit)) {
        mantis_status status = MANTIS_OK;
        if (must_write_first(&unwritten, commit)) { /* W2 */
            status = mp_engine_write(&store->engine, batch, error);
            if (status != MANTIS_OK) return status;
            mp_stripes_init(&unwritten);
        }
        commit->status = check_conditions(&store->engine, commit);
        if (commit->status != MANTIS_OK) continue; /* W3 */
        status = add_writes(store, commit, batch, error);
        if (status != MANTIS_OK) return status;
        if (sum->has_conditions) add_stripes(&unwritten, commit);
        sum->has_written = sum->has_written || commit->count > 0;
    }
    return mp_engine_write(&store->engine, batch, error);
}

/* Of no commit that was to be applied it is known whether it is on disk, or in the engine at
 * all. */
static void fail_group(const mp_list *group, mantis_status status, const mantis_error *error) {
    for (mp_commit *commit = first_of(group); commit; commit = next_of(commit)) {
        if (commit->status != MANTIS_OK) continue;
        commit->status = status;
        if (commit->error) *commit->error = *error;
    }
}

void mp_commit_apply(mp_store *store, const mp_list *group, mp_batch *batch, bool is_synced) {
    group_sum sum;
    mantis_error error = {0};
    sum_up(&sum, group);
    mantis_status status = sum.has_writes ? mp_store_check_fence(store, &error) : MANTIS_OK;
    if (mp_unlikely(status != MANTIS_OK)) {
        fail_group(group, status, &error);
        return;
    }
    mp_stripes_acquire(store->stripes, &sum.stripes);
    status = write_locked(store, group, &sum, batch, &error);
    mp_stripes_release(store->stripes, &sum.stripes);
    if (status == MANTIS_OK && is_synced && sum.has_written) status = mp_store_sync(store, &error);
    if (mp_likely(status == MANTIS_OK)) {
        if (!store->is_in_memory && sum.has_written) mp_syncer_post(&store->syncer);
        return;
    }
    mp_batch_finish(batch); /* what it holds still is never written */
    mp_store_fence(store, status, &error);
    fail_group(group, status, &error);
}
