/* Group commit: queue, leader, and the thread that leads under load. */
#include "store/committer.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/thread.h"
#include "store/store.h"

void mp_committer_init(mp_committer *committer, mp_store *store) {
    *committer = (mp_committer){.store = store, .batch = {.kept_bytes = MP_COMMITTER_KEPT_BYTES}};
}

/* ---- a group ---- */

/* Take from the queue what is applied together (K3). */
static mp_list take_group(mp_committer *committer) {
    mp_list group = {0};
    size_t bytes = 0;
    uint32_t count = 0;
    mp_lock_acquire(&committer->lock);
    for (mp_node *node; (node = committer->locked.queue.head);) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        if (count == MP_COMMITTER_REQUESTS_MAX) break;
        if (count > 0 && bytes + commit->bytes > MP_COMMITTER_BYTES_MAX) break;
        bytes += commit->bytes;
        count++;
        mp_list_remove(&committer->locked.queue, node);
        mp_list_push(&group, node);
    }
    mp_lock_release(&committer->lock);
    return group;
}

static void commit_group(mp_committer *committer) {
    mp_list group = take_group(committer);
    mp_commit_apply(committer->store, &group, &committer->batch, true); /* K2 */
    for (mp_node *node; (node = mp_list_pop(&group));) {
        mp_commit *commit = mp_container_of(node, mp_commit, node);
        commit->on_done(commit); /* K5 */
    }
}

/* ---- leading ---- */

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

/* Is there the committer's own thread, now at the latest? */
static bool has_thread(mp_committer *committer) {
    mp_lock_acquire(&committer->lock);
    if (!committer->locked.has_thread)
        committer->locked.has_thread = mp_thread_start("mantis-commit", run_thread, committer);
    bool has = committer->locked.has_thread;
    mp_lock_release(&committer->lock);
    return has;
}

/* After the leader's own group: leave the rest to the thread; without one, go on here. */
static void lead(mp_committer *committer) {
    commit_group(committer);
    while (has_more(committer)) {
        if (has_thread(committer)) {
            ring_bell(committer);
            return;
        }
        commit_group(committer);
    }
}

/* Queue a commit. Answers whether whoever queued it has to see to it that somebody leads (K1). */
static bool push(mp_committer *committer, mp_commit *commit) {
    mp_lock_acquire(&committer->lock);
    mp_list_push(&committer->locked.queue, &commit->node);
    bool is_leader = !committer->locked.is_led;
    committer->locked.is_led = true;
    mp_lock_release(&committer->lock);
    return is_leader;
}

/* ---- asking for a write ---- */

static void wake_writer(mp_commit *commit) {
    mp_word *is_done = &commit->is_done;
    /* release: pairs with the acquire in mp_committer_write(); the commit may be gone after it */
    if (mp_swap_release(is_done, 1) == 2) mp_park_wake_one(is_done);
}

void mp_committer_write(mp_committer *committer, mp_commit *commit) {
    commit->on_done = wake_writer;
    if (push(committer, commit)) lead(committer);
    for (;;) {
        /* acquire: pairs with the release in wake_writer() */
        if (mp_load_acquire(&commit->is_done) == 1) return;
        uint32_t nobody = 0;
        mp_cas_acquire(&commit->is_done, &nobody, 2);
        mp_park_wait(&commit->is_done, 2, MP_NEVER_NS);
    }
}

bool mp_committer_submit(mp_committer *committer, mp_commit *commit) {
    if (!has_thread(committer)) return false;
    if (push(committer, commit)) ring_bell(committer);
    return true;
}

void mp_committer_finish(mp_committer *committer) {
    if (!committer->store) return;
    mp_lock_acquire(&committer->lock);
    mp_assert(mp_list_is_empty(&committer->locked.queue)); /* every connection has its answer */
    bool must_wait = committer->locked.has_thread;
    committer->locked.is_stopping = true;
    mp_lock_release(&committer->lock);
    if (must_wait) {
        ring_bell(committer);
        while (!mp_load_acquire(&committer->has_stopped))
            mp_park_wait(&committer->has_stopped, 0, MP_NEVER_NS);
    }
    mp_batch_finish(&committer->batch);
    *committer = (mp_committer){0};
}
