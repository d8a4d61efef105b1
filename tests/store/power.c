/* Power cuts. A writer runs under power_shim.c and is killed; from what it had synced, and what it
 * had written, disk images are built as a power cut could leave them, and each is opened.
 *
 *     the worst image   only what was synced
 *     a random image    what was synced, and of the rest any part: of a file a longer beginning,
 *                       perhaps with pages of zeros in it; of a directory any of the later names
 *
 * The writes are a line of history, as in damage.c: every image must show a prefix of it, and with
 * sync=group one that includes all that was acknowledged. Every third is a compare-and-set, every
 * third a transaction of two keys, of which both or none must be there. Built with a memtable of
 * 64 KiB.
 *
 * The preload library lies beside this program, which is also the writer:
 * power --write DIR MODE FD. */
#include "store/lib.h"

#include "base/clock.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#define KEYS 300u
#define SIZE_MAX_HERE 150u
#define PAGE 4096u

static const char self[] = "/proc/self/exe";
static char shim[512];

typedef struct shared {
    _Atomic uint64_t acknowledged;
} shared;

static char live[FRESH_PATH_MAX], image[FRESH_PATH_MAX], built[FRESH_PATH_MAX];

_Static_assert(KEYS % 3 == 0, "each key is always written in the same way");

/* ---- the writer ---- */

static mantis_status compare_numbered(mantis_store *handle, const mantis_write *write) {
    mantis_value value = {0};
    uint64_t made;
    mantis_status status = mantis_store_get(handle, write->key, write->key_size, &value, NULL);
    uint64_t version = value.version;
    mantis_value_free(&value);
    if (status != MANTIS_OK && status != MANTIS_NOT_FOUND) return status;
    return mp_handle_compare_and_set(handle, write, version, MANTIS_DURABLE_DEFAULT, &made, NULL);
}

/* The key's twin has the same round. */
static mantis_status commit_twins(mantis_store *handle, const mantis_write *write, uint64_t i) {
    mantis_status status = mp_handle_begin(handle, MANTIS_TRANSACTION_WRITE, -1, NULL);
    if (status == MANTIS_OK) status = set_numbered(handle, KEYS + i % KEYS, i, SIZE_MAX_HERE, NULL);
    if (status == MANTIS_OK)
        status = mp_handle_write(handle, write, 1, MANTIS_DURABLE_DEFAULT, NULL);
    return status == MANTIS_OK ? mp_handle_commit(handle, MANTIS_DURABLE_DEFAULT, NULL) : status;
}

/* Write number i of the history, in the way that its key is always written. */
static mantis_status write_one(mantis_store *handle, uint64_t i) {
    numbered made;
    make_numbered(&made, i % KEYS, i, SIZE_MAX_HERE);
    mantis_write write = {made.key, made.key_size, made.value, made.value_size, 0};
    if (i % 3 == 1) return compare_numbered(handle, &write);
    if (i % 3 == 2) return commit_twins(handle, &write, i);
    return mp_handle_write(handle, &write, 1, MANTIS_DURABLE_DEFAULT, NULL);
}

static int write_history(const char *path, const char *mode, int fd) {
    bool group = strcmp(mode, "group") == 0, slowly = strcmp(mode, "slow") == 0;
    shared *common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (common == MAP_FAILED) return 2;
    opened store = open_store(path, group);
    for (;;) {
        uint64_t i = common->acknowledged;
        if (write_one(store.handle, i) != MANTIS_OK) return 3;
        common->acknowledged = i + 1;
        if (slowly) usleep(5000);
    }
}

static pid_t start_writer(const char *mode, int fd) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child > 0) return child;
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    setenv("LD_PRELOAD", shim, 1);
    setenv("MANTIS_POWER_ROOT", live, 1);
    setenv("MANTIS_POWER_IMAGE", image, 1);
    setenv("MANTIS_POWER_SLOW", "15", 1);
    execl(self, self, "--write", live, mode, number, (char *)NULL);
    _exit(9);
}

static void cut(pid_t writer) {
    check(kill(writer, SIGKILL) == 0);
    int status = 0;
    check(waitpid(writer, &status, 0) == writer && WIFSIGNALED(status));
}

static void wait_for_writes(shared *common, uint64_t count) {
    for (int i = 0; i < 40000 && common->acknowledged < count; i++) usleep(500);
    check(common->acknowledged >= count);
}

/* Write for a random time; how much was acknowledged at the cut. */
static uint64_t write_and_cut(mp_random *random, bool group, shared *common, int fd) {
    pid_t writer = start_writer(group ? "group" : "interval", fd);
    wait_for_writes(common, common->acknowledged + 100);
    usleep((useconds_t)mp_random_below(random, group ? 100000 : 400000));
    cut(writer);
    return common->acknowledged;
}

/* ---- images ---- */

static uint64_t size_of(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void copy_bytes(const char *from, const char *to, uint64_t from_at, uint64_t to_at) {
    static char bytes[1 << 16];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0666);
    check(out >= 0);
    while (in >= 0 && from_at < to_at) {
        size_t step = to_at - from_at < sizeof bytes ? to_at - from_at : sizeof bytes;
        ssize_t n = pread(in, bytes, step, (off_t)from_at);
        if (n <= 0) break;
        check(pwrite(out, bytes, (size_t)n, (off_t)from_at) == n);
        from_at += (uint64_t)n;
    }
    if (in >= 0) close(in);
    close(out);
}

/* Pages of zeros where nothing had been synced: written out of order, and not all of them. */
static void zero_pages(const char *path, uint64_t from, uint64_t to, mp_random *random) {
    static const char zeros[PAGE];
    int fd = open(path, O_WRONLY);
    check(fd >= 0);
    for (uint64_t at = (from + PAGE - 1) / PAGE * PAGE; at < to; at += PAGE) {
        size_t step = to - at < PAGE ? to - at : PAGE;
        if (mp_random_below(random, 4) == 0)
            check(pwrite(fd, zeros, step, (off_t)at) == (ssize_t)step);
    }
    close(fd);
}

/* A file with this inode: what was synced, and with a random number generator some of the rest. */
static void build_file(uint64_t inode, const char *to, mp_random *random) {
    char object[FRESH_PATH_MAX + 64], grave[FRESH_PATH_MAX + 64];
    snprintf(object, sizeof object, "%s/objects/%" PRIu64, image, inode);
    snprintf(grave, sizeof grave, "%s/graves/%" PRIu64, image, inode);
    uint64_t synced = size_of(object), written = size_of(grave);
    copy_bytes(object, to, 0, synced);
    if (!random || written <= synced || mp_random_below(random, 3) == 0) return;
    uint64_t kept = mp_random_below(random, 2) ? written
                                               : synced + mp_random_below(random, written - synced);
    copy_bytes(grave, to, synced, kept);
    if (mp_random_below(random, 2)) zero_pages(to, synced, kept, random);
}

static void build_directory(const char *from_live, uint64_t inode, const char *to,
                            mp_random *random);

static void build_entry(const char *from_live, char type, uint64_t inode, const char *name,
                        const char *to, mp_random *random) {
    char path[FRESH_PATH_MAX + 64], below[FRESH_PATH_MAX + 64];
    snprintf(path, sizeof path, "%.250s/%.60s", to, name);
    snprintf(below, sizeof below, "%.250s/%.60s", from_live, name);
    if (type == 'd') {
        build_directory(below, inode, path, random);
    } else {
        unlink(path);
        build_file(inode, path, random);
    }
}

/* Names that were not synced: any of them may be there. */
static void add_live_names(const char *from_live, const char *to, mp_random *random) {
    DIR *list = opendir(from_live);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        if (entry->d_name[0] == '.' || entry->d_type == DT_DIR) continue;
        if (mp_random_below(random, 2))
            build_entry(from_live, 'f', entry->d_ino, entry->d_name, to, random);
    }
    if (list) closedir(list);
}

static void build_directory(const char *from_live, uint64_t inode, const char *to,
                            mp_random *random) {
    char names[FRESH_PATH_MAX + 64], name[128], type;
    uint64_t below;
    check(mkdir(to, 0777) == 0);
    snprintf(names, sizeof names, "%s/dirs/%" PRIu64, image, inode);
    FILE *file = fopen(names, "r");
    while (file && fscanf(file, "%c %" SCNu64 " %127[^\n]\n", &type, &below, name) == 3)
        build_entry(from_live, type, below, name, to, random);
    if (file) fclose(file);
    if (random) add_live_names(from_live, to, random);
}

static void build_image(mp_random *random) {
    struct stat status;
    check(stat(live, &status) == 0);
    remove_tree(built);
    build_directory(live, status.st_ino, built, random);
}

/* ---- judging ---- */

static int64_t round_before(uint64_t key, uint64_t end) {
    if (end <= key) return -1;
    return (int64_t)((end - 1 - key) / KEYS * KEYS + key);
}

/* The image opens and shows a prefix of the history of at least that many writes. */
static int judge(uint64_t at_least, uint64_t at_most) {
    opened store = open_store(built, false);
    int64_t found[KEYS], highest = -1;
    for (uint64_t key = 0; key < KEYS; key++) {
        found[key] = round_of(store.handle, key, SIZE_MAX_HERE);
        if (found[key] > highest) highest = found[key];
    }
    for (uint64_t key = 2; key < KEYS; key += 3)
        if (round_of(store.handle, KEYS + key, SIZE_MAX_HERE) != found[key])
            tap_fail(__FILE__, __LINE__, "key %" PRIu64 " is of write %" PRId64 ", its twin not",
                     key, found[key]);
    uint64_t end = (uint64_t)(highest + 1);
    for (uint64_t key = 0; key < KEYS; key++)
        if (found[key] != round_before(key, end))
            tap_fail(__FILE__, __LINE__,
                     "key %" PRIu64 " is of write %" PRId64 ", not %" PRId64
                     ", in a prefix that ends with %" PRId64,
                     key, found[key], round_before(key, end), highest);
    if (end < at_least || end > at_most)
        tap_fail(__FILE__, __LINE__, "%" PRIu64 " writes are there, not %" PRIu64 " to %" PRIu64,
                 end, at_least, at_most);
    close_store(&store);
    return 0;
}

static void judge_in_child(uint64_t at_least, uint64_t at_most) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        int rc = judge(at_least, at_most);
        fflush(stdout);
        _exit(rc);
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    if (status != 0) {
        if (getenv("MANTIS_TEST_KEEP")) {
            note("the image is %s, the directory as it was written %s", built, live);
        } else { /* TMPDIR is not removed by the runner here */
            remove_tree(built);
            remove_tree(live);
            remove_tree(image);
        }
        check_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, 0);
        check_equal(status, 0);
    }
}

static void prepare(int *fd, shared **common) {
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
    if (memory) setenv("TMPDIR", memory, 1);
    char part[FRESH_PATH_MAX + 16];
    snprintf(live, sizeof live, "%s", fresh_path("live"));
    snprintf(image, sizeof image, "%s", fresh_path("image"));
    snprintf(built, sizeof built, "%s", fresh_path("built"));
    check(mkdir(live, 0777) == 0 && mkdir(image, 0777) == 0);
    static const char *const parts[] = {"objects", "dirs", "graves", NULL};
    for (int i = 0; parts[i]; i++) {
        snprintf(part, sizeof part, "%s/%s", image, parts[i]);
        check(mkdir(part, 0777) == 0);
    }
    *fd = (int)syscall(SYS_memfd_create, "shared", 0);
    check(*fd >= 0 && ftruncate(*fd, sizeof **common) == 0);
    *common = mmap(NULL, sizeof **common, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    check(*common != MAP_FAILED);
}

static void finish(int fd, shared *common) {
    remove_tree(live);
    remove_tree(image);
    remove_tree(built);
    munmap(common, sizeof *common);
    close(fd);
}

static void cut_many(bool group) {
    uint32_t cuts = tap_is_long() ? 40 : 6, images = tap_is_long() ? 60 : 12, total = 0;
    uint64_t lost = 0;
    mp_random random;
    mp_random_start(&random, 4711 + group);
    for (uint32_t cut = 0; cut < cuts; cut++) {
        int fd;
        shared *common;
        prepare(&fd, &common);
        uint64_t acknowledged = write_and_cut(&random, group, common, fd);
        uint64_t at_least = group ? acknowledged : 0;
        for (uint32_t i = 0; i <= images; i++, total++) {
            build_image(i == 0 ? NULL : &random);
            judge_in_child(at_least, acknowledged + 1);
        }
        lost += acknowledged;
        finish(fd, common);
    }
    note("%u cuts, %" PRIu64 " writes, %u images", cuts, lost, total);
}

TEST(group_loses_nothing_acknowledged_in_any_image_of_a_power_cut) { cut_many(true); }

TEST(interval_shows_a_consistent_prefix_in_every_image_of_a_power_cut) { cut_many(false); }

TEST(interval_has_synced_what_was_acknowledged_a_second_ago) {
    int fd;
    shared *common;
    prepare(&fd, &common);
    pid_t writer = start_writer("slow", fd); /* so that it stays in one log */
    wait_for_writes(common, 50);
    uint64_t at_least = common->acknowledged;
    sleep(1);
    cut(writer);
    build_image(NULL);
    judge_in_child(at_least, common->acknowledged + 1);
    finish(fd, common);
}

static bool find_shim(void) {
    char path[400];
    ssize_t length = readlink(self, path, sizeof path - 1);
    if (length <= 0) return false;
    path[length] = 0;
    *strrchr(path, '/') = 0;
    snprintf(shim, sizeof shim, "%s/store-power-shim.so", path);
    return access(shim, R_OK) == 0;
}

int main(int count, char **words) {
    if (count == 5 && strcmp(words[1], "--write") == 0)
        return write_history(words[2], words[3], (int)strtol(words[4], NULL, 10));
    if (!find_shim()) {
        printf("Bail out! %s is missing\n", shim);
        return 2;
    }
    return tap_main(count, words);
}
