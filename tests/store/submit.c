/* Writes that do not block: on_done comes once, after the sync that it promises, and nothing syncs
 * on the thread that submitted. The C library's fdatasync is replaced here, for the store and for
 * RocksDB. */
#include "store/lib.h"

#include "base/clock.h"
#include "base/thread.h"

#include <mantis/pool.h>

#include <pthread.h>
#include <sys/syscall.h>

static _Atomic int failure; /* the errno that syncs answer, or 0 */
static _Atomic uint32_t syncs;
static _Atomic uint32_t forbidden; /* the thread that must not sync */
static _Atomic uint32_t forbidden_syncs;

int fdatasync(int fd) {
    forbidden_syncs += forbidden != 0 && mp_thread_id() == forbidden;
    if (failure) {
        errno = failure;
        return -1;
    }
    int rc = (int)syscall(SYS_fdatasync, fd);
    syncs++; /* when it is over */
    return rc;
}

/* One commit with what it needs and what was told about it. */
typedef struct sent {
    mantis_commit commit;
    mantis_write write;
    char key[16];
    uint64_t value;
    mp_word done;    /* how often on_done was called */
    uint32_t thread; /* where */
    uint32_t synced; /* how many syncs were over then */
} sent;

static void on_done(mantis_commit *commit) {
    sent *self = commit->arg;
    self->thread = mp_thread_id();
    self->synced = syncs;
    mp_add_seq_cst(&self->done, 1);
    mp_park_wake_all(&self->done);
}

static void fill(sent *out, const char *key, uint64_t value) {
    *out = (sent){.value = value};
    snprintf(out->key, sizeof out->key, "%s", key);
    out->write = (mantis_write){out->key, strlen(out->key), &out->value, sizeof value, 0};
    out->commit =
        (mantis_commit){.writes = &out->write, .count = 1, .on_done = on_done, .arg = out};
}

static void wait_for(sent *self) {
    int64_t until_ns = mp_clock_now_ns() + 30 * MP_NS_PER_S;
    while (mp_load_acquire(&self->done) == 0 && mp_clock_now_ns() < until_ns)
        mp_park_wait(&self->done, 0, until_ns);
    check_equal(self->done, 1);
}

static void submit(mantis_store *handle, sent *self) {
    mantis_error error = {0};
    if (mp_handle_submit(handle, &self->commit, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "submit: %s", error.text);
}

static uint64_t number_at(mantis_store *handle, const char *key) {
    mantis_value value = {0};
    uint64_t number = UINT64_MAX;
    if (mantis_store_get(handle, key, strlen(key), &value, NULL) != MANTIS_OK) return number;
    check_equal(value.size, sizeof number);
    memcpy(&number, value.data, sizeof number);
    mantis_value_free(&value);
    return number;
}

/* ---- one at a time ---- */

TEST(a_write_that_needs_no_sync_is_done_when_submit_returns) {
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        opened store = open_store(in_memory ? NULL : fresh_path("interval"), in_memory);
        set_value(store.handle, "first", "reserves versions, and syncs");
        sent one;
        fill(&one, "key", 7);
        submit(store.handle, &one);
        check_equal(one.done, 1);
        check_equal(one.thread, mp_thread_id());
        check_equal(one.commit.status, MANTIS_OK);
        check_equal(number_at(store.handle, "key"), 7);
        check_equal(version_of(store.handle, "key"), one.commit.version);
        close_store(&store);
    }
}

TEST(a_write_that_needs_a_sync_is_done_elsewhere_after_it) {
    opened store = open_store(fresh_path("group"), true);
    opened synced = {store.store, mp_handle_new(store.store, false)};
    set_value(store.handle, "first", "reserves versions");
    usleep(250000); /* so that no other sync is due: only a missing one can be noticed */
    forbidden = mp_thread_id();
    for (uint64_t i = 0; i < 100; i++) {
        sent one;
        uint32_t before = syncs;
        fill(&one, "key", i);
        one.commit.durability = i % 2 ? MANTIS_DURABLE_SYNCED : MANTIS_DURABLE_DEFAULT;
        submit(i % 2 ? synced.handle : store.handle, &one);
        wait_for(&one);
        check(one.thread != forbidden);
        check(one.synced > before);
        check_equal(one.commit.status, MANTIS_OK);
        check_equal(number_at(store.handle, "key"), i);
        check_equal(version_of(store.handle, "key"), one.commit.version);
    }
    check_equal(forbidden_syncs, 0);
    mp_handle_free(synced.handle);
    close_store(&store);
}

TEST(a_compare_and_set_and_a_transaction_can_be_submitted) {
    for (int group = 0; group < 2; group++) {
        opened store = open_store(fresh_path("kinds"), group);
        sent one;
        fill(&one, "key", 1);
        one.commit.kind = MANTIS_COMMIT_COMPARE_AND_SET;
        submit(store.handle, &one);
        wait_for(&one);
        check_equal(one.commit.status, MANTIS_OK);
        uint64_t version = one.commit.version;
        check_equal(version_of(store.handle, "key"), version);
        fill(&one, "key", 2);
        one.commit.kind = MANTIS_COMMIT_COMPARE_AND_SET;
        one.commit.expected = version + 1;
        submit(store.handle, &one);
        wait_for(&one);
        check_equal(one.commit.status, MANTIS_CONFLICT);
        check_equal(one.commit.version, 0);
        check_contains(one.commit.error.text, "key 'key' has version");
        for (int conflict = 0; conflict < 2; conflict++) {
            check_equal(mp_handle_begin(store.handle, 0, -1, NULL), MANTIS_OK);
            check_equal(number_at(store.handle, "key"), 1);
            set_value(store.handle, "other", "mine");
            set_value(store.handle, "zoo", "last");
            opened other = {store.store, mp_handle_new(store.store, false)};
            if (conflict) set_value(other.handle, "key", "theirs!!");
            mp_handle_free(other.handle);
            fill(&one, "", 0);
            one.commit.kind = MANTIS_COMMIT_TRANSACTION;
            one.commit.count = 0;
            submit(store.handle, &one);
            wait_for(&one);
            check_equal(one.commit.status, conflict ? MANTIS_CONFLICT : MANTIS_OK);
            if (!conflict) check_equal(version_of(store.handle, "zoo"), one.commit.version);
        }
        check_equal(mp_handle_commit(store.handle, 0, NULL), MANTIS_INVALID); /* it is over */
        close_store(&store);
    }
}

TEST(within_a_transaction_a_submitted_write_is_kept_for_its_commit) {
    opened store = open_store(fresh_path("kept"), true);
    opened other = {store.store, mp_handle_new(store.store, false)};
    check_equal(mp_handle_begin(store.handle, 0, -1, NULL), MANTIS_OK);
    sent one;
    fill(&one, "key", 5);
    submit(store.handle, &one);
    check_equal(one.done, 1);
    check_equal(one.commit.status, MANTIS_OK);
    check_equal(number_at(store.handle, "key"), 5);
    check_value(other.handle, "key", NULL);
    check_equal(mp_handle_commit(store.handle, 0, NULL), MANTIS_OK);
    check_equal(number_at(other.handle, "key"), 5);
    mp_handle_free(other.handle);
    close_store(&store);
}

TEST(what_is_wrong_from_the_start_is_answered_at_once_and_on_done_is_not_called) {
    opened store = open_store(fresh_path("wrong"), true);
    mantis_error error = {0};
    sent one;
    fill(&one, "", 1);
    check_equal(mp_handle_submit(store.handle, &one.commit, &error), MANTIS_INVALID);
    check_contains(error.text, "empty");
    fill(&one, "key", 1);
    one.commit.kind = MANTIS_COMMIT_TRANSACTION;
    check_equal(mp_handle_submit(store.handle, &one.commit, &error), MANTIS_INVALID);
    check_contains(error.text, "no transaction");
    check_equal(mp_handle_begin(store.handle, 0, -1, NULL), MANTIS_OK);
    fill(&one, "key", 1);
    one.commit.kind = MANTIS_COMMIT_COMPARE_AND_SET;
    check_equal(mp_handle_submit(store.handle, &one.commit, &error), MANTIS_INVALID);
    check_equal(one.done, 0);
    close_store(&store);
}

TEST(a_sync_that_fails_is_the_outcome_of_all_that_waited_for_it) {
    opened store = open_store(fresh_path("failed"), true), other[4];
    set_value(store.handle, "before", "v");
    sent all[4];
    failure = EIO;
    for (int i = 0; i < 4; i++) {
        other[i] = (opened){store.store, mp_handle_new(store.store, true)};
        fill(&all[i], "key", 1);
        submit(other[i].handle, &all[i]);
    }
    for (int i = 0; i < 4; i++) {
        wait_for(&all[i]);
        check_equal(all[i].commit.status, MANTIS_IO);
        check_equal(all[i].commit.error.os_errno, EIO);
        mp_handle_free(other[i].handle);
    }
    failure = 0;
    int64_t start_ns = mp_clock_now_ns();
    for (mantis_status status = MANTIS_IO; status != MANTIS_OK; usleep(20000)) {
        check(mp_clock_now_ns() - start_ns < 10 * MP_NS_PER_S);
        status = mantis_store_set(store.handle, "later", 5, "v", 1, NULL);
    }
    close_store(&store);
}

/* ---- many ---- */

#define HANDLES 100u

TEST(one_thread_has_a_hundred_writes_under_way_and_they_share_syncs) {
    opened store = open_store(fresh_path("many"), true);
    static sent all[HANDLES];
    mantis_store *handles[HANDLES];
    set_value(store.handle, "first", "reserves versions");
    for (uint32_t i = 0; i < HANDLES; i++) handles[i] = mp_handle_new(store.store, true);
    forbidden = mp_thread_id();
    uint32_t before = syncs, rounds = tap_is_long() ? 500 : 50;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < HANDLES; i++) {
            char key[16];
            snprintf(key, sizeof key, "key%u", i);
            fill(&all[i], key, round);
            submit(handles[i], &all[i]);
        }
        for (uint32_t i = 0; i < HANDLES; i++) {
            wait_for(&all[i]);
            check_equal(all[i].commit.status, MANTIS_OK);
            check_equal(number_at(handles[i], all[i].key), round);
        }
    }
    note("%u syncs for %u writes", syncs - before, rounds * HANDLES);
    check(syncs - before < rounds * HANDLES / 4);
    check_equal(forbidden_syncs, 0);
    for (uint32_t i = 0; i < HANDLES; i++) mp_handle_free(handles[i]);
    close_store(&store);
}

static _Atomic bool is_over;

static void *write_blocking(void *arg) {
    opened *store = arg;
    for (uint64_t i = 0; !is_over; i++) {
        check_equal(mantis_store_set(store->handle, "b", 1, &i, sizeof i, NULL), MANTIS_OK);
        check_equal(number_at(store->handle, "b"), i);
    }
    return NULL;
}

TEST(submitted_and_blocking_writes_share_the_committer) {
    opened store = open_store(fresh_path("mixed"), true);
    opened blocking = {store.store, mp_handle_new(store.store, true)};
    set_value(store.handle, "first", "reserves versions");
    forbidden = mp_thread_id();
    pthread_t thread;
    check(pthread_create(&thread, NULL, write_blocking, &blocking) == 0);
    for (uint64_t i = 0; i < 500; i++) {
        sent one;
        fill(&one, "s", i);
        submit(store.handle, &one);
        wait_for(&one);
        check_equal(number_at(store.handle, "s"), i);
    }
    is_over = true;
    pthread_join(thread, NULL);
    check_equal(forbidden_syncs, 0);
    mp_handle_free(blocking.handle);
    close_store(&store);
}

/* ---- through a pool ---- */

TEST(a_connection_can_be_released_and_its_pool_closed_once_on_done_was_called) {
    char dsn[FRESH_PATH_MAX + 32];
    snprintf(dsn, sizeof dsn, "mantis:%s?sync=group", fresh_path("pool"));
    mantis_pool_config config = {.connector = &mantis_embedded, .dsn = dsn, .conns_max = 1};
    for (uint64_t i = 0; i < 50; i++) {
        mantis_pool *pool = NULL;
        mantis_conn conn = {0};
        sent one, after;
        mantis_error error = {0};
        check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_OK);
        check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(30000), &conn, &error), MANTIS_OK);
        fill(&one, "key", i);
        check_equal(mantis_conn_submit(conn, &one.commit, &error), MANTIS_OK);
        wait_for(&one);
        check_equal(one.commit.status, MANTIS_OK);
        check_equal(mantis_conn_release(&conn), MANTIS_OK);
        fill(&after, "key", i);
        check_equal(mantis_conn_submit(conn, &after.commit, &error), MANTIS_STALE);
        check_equal(mantis_pool_close(&pool, mantis_deadline_ms(30000)), MANTIS_OK);
        check_equal(after.done, 0);
    }
}

TAP_MAIN
