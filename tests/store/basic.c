/* What the store answers: values, scans, batches, versions, limits, and who may open it. */
#include "store/lib.h"

#include "base/clock.h"
#include "connectors/embedded.h"
#include "store/crc32c.h"

#include <pthread.h>

/* ---- values ---- */

static void set_get_delete(const char *path, bool group) {
    opened store = open_store(path, group);
    check_value(store.handle, "a", NULL);
    set_value(store.handle, "a", "one");
    check_value(store.handle, "a", "one");
    set_value(store.handle, "a", "");
    check_value(store.handle, "a", "");
    check(mantis_store_delete(store.handle, "a", 1, NULL) == MANTIS_OK);
    check_value(store.handle, "a", NULL);
    check(mantis_store_delete(store.handle, "a", 1, NULL) == MANTIS_OK); /* no error */
    bool is_there = true;
    check(mp_handle_exists(store.handle, "a", 1, &is_there, NULL) == MANTIS_OK && !is_there);
    set_value(store.handle, "a", "x");
    check(mp_handle_exists(store.handle, "a", 1, &is_there, NULL) == MANTIS_OK && is_there);
    close_store(&store);
    if (!path) return;
    store = open_store(path, !group);
    check_value(store.handle, "a", "x");
    close_store(&store);
}

TEST(what_was_set_is_there_until_it_is_deleted) {
    set_get_delete(fresh_path("basic"), false);
    set_get_delete(fresh_path("basic"), true);
    set_get_delete(NULL, false);
    set_get_delete(NULL, true);
}

TEST(keys_and_values_are_any_bytes) {
    opened store = open_store(fresh_path("bytes"), false);
    unsigned char key[3], value[256];
    for (unsigned i = 0; i < sizeof value; i++) value[i] = (unsigned char)i;
    for (unsigned i = 0; i < 256; i++) {
        key[0] = (unsigned char)i, key[1] = 0, key[2] = (unsigned char)(255 - i);
        check(mantis_store_set(store.handle, key, 3, value, i, NULL) == MANTIS_OK);
    }
    check(mantis_store_set(store.handle, "\0", 1, "zero", 4, NULL) == MANTIS_OK);
    for (unsigned i = 0; i < 256; i++) {
        mantis_value found = {0};
        key[0] = (unsigned char)i, key[1] = 0, key[2] = (unsigned char)(255 - i);
        check(mantis_store_get(store.handle, key, 3, &found, NULL) == MANTIS_OK);
        check(found.size == i && memcmp(found.data, value, i) == 0);
        found.free_owner(found.owner);
    }
    close_store(&store);
}

TEST(a_value_of_64_mib_and_a_key_of_64_kib_are_kept) {
    const char *path = fresh_path("large");
    opened store = open_store(path, false);
    unsigned char *value = malloc(MANTIS_VALUE_MAX + 1);
    char *key = calloc(1, MANTIS_KEY_MAX + 1);
    check(value && key);
    for (size_t i = 0; i < MANTIS_VALUE_MAX; i += 4096) value[i] = (unsigned char)(i >> 12);
    check(mantis_store_set(store.handle, key, MANTIS_KEY_MAX, value, MANTIS_VALUE_MAX, NULL) == 0);
    mantis_error error = {0};
    check_equal(mantis_store_set(store.handle, "k", 1, value, MANTIS_VALUE_MAX + 1, &error),
                MANTIS_TOO_BIG);
    check_contains(error.text, "67108865");
    check_contains(error.text, "67108864");
    check_equal(mantis_store_set(store.handle, key, MANTIS_KEY_MAX + 1, "v", 1, &error),
                MANTIS_TOO_BIG);
    check_contains(error.text, "65537");
    check_equal(mantis_store_set(store.handle, key, 0, "v", 1, &error), MANTIS_INVALID);
    check_contains(error.text, "empty");
    close_store(&store);
    store = open_store(path, true);
    mantis_value found = {0};
    check(mantis_store_get(store.handle, key, MANTIS_KEY_MAX, &found, NULL) == MANTIS_OK);
    check(found.size == MANTIS_VALUE_MAX && memcmp(found.data, value, found.size) == 0);
    close_store(&store); /* the value stays valid */
    check(memcmp(found.data, value, found.size) == 0);
    found.free_owner(found.owner);
    free(value);
    free(key);
    remove_tree(path);
}

TEST(a_missing_key_leaves_the_result_untouched_and_says_so) {
    opened store = open_store(NULL, false);
    mantis_value value = {.size = 77};
    mantis_error error = {0};
    check_equal(mantis_store_get(store.handle, "no", 2, &value, &error), MANTIS_NOT_FOUND);
    check(value.size == 77 && !value.data);
    check_contains(error.text, "no such key");
    close_store(&store);
}

/* ---- batches ---- */

TEST(a_batch_applies_all_its_writes_in_order) {
    for (int group = 0; group < 2; group++) {
        opened store = open_store(fresh_path("batch"), group);
        set_value(store.handle, "gone", "x");
        mantis_write writes[] = {{"a", 1, "1", 1, 0},
                                 {"b", 1, "2", 1, 0},
                                 {"a", 1, "3", 1, 0},
                                 {"gone", 4, NULL, 0, 0},
                                 {"empty", 5, "", 0, 0}};
        check(mp_handle_write(store.handle, writes, 5, MANTIS_DURABLE_SYNCED, NULL) == MANTIS_OK);
        check_value(store.handle, "a", "3");
        check_value(store.handle, "b", "2");
        check_value(store.handle, "gone", NULL);
        check_value(store.handle, "empty", "");
        check(version_of(store.handle, "a") > version_of(store.handle, "b"));
        check(mp_handle_write(store.handle, NULL, 0, MANTIS_DURABLE_DEFAULT, NULL) == MANTIS_OK);
        close_store(&store);
    }
}

TEST(a_batch_with_one_bad_write_applies_none) {
    opened store = open_store(NULL, false);
    mantis_write writes[] = {{"a", 1, "1", 1, 0}, {"", 0, "2", 1, 0}};
    check_equal(mp_handle_write(store.handle, writes, 2, MANTIS_DURABLE_DEFAULT, NULL),
                MANTIS_INVALID);
    check_value(store.handle, "a", NULL);
    close_store(&store);
}

TEST(a_batch_beyond_its_limit_is_refused) {
    opened store = open_store(NULL, false);
    char *value = calloc(1, MANTIS_VALUE_MAX);
    mantis_write writes[3] = {{"a", 1, value, MANTIS_VALUE_MAX, 0},
                              {"b", 1, value, MANTIS_VALUE_MAX, 0},
                              {"c", 1, value, 1, 0}};
    mantis_error error = {0};
    check_equal(mp_handle_write(store.handle, writes, 3, MANTIS_DURABLE_DEFAULT, &error),
                MANTIS_TOO_BIG);
    check_contains(error.text, "134217728");
    check_value(store.handle, "a", NULL);
    free(value);
    close_store(&store);
}

/* Two writers set the same keys in batches of their own; a reader sees one writer's batch whole. */
#define TOGETHER 16

static _Atomic bool stop_writing;

static void *write_together(void *arg) {
    opened *store = arg;
    char keys[TOGETHER][8], value[8] = {0};
    mantis_write writes[TOGETHER];
    for (uint32_t round = 0; !stop_writing; round++) {
        snprintf(value, sizeof value, "%06u", round % 1000000);
        for (int i = 0; i < TOGETHER; i++) {
            snprintf(keys[i], sizeof keys[i], "t%02d", i);
            writes[i] = (mantis_write){keys[i], 3, value, 6, 0};
        }
        check(mp_handle_write(store->handle, writes, TOGETHER, 0, NULL) == MANTIS_OK);
    }
    return NULL;
}

typedef struct seen {
    char first[6];
    int count;
} seen;

static bool compare_entry(const mantis_entry *entry, void *arg) {
    seen *all = arg;
    if (all->count++ == 0) memcpy(all->first, entry->value, 6);
    check(memcmp(all->first, entry->value, 6) == 0);
    return true;
}

TEST(a_scan_sees_batches_whole) {
    opened a = open_store(fresh_path("whole"), false);
    opened b = {a.store, mp_handle_new(a.store, true)}, c = {a.store, mp_handle_new(a.store, 0)};
    pthread_t threads[2];
    check(pthread_create(&threads[0], NULL, write_together, &a) == 0);
    check(pthread_create(&threads[1], NULL, write_together, &b) == 0);
    int64_t until_ns = mp_clock_now_ns() + 2 * MP_NS_PER_S;
    while (mp_clock_now_ns() < until_ns) {
        seen all = {.count = 0};
        check(mp_handle_scan(c.handle, "t", 1, 0, NULL, compare_entry, &all, NULL) == MANTIS_OK);
        check(all.count == 0 || all.count == TOGETHER);
    }
    stop_writing = true;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    mp_handle_free(b.handle);
    mp_handle_free(c.handle);
    close_store(&a);
}

/* ---- scans ---- */

typedef struct listed {
    char text[256];
    int stop_after;
} listed;

static bool list_entry(const mantis_entry *entry, void *arg) {
    listed *list = arg;
    size_t length = strlen(list->text);
    snprintf(list->text + length, sizeof list->text - length, "%.*s ", (int)entry->key_size,
             (const char *)entry->key);
    return --list->stop_after != 0;
}

static const char *scan(mantis_store *handle, const char *prefix, uint32_t limit,
                        mantis_cursor *cursor, int stop_after) {
    static listed list;
    list = (listed){.stop_after = stop_after};
    check(mp_handle_scan(handle, prefix, strlen(prefix), limit, cursor, list_entry, &list, NULL) ==
          MANTIS_OK);
    return list.text;
}

static void check_text(const char *text, const char *expected) {
    if (strcmp(text, expected) != 0) tap_fail(__FILE__, __LINE__, "'%s', not '%s'", text, expected);
}

TEST(a_scan_visits_the_keys_of_a_prefix_in_order_with_limit_and_cursor) {
    opened store = open_store(fresh_path("scan"), false);
    static const char *const keys[] = {"b2", "a", "b", "b10", "c", "b\xff", "b1", NULL};
    for (int i = 0; keys[i]; i++) set_value(store.handle, keys[i], "v");
    check_text(scan(store.handle, "b", 0, NULL, 0), "b b1 b10 b2 b\xff ");
    check_text(scan(store.handle, "", 0, NULL, 0), "a b b1 b10 b2 b\xff c ");
    check_text(scan(store.handle, "b1", 0, NULL, 0), "b1 b10 ");
    check_text(scan(store.handle, "b\xff", 0, NULL, 0), "b\xff ");
    check_text(scan(store.handle, "nothing", 0, NULL, 0), "");
    mantis_cursor cursor = {0};
    check_text(scan(store.handle, "b", 2, &cursor, 0), "b b1 ");
    check(!cursor.at_end && cursor.key_size == 2);
    check(mantis_store_delete(store.handle, "b1", 2, NULL) == MANTIS_OK); /* where it stands */
    set_value(store.handle, "b0", "behind the cursor");
    check_text(scan(store.handle, "b", 1, &cursor, 0), "b10 ");
    check_text(scan(store.handle, "b", 0, &cursor, 1), "b2 "); /* stopped by its callback */
    check(!cursor.at_end);
    check_text(scan(store.handle, "b", 1, &cursor, 0), "b\xff ");
    check(cursor.at_end);
    check_text(scan(store.handle, "b", 1, &cursor, 0), "");
    free(cursor.key);
    close_store(&store);
}

static bool write_more(const mantis_entry *entry, void *arg) {
    opened *store = arg;
    char key[16];
    snprintf(key, sizeof key, "s%.*sx", (int)entry->key_size - 1, (const char *)entry->key + 1);
    set_value(store->handle, key, "new");
    check(entry->key_size == 3);
    check_value(store->handle, key, "new");
    return true;
}

TEST(a_scan_sees_the_store_as_it_was_when_it_began) {
    opened store = open_store(NULL, false);
    for (int i = 10; i < 60; i++) {
        char key[8];
        snprintf(key, sizeof key, "s%d", i);
        set_value(store.handle, key, "old");
    }
    check(mp_handle_scan(store.handle, "s", 1, 0, NULL, write_more, &store, NULL) == MANTIS_OK);
    close_store(&store);
}

/* ---- versions ---- */

TEST(versions_grow_with_every_write_and_over_restarts) {
    const char *path = fresh_path("versions");
    uint64_t last = 0;
    for (int round = 0; round < 4; round++) {
        opened store = open_store(path, round % 2);
        for (int i = 0; i < 50; i++) {
            set_value(store.handle, "key", "v");
            uint64_t version = version_of(store.handle, "key");
            check(version > last);
            last = version;
        }
        mantis_store_info info;
        check(mantis_store_get_info(store.handle, &info) == MANTIS_OK);
        check_equal(info.version, last);
        check_contains(info.directory, path);
        check(info.group == round % 2 && !info.fenced);
        close_store(&store);
    }
    check_equal(last, 200); /* a clean close wastes none */
}

TEST(versions_are_reserved_before_they_are_given_out) {
    const char *path = fresh_path("reserve");
    opened store = open_store(path, false);
    uint64_t first = 0;
    check(mp_store_take_versions(store.store, 3 * MP_STORE_VERSIONS_BLOCK, &first, NULL) == 0);
    check(store.store->version_limit >= first + 3 * MP_STORE_VERSIONS_BLOCK);
    set_value(store.handle, "key", "v");
    check_equal(version_of(store.handle, "key"), first + 3 * MP_STORE_VERSIONS_BLOCK);
    close_store(&store);
}

/* ---- many threads ---- */

#define THREADS 8
#define SETS 400

static void *set_many(void *arg) {
    opened *self = arg;
    for (int i = 0; i < SETS; i++) {
        char key[16];
        snprintf(key, sizeof key, "m%d", i % 10);
        set_value(self->handle, key, "v");
        uint64_t version = version_of(self->handle, key);
        set_value(self->handle, key, "v");
        check(version_of(self->handle, key) > version); /* others' writes are later still */
    }
    return NULL;
}

TEST(versions_of_a_key_grow_in_the_order_of_its_writes_with_both_kinds_of_writers) {
    opened a = open_store(fresh_path("many"), false), all[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        all[i] = (opened){a.store, mp_handle_new(a.store, i % 2)};
        check(pthread_create(&threads[i], NULL, set_many, &all[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        mp_handle_free(all[i].handle);
    }
    close_store(&a);
}

/* A write of one key that another thread has to finish. */
typedef struct waiting_write {
    mantis_store *handle;
    mantis_write writes[2];
    size_t count;
    _Atomic bool is_done;
} waiting_write;

static void *write_waiting(void *arg) {
    waiting_write *self = arg;
    check(mp_handle_write(self->handle, self->writes, self->count, 0, NULL) == MANTIS_OK);
    self->is_done = true;
    return NULL;
}

TEST(every_write_waits_for_the_stripes_of_its_keys) {
    opened store = open_store(fresh_path("stripes"), false);
    mp_lock *stripe = &store.store->stripes[mp_stripes_find("key", 3)];
    for (int kind = 0; kind < 4; kind++) { /* one or two keys, interval or group */
        waiting_write write = {.handle = mp_handle_new(store.store, kind / 2),
                               .writes = {{"key", 3, "v", 1, 0}, {"other", 5, "v", 1, 0}},
                               .count = kind % 2 ? 2 : 1};
        pthread_t thread;
        mp_lock_acquire(stripe);
        check(pthread_create(&thread, NULL, write_waiting, &write) == 0);
        usleep(50000);
        check(!write.is_done);
        check_value(store.handle, "key", kind == 0 ? NULL : "v"); /* reads do not wait */
        set_value(store.handle, "elsewhere", "v");
        mp_lock_release(stripe);
        pthread_join(thread, NULL);
        check(write.is_done);
        mp_handle_free(write.handle);
    }
    close_store(&store);
}

/* ---- the guard ---- */

TEST(a_pause_waits_for_everybody_inside_and_keeps_others_out) {
    mp_guard guard = {0};
    static mp_guard_entry one, two; /* on the stack gcc 12's AddressSanitizer does not align them */
    mp_guard_add(&guard, &one);
    mp_guard_add(&guard, &two);
    mp_guard_acquire(&guard, &one);
    mp_guard_acquire(&guard, &one); /* again, from inside */
    check(!mp_guard_pause(&guard, 20 * MP_NS_PER_MS));
    mp_guard_release(&one);
    check(!mp_guard_pause(&guard, 20 * MP_NS_PER_MS));
    mp_guard_acquire(&guard, &two); /* open again after a pause in vain */
    mp_guard_release(&two);
    mp_guard_release(&one);
    check(mp_guard_pause(&guard, 20 * MP_NS_PER_MS));
    mp_guard_resume(&guard);
    mp_guard_remove(&guard, &one);
    mp_guard_remove(&guard, &two);
}

/* ---- checksums ---- */

TEST(both_ways_to_a_checksum_agree_with_the_published_one) {
    check_equal(mp_crc32c_add(0, "123456789", 9), 0xE3069283u); /* RFC 3720, B.4, has more */
    check_equal(mp_crc32c_add_plain(0, "123456789", 9), 0xE3069283u);
    unsigned char bytes[300];
    mp_random random;
    mp_random_start(&random, 3720);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)mp_random_next(&random);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint32_t whole = mp_crc32c_add(7, bytes, size);
        check_equal(whole, mp_crc32c_add_plain(7, bytes, size));
        check_equal(whole, mp_crc32c_add(mp_crc32c_add(7, bytes, size / 3), bytes + size / 3,
                                         size - size / 3));
    }
}

/* ---- who may open ---- */

TEST(a_store_in_use_by_another_process_is_locked_and_names_it) {
    const char *path = fresh_path("locked");
    int ready[2], done[2];
    check(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        opened store = open_store(path, false);
        char byte = 1;
        check(write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1);
        close_store(&store);
        _exit(0);
    }
    char byte;
    check(read(ready[0], &byte, 1) == 1);
    mp_store *store = NULL;
    mantis_error error = {0};
    check_equal(mp_store_open(&store, path, &error), MANTIS_LOCKED);
    char pid[16];
    snprintf(pid, sizeof pid, "process %d", (int)child);
    check_contains(error.text, path);
    check_contains(error.text, pid);
    check(write(done[1], &byte, 1) == 1 && waitpid(child, NULL, 0) == child);
    check_equal(mp_store_open(&store, path, &error), MANTIS_OK);
    mp_store_close(store);
}

static void check_refused(const char *path, mantis_status status, const char *word) {
    mp_store *store = NULL;
    mantis_error error = {0};
    check_equal(mp_store_open(&store, path, &error), status);
    check_equal(error.status, status);
    check_contains(error.text, word);
    check(!store);
}

static void write_file(const char *directory, const char *name, const char *text) {
    char path[FRESH_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

TEST(a_directory_that_is_not_ours_is_refused_and_left_as_it_is) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("foreign"));
    check(mkdir(path, 0777) == 0);
    write_file(path, "letter.txt", "dear");
    check_refused(path, MANTIS_INVALID, "holds no store");
    check_refused(path, MANTIS_INVALID, path);
    char lock[FRESH_PATH_MAX + 8];
    snprintf(lock, sizeof lock, "%s/LOCK", path);
    check(access(lock, F_OK) != 0);
    char file[FRESH_PATH_MAX + 16];
    snprintf(file, sizeof file, "%s/letter.txt", path);
    check_refused(file, MANTIS_INVALID, "is a file");
    char orphan[FRESH_PATH_MAX + 16];
    snprintf(orphan, sizeof orphan, "%s/none/store", path);
    check_refused(orphan, MANTIS_INVALID, "parent");
}

TEST(a_store_with_a_damaged_file_names_it) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("marker"));
    opened store = open_store(path, false);
    set_value(store.handle, "a", "1");
    close_store(&store);
    write_file(path, "MANTIS", "mantis store\nformat 2\n");
    check_refused(path, MANTIS_UNSUPPORTED, "format 2");
    write_file(path, "MANTIS", "mandis store");
    check_refused(path, MANTIS_CORRUPT, "MANTIS");
    char marker[FRESH_PATH_MAX + 8];
    snprintf(marker, sizeof marker, "%s/MANTIS", path);
    unlink(marker);
    check_refused(path, MANTIS_CORRUPT, "MANTIS is missing");
    write_file(path, "MANTIS", "mantis store\nformat 1\n");
    write_file(path, "data/CURRENT", "MANIFEST-000099\n");
    check_refused(path, MANTIS_CORRUPT, "MANIFEST-000099");
}

TEST(an_empty_directory_becomes_a_store_and_so_does_one_whose_creation_did_not_end) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("empty"));
    check(mkdir(path, 0777) == 0);
    opened store = open_store(path, false);
    close_store(&store);
    char from[FRESH_PATH_MAX + 8], to[FRESH_PATH_MAX + 16];
    snprintf(from, sizeof from, "%s/MANTIS", path);
    snprintf(to, sizeof to, "%s/MANTIS.new", path);
    check(rename(from, to) == 0); /* as if it was killed before the last step */
    store = open_store(path, false);
    set_value(store.handle, "a", "1");
    close_store(&store);
    check(access(from, F_OK) == 0 && access(to, F_OK) != 0);
}

TEST(one_directory_under_two_names_is_one_store) {
    char path[FRESH_PATH_MAX], alias[FRESH_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s", fresh_path("alias"));
    snprintf(alias, sizeof alias, "%s-link", path);
    opened a = open_store(path, false);
    check(symlink(path, alias) == 0);
    opened b = open_store(alias, true);
    check(a.store == b.store);
    set_value(a.handle, "a", "1");
    check_value(b.handle, "a", "1");
    close_store(&a);
    set_value(b.handle, "b", "2");
    check_value(b.handle, "a", "1");
    close_store(&b);
}

TEST(stores_in_memory_are_each_their_own) {
    opened a = open_store(NULL, false), b = open_store(NULL, false);
    set_value(a.handle, "a", "1");
    check_value(b.handle, "a", NULL);
    mantis_store_info info;
    check(mantis_store_get_info(a.handle, &info) == MANTIS_OK);
    check_text(info.directory, ":memory:");
    close_store(&a);
    close_store(&b);
}

TEST(a_child_made_by_fork_is_refused_and_may_open_a_store_of_its_own) {
    opened store = open_store(fresh_path("forked"), false);
    set_value(store.handle, "a", "1");
    char own[FRESH_PATH_MAX], path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", store.store->directory.path);
    snprintf(own, sizeof own, "%s", fresh_path("child"));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        mantis_value value = {0};
        mantis_error error = {0};
        bool is_there;
        if (mantis_store_get(store.handle, "a", 1, &value, &error) != MANTIS_FORKED) _exit(1);
        if (!strstr(error.text, "fork")) _exit(2);
        if (mantis_store_set(store.handle, "a", 1, "2", 1, NULL) != MANTIS_FORKED) _exit(3);
        if (mp_handle_exists(store.handle, "a", 1, &is_there, NULL) != MANTIS_FORKED) _exit(4);
        mp_handle_free(store.handle);
        mp_store_close(store.store);
        mp_store *mine = NULL;
        if (mp_store_open(&mine, path, NULL) != MANTIS_LOCKED) _exit(5);
        _exit(0);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    check_equal(status, 0);
    set_value(store.handle, "a", "3");
    check_value(store.handle, "a", "3");
    close_store(&store);
}

/* ---- DSNs ---- */

static void check_dsn(const char *dsn, const char *directory, bool group) {
    mp_embedded_dsn parsed = {0};
    check_equal(mp_embedded_parse(dsn, &parsed, NULL), MANTIS_OK);
    check((!directory && !parsed.directory) || strcmp(directory, parsed.directory) == 0);
    check(parsed.group == group);
    free(parsed.directory);
}

static void check_bad_dsn(const char *dsn, const char *word) {
    mp_embedded_dsn parsed = {0};
    mantis_error error = {0};
    check_equal(mp_embedded_parse(dsn, &parsed, &error), MANTIS_INVALID);
    check_contains(error.text, word);
}

TEST(a_dsn_names_the_directory_and_the_kind_of_sync) {
    check_dsn("mantis:data", "data", false);
    check_dsn("mantis:/a/b c?sync=group", "/a/b c", true);
    check_dsn("mantis:x?sync=interval", "x", false);
    check_dsn("mantis:", "mantis-data", false);
    check_dsn("", "mantis-data", false);
    check_dsn(NULL, "mantis-data", false);
    check_dsn("mantis:?sync=group", "mantis-data", true);
    check_dsn("mantis::memory:", NULL, false);
    check_dsn("mantis::memory:?sync=group", NULL, true);
    check_bad_dsn("mantis:x?sync=never", "sync=never");
    check_bad_dsn("mantis:x?sink=group", "sink=group");
    check_bad_dsn("postgres://x", "mantis:");
    check_bad_dsn("mantis::disk:", ":memory:");
}

TEST(a_thousand_idle_handles_cost_at_most_8_kib_each) {
    opened store = open_store(fresh_path("idle"), false);
    enum { HANDLES = 1000 };
    static mantis_store *handles[HANDLES];
    char text[128];
    long before = 0, after = 0, size;
    set_value(store.handle, "warm", "up");
    FILE *file = fopen("/proc/self/statm", "r");
    check(file && fgets(text, sizeof text, file) && sscanf(text, "%ld %ld", &size, &before) == 2);
    fclose(file);
    char value[1800];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < HANDLES; i++) {
        handles[i] = mp_handle_new(store.store, i % 2);
        check(mantis_store_set(handles[i], "k", 1, value, sizeof value, NULL) == MANTIS_OK);
    }
    file = fopen("/proc/self/statm", "r");
    check(file && fgets(text, sizeof text, file) && sscanf(text, "%ld %ld", &size, &after) == 2);
    fclose(file);
    long written = HANDLES * (long)sizeof value; /* is in the memtable now */
    long each = ((after - before) * sysconf(_SC_PAGESIZE) - written) / HANDLES;
    note("%ld bytes a handle that has written", each);
    if (!getenv("MANTIS_SANITIZER")) check(each <= 8192);
    for (int i = 0; i < HANDLES; i++) mp_handle_free(handles[i]);
    close_store(&store);
}

TAP_MAIN
