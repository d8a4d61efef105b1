/* Transactions on a handle: what they see, what they write, what they notice, what they may hold,
 * and how they end. */
#include "store/lib.h"

#include "base/clock.h"
#include "store/txn.h"

#include <pthread.h>

/* Syncs cost nothing here: there are many thousands of them, and what they are for is tested
 * elsewhere. */
int fdatasync(int fd) {
    (void)fd;
    return 0;
}

#define BORN_MS INT64_C(1700000000000)
#define UNBOUNDED INT64_C(-1)

/* A store with two handles: one for a transaction, one for everybody else. */
typedef struct pair {
    opened store;
    mantis_store *txn, *other;
} pair;

static pair open_pair(const char *path, bool group) {
    pair out = {.store = open_store(path, group)};
    out.txn = out.store.handle;
    out.other = mp_handle_new(out.store.store, !group);
    return out;
}

static void close_pair(pair *closed) {
    mp_handle_free(closed->other);
    close_store(&closed->store);
}

static void begin(mantis_store *handle) {
    mantis_error error = {0};
    if (mp_handle_begin(handle, MANTIS_TRANSACTION_WRITE, UNBOUNDED, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "begin: %s", error.text);
}

static mantis_status commit(mantis_store *handle) {
    return mp_handle_commit(handle, MANTIS_DURABLE_DEFAULT, NULL);
}

static void delete_key(mantis_store *handle, const char *key) {
    check_equal(mantis_store_delete(handle, key, strlen(key), NULL), MANTIS_OK);
}

static bool exists(mantis_store *handle, const char *key) {
    bool is_there = false;
    check_equal(mp_handle_exists(handle, key, strlen(key), &is_there, NULL), MANTIS_OK);
    return is_there;
}

static bool list_entry(const mantis_entry *entry, void *arg) {
    char *text = arg;
    size_t length = strlen(text);
    snprintf(text + length, 256 - length, "%.*s=%.*s ", (int)entry->key_size,
             (const char *)entry->key, (int)entry->value_size, (const char *)entry->value);
    return true;
}

static void check_scan(mantis_store *handle, const char *prefix, uint32_t limit,
                       mantis_cursor *cursor, const char *expected) {
    char text[256] = "";
    check_equal(
        mp_handle_scan(handle, prefix, strlen(prefix), limit, cursor, list_entry, text, NULL),
        MANTIS_OK);
    if (strcmp(text, expected) != 0) tap_fail(__FILE__, __LINE__, "'%s', not '%s'", text, expected);
}

/* ---- what it sees ---- */

TEST(a_transaction_sees_the_store_as_it_was_and_its_own_writes) {
    for (int kind = 0; kind < 3; kind++) {
        pair p = open_pair(kind == 2 ? NULL : fresh_path("sees"), kind == 1);
        set_value(p.other, "a", "1");
        set_value(p.other, "b", "2");
        begin(p.txn);
        set_value(p.other, "a", "later");
        set_value(p.other, "c", "later");
        check_value(p.txn, "a", "1");
        check_value(p.txn, "c", NULL);
        check(!exists(p.txn, "c"));
        set_value(p.txn, "b", "mine");
        set_value(p.txn, "d", "");
        check_value(p.txn, "b", "mine");
        check_value(p.txn, "d", "");
        check(exists(p.txn, "d"));
        check_equal(version_of(p.txn, "d"), 0);
        check(version_of(p.txn, "a") > 0);
        delete_key(p.txn, "b");
        check_value(p.txn, "b", NULL);
        check(!exists(p.txn, "b"));
        check_value(p.other, "b", "2"); /* nobody else sees any of it */
        check_value(p.other, "d", NULL);
        check_equal(mp_handle_rollback(p.txn, NULL), MANTIS_OK);
        check_value(p.txn, "a", "later");
        check_value(p.txn, "b", "2");
        check_value(p.txn, "d", NULL);
        close_pair(&p);
    }
}

TEST(a_scan_merges_the_store_with_the_transactions_writes_in_order) {
    pair p = open_pair(fresh_path("scan"), false);
    static const char *const keys[] = {"a", "b1", "b3", "b5", "c", NULL};
    for (int i = 0; keys[i]; i++) set_value(p.other, keys[i], "s");
    begin(p.txn);
    set_value(p.other, "b4", "later");
    set_value(p.txn, "b0", "t");
    set_value(p.txn, "b3", "t");
    delete_key(p.txn, "b5");
    delete_key(p.txn, "b2"); /* not there anyway */
    set_value(p.txn, "b7", "t");
    set_value(p.txn, "b", "t");
    check_value(p.txn, "b6", NULL); /* only read */
    check_scan(p.txn, "b", 0, NULL, "b=t b0=t b1=s b3=t b7=t ");
    check_scan(p.txn, "", 0, NULL, "a=s b=t b0=t b1=s b3=t b7=t c=s ");
    check_scan(p.txn, "b7", 0, NULL, "b7=t ");
    check_scan(p.txn, "x", 0, NULL, "");
    mantis_cursor cursor = {0};
    check_scan(p.txn, "b", 2, &cursor, "b=t b0=t ");
    set_value(p.txn, "b00", "new"); /* behind the cursor, or not */
    delete_key(p.txn, "b0");
    check_scan(p.txn, "b", 2, &cursor, "b00=new b1=s ");
    check_scan(p.txn, "b", 1, &cursor, "b3=t ");
    check(!cursor.at_end);
    check_scan(p.txn, "b", 2, &cursor, "b7=t ");
    check(cursor.at_end);
    mantis_cursor_free(&cursor);
    check_equal(commit(p.txn), MANTIS_OK);
    check_scan(p.other, "", 0, NULL, "a=s b=t b00=new b1=s b3=t b4=later b7=t c=s ");
    close_pair(&p);
}

static bool write_within(const mantis_entry *entry, void *arg) {
    mantis_store *handle = arg;
    char value[8];
    mantis_error error = {0};
    memcpy(value, entry->value, 4);
    check_equal(mantis_store_set(handle, entry->key, entry->key_size, "over", 4, NULL), MANTIS_OK);
    delete_key(handle, "k3");
    check_equal(mantis_store_set(handle, entry->key, entry->key_size, "gain", 4, NULL), MANTIS_OK);
    check(memcmp(entry->value, value, 4) == 0 && memcmp(value, "gain", 4) != 0); /* it stays */
    check_equal(mp_handle_commit(handle, 0, &error), MANTIS_BUSY);
    check_contains(error.text, "a scan of the transaction is under way");
    check_equal(mp_handle_rollback(handle, &error), MANTIS_BUSY);
    return true;
}

TEST(the_callback_of_a_scan_may_write_in_the_transaction_but_not_end_it) {
    pair p = open_pair(NULL, false);
    for (int i = 0; i < 10; i += 2) {
        char key[3] = {'k', (char)('0' + i), 0};
        set_value(p.other, key, "base");
    }
    begin(p.txn);
    for (int i = 1; i < 10; i += 2) {
        char key[3] = {'k', (char)('0' + i), 0};
        set_value(p.txn, key, "mine");
    }
    check_equal(mp_handle_scan(p.txn, "k", 1, 0, NULL, write_within, p.txn, NULL), MANTIS_OK);
    check_value(p.txn, "k0", "gain");
    check_value(p.txn, "k9", "gain");
    check_equal(commit(p.txn), MANTIS_OK);
    check_value(p.other, "k8", "gain");
    close_pair(&p);
}

TEST(a_snapshot_reads_the_store_as_it_was_and_writes_nothing) {
    pair p = open_pair(fresh_path("snapshot"), true);
    set_value(p.other, "a", "1");
    check_equal(mp_handle_begin(p.txn, MANTIS_TRANSACTION_SNAPSHOT, 0, NULL), MANTIS_OK);
    set_value(p.other, "a", "2");
    set_value(p.other, "b", "2");
    check_value(p.txn, "a", "1");
    check_scan(p.txn, "", 0, NULL, "a=1 ");
    mantis_error error = {0};
    check_equal(mantis_store_set(p.txn, "a", 1, "3", 1, &error), MANTIS_INVALID);
    check_contains(error.text, "which only reads");
    check_equal(mantis_store_delete(p.txn, "a", 1, &error), MANTIS_INVALID);
    check_equal(commit(p.txn), MANTIS_OK); /* nothing is checked */
    check_value(p.txn, "a", "2");
    close_pair(&p);
}

/* ---- what it notices ---- */

/* Read, let another one act, write something and commit. */
typedef struct clash {
    const char *read, *written_by_other, *deleted_by_other;
    bool by_exists, by_scan;
    mantis_status expected;
} clash;

static void run_clash(pair *p, const clash *how) {
    set_value(p->other, "a", "1");
    delete_key(p->other, "b");
    begin(p->txn);
    if (how->by_scan) check_scan(p->txn, "a", 0, NULL, "a=1 ");
    else if (how->by_exists) (void)exists(p->txn, how->read);
    else check_value(p->txn, how->read, strcmp(how->read, "a") == 0 ? "1" : NULL);
    if (how->written_by_other) set_value(p->other, how->written_by_other, "x");
    if (how->deleted_by_other) delete_key(p->other, how->deleted_by_other);
    set_value(p->txn, "result", "mine");
    check_equal(commit(p->txn), how->expected);
    check_value(p->other, "result", how->expected == MANTIS_OK ? "mine" : NULL);
    delete_key(p->other, "result");
}

TEST(a_commit_conflicts_if_a_key_that_was_read_was_written_since) {
    static const clash clashes[] = {
        {.read = "a", .expected = MANTIS_OK},
        {.read = "a", .written_by_other = "a", .expected = MANTIS_CONFLICT},
        {.read = "a", .written_by_other = "c", .expected = MANTIS_OK},
        {.read = "a", .deleted_by_other = "a", .expected = MANTIS_CONFLICT},
        {.read = "b", .written_by_other = "b", .expected = MANTIS_CONFLICT},
        {.read = "b", .deleted_by_other = "b", .expected = MANTIS_OK}, /* missing as before */
        {.read = "a", .written_by_other = "a", .by_exists = true, .expected = MANTIS_CONFLICT},
        {.read = "b", .written_by_other = "b", .by_exists = true, .expected = MANTIS_CONFLICT},
        {.read = "a", .written_by_other = "a", .by_scan = true, .expected = MANTIS_OK},
        {.read = "a", .written_by_other = "result", .expected = MANTIS_OK}, /* written blindly */
    };
    for (int kind = 0; kind < 3; kind++) {
        pair p = open_pair(kind == 2 ? NULL : fresh_path("clash"), kind == 1);
        for (size_t i = 0; i < sizeof clashes / sizeof *clashes; i++) run_clash(&p, &clashes[i]);
        close_pair(&p);
    }
}

TEST(a_commit_that_conflicts_names_the_key_and_the_transaction_is_over) {
    pair p = open_pair(fresh_path("names"), false);
    mantis_error error = {0};
    begin(p.txn);
    check_value(p.txn, "key", NULL);
    set_value(p.other, "key", "theirs");
    set_value(p.txn, "key", "mine");
    check_equal(mp_handle_commit(p.txn, 0, &error), MANTIS_CONFLICT);
    check_contains(error.text, "key 'key' has version");
    check_value(p.txn, "key", "theirs");
    check_equal(mp_handle_commit(p.txn, 0, &error), MANTIS_INVALID);
    check_contains(error.text, "no transaction");
    begin(p.txn);
    check_equal(commit(p.txn), MANTIS_OK);
    close_pair(&p);
}

TEST(a_transaction_without_writes_only_checks) {
    pair p = open_pair(fresh_path("reads"), true);
    begin(p.txn);
    check_value(p.txn, "a", NULL);
    check_equal(commit(p.txn), MANTIS_OK);
    begin(p.txn);
    check_value(p.txn, "a", NULL);
    set_value(p.other, "a", "1");
    check_equal(commit(p.txn), MANTIS_CONFLICT);
    close_pair(&p);
}

TEST(what_a_transaction_has_written_itself_is_not_checked) {
    pair p = open_pair(fresh_path("own"), false);
    begin(p.txn);
    set_value(p.txn, "a", "1");
    check_value(p.txn, "a", "1");
    set_value(p.other, "a", "x");
    check_value(p.txn, "a", "1");
    check_equal(commit(p.txn), MANTIS_OK);
    check_value(p.other, "a", "1");
    close_pair(&p);
}

/* ---- time ---- */

TEST(time_passes_in_a_transaction_too) {
    pair p = open_pair(fresh_path("time"), false);
    plant_clock(p.store.store);
    planted_ms = BORN_MS;
    mantis_write write = {"a", 1, "1", 1, 100};
    check_equal(mp_handle_write(p.other, &write, 1, 0, NULL), MANTIS_OK);
    begin(p.txn);
    write = (mantis_write){"mine", 4, "2", 1, 50};
    check_equal(mp_handle_write(p.txn, &write, 1, 0, NULL), MANTIS_OK);
    write = (mantis_write){"long", 4, "3", 1, 500};
    check_equal(mp_handle_write(p.txn, &write, 1, 0, NULL), MANTIS_OK);
    check_scan(p.txn, "", 0, NULL, "a=1 long=3 mine=2 ");
    planted_ms = BORN_MS + 50;
    check_value(p.txn, "mine", NULL);
    check(exists(p.txn, "a"));
    check_scan(p.txn, "", 0, NULL, "a=1 long=3 ");
    planted_ms = BORN_MS + 100;
    check(!exists(p.txn, "a"));
    check_scan(p.txn, "", 0, NULL, "long=3 ");
    check_equal(commit(p.txn), MANTIS_CONFLICT); /* "a" was there when it was read */
    begin(p.txn);
    check(!exists(p.txn, "a"));
    write.ttl_ms = 40;
    check_equal(mp_handle_write(p.txn, &write, 1, 0, NULL), MANTIS_OK);
    planted_ms += 30;
    check_equal(commit(p.txn), MANTIS_OK);
    check_value(p.other, "long", "3");
    planted_ms += 10; /* it counts from the write, not from the commit */
    check_value(p.other, "long", NULL);
    close_pair(&p);
}

/* ---- what it may hold ---- */

TEST(a_transaction_holds_at_most_conn_memory_max) {
    pair p = open_pair(fresh_path("bounded"), false);
    char value[1000], key[16];
    mantis_error error = {0};
    memset(value, 'v', sizeof value);
    check_equal(mp_handle_begin(p.txn, MANTIS_TRANSACTION_WRITE, 10000, NULL), MANTIS_OK);
    uint32_t fitting = 0;
    for (mantis_status status = MANTIS_OK; status == MANTIS_OK; fitting++) {
        snprintf(key, sizeof key, "%04u", fitting);
        status = mantis_store_set(p.txn, key, 4, value, sizeof value, &error);
    }
    check_equal(fitting - 1, 10000 / (sizeof value + 4 + MP_TXN_KEY_BYTES));
    check_equal(error.status, MANTIS_TOO_BIG);
    check_contains(error.text, "at most 10000 (conn_memory_max)");
    check_equal(mantis_store_set(p.txn, "0000", 4, value, sizeof value, NULL), 0); /* over itself */
    check_equal(mantis_store_delete(p.txn, "0001", 4, NULL), MANTIS_OK); /* and that makes room */
    mantis_value out = {0};
    bool is_there;
    for (uint32_t i = 0;; i++) { /* reads count, too, but not twice */
        snprintf(key, sizeof key, "r%04u", i);
        mantis_status status = mantis_store_get(p.txn, key, 5, &out, &error);
        if (status != MANTIS_NOT_FOUND) break;
        check_equal(mp_handle_exists(p.txn, key, 5, &is_there, NULL), MANTIS_OK);
        check(i < 100);
    }
    check_equal(error.status, MANTIS_TOO_BIG);
    check_equal(mp_handle_exists(p.txn, key, 5, &is_there, &error), MANTIS_TOO_BIG);
    mantis_write both[] = {{"0002", 4, "small", 5, 0}, {"new", 3, value, sizeof value, 0}};
    check_equal(mp_handle_write(p.txn, both, 2, 0, NULL), MANTIS_TOO_BIG); /* none of them */
    check_equal(mantis_store_get(p.txn, "0002", 4, &out, NULL), MANTIS_OK);
    check_equal(out.size, sizeof value);
    mantis_value_free(&out);
    check_equal(commit(p.txn), MANTIS_OK); /* it goes on without what was refused */
    check(exists(p.other, "0000") && !exists(p.other, "0001") && !exists(p.other, "new"));
    close_pair(&p);
}

/* Writing one key again and again within a scan. */
typedef struct rewriting {
    mantis_store *handle;
    const char *value;
    size_t size;
    int done;
} rewriting;

static bool rewrite_within(const mantis_entry *entry, void *arg) {
    (void)entry;
    rewriting *self = arg;
    mantis_status status;
    while ((status = mantis_store_set(self->handle, "k", 1, self->value, self->size, NULL)) ==
           MANTIS_OK)
        check(++self->done < 100000);
    check_equal(status, MANTIS_TOO_BIG);
    return false;
}

TEST(what_is_replaced_within_a_scan_counts_until_the_scan_ends) {
    pair p = open_pair(NULL, false);
    char value[8000] = "v";
    const size_t sizes[] = {1000, 0};
    set_value(p.other, "k", "base");
    for (int i = 0; i < 2; i++) {
        rewriting self = {.handle = p.txn, .value = value, .size = sizes[i]};
        check_equal(mp_handle_begin(p.txn, MANTIS_TRANSACTION_WRITE, 10000, NULL), MANTIS_OK);
        check_equal(mp_handle_scan(p.txn, "k", 1, 0, NULL, rewrite_within, &self, NULL), MANTIS_OK);
        check(self.done > 0 && self.done < 1000);
        for (int again = 0; again < 100; again++) /* and then no more */
            check_equal(mantis_store_set(p.txn, "k", 1, value, 1000, NULL), MANTIS_OK);
        check_equal(mantis_store_set(p.txn, "l", 1, value, sizeof value, NULL), MANTIS_OK);
        check_equal(commit(p.txn), MANTIS_OK);
    }
    close_pair(&p);
}

TEST(a_transaction_without_a_bound_of_its_own_has_that_of_a_batch) {
    pair p = open_pair(NULL, false);
    char *value = calloc(1, MANTIS_VALUE_MAX);
    begin(p.txn);
    check_equal(mantis_store_set(p.txn, "a", 1, value, MANTIS_VALUE_MAX, NULL), MANTIS_OK);
    mantis_error error = {0};
    check_equal(mantis_store_set(p.txn, "b", 1, value, MANTIS_VALUE_MAX, &error), MANTIS_TOO_BIG);
    check_contains(error.text, "134217728");
    check_equal(commit(p.txn), MANTIS_OK);
    free(value);
    close_pair(&p);
}

TEST(a_hundred_thousand_keys_in_random_order_are_one_commit) {
    enum { KEYS = 100000 };
    pair p = open_pair(fresh_path("many"), false);
    begin(p.txn);
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t key = i * 7919 % KEYS;
        check_equal(set_numbered(p.txn, key, key, 32, NULL), MANTIS_OK);
    }
    check_equal(round_of(p.txn, 17, 32), 17);
    check_equal(round_of(p.other, 17, 32), -1);
    check_equal(commit(p.txn), MANTIS_OK);
    for (uint64_t i = 0; i < KEYS; i += 97) check_equal(round_of(p.other, i, 32), (int64_t)i);
    close_pair(&p);
}

/* ---- how it ends ---- */

TEST(one_connection_has_one_transaction) {
    pair p = open_pair(NULL, false);
    mantis_error error = {0};
    begin(p.txn);
    check_equal(mp_handle_begin(p.txn, MANTIS_TRANSACTION_SNAPSHOT, 0, &error), MANTIS_BUSY);
    check_contains(error.text, "commit it or roll it back");
    mantis_write write = {"a", 1, "1", 1, 0};
    uint64_t made = 0;
    check_equal(mp_handle_compare_and_set(p.txn, &write, 0, 0, &made, &error), MANTIS_INVALID);
    check_contains(error.text, "a transaction is open");
    check_equal(mp_handle_rollback(p.txn, NULL), MANTIS_OK);
    check_equal(mp_handle_rollback(p.txn, NULL), MANTIS_OK); /* without one it does nothing */
    close_pair(&p);
}

TEST(a_handle_that_is_freed_rolls_back_and_leaves_no_snapshot) {
    pair p = open_pair(fresh_path("freed"), false);
    mantis_store *gone = mp_handle_new(p.store.store, false);
    begin(gone);
    set_value(gone, "a", "1");
    mp_handle_free(gone);
    check_value(p.other, "a", NULL);
    check(mp_list_is_empty(&p.store.store->txns));
    close_pair(&p);
}

/* Fence the store, and wait until its engine was exchanged. */
static void exchange_engine(mp_store *store) {
    mantis_error error = {.status = MANTIS_FULL, .text = "as if the disk was full"};
    int64_t start_ns = mp_clock_now_ns();
    mp_store_fence(store, MANTIS_FULL, &error);
    while (mp_store_check_fence(store, NULL) != MANTIS_OK) {
        check(mp_clock_now_ns() - start_ns < 10 * MP_NS_PER_S);
        usleep(2000);
    }
}

static void check_doomed(mantis_store *handle) {
    mantis_error error = {0};
    mantis_value value = {0};
    bool is_there;
    char text[256] = "";
    check_equal(mantis_store_get(handle, "a", 1, &value, &error), MANTIS_CONFLICT);
    check_contains(error.text, "recovered from a failed disk");
    check_contains(error.text, "begin again");
    check_equal(mp_handle_exists(handle, "a", 1, &is_there, NULL), MANTIS_CONFLICT);
    check_equal(mp_handle_scan(handle, "", 0, 0, NULL, list_entry, text, NULL), MANTIS_CONFLICT);
    check_equal(commit(handle), MANTIS_CONFLICT);
    check_value(handle, "a", "1");
    check_value(handle, "b", NULL);
}

TEST(an_exchange_of_the_engine_does_not_wait_for_open_transactions_and_ends_them) {
    pair p = open_pair(fresh_path("exchange"), true);
    mantis_store *reader = mp_handle_new(p.store.store, false);
    set_value(p.other, "a", "1");
    for (int round = 0; round < 3; round++) {
        begin(p.txn);
        check_equal(mp_handle_begin(reader, MANTIS_TRANSACTION_SNAPSHOT, 0, NULL), MANTIS_OK);
        check_value(p.txn, "a", "1");
        check_value(reader, "a", "1");
        set_value(p.txn, "b", "2");
        exchange_engine(p.store.store);
        mantis_error error = {0};
        check_equal(mantis_store_set(p.txn, "b", 1, "2", 1, &error), MANTIS_CONFLICT);
        if (round < 2) {
            check_doomed(p.txn);
            check_doomed(reader);
        } else {
            check_equal(mp_handle_rollback(p.txn, NULL), MANTIS_OK);
        }
        check_value(p.txn, "a", "1"); /* after it all is as before */
    }
    mp_handle_free(reader);
    close_pair(&p);
}

TEST(transactions_go_on_while_writes_are_refused) {
    pair p = open_pair(NULL, false); /* where nobody lifts the fence */
    set_value(p.other, "a", "1");
    mp_store_release(&p.store.store->fence, MANTIS_FULL);
    mantis_error error = {0};
    begin(p.txn);
    check_value(p.txn, "a", "1");
    check_equal(commit(p.txn), MANTIS_OK); /* one that only reads needs no room */
    begin(p.txn);
    set_value(p.txn, "a", "2");
    check_equal(mp_handle_commit(p.txn, 0, &error), MANTIS_FULL);
    check_value(p.txn, "a", "1");
    mp_store_release(&p.store.store->fence, MANTIS_OK);
    close_pair(&p);
}

TEST(a_child_made_by_fork_is_refused_and_the_parents_transaction_goes_on) {
    pair p = open_pair(fresh_path("forked"), false);
    begin(p.txn);
    set_value(p.txn, "a", "1");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        mantis_commit submitted = {.kind = MANTIS_COMMIT_TRANSACTION};
        mantis_error error = {0};
        if (commit(p.txn) != MANTIS_FORKED) _exit(1);
        if (mp_handle_rollback(p.txn, &error) != MANTIS_FORKED) _exit(2);
        if (!strstr(error.text, "fork")) _exit(3);
        if (mp_handle_begin(p.other, 0, 0, NULL) != MANTIS_FORKED) _exit(4);
        if (mp_handle_submit(p.txn, &submitted, NULL) != MANTIS_FORKED) _exit(5);
        mp_handle_free(p.txn);
        _exit(0);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    check_equal(status, 0);
    check_equal(commit(p.txn), MANTIS_OK);
    check_value(p.other, "a", "1");
    close_pair(&p);
}

/* ---- many threads ---- */

#define ACCOUNTS 10u
#define START 1000
#define THREADS 8u

typedef struct bank {
    mp_store *store;
    _Atomic int32_t left; /* transfers */
    _Atomic uint32_t conflicts;
} bank;

typedef struct teller {
    bank *bank;
    bool group;
    uint64_t seed;
} teller;

static int64_t balance_of(mantis_store *handle, uint64_t account, mantis_status *status) {
    mantis_value value = {0};
    int64_t balance = 0;
    *status = mantis_store_get(handle, &account, sizeof account, &value, NULL);
    if (*status == MANTIS_OK) memcpy(&balance, value.data, sizeof balance);
    mantis_value_free(&value);
    return balance;
}

static void set_balance(mantis_store *handle, uint64_t account, int64_t balance) {
    check_equal(mantis_store_set(handle, &account, sizeof account, &balance, sizeof balance, NULL),
                MANTIS_OK);
}

static mantis_status transfer(mantis_store *handle, mp_random *random) {
    mantis_status status;
    uint64_t from = mp_random_below(random, ACCOUNTS), to = mp_random_below(random, ACCOUNTS - 1);
    to += to >= from;
    int64_t amount = (int64_t)mp_random_below(random, 100);
    begin(handle);
    int64_t left = balance_of(handle, from, &status) - amount;
    check_equal(status, MANTIS_OK);
    int64_t right = balance_of(handle, to, &status) + amount;
    check_equal(status, MANTIS_OK);
    if (left < 0) return mp_handle_rollback(handle, NULL);
    set_balance(handle, from, left);
    set_balance(handle, to, right);
    return commit(handle);
}

/* All accounts as of one moment. */
static void check_sum(mantis_store *handle) {
    mantis_status status;
    int64_t sum = 0;
    check_equal(mp_handle_begin(handle, MANTIS_TRANSACTION_SNAPSHOT, 0, NULL), MANTIS_OK);
    for (uint64_t i = 0; i < ACCOUNTS; i++) sum += balance_of(handle, i, &status);
    check_equal(sum, ACCOUNTS * START);
    check_equal(commit(handle), MANTIS_OK);
}

static void *transfer_many(void *arg) {
    teller *self = arg;
    mantis_store *handle = mp_handle_new(self->bank->store, self->group);
    mp_random random;
    mp_random_start(&random, self->seed);
    while (self->bank->left > 0) {
        mantis_status status = transfer(handle, &random);
        check(status == MANTIS_OK || status == MANTIS_CONFLICT);
        if (status == MANTIS_CONFLICT) self->bank->conflicts++;
        else self->bank->left--;
        if (mp_random_below(&random, 16) == 0) check_sum(handle);
    }
    mp_handle_free(handle);
    return NULL;
}

TEST(money_is_neither_made_nor_lost_by_transfers_of_many_threads) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("bank"));
    opened store = open_store(path, false);
    bank all = {.store = store.store, .left = tap_is_long() ? 200000 : 20000};
    for (uint64_t i = 0; i < ACCOUNTS; i++) set_balance(store.handle, i, START);
    pthread_t threads[THREADS];
    teller tellers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        tellers[i] = (teller){&all, i % 2, i + 1};
        check(pthread_create(&threads[i], NULL, transfer_many, &tellers[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    check_sum(store.handle);
    check(all.conflicts > 0);
    note("%u conflicts", all.conflicts);
    close_store(&store);
    store = open_store(path, false);
    check_sum(store.handle);
    close_store(&store);
    remove_tree(path);
}

TAP_MAIN
