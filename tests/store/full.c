/* A full disk: in the log, in a table, under many writers, at the open. A small tmpfs is the disk;
 * it is mounted in a mount namespace of the test's own. */
#include "store/lib.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#define MIB ((size_t)1 << 20)
#define LIFT_NS (10 * MP_NS_PER_S)

static char disk[FRESH_PATH_MAX], store_path[FRESH_PATH_MAX + 8], filler_path[FRESH_PATH_MAX + 8];

static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return is_written;
}

/* What is mounted below path shows in this namespace alone. Behind a changed root "/" is no mount
 * point: then one above path is. */
static bool keep_mounts_private(const char *path) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) return true;
    char above[FRESH_PATH_MAX];
    snprintf(above, sizeof above, "%s", path);
    for (char *end; (end = strrchr(above, '/')) && end != above;) {
        *end = 0;
        if (mount(NULL, above, NULL, MS_REC | MS_PRIVATE, NULL) == 0) return true;
    }
    return false;
}

/* As root a namespace of mounts is enough; others need one of users, too. */
static bool enter_namespace(void) {
    if (unshare(CLONE_NEWNS) == 0) return keep_mounts_private(disk);
    char map[32];
    snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    write_text("/proc/self/setgroups", "deny");
    return write_text("/proc/self/uid_map", map) && keep_mounts_private(disk);
}

/* A disk of that size, or skip the test. */
static void mount_disk(size_t mib) {
    snprintf(disk, sizeof disk, "%s", fresh_path("disk"));
    snprintf(store_path, sizeof store_path, "%s/store", disk);
    snprintf(filler_path, sizeof filler_path, "%s/filler", disk);
    char options[64];
    snprintf(options, sizeof options, "size=%zum", mib);
    mkdir(disk, 0777);
    if (!enter_namespace() || mount("tmpfs", disk, "tmpfs", 0, options) != 0) {
        rmdir(disk);
        tap_skip("no tmpfs can be mounted here (needs root or user namespaces)");
    }
}

static size_t room_bytes(void) {
    struct statvfs room;
    check(statvfs(disk, &room) == 0);
    return (size_t)room.f_bavail * room.f_frsize;
}

/* Fill the disk by another file until only that much is left. */
static void fill_disk(size_t left_bytes) {
    static const char zeros[65536];
    int fd = open(filler_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    check(fd >= 0);
    for (size_t room; (room = room_bytes()) > left_bytes;) {
        size_t step = room - left_bytes < sizeof zeros ? room - left_bytes : sizeof zeros;
        if (write(fd, zeros, step) <= 0) break;
    }
    close(fd);
}

static void free_disk(void) { check(unlink(filler_path) == 0); }

/* Set numbered keys until one is refused; that one's number. */
static uint64_t write_until_refused(mantis_store *handle, uint64_t from, mantis_error *error) {
    uint64_t i = from;
    while (set_numbered(handle, i, 0, VALUE_SIZE_MAX, error) == MANTIS_OK) i++;
    return i;
}

static void check_all_there(mantis_store *handle, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (round_of(handle, i, VALUE_SIZE_MAX) != 0)
            tap_fail(__FILE__, __LINE__, "acknowledged key %" PRIu64 " of %" PRIu64 ": %" PRId64, i,
                     count, round_of(handle, i, VALUE_SIZE_MAX));
}

/* Nanoseconds until a write is taken again, or LIFT_NS. */
static int64_t wait_for_writes(mantis_store *handle, uint64_t i) {
    int64_t start_ns = mp_clock_now_ns();
    while (mp_clock_now_ns() - start_ns < LIFT_NS) {
        if (set_numbered(handle, i, 0, VALUE_SIZE_MAX, NULL) == MANTIS_OK)
            return mp_clock_now_ns() - start_ns;
        usleep(20000);
    }
    return LIFT_NS;
}

static bool has_info_log(const char *path) {
    DIR *list = opendir(path);
    bool found = false;
    for (struct dirent *entry; list && (entry = readdir(list));)
        found = found || strncmp(entry->d_name, "LOG", 3) == 0;
    if (list) closedir(list);
    return found;
}

static uint32_t count_logs(void) {
    char path[FRESH_PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/wal", store_path);
    DIR *list = opendir(path);
    uint32_t count = 0;
    for (struct dirent *entry; (entry = readdir(list));)
        count += strstr(entry->d_name, ".log") != 0;
    closedir(list);
    return count;
}

/* Write until refused, make room, and see that everything is there all the time. */
static void write_refuse_recover(opened *store, uint64_t count, bool group) {
    mantis_error error = {0};
    count = write_until_refused(store->handle, count, &error);
    check_equal(error.status, MANTIS_FULL);
    check_contains(error.text, store_path);
    check_contains(error.text, "No space left");
    check_all_there(store->handle, count);
    for (int i = 0; i < 20; i++) {
        check_equal(set_numbered(store->handle, count, 0, VALUE_SIZE_MAX, NULL), MANTIS_FULL);
        usleep(50000);
    }
    check_all_there(store->handle, count);
    mantis_store_info info;
    check(mantis_store_get_info(store->handle, &info) == MANTIS_OK && info.fenced);
    free_disk();
    int64_t waited_ns = wait_for_writes(store->handle, count);
    note("refused after %" PRIu64 " writes: %s", count, error.text);
    note("writes again after %" PRId64 " ms", waited_ns / MP_NS_PER_MS);
    check(waited_ns < LIFT_NS);
    check_all_there(store->handle, count + 1);
    close_store(store);
    *store = open_store(store_path, group);
    check_all_there(store->handle, count + 1);
    close_store(store);
}

static void fill_the_log(size_t disk_mib, bool group) {
    mount_disk(disk_mib);
    opened store = open_store(store_path, group);
    char data[FRESH_PATH_MAX + 16];
    snprintf(data, sizeof data, "%s/data", store_path);
    check(!has_info_log(data));
    fill_disk(disk_mib * MIB / 2);
    write_refuse_recover(&store, 0, group);
}

/* The log has room, the table that is due has not. */
static void fill_a_table(bool group) {
    mount_disk(64);
    opened store = open_store(store_path, group);
    uint64_t count = 0;
    for (size_t bytes = 0; bytes < 11 * MIB; bytes += VALUE_SIZE_MAX / 2 + 48)
        check(set_numbered(store.handle, count++, 0, VALUE_SIZE_MAX, NULL) == MANTIS_OK);
    check_equal(count_logs(), 1);
    fill_disk(8 * MIB);
    while (count_logs() == 1)
        check(set_numbered(store.handle, count++, 0, VALUE_SIZE_MAX, NULL) == MANTIS_OK);
    for (int i = 0; i < 300 && !strstr(store.store->fence_error.text, ".sst"); i++) usleep(10000);
    note("%s", store.store->fence_error.text);
    check_contains(store.store->fence_error.text, ".sst");
    check_equal(store.store->fence_error.status, MANTIS_FULL);
    check_all_there(store.handle, count);
    write_refuse_recover(&store, count, group);
}

TEST(a_disk_full_in_the_log_refuses_writes_loses_nothing_and_recovers) { fill_the_log(16, false); }

TEST(a_disk_full_in_the_log_of_a_group_store_recovers) { fill_the_log(8, true); }

TEST(a_disk_full_in_a_table_refuses_writes_loses_nothing_and_recovers) { fill_a_table(false); }

TEST(a_disk_full_in_a_table_of_a_group_store_recovers) { fill_a_table(true); }

/* ---- compare-and-set and transactions ---- */

static mantis_status compare_text(mantis_store *handle, uint64_t expected, uint64_t *version,
                                  mantis_error *error) {
    mantis_write write = {"cas", 3, "v", 1, 0};
    return mp_handle_compare_and_set(handle, &write, expected, MANTIS_DURABLE_DEFAULT, version,
                                     error);
}

static void fill_under_transactions(bool group) {
    mount_disk(8);
    opened store = open_store(store_path, group);
    opened reads = {store.store, mp_handle_new(store.store, group)};
    opened writes = {store.store, mp_handle_new(store.store, group)};
    uint64_t version = 0;
    mantis_error error = {0};
    mantis_value value = {0};
    check_equal(compare_text(store.handle, 0, &version, NULL), MANTIS_OK);
    check_equal(mp_handle_begin(reads.handle, MANTIS_TRANSACTION_SNAPSHOT, 0, NULL), MANTIS_OK);
    check_equal(mp_handle_begin(writes.handle, MANTIS_TRANSACTION_WRITE, -1, NULL), MANTIS_OK);
    set_value(writes.handle, "one", "1");
    set_value(writes.handle, "two", "2");
    fill_disk(0);
    uint64_t count = write_until_refused(store.handle, 0, NULL);
    check_equal(compare_text(store.handle, version, &version, &error), MANTIS_FULL);
    check_contains(error.text, "reads go on");
    check_value(reads.handle, "cas", "v");
    check_equal(mp_handle_commit(writes.handle, 0, &error), MANTIS_FULL);
    check_value(store.handle, "one", NULL);
    check_equal(mp_handle_begin(writes.handle, MANTIS_TRANSACTION_WRITE, -1, NULL), MANTIS_OK);
    check_value(writes.handle, "cas", "v");
    free_disk();
    check(wait_for_writes(store.handle, count) < LIFT_NS); /* open transactions do not hold it up */
    check_equal(mantis_store_get(reads.handle, "cas", 3, &value, &error), MANTIS_CONFLICT);
    check_contains(error.text, "begin again");
    check_equal(mp_handle_commit(writes.handle, 0, NULL), MANTIS_CONFLICT);
    check_value(writes.handle, "one", NULL);
    check_value(writes.handle, "two", NULL);
    check_equal(compare_text(store.handle, version, &version, NULL), MANTIS_OK);
    check_equal(mp_handle_rollback(reads.handle, NULL), MANTIS_OK);
    mp_handle_free(reads.handle);
    mp_handle_free(writes.handle);
    close_store(&store);
    store = open_store(store_path, group);
    check_all_there(store.handle, count + 1);
    check_equal(version_of(store.handle, "cas"), version);
    check_value(store.handle, "one", NULL);
    close_store(&store);
}

TEST(a_full_disk_refuses_compare_and_set_and_commit_and_ends_transactions_when_it_has_room) {
    fill_under_transactions(false);
}

TEST(a_full_disk_does_so_with_group_too) { fill_under_transactions(true); }

/* ---- many at once ---- */

#define WRITERS 6

typedef struct writer {
    mp_store *store;
    uint32_t number;
    _Atomic uint64_t acknowledged;
    _Atomic bool *stop;
    _Atomic uint32_t *refused;
} writer;

static void *write_on(void *arg) {
    writer *self = arg;
    mantis_store *handle = mp_handle_new(self->store, self->number % 2 == 1);
    uint64_t i = 0;
    while (!*self->stop) {
        mantis_status status = set_numbered(handle, self->number * 100000000ull + i, 0,
                                            VALUE_SIZE_MAX, NULL);
        if (status == MANTIS_OK) {
            self->acknowledged = ++i;
        } else {
            check_equal(status, MANTIS_FULL);
            ++*self->refused;
            usleep(1000);
        }
        if (self->acknowledged > 0 && i % 8 == 0)
            check_equal(round_of(handle, self->number * 100000000ull + i / 2, VALUE_SIZE_MAX), 0);
    }
    mp_handle_free(handle);
    return NULL;
}

static bool count_entry(const mantis_entry *entry, void *arg) {
    (void)entry;
    ++*(uint64_t *)arg;
    return true;
}

TEST(many_writers_of_both_kinds_survive_a_disk_that_fills_again_and_again) {
    mount_disk(256);
    opened store = open_store(store_path, false);
    static writer writers[WRITERS];
    pthread_t threads[WRITERS];
    _Atomic bool stop = false;
    _Atomic uint32_t refused = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] =
            (writer){.store = store.store, .number = i + 1, .stop = &stop, .refused = &refused};
        check(pthread_create(&threads[i], NULL, write_on, &writers[i]) == 0);
    }
    uint32_t rounds = tap_is_long() ? 20 : 4;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t before = refused;
        int64_t start_ns = mp_clock_now_ns();
        fill_disk(0);
        while (refused == before && mp_clock_now_ns() - start_ns < LIFT_NS) usleep(1000);
        check(refused != before);
        uint64_t seen = 0;
        check(mp_handle_scan(store.handle, "", 0, 1000, NULL, count_entry, &seen, NULL) == 0);
        free_disk();
        int64_t waited_ns = wait_for_writes(store.handle, round);
        note("round %u: writes again after %" PRId64 " ms", round, waited_ns / MP_NS_PER_MS);
        check(waited_ns < LIFT_NS);
    }
    stop = true;
    for (uint32_t i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    close_store(&store);
    store = open_store(store_path, false);
    for (uint32_t w = 0; w < WRITERS; w++)
        for (uint64_t i = 0; i < writers[w].acknowledged; i++)
            check_equal(round_of(store.handle, (w + 1) * 100000000ull + i, VALUE_SIZE_MAX), 0);
    close_store(&store);
}

TEST(a_store_on_a_full_disk_opens_for_reading) {
    mount_disk(16);
    opened store = open_store(store_path, false);
    for (uint64_t i = 0; i < 1000; i++)
        check(set_numbered(store.handle, i, 0, VALUE_SIZE_MAX, NULL) == MANTIS_OK);
    close_store(&store);
    fill_disk(0);
    store = open_store(store_path, false);
    check_all_there(store.handle, 1000);
    check_equal(set_numbered(store.handle, 1000, 0, VALUE_SIZE_MAX, NULL), MANTIS_FULL);
    check_equal(mp_handle_begin(store.handle, MANTIS_TRANSACTION_WRITE, -1, NULL), MANTIS_OK);
    check_equal(round_of(store.handle, 7, VALUE_SIZE_MAX), 0);
    uint64_t seen = 0;
    check_equal(mp_handle_scan(store.handle, "", 0, 0, NULL, count_entry, &seen, NULL), MANTIS_OK);
    check_equal(seen, 1000);
    check_equal(mp_handle_commit(store.handle, MANTIS_DURABLE_DEFAULT, NULL), MANTIS_OK);
    free_disk();
    check(wait_for_writes(store.handle, 1000) < LIFT_NS);
    check_all_there(store.handle, 1001);
    close_store(&store);
}

TEST(a_new_store_on_a_full_disk_is_refused_with_full) {
    mount_disk(4);
    fill_disk(0);
    mp_store *store = NULL;
    mantis_error error = {0};
    check_equal(mp_store_open(&store, store_path, &error), MANTIS_FULL);
    check_contains(error.text, "No space left");
    free_disk();
    check_equal(mp_store_open(&store, store_path, &error), MANTIS_OK);
    mp_store_close(store);
}

TAP_MAIN
