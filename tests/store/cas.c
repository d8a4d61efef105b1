/* Compare-and-set: what it compares with, what it answers, and that no update is lost between it
 * and plain sets, on this thread, on another, and in one group of the committer. */
#include "store/lib.h"

#include <pthread.h>

/* Syncs cost nothing here: there are many thousands of them, and what they are for is tested
 * elsewhere. */
int fdatasync(int fd) {
    (void)fd;
    return 0;
}

#define CAS(handle, key, value, expected, version)                                                 \
    compare_and_set(handle, key, value, expected, version, NULL)

static mantis_status compare_and_set(mantis_store *handle, const char *key, const char *value,
                                     uint64_t expected, uint64_t *version, mantis_error *error) {
    mantis_write write = {key, strlen(key), value, value ? strlen(value) : 0, 0};
    uint64_t made = 0;
    return mp_handle_compare_and_set(handle, &write, expected, MANTIS_DURABLE_DEFAULT,
                                     version ? version : &made, error);
}

/* ---- one at a time ---- */

/* An own store for each way that a write can go. */
static void try_everywhere(void (*run)(mantis_store *handle)) {
    for (int kind = 0; kind < 3; kind++) {
        opened store = open_store(kind == 2 ? NULL : fresh_path("cas"), kind == 1);
        run(store.handle);
        close_store(&store);
    }
}

static void compare_versions(mantis_store *handle) {
    mantis_error error = {0};
    uint64_t made = 77;
    set_value(handle, "key", "one");
    uint64_t first = version_of(handle, "key");
    check_equal(compare_and_set(handle, "key", "two", first + 1, &made, &error), MANTIS_CONFLICT);
    check_equal(made, 77);
    check_equal(error.status, MANTIS_CONFLICT);
    char expected[64];
    snprintf(expected, sizeof expected, "key 'key' has version %" PRIu64 " now, not %" PRIu64,
             first, first + 1);
    check_contains(error.text, expected);
    check_value(handle, "key", "one");
    check_equal(CAS(handle, "key", "two", first, &made), MANTIS_OK);
    check_value(handle, "key", "two");
    check_equal(version_of(handle, "key"), made);
    check(made > first);
    check_equal(CAS(handle, "key", "three", first, NULL), MANTIS_CONFLICT);
    check_equal(compare_and_set(handle, "key", "three", 0, NULL, &error), MANTIS_CONFLICT);
    check_contains(error.text, "was expected not to be there");
    check_value(handle, "key", "two");
}

TEST(a_compare_and_set_writes_over_the_version_it_expects_and_no_other) {
    try_everywhere(compare_versions);
}

static void compare_missing(mantis_store *handle) {
    uint64_t made = 0;
    mantis_error error = {0};
    check_equal(compare_and_set(handle, "key", "x", 5, NULL, &error), MANTIS_CONFLICT);
    check_contains(error.text, "is not there, and was expected with version 5");
    check_equal(CAS(handle, "key", "one", 0, &made), MANTIS_OK);
    check_value(handle, "key", "one");
    check_equal(CAS(handle, "key", NULL, made + 1, NULL), MANTIS_CONFLICT);
    check_equal(CAS(handle, "key", NULL, made, &made), MANTIS_OK); /* a delete */
    check_equal(made, 0);
    check_value(handle, "key", NULL);
    check_equal(CAS(handle, "key", NULL, 0, &made), MANTIS_OK); /* one that is not there */
    check_equal(CAS(handle, "key", "", 0, &made), MANTIS_OK);
    check_value(handle, "key", "");
}

TEST(version_0_stands_for_a_key_that_is_missing) { try_everywhere(compare_missing); }

static void compare_again(mantis_store *handle) {
    set_value(handle, "key", "same");
    uint64_t first = version_of(handle, "key");
    set_value(handle, "key", "other");
    set_value(handle, "key", "same");
    check_equal(CAS(handle, "key", "x", first, NULL), MANTIS_CONFLICT);
    first = version_of(handle, "key");
    check_equal(mantis_store_delete(handle, "key", 3, NULL), MANTIS_OK);
    set_value(handle, "key", "same");
    check_equal(CAS(handle, "key", "x", first, NULL), MANTIS_CONFLICT);
}

TEST(a_key_that_was_written_and_is_the_same_again_has_another_version) {
    try_everywhere(compare_again);
}

TEST(a_key_of_a_conflict_is_shown_as_far_as_it_can_be) {
    opened store = open_store(NULL, false);
    mantis_error error = {0};
    check_equal(compare_and_set(store.handle, "a\n\x01z", "x", 5, NULL, &error), MANTIS_CONFLICT);
    check_contains(error.text, "key 'a\?\?z' is not there");
    char key[101] = "";
    memset(key, 'k', 100);
    check_equal(compare_and_set(store.handle, key, "x", 5, NULL, &error), MANTIS_CONFLICT);
    check_contains(error.text, "kkk...' is not there");
    close_store(&store);
}

TEST(a_compare_and_set_checks_sizes_and_the_version_outlives_a_restart) {
    const char *path = fresh_path("sizes");
    opened store = open_store(path, true);
    mantis_write write = {"", 0, "v", 1, 0};
    uint64_t made = 0;
    check_equal(mp_handle_compare_and_set(store.handle, &write, 0, 0, &made, NULL), MANTIS_INVALID);
    write = (mantis_write){"k", 1, "v", MANTIS_VALUE_MAX + 1, 0};
    check_equal(mp_handle_compare_and_set(store.handle, &write, 0, 0, &made, NULL), MANTIS_TOO_BIG);
    check_equal(CAS(store.handle, "k", "v", 0, &made), MANTIS_OK);
    close_store(&store);
    store = open_store(path, false);
    check_equal(CAS(store.handle, "k", "w", made, NULL), MANTIS_OK);
    close_store(&store);
}

/* ---- in one group ---- */

#define GROUP_MAX 16u

/* Commits that are applied together, as the committer does with what has queued up. */
typedef struct together {
    opened store;
    mp_batch batch;
    mp_commit commits[GROUP_MAX];
    mantis_write writes[GROUP_MAX];
    mp_condition conditions[GROUP_MAX];
    size_t count;
} together;

/* Add a write to the group. UNCONDITIONAL: a plain one. */
#define UNCONDITIONAL UINT64_MAX
static mp_commit *add(together *all, const char *key, const char *value, uint64_t expected) {
    mp_commit *commit = &all->commits[all->count];
    mantis_write *write = &all->writes[all->count];
    mp_condition *condition = &all->conditions[all->count++];
    *write = (mantis_write){key, strlen(key), value, value ? strlen(value) : 0, 0};
    *condition = (mp_condition){key, strlen(key), expected};
    *commit = (mp_commit){.writes = write, .count = 1, .conditions = condition};
    commit->conditions_count = expected == UNCONDITIONAL ? 0 : 1;
    return commit;
}

static void apply(together *all, bool is_synced) {
    mp_list list = {0};
    for (size_t i = 0; i < all->count; i++) mp_list_push(&list, &all->commits[i].node);
    mp_commit_apply(all->store.store, &list, &all->batch, is_synced);
    all->count = 0;
}

TEST(two_compare_and_sets_in_one_group_see_each_other) {
    together all = {.store = open_store(fresh_path("group"), true)};
    const mp_commit *first = add(&all, "key", "first", 0), *second = add(&all, "key", "second", 0);
    const mp_commit *other = add(&all, "other", "x", 0);
    apply(&all, true);
    check_equal(first->status, MANTIS_OK);
    check_equal(second->status, MANTIS_CONFLICT);
    check_equal(other->status, MANTIS_OK);
    check_value(all.store.handle, "key", "first");
    check_value(all.store.handle, "other", "x");
    mp_batch_finish(&all.batch);
    close_store(&all.store);
}

TEST(a_compare_and_set_sees_a_plain_set_or_delete_before_it_in_the_group) {
    together all = {.store = open_store(fresh_path("group"), true)};
    set_value(all.store.handle, "set", "old");
    set_value(all.store.handle, "gone", "old");
    uint64_t set = version_of(all.store.handle, "set"), gone = version_of(all.store.handle, "gone");
    add(&all, "set", "plain", UNCONDITIONAL);
    const mp_commit *stale = add(&all, "set", "stale", set);
    /* the next version that is given out is known: a conflict before it takes none */
    const mp_commit *fresh = add(&all, "set", "fresh", gone + 1);
    add(&all, "gone", NULL, UNCONDITIONAL);
    const mp_commit *late = add(&all, "gone", "late", gone), *again = add(&all, "gone", "new", 0);
    add(&all, "set", "last", UNCONDITIONAL);
    apply(&all, true);
    check_equal(stale->status, MANTIS_CONFLICT);
    check_equal(fresh->status, MANTIS_OK);
    check_equal(late->status, MANTIS_CONFLICT);
    check_equal(again->status, MANTIS_OK);
    check_value(all.store.handle, "set", "last");
    check_value(all.store.handle, "gone", "new");
    mp_batch_finish(&all.batch);
    close_store(&all.store);
}

TEST(a_commit_with_two_conditions_is_applied_whole_or_not_at_all) {
    together all = {.store = open_store(NULL, false)};
    for (int round = 0; round < 2; round++) {
        mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"b", 1, "2", 1, 0}};
        mp_condition conditions[] = {{"a", 1, 0}, {"c", 1, 0}};
        add(&all, "c", round == 0 ? "there" : NULL, UNCONDITIONAL);
        mp_commit *both = add(&all, "", "", UNCONDITIONAL);
        both->writes = writes;
        both->conditions = conditions;
        both->count = both->conditions_count = 2;
        apply(&all, false);
        check_equal(both->status, round == 0 ? MANTIS_CONFLICT : MANTIS_OK);
        check_value(all.store.handle, "a", round == 0 ? NULL : "1");
        check_value(all.store.handle, "b", round == 0 ? NULL : "2");
    }
    mp_batch_finish(&all.batch);
    close_store(&all.store);
}

/* ---- many threads on one key ---- */

#define THREADS 8u
#define SETTERS 2u /* of them, that write whatever was there before */

/* One write that succeeded. */
typedef struct written {
    uint64_t version, expected; /* expected UNCONDITIONAL: a plain set */
} written;

typedef struct race {
    mp_store *store;
    _Atomic uint64_t next; /* of all written */
    uint64_t target;       /* increments */
    _Atomic uint64_t increments;
    written *all;
    size_t room;
} race;

typedef struct racer {
    race *race;
    bool group, is_setter;
} racer;

static void note_write(race *all, uint64_t version, uint64_t expected) {
    uint64_t i = all->next++;
    check(i < all->room);
    all->all[i] = (written){version, expected};
}

/* A plain set whose version is told. */
static uint64_t set_plain(mantis_store *handle, uint64_t number) {
    mantis_write write = {"counter", 7, &number, sizeof number, 0};
    mantis_commit commit = {.writes = &write, .count = 1};
    check_equal(submit_and_wait(handle, &commit), MANTIS_OK);
    return commit.version;
}

/* Add one to what is there. */
static void increment(race *all, mantis_store *handle) {
    mantis_value value = {0};
    check_equal(mantis_store_get(handle, "counter", 7, &value, NULL), MANTIS_OK);
    uint64_t number = 0, made = 0, expected = value.version;
    memcpy(&number, value.data, sizeof number);
    number++;
    mantis_value_free(&value);
    mantis_write write = {"counter", 7, &number, sizeof number, 0};
    mantis_status status = mp_handle_compare_and_set(handle, &write, expected, 0, &made, NULL);
    if (status == MANTIS_CONFLICT) return;
    check_equal(status, MANTIS_OK);
    all->increments++;
    note_write(all, made, expected);
}

static void *race_on(void *arg) {
    racer *self = arg;
    race *all = self->race;
    mantis_store *handle = mp_handle_new(all->store, self->group);
    for (uint64_t done = all->increments, sets = 0; done < all->target; done = all->increments) {
        /* a plain set for every hundred increments */
        if (!self->is_setter || sets * 100 * SETTERS > done) increment(all, handle);
        else note_write(all, set_plain(handle, ++sets << 40), UNCONDITIONAL);
    }
    mp_handle_free(handle);
    return NULL;
}

static int compare_written(const void *left, const void *right) {
    uint64_t a = ((const written *)left)->version, b = ((const written *)right)->version;
    return (a > b) - (a < b);
}

/* Each increment came right after the write whose version it expected. */
static void race_many(bool group, uint64_t target) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("race"));
    opened store = open_store(path, group);
    race all = {.store = store.store, .target = target, .room = 2 * target + 1000};
    all.all = calloc(all.room, sizeof *all.all);
    note_write(&all, set_plain(store.handle, 0), UNCONDITIONAL);
    racer racers[THREADS];
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        racers[i] = (racer){&all, group, i < SETTERS};
        check(pthread_create(&threads[i], NULL, race_on, &racers[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    qsort(all.all, all.next, sizeof *all.all, compare_written);
    uint64_t plain = 0;
    for (uint64_t i = 0; i < all.next; i++) {
        plain += all.all[i].expected == UNCONDITIONAL;
        if (all.all[i].expected != UNCONDITIONAL && all.all[i].expected != all.all[i - 1].version)
            tap_fail(__FILE__, __LINE__,
                     "version %" PRIu64 " was written over %" PRIu64 ", but expected %" PRIu64,
                     all.all[i].version, all.all[i - 1].version, all.all[i].expected);
    }
    note("%" PRIu64 " increments, %" PRIu64 " plain sets", all.next - plain, plain);
    check_equal(version_of(store.handle, "counter"), all.all[all.next - 1].version);
    check(plain > target / 200);
    free(all.all);
    close_store(&store);
    remove_tree(path);
}

TEST(no_update_is_lost_between_compare_and_sets_and_plain_sets_of_one_key) {
    race_many(false, tap_is_long() ? 1000000 : 100000);
}

TEST(no_update_is_lost_between_compare_and_sets_and_plain_sets_in_groups) {
    race_many(true, tap_is_long() ? 100000 : 10000);
}

TAP_MAIN
