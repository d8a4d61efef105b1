/* A disk that fails: what the store does when a sync of its log answers an error. The C library's
 * fdatasync is replaced here, for the store and for RocksDB. */
#include "store/lib.h"

#include "base/clock.h"

#include <sys/syscall.h>

#define LIFT_NS (10 * MP_NS_PER_S)

static _Atomic int failure; /* the errno that syncs answer, or 0 */
static _Atomic uint32_t syncs;

int fdatasync(int fd) {
    syncs++;
    if (failure) {
        errno = failure;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static mantis_status set(mantis_store *handle, const char *key, mantis_error *error) {
    return mantis_store_set(handle, key, strlen(key), "v", 1, error);
}

static bool is_there(mantis_store *handle, const char *key) {
    bool found = false;
    check_equal(mp_handle_exists(handle, key, strlen(key), &found, NULL), MANTIS_OK);
    return found;
}

static uint32_t count_tables(const char *path) {
    char data[FRESH_PATH_MAX + 8];
    snprintf(data, sizeof data, "%s/data", path);
    DIR *list = opendir(data);
    uint32_t count = 0;
    for (struct dirent *entry; (entry = readdir(list));)
        count += strstr(entry->d_name, ".sst") != 0;
    closedir(list);
    return count;
}

static void wait_until_lifted(mantis_store *handle) {
    int64_t start_ns = mp_clock_now_ns();
    while (set(handle, "later", NULL) != MANTIS_OK) {
        check(mp_clock_now_ns() - start_ns < LIFT_NS);
        usleep(20000);
    }
}

static void fail_and_recover(int os_errno, mantis_status expected) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("sync"));
    opened store = open_store(path, true);
    opened other = {store.store, mp_handle_new(store.store, false)};
    check_equal(set(store.handle, "before", NULL), MANTIS_OK);
    check_equal(count_tables(path), 0);
    failure = os_errno;
    mantis_error error = {0};
    check_equal(set(store.handle, "failed", &error), expected);
    check_equal(error.os_errno, os_errno);
    check_contains(error.text, ".log");
    for (int i = 0; i < 15; i++) { /* also the engine that is reopened meanwhile must not write */
        check_equal(set(other.handle, "refused", NULL), expected);
        check(is_there(other.handle, "before"));
        check(!is_there(other.handle, "refused"));
        usleep(100000);
    }
    failure = 0;
    wait_until_lifted(other.handle);
    check(is_there(store.handle, "before"));
    check(!is_there(store.handle, "refused"));
    check(count_tables(path) > 0); /* what the kernel may have forgotten was written again */
    mp_handle_free(other.handle);
    close_store(&store);
    store = open_store(path, false);
    check(is_there(store.handle, "before") && is_there(store.handle, "later"));
    close_store(&store);
}

TEST(a_group_write_whose_sync_fails_answers_io_and_the_store_recovers_when_syncs_do) {
    fail_and_recover(EIO, MANTIS_IO);
}

TEST(a_group_write_whose_sync_finds_the_disk_full_answers_full_and_recovers) {
    fail_and_recover(ENOSPC, MANTIS_FULL);
}

TEST(an_interval_store_refuses_writes_soon_after_a_sync_has_failed) {
    opened store = open_store(fresh_path("interval"), false);
    check_equal(set(store.handle, "first", NULL), MANTIS_OK); /* reserves versions, and syncs */
    failure = EIO;
    int64_t start_ns = mp_clock_now_ns();
    uint32_t count = 0;
    mantis_error error = {0};
    while (set(store.handle, "key", &error) == MANTIS_OK) {
        check(mp_clock_now_ns() - start_ns < 5 * MP_NS_PER_S);
        usleep(1000);
        count++;
    }
    check(count > 0);
    check_equal(error.status, MANTIS_IO);
    check(is_there(store.handle, "key"));
    failure = 0;
    wait_until_lifted(store.handle);
    close_store(&store);
}

TEST(a_single_write_of_an_interval_store_can_ask_for_its_sync) {
    opened store = open_store(fresh_path("synced"), false);
    mantis_write write = {"key", 3, "v", 1, 0};
    for (int i = 0; i < 20; i++) {
        uint32_t before = syncs;
        check_equal(mp_handle_write(store.handle, &write, 1, MANTIS_DURABLE_SYNCED, NULL), 0);
        check(syncs > before);
    }
    failure = EIO;
    check_equal(mp_handle_write(store.handle, &write, 1, MANTIS_DURABLE_SYNCED, NULL), MANTIS_IO);
    failure = 0;
    close_store(&store);
}

TEST(an_idle_store_does_not_sync_and_its_thread_sleeps) {
    opened store = open_store(fresh_path("idle"), false);
    check_equal(set(store.handle, "key", NULL), MANTIS_OK);
    usleep(500000);
    uint32_t before = syncs;
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    sleep(1);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    check_equal(syncs, before);
    int64_t cpu_ns = (end.tv_sec - start.tv_sec) * MP_NS_PER_S + end.tv_nsec - start.tv_nsec;
    check(cpu_ns < 20 * MP_NS_PER_MS);
    close_store(&store);
}

TAP_MAIN
