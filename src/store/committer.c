/* Group commit: queue, leader, and the thread that leads under load. */
#include "store/committer.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/thread.h"
#include "store/fault.h"
#include "store/store.h"

void mp_committer_init(mp_committer *committer, mp_store *store) {
    *committer = (mp_committer){.store = store};
}

/* Take from the queue what goes into one batch. */
static mp_list take_group(mp_committer *committer) {
    mp_list group = {0};
    size_t bytes = 0;
    uint32_t count = 0;
    mp_lock_acquire(&committer->lock);
    for (mp_node *node; (node = committer->locked.queue.head);) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        if (count == MP_COMMIT_REQUESTS_MAX) break;
        if (count > 0 && bytes + commit->bytes > MP_COMMIT_BYTES_MAX) break;
        bytes += commit->bytes;
        count++;
        mp_list_remove(&committer->locked.queue, node);
        mp_list_push(&group, node);
    }
    mp_lock_release(&committer->lock);
    return group;
}

/* Answer everybody in the group. A request is its owner's again, and gone, once is_done is set. */
static void answer_group(mp_list *group, mantis_status status, const mantis_error *error) {
    for (mp_node *node; (node = mp_list_pop(group));) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        commit->status = status;
        if (status != MANTIS_OK && commit->error) *commit->error = *error;
        mp_word *is_done = &commit->is_done;
        /* release: pairs with the acquire in mp_committer_write() */
        if (mp_swap_release(is_done, 1) == 2) mp_park_wake_one(is_done);
    }
}

static void add_group(mp_committer *committer, const mp_list *group, uint64_t version) {
    if (!committer->batch) committer->batch = rocksdb_writebatch_create();
    for (mp_node *node = group->head; node; node = node->next) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        mp_engine_add(committer->batch, commit->writes, commit->count, version);
        version += commit->count;
    }
}

static mantis_status write_group(mp_committer *committer, const mp_list *group,
                                 mantis_error *error) {
    mp_store *store = committer->store;
    size_t count = 0, bytes = 0;
    mp_stripes stripes = {0};
    for (mp_node *node = group->head; node; node = node->next) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        mp_stripes_add(&stripes, commit->writes, commit->count);
        count += commit->count;
        bytes += commit->bytes;
    }
    mp_stripes_acquire(store->stripes, &stripes);
    uint64_t version = 0;
    mantis_status status = mp_store_take_versions(store, count, &version, error);
    if (status == MANTIS_OK) {
        add_group(committer, group, version);
        status = mp_engine_write(&store->engine, committer->batch, error);
        rocksdb_writebatch_clear(committer->batch);
    }
    mp_stripes_release(store->stripes, &stripes);
    if (committer->batch && bytes > MP_COMMIT_KEPT_BYTES) {
        rocksdb_writebatch_destroy(committer->batch);
        committer->batch = NULL;
    }
    return status;
}

static void commit_group(mp_committer *committer) {
    mp_store *store = committer->store;
    mp_list group = take_group(committer);
    mantis_error error = {0};
    mantis_status status = mp_store_check_fence(store, &error);
    if (status == MANTIS_OK) {
        status = write_group(committer, &group, &error);
        if (status == MANTIS_OK) status = mp_store_sync(store, &error);
        if (status == MANTIS_OK) mp_syncer_post(&store->syncer);
        else mp_store_fence(store, status, &error);
    }
    answer_group(&group, status, &error); /* K2 */
}

/* Is there more to lead? If not, nobody leads any more (K1). */
static bool has_more(mp_committer *committer) {
    mp_lock_acquire(&committer->lock);
    bool more = !mp_list_is_empty(&committer->locked.queue);
    committer->locked.is_led = more;
    mp_lock_release(&committer->lock);
    return more;
}

static void run_thread(void *arg) {
    mp_committer *committer = arg;
    for (;;) {
        /* seq_cst: pairs with the stores in ring_bell() */
        while (mp_load_seq_cst(&committer->bell) == 0)
            mp_park_wait(&committer->bell, 0, MP_NEVER_NS);
        mp_store_seq_cst(&committer->bell, 0);
        mp_lock_acquire(&committer->lock);
        bool is_stopping = committer->locked.is_stopping;
        mp_lock_release(&committer->lock);
        if (is_stopping) break;
        do commit_group(committer);
        while (has_more(committer));
    }
    mp_word *has_stopped = &committer->has_stopped;
    mp_store_seq_cst(has_stopped, 1);
    mp_park_wake_all(has_stopped);
}

static void ring_bell(mp_committer *committer) {
    mp_store_seq_cst(&committer->bell, 1);
    mp_park_wake_one(&committer->bell);
}

/* After the leader's own group: leave the rest to the thread; without one, go on here. */
static void lead(mp_committer *committer) {
    commit_group(committer);
    while (has_more(committer)) {
        mp_lock_acquire(&committer->lock);
        bool has_thread = committer->locked.has_thread;
        mp_lock_release(&committer->lock);
        if (!has_thread && mp_thread_start("mantis-commit", run_thread, committer)) {
            has_thread = true;
            mp_lock_acquire(&committer->lock);
            committer->locked.has_thread = true;
            mp_lock_release(&committer->lock);
        }
        if (has_thread) {
            ring_bell(committer);
            return;
        }
        commit_group(committer);
    }
}

mantis_status mp_committer_write(mp_committer *committer, mp_commit *commit) {
    mp_lock_acquire(&committer->lock);
    mp_list_push(&committer->locked.queue, &commit->node);
    bool is_leader = !committer->locked.is_led;
    committer->locked.is_led = true;
    mp_lock_release(&committer->lock);
    if (is_leader) lead(committer);
    for (;;) {
        /* acquire: pairs with the release in answer_group() */
        if (mp_load_acquire(&commit->is_done) == 1) return commit->status;
        uint32_t nobody = 0;
        mp_cas_acquire(&commit->is_done, &nobody, 2);
        mp_park_wait(&commit->is_done, 2, MP_NEVER_NS);
    }
}

void mp_committer_finish(mp_committer *committer) {
    if (!committer->store) return;
    mp_lock_acquire(&committer->lock);
    mp_assert(mp_list_is_empty(&committer->locked.queue));
    bool has_thread = committer->locked.has_thread;
    committer->locked.is_stopping = true;
    mp_lock_release(&committer->lock);
    if (has_thread) {
        ring_bell(committer);
        while (!mp_load_acquire(&committer->has_stopped))
            mp_park_wait(&committer->has_stopped, 0, MP_NEVER_NS);
    }
    if (committer->batch) rocksdb_writebatch_destroy(committer->batch);
    *committer = (mp_committer){0};
}
