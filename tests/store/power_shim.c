/* A preload library that keeps, beside a live directory, the image of what a disk is sure to hold:
 * of each file what it was at its last fsync or fdatasync, of each directory the names it had at
 * its last fsync. After a kill the image is what is left after the worst power cut.
 *
 *     MANTIS_POWER_ROOT    the live directory
 *     MANTIS_POWER_IMAGE   objects/INODE  bytes of a file;  dirs/INODE  names of a directory, each
 *                          a line "TYPE INODE NAME";  graves/  a link to every file ever made, so
 *                          that no inode number is used twice
 *     MANTIS_POWER_SLOW    milliseconds that the sync of a table takes: so there is more than one
 *                          log in use most of the time */
#undef _FILE_OFFSET_BITS /* open and open64 are two functions here */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *image;

static void *find_real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void read_environment(void) {
    root = getenv("MANTIS_POWER_ROOT");
    image = getenv("MANTIS_POWER_IMAGE");
}

/* The path of a descriptor below the root; false: it is not ours. */
static int path_of(int fd, char path[PATH_SIZE]) {
    if (!root || !image) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_SIZE - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    size_t root_length = strlen(root);
    return strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0);
}

static void copy_rest(int from, int to, off_t at) {
    static char bytes[1 << 16]; /* under lock */
    for (ssize_t n; (n = pread(from, bytes, sizeof bytes, at)) > 0; at += n)
        if (pwrite(to, bytes, (size_t)n, at) != n) abort();
}

/* The file as it is now is on the disk. What is below the object's length was there before: all
 * files of a store are only ever appended to, or made anew. */
static void keep_file(const char *path, ino_t inode) {
    char name[PATH_SIZE];
    snprintf(name, sizeof name, "%s/objects/%ju", image, (uintmax_t)inode);
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))find_real("open");
    int from = real_open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return; /* unlinked meanwhile */
    int to = real_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat kept, live;
    if (to < 0 || fstat(to, &kept) != 0 || fstat(from, &live) != 0) abort();
    if (live.st_size < kept.st_size && ftruncate(to, live.st_size) != 0) abort();
    copy_rest(from, to, live.st_size < kept.st_size ? live.st_size : kept.st_size);
    close(from);
    close(to);
}

static void keep_directory(const char *path, ino_t inode) {
    char name[PATH_SIZE], next[PATH_SIZE];
    snprintf(name, sizeof name, "%s/dirs/%ju", image, (uintmax_t)inode);
    snprintf(next, sizeof next, "%s/dirs/next", image);
    DIR *list = opendir(path);
    FILE *out = fopen(next, "w");
    if (!list || !out) abort();
    for (struct dirent *entry; (entry = readdir(list));)
        if (entry->d_name[0] != '.')
            fprintf(out, "%c %ju %s\n", entry->d_type == DT_DIR ? 'd' : 'f',
                    (uintmax_t)entry->d_ino, entry->d_name);
    closedir(list);
    if (fclose(out) != 0 || rename(next, name) != 0) abort();
}

static void keep(int fd) {
    char path[PATH_SIZE];
    struct stat status;
    int saved = errno;
    if (path_of(fd, path) && fstat(fd, &status) == 0) {
        pthread_mutex_lock(&lock);
        if (S_ISDIR(status.st_mode)) keep_directory(path, status.st_ino);
        else keep_file(path, status.st_ino);
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
}

/* Keep the inode of a new file from being used again. */
static void bury(int fd) {
    char path[PATH_SIZE], grave[PATH_SIZE];
    struct stat status;
    int saved = errno;
    if (path_of(fd, path) && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        snprintf(grave, sizeof grave, "%s/graves/%ju", image, (uintmax_t)status.st_ino);
        (void)!link(path, grave);
    }
    errno = saved;
}

static void be_slow(int fd) {
    char path[PATH_SIZE];
    const char *slow = getenv("MANTIS_POWER_SLOW");
    if (slow && path_of(fd, path) && strstr(path, ".sst"))
        usleep((useconds_t)strtoul(slow, NULL, 10) * 1000);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))find_real("fsync");
    be_slow(fd);
    int rc = real(fd);
    if (rc == 0) keep(fd);
    return rc;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))find_real("fdatasync");
    be_slow(fd);
    int rc = real(fd);
    if (rc == 0) keep(fd);
    return rc;
}

static int open_with(const char *name, int at, const char *path, int flags, mode_t mode) {
    int fd;
    if (strncmp(name, "openat", 6) == 0)
        fd = ((int (*)(int, const char *, int, ...))find_real(name))(at, path, flags, mode);
    else fd = ((int (*)(const char *, int, ...))find_real(name))(path, flags, mode);
    if (fd >= 0 && (flags & O_CREAT)) bury(fd);
    return fd;
}

static mode_t mode_of(int flags, va_list args) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_with("open", 0, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_with("open64", 0, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_with("openat", at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_with("openat64", at, path, flags, mode);
}
