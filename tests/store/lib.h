/* What the store's tests share: stores in fresh directories, and keys and values that can be told
 * from any others by their number. */
#ifndef MP_TESTS_STORE_LIB_H
#define MP_TESTS_STORE_LIB_H

#include "base/random.h"
#include "lib/tap.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRESH_PATH_MAX 256

/* One line that is no result. */
#define note(...) (printf("# " __VA_ARGS__), printf("\n"), fflush(stdout), (void)0)

/* A path below TMPDIR that is not there yet. */
__attribute__((unused)) static const char *fresh_path(const char *name) {
    static char path[FRESH_PATH_MAX];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/%s-%d-XXXXXX", base ? base : "/tmp", name, (int)getpid());
    if (!mkdtemp(path)) tap_fail(__FILE__, __LINE__, "mkdtemp %s: %s", path, strerror(errno));
    rmdir(path);
    return path;
}

/* Remove a directory and what is in it. */
__attribute__((unused)) static void remove_tree(const char *path) {
    DIR *list = opendir(path);
    if (!list) {
        unlink(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char below[4096];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR) remove_tree(below);
        else unlink(below);
    }
    closedir(list);
    rmdir(path);
}

/* A store and one handle on it. */
typedef struct opened {
    mp_store *store;
    mantis_store *handle;
} opened;

__attribute__((unused)) static opened open_store(const char *path, bool group) {
    opened out = {0};
    mantis_error error = {0};
    if (mp_store_open(&out.store, path, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "open %s: %s", path, error.text);
    out.handle = mp_handle_new(out.store, group);
    check(out.handle != NULL);
    return out;
}

__attribute__((unused)) static void close_store(opened *closed) {
    mp_handle_free(closed->handle);
    mp_store_close(closed->store);
    *closed = (opened){0};
}

/* ---- keys and values that are texts ---- */

__attribute__((unused)) static void check_value(mantis_store *handle, const char *key,
                                                const char *expected) {
    mantis_value value = {0};
    mantis_error error = {0};
    mantis_status status = mantis_store_get(handle, key, strlen(key), &value, &error);
    if (!expected) {
        check_equal(status, MANTIS_NOT_FOUND);
        return;
    }
    check_equal(status, MANTIS_OK);
    check(value.size == strlen(expected) && memcmp(value.data, expected, value.size) == 0);
    value.free_owner(value.owner);
}

__attribute__((unused)) static void set_value(mantis_store *handle, const char *key,
                                              const char *value) {
    mantis_error error = {0};
    if (mantis_store_set(handle, key, strlen(key), value, strlen(value), &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "set %s: %s", key, error.text);
}

__attribute__((unused)) static uint64_t version_of(mantis_store *handle, const char *key) {
    mantis_value value = {0};
    check_equal(mantis_store_get(handle, key, strlen(key), &value, NULL), MANTIS_OK);
    uint64_t version = value.version;
    value.free_owner(value.owner);
    return version;
}

/* ---- writes that tell their version ---- */

static inline void wake_sender(mantis_commit *commit) {
    mp_word *is_done = commit->arg;
    mp_store_release(is_done, 1);
    mp_park_wake_all(is_done);
}

/* Submit a commit, and wait for its outcome. */
__attribute__((unused)) static mantis_status submit_and_wait(mantis_store *handle,
                                                             mantis_commit *commit) {
    mp_word is_done = 0;
    commit->on_done = wake_sender;
    commit->arg = &is_done;
    mantis_status status = mp_handle_submit(handle, commit, &commit->error);
    if (status != MANTIS_OK) return status;
    while (!mp_load_acquire(&is_done)) mp_park_wait(&is_done, 0, INT64_MAX);
    return commit->status;
}

/* ---- time, as the store sees it ---- */

static _Atomic int64_t planted_ms;

__attribute__((unused)) static int64_t read_planted(void) { return planted_ms; }

/* Have the store take its wall-clock time from planted_ms. Nobody uses it yet. */
__attribute__((unused)) static void plant_clock(mp_store *store) {
    store->engine.wall_ms = read_planted;
}

/* ---- numbered keys and values ---- */

#define VALUE_SIZE_MAX 1024u

typedef struct numbered {
    char key[24];
    size_t key_size;
    unsigned char value[VALUE_SIZE_MAX];
    size_t value_size;
} numbered;

/* The value of number i as of its given round: 16 to size_max bytes that only it has. */
__attribute__((unused)) static void make_numbered(numbered *out, uint64_t i, uint64_t round,
                                                  size_t size_max) {
    out->key_size = (size_t)snprintf(out->key, sizeof out->key, "k%012" PRIu64, i);
    mp_random random;
    mp_random_start(&random, i * 2654435761u + round * 40503u + 1);
    out->value_size = 16 + mp_random_below(&random, size_max - 15);
    memcpy(out->value, &i, 8);
    memcpy(out->value + 8, &round, 8);
    for (size_t at = 16; at < out->value_size; at += 8) {
        uint64_t word = mp_random_next(&random);
        size_t step = out->value_size - at < 8 ? out->value_size - at : 8;
        memcpy(out->value + at, &word, step);
    }
}

__attribute__((unused)) static mantis_status set_numbered(mantis_store *handle, uint64_t i,
                                                          uint64_t round, size_t size_max,
                                                          mantis_error *error) {
    numbered made;
    make_numbered(&made, i, round, size_max);
    return mantis_store_set(handle, made.key, made.key_size, made.value, made.value_size, error);
}

/* Which round of number i the store has; -1: none, -2: a value that was never written,
 * -3: an error. */
__attribute__((unused)) static int64_t round_of(mantis_store *handle, uint64_t i, size_t size_max) {
    numbered made;
    make_numbered(&made, i, 0, size_max);
    mantis_value value = {0};
    mantis_status status = mantis_store_get(handle, made.key, made.key_size, &value, NULL);
    if (status == MANTIS_NOT_FOUND) return -1;
    if (status != MANTIS_OK) return -3;
    int64_t round = -2;
    if (value.size >= 16) {
        uint64_t found;
        memcpy(&found, (const char *)value.data + 8, 8);
        make_numbered(&made, i, found, size_max);
        if (value.size == made.value_size && memcmp(value.data, made.value, value.size) == 0)
            round = (int64_t)found;
    }
    value.free_owner(value.owner);
    return round;
}

#endif
