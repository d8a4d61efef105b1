/* Creating, recognising and locking the directory of a store. */
#include "store/directory.h"

#include "base/error.h"
#include "store/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MARKER "MANTIS"
#define MARKER_NEW "MANTIS.new"
#define LOCK_NAME "LOCK"
#define PROBE_NAME "MANTIS.room"
#define PROBE_BYTES 65536u

static const char marker_head[] = "mantis store\nformat ";

mantis_status mp_directory_find(const char *path, mp_directory_id *out, mantis_error *error) {
    if (strlen(path) > MP_DIRECTORY_PATH_MAX)
        return mp_error_set(error, MANTIS_INVALID,
                            "store: the directory's path has %zu bytes, at most %u are allowed",
                            strlen(path), MP_DIRECTORY_PATH_MAX);
    bool is_made = mkdir(path, 0777) == 0;
    if (!is_made && errno == ENOENT)
        return mp_error_set_os(
            error, MANTIS_INVALID, ENOENT,
            "store: cannot create directory '%.120s': its parent does not exist; "
            "create the parent first or name another directory",
            path);
    if (!is_made && errno != EEXIST)
        return mp_error_set_os(error, mp_fault_of_errno(errno), errno,
                               "store: cannot create directory '%.120s': %s", path,
                               strerror(errno));
    struct stat status;
    if (stat(path, &status) != 0)
        return mp_error_set_os(error, mp_fault_of_errno(errno), errno,
                               "store: cannot read directory '%.120s': %s", path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return mp_error_set_os(error, MANTIS_INVALID, ENOTDIR,
                               "store: '%.120s' is a file; a store needs a directory", path);
    *out = (mp_directory_id){.device = status.st_dev, .inode = status.st_ino};
    return MANTIS_OK;
}

static mantis_status fail(const mp_directory *directory, const char *doing, const char *name,
                          mantis_error *error) {
    int saved = errno;
    return mp_error_set_os(error, mp_fault_of_errno(saved), saved,
                           "store '%.120s': cannot %s %s: %s", directory->path, doing, name,
                           strerror(saved));
}

/* The lock is an fcntl lock: it goes with the process however that ends, a child made by fork()
 * does not inherit it, and the kernel knows the holder's id. */
static mantis_status lock_directory(mp_directory *directory, mantis_error *error) {
    directory->lock_fd = openat(directory->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (directory->lock_fd < 0) return fail(directory, "open", LOCK_NAME, error);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(directory->lock_fd, F_SETLK, &lock) == 0) {
        char text[32];
        int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        /* Only for people: that it may fail, on a full disk, does no harm. */
        if (ftruncate(directory->lock_fd, 0) == 0 &&
            pwrite(directory->lock_fd, text, (size_t)length, 0) < 0)
            errno = 0;
        return MANTIS_OK;
    }
    if (errno != EACCES && errno != EAGAIN) return fail(directory, "lock", LOCK_NAME, error);
    long holder = 0;
    if (fcntl(directory->lock_fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        holder = lock.l_pid;
    char text[32] = "";
    if (holder <= 0 && pread(directory->lock_fd, text, sizeof text - 1, 0) > 0)
        holder = strtol(text, NULL, 10); /* a holder outside our pid namespace */
    return mp_error_set_os(error, MANTIS_LOCKED, EAGAIN,
                           "store '%.120s' is in use by process %ld: stop that process or name "
                           "another directory",
                           directory->path, holder);
}

static bool has_file(const mp_directory *directory, const char *name) {
    return faccessat(directory->fd, name, F_OK, 0) == 0;
}

/* Is there nothing in it but what an open that did not get far leaves behind? */
static bool is_empty(const mp_directory *directory) {
    int fd = openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list) {
        if (fd >= 0) close(fd);
        return false;
    }
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(list));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                strcmp(entry->d_name, LOCK_NAME) == 0 || strcmp(entry->d_name, "lost+found") == 0;
    closedir(list);
    return empty;
}

static mantis_status write_marker(mp_directory *directory, mantis_error *error) {
    char text[64];
    int length = snprintf(text, sizeof text, "%s%d\n", marker_head, MP_DIRECTORY_FORMAT);
    int fd = openat(directory->fd, MARKER_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return fail(directory, "create", MARKER_NEW, error);
    bool is_written = write(fd, text, (size_t)length) == length && fsync(fd) == 0;
    mantis_status status = MANTIS_OK;
    if (!is_written) status = fail(directory, "write", MARKER_NEW, error);
    close(fd);
    return status;
}

/* Read the marker, if there is one. */
static mantis_status check_marker(mp_directory *directory, mantis_error *error) {
    int fd = openat(directory->fd, MARKER, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT) return fail(directory, "read", MARKER, error);
    if (fd < 0) {
        directory->is_new = true;
        if (has_file(directory, MARKER_NEW) || is_empty(directory)) return MANTIS_OK;
        if (has_file(directory, "data/CURRENT"))
            return mp_error_set(error, MANTIS_CORRUPT,
                                "store '%.120s' is damaged: its file " MARKER " is missing; "
                                "restore the directory from a copy",
                                directory->path);
        return mp_error_set_os(
            error, MANTIS_INVALID, 0,
            "store: directory '%.120s' is not empty and holds no store (no file " MARKER
            "); name an empty or a new directory",
            directory->path);
    }
    char text[64] = "";
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    int format = 0;
    char end = 0;
    if (length < 0) return fail(directory, "read", MARKER, error);
    if (strncmp(text, marker_head, sizeof marker_head - 1) != 0 ||
        sscanf(text + sizeof marker_head - 1, "%9d%c", &format, &end) != 2 || end != '\n' ||
        format < 1)
        return mp_error_set(error, MANTIS_CORRUPT,
                            "store '%.120s' is damaged: its file " MARKER " is not what was "
                            "written; restore the directory from a copy",
                            directory->path);
    if (format != MP_DIRECTORY_FORMAT)
        return mp_error_set(error, MANTIS_UNSUPPORTED,
                            "store '%.120s' has format %d, this version reads format %d; use the "
                            "version that wrote it",
                            directory->path, format, MP_DIRECTORY_FORMAT);
    return MANTIS_OK;
}

/* A new store: everything in it is unfinished until mp_directory_mark(). */
static mantis_status make_parts(mp_directory *directory, mantis_error *error) {
    mantis_status status = write_marker(directory, error);
    if (status != MANTIS_OK) return status;
    if (mkdirat(directory->fd, "data", 0777) != 0 && errno != EEXIST)
        return fail(directory, "create", "data", error);
    if (mkdirat(directory->fd, "wal", 0777) != 0 && errno != EEXIST)
        return fail(directory, "create", "wal", error);
    if (fsync(directory->fd) != 0) return fail(directory, "sync", "the directory", error);
    return MANTIS_OK;
}

static char *join_path(const char *path, const char *name) {
    char *joined = NULL;
    return asprintf(&joined, "%s/%s", path, name) < 0 ? NULL : joined;
}

mantis_status mp_directory_open(mp_directory *directory, const char *path, mantis_error *error) {
    mp_directory opened = {.fd = -1, .lock_fd = -1};
    mantis_status status = MANTIS_NOMEM;
    opened.path = realpath(path, NULL);
    if (!opened.path) {
        return mp_error_set_os(error, mp_fault_of_errno(errno), errno,
                               "store: cannot find directory '%.120s': %s", path, strerror(errno));
    }
    opened.data = join_path(opened.path, "data");
    opened.wal = join_path(opened.path, "wal");
    if (!opened.data || !opened.wal) {
        mp_error_set_os(error, status, ENOMEM, "store: out of memory");
        goto failed;
    }
    opened.fd = open(opened.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened.fd < 0) {
        status = fail(&opened, "open", "the directory", error);
        goto failed;
    }
    /* What is not ours is refused before a lock file is left in it. */
    status = check_marker(&opened, error);
    if (status == MANTIS_OK) status = lock_directory(&opened, error);
    /* Again, for what changed until the lock was ours. */
    opened.is_new = false;
    if (status == MANTIS_OK) status = check_marker(&opened, error);
    if (status == MANTIS_OK && opened.is_new) status = make_parts(&opened, error);
    if (status != MANTIS_OK) goto failed;
    *directory = opened;
    return MANTIS_OK;
failed:
    mp_directory_close(&opened);
    return status;
}

mantis_status mp_directory_mark(mp_directory *directory, mantis_error *error) {
    if (renameat(directory->fd, MARKER_NEW, directory->fd, MARKER) != 0)
        return fail(directory, "rename", MARKER_NEW, error);
    if (fsync(directory->fd) != 0) return fail(directory, "sync", "the directory", error);
    /* The directory's own name in its parent: without it the whole store could be lost. */
    int parent = openat(directory->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = parent < 0 || fsync(parent) == 0 || errno == EINVAL;
    mantis_status status = MANTIS_OK;
    if (!is_synced) status = fail(directory, "sync", "its parent directory", error);
    if (parent >= 0) close(parent);
    if (status == MANTIS_OK) directory->is_new = false;
    return status;
}

void mp_directory_close(mp_directory *directory) {
    if (!directory->path) return;
    if (directory->lock_fd >= 0) close(directory->lock_fd);
    if (directory->fd >= 0) close(directory->fd);
    free(directory->wal);
    free(directory->data);
    free(directory->path);
    *directory = (mp_directory){.fd = -1, .lock_fd = -1};
}

bool mp_directory_has_room(const mp_directory *directory, uint64_t want_bytes) {
    struct statvfs room;
    if (fstatvfs(directory->fd, &room) != 0) return false;
    if ((uint64_t)room.f_bavail * room.f_frsize < want_bytes) return false;
    /* Free blocks can be out of reach (quota), so try. */
    int fd = openat(directory->fd, PROBE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return false;
    char *bytes = malloc(PROBE_BYTES);
    if (bytes) memset(bytes, 0x5a, PROBE_BYTES);
    bool has_room = bytes && write(fd, bytes, PROBE_BYTES) == (ssize_t)PROBE_BYTES &&
                    fsync(fd) == 0;
    free(bytes);
    close(fd);
    unlinkat(directory->fd, PROBE_NAME, 0);
    return has_room;
}
