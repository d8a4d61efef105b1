/* Damaged stores: each of many seeded damages is opened in a child, which must answer a clean error
 * or show a consistent prefix of what was written, without one wrong value. Never a signal.
 *
 * The store is written as a line of history: write i sets key i % KEYS to round i. So the highest
 * round that is found says which prefix it is, and what each key must be in it. Built with a
 * memtable of 64 KiB: there are tables of several levels, a manifest, and more than one log. */
#include "store/lib.h"

#include "base/clock.h"

#define KEYS 700u
#define WRITES 5000u
#define SIZE_MAX_HERE 120u
#define FILES_MAX 256u

/* ---- what a child says ---- */

enum outcome { CLEAN_ERROR = 10, PREFIX, EVERYTHING, WRONG };

static void tell(const char *format, uint64_t a, int64_t b, int64_t c) {
    printf("# ");
    printf(format, a, b, c);
    printf("\n");
    fflush(stdout);
}

/* The last write to that key before write `end`; -1: none. */
static int64_t round_before(uint64_t key, uint64_t end) {
    if (end <= key) return -1;
    return (int64_t)((end - 1 - key) / KEYS * KEYS + key);
}

/* Every key is as it was after some first part of the history, or cannot be read. */
static enum outcome judge(mantis_store *handle) {
    int64_t found[KEYS], highest = -1;
    bool has_error = false;
    for (uint64_t key = 0; key < KEYS; key++) {
        found[key] = round_of(handle, key, SIZE_MAX_HERE);
        if (found[key] == -2) {
            tell("key %" PRIu64 " has a value that was never written", key, 0, 0);
            return WRONG;
        }
        has_error = has_error || found[key] == -3;
        if (found[key] > highest) highest = found[key];
    }
    for (uint64_t key = 0; key < KEYS; key++) {
        int64_t expected = round_before(key, (uint64_t)(highest + 1));
        if (found[key] == -3 || found[key] == expected) continue;
        tell("key %" PRIu64 " is of write %" PRId64 " in a prefix that ends with %" PRId64, key,
             found[key], highest);
        return WRONG;
    }
    if (has_error) return CLEAN_ERROR;
    return highest + 1 == WRITES ? EVERYTHING : PREFIX;
}

static bool count_entry(const mantis_entry *entry, void *arg) {
    (void)entry;
    ++*(uint64_t *)arg;
    return true;
}

static enum outcome open_and_judge(const char *path) {
    opened store = {0};
    mantis_error error = {0};
    mantis_status status = mp_store_open(&store.store, path, &error);
    if (status != MANTIS_OK) return error.text[0] && error.status == status ? CLEAN_ERROR : WRONG;
    store.handle = mp_handle_new(store.store, false);
    enum outcome outcome = judge(store.handle);
    uint64_t seen = 0;
    mp_handle_scan(store.handle, "", 0, 0, NULL, count_entry, &seen, NULL);
    if (seen > KEYS) outcome = WRONG;
    set_numbered(store.handle, KEYS + 1, 0, SIZE_MAX_HERE, NULL);
    close_store(&store);
    return outcome;
}

/* ---- a store to damage ---- */

/* Write the history; killed: the process ends without closing. */
static void write_history(const char *path, bool killed) {
    opened store = open_store(path, false);
    for (uint64_t i = 0; i < WRITES; i++) {
        numbered made;
        make_numbered(&made, i % KEYS, i, SIZE_MAX_HERE);
        mantis_error error = {0};
        if (mantis_store_set(store.handle, made.key, made.key_size, made.value, made.value_size,
                             &error) != MANTIS_OK)
            tap_fail(__FILE__, __LINE__, "%s", error.text);
        if (i == WRITES / 2 && !killed) { /* one clean close in the middle */
            close_store(&store);
            store = open_store(path, false);
        }
    }
    mp_store_sync(store.store, NULL);
    if (killed) _exit(0);
    close_store(&store);
    exit(0);
}

static int run_child(const char *path, int what) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        if (what < 2) write_history(path, what == 1);
        int outcome = open_and_judge(path);
        fflush(stdout);
        _exit(outcome);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static char files[FILES_MAX][64];
static uint32_t files_count;

static void list_files(const char *root, const char *below) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, below);
    DIR *list = opendir(path);
    check(list != NULL);
    for (struct dirent *entry; (entry = readdir(list));) {
        char name[64];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%.10s%s%.50s", below, *below ? "/" : "", entry->d_name);
        if (entry->d_type == DT_DIR) list_files(root, name);
        else if (files_count < FILES_MAX) memcpy(files[files_count++], name, sizeof name);
    }
    closedir(list);
}

static int compare_names(const void *left, const void *right) { return strcmp(left, right); }

static void copy_file(const char *from, const char *to) {
    static char bytes[1 << 20];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    check(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        check(write(out, bytes, (size_t)n) == n);
    close(in);
    close(out);
}

static void copy_store(const char *from, const char *to) {
    char source[512], target[512];
    static const char *const parts[] = {"", "/data", "/wal", NULL};
    for (int i = 0; parts[i]; i++) {
        snprintf(target, sizeof target, "%s%s", to, parts[i]);
        check(mkdir(target, 0777) == 0);
    }
    for (uint32_t i = 0; i < files_count; i++) {
        snprintf(source, sizeof source, "%s/%s", from, files[i]);
        snprintf(target, sizeof target, "%s/%s", to, files[i]);
        copy_file(source, target);
    }
}

/* ---- damages ---- */

static const char *const damages[] = {"one bit turned", "64 bytes of noise", "512 bytes zeroed",
                                      "cut off",        "noise at its end",  "removed",
                                      "emptied",        "a byte inserted",   "4 KiB zeroed"};
#define DAMAGES (sizeof damages / sizeof *damages)

static void overwrite(int fd, uint64_t at, size_t count, mp_random *random) {
    for (size_t i = 0; i < count; i++) {
        unsigned char byte = random ? (unsigned char)mp_random_next(random) : 0;
        check(pwrite(fd, &byte, 1, (off_t)(at + i)) == 1);
    }
}

static void insert_byte(int fd, uint64_t at, uint64_t size) {
    char *rest = malloc(size - at + 1);
    check(rest && pread(fd, rest, size - at, (off_t)at) == (ssize_t)(size - at));
    check(pwrite(fd, "x", 1, (off_t)at) == 1);
    check(pwrite(fd, rest, size - at, (off_t)at + 1) == (ssize_t)(size - at));
    free(rest);
}

/* Damage one file as the seed says; describe it. */
static void damage(const char *root, uint64_t seed, char *text, size_t text_size) {
    mp_random random;
    mp_random_start(&random, seed + 1);
    for (int i = 0; i < 4; i++) mp_random_next(&random);
    const char *name = files[mp_random_below(&random, files_count)];
    uint32_t kind = (uint32_t)mp_random_below(&random, DAMAGES);
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    struct stat status;
    check(stat(path, &status) == 0);
    uint64_t size = (uint64_t)status.st_size;
    uint64_t at = size ? mp_random_below(&random, size) : 0;
    snprintf(text, text_size, "seed %" PRIu64 ": %s of %" PRIu64 " bytes, %s at %" PRIu64, seed,
             name, size, damages[kind], at);
    int fd = open(path, O_RDWR);
    check(fd >= 0);
    unsigned char byte = 0;
    switch (kind) {
    case 0:
        if (size && pread(fd, &byte, 1, (off_t)at) == 1) {
            byte ^= (unsigned char)(1u << mp_random_below(&random, 8));
            check(pwrite(fd, &byte, 1, (off_t)at) == 1);
        }
        break;
    case 1: overwrite(fd, at, size - at < 64 ? size - at : 64, &random); break;
    case 2: overwrite(fd, at, size - at < 512 ? size - at : 512, NULL); break;
    case 3: check(ftruncate(fd, (off_t)at) == 0); break;
    case 4: overwrite(fd, size, 200, &random); break;
    case 5: check(unlink(path) == 0); break;
    case 6: check(ftruncate(fd, 0) == 0); break;
    case 7: insert_byte(fd, at, size); break;
    default: overwrite(fd, at, size - at < 4096 ? size - at : 4096, NULL); break;
    }
    close(fd);
}

static void damage_many(bool killed) {
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
    if (memory) setenv("TMPDIR", memory, 1); /* a thousand copies are made */
    char origin[FRESH_PATH_MAX], copy[FRESH_PATH_MAX], text[256];
    snprintf(origin, sizeof origin, "%s", fresh_path("origin"));
    snprintf(copy, sizeof copy, "%s", fresh_path("damaged"));
    check_equal(run_child(origin, killed), 0);
    files_count = 0;
    list_files(origin, "");
    qsort(files, files_count, sizeof *files, compare_names);
    copy_store(origin, copy);
    check_equal(run_child(copy, 2), EVERYTHING);
    remove_tree(copy);
    uint64_t count = tap_is_long() ? 500 : 120, counts[WRONG + 1] = {0}, bad = 0;
    const char *only = getenv("MANTIS_TEST_SEED");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seed = only ? strtoull(only, NULL, 10) : i + killed * 100000u;
        copy_store(origin, copy);
        damage(copy, seed, text, sizeof text);
        int outcome = run_child(copy, 2);
        if (outcome >= CLEAN_ERROR && outcome < WRONG) counts[outcome]++;
        else {
            note("%s: outcome %d", text, outcome);
            bad++;
        }
        if (only) note("%s: outcome %d", text, outcome);
        if (only) break;
        remove_tree(copy);
    }
    note("%" PRIu64 " damages: %" PRIu64 " clean errors, %" PRIu64 " prefixes, %" PRIu64
         " without effect",
         count, counts[CLEAN_ERROR], counts[PREFIX], counts[EVERYTHING]);
    remove_tree(origin);
    check_equal(bad, 0);
}

TEST(a_damaged_store_that_was_closed_is_a_clean_error_or_a_consistent_prefix) {
    damage_many(false);
}

TEST(a_damaged_store_of_a_killed_process_is_a_clean_error_or_a_consistent_prefix) {
    damage_many(true);
}

TAP_MAIN
