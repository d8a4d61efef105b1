/* Finding and syncing log files. */
#include "store/wal.h"

#include "base/error.h"
#include "store/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mantis_status mp_wal_open(mp_wal *wal, const char *path, mantis_error *error) {
    *wal = (mp_wal){.path = path};
    wal->locked.list = opendir(path);
    if (wal->locked.list) return MANTIS_OK;
    return mp_error_set_os(error, errno == ENOENT ? MANTIS_CORRUPT : mp_fault_of_errno(errno),
                           errno, "store: cannot read directory '%.150s': %s", path,
                           strerror(errno));
}

/* The number in a name like 000012.log, or 0: RocksDB's numbers begin with 1. */
static uint64_t number_of(const char *name) {
    char *end = NULL;
    if (name[0] < '0' || name[0] > '9') return 0;
    uint64_t number = strtoull(name, &end, 10);
    return strcmp(end, ".log") == 0 ? number : 0;
}

static int compare_files(const void *left, const void *right) {
    const mp_wal_file *a = left, *b = right;
    return (a->number > b->number) - (a->number < b->number);
}

/* The log files there are now, sorted; descriptors are carried over from the last list. */
static mantis_status list_files(mp_wal *wal, mp_wal_file *files, uint32_t *count) {
    *count = 0;
    rewinddir(wal->locked.list);
    errno = 0;
    for (struct dirent *entry; (entry = readdir(wal->locked.list));) {
        uint64_t number = number_of(entry->d_name);
        if (number == 0) continue;
        if (*count == MP_WAL_FILES_MAX) return MANTIS_IO;
        files[(*count)++] = (mp_wal_file){.number = number, .fd = -1};
    }
    if (errno) return MANTIS_IO;
    qsort(files, *count, sizeof *files, compare_files);
    return MANTIS_OK;
}

static void carry_over(mp_wal *wal, mp_wal_file *files, uint32_t count) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < wal->locked.files_count; i++) {
        mp_wal_file *old = &wal->locked.files[i];
        while (at < count && files[at].number < old->number) at++;
        if (at < count && files[at].number == old->number) files[at] = *old;
        else close(old->fd);
    }
}

static mantis_status fail(const mp_wal *wal, uint64_t number, mantis_error *error) {
    int saved = errno;
    return mp_error_set_os(error, mp_fault_of_errno(saved), saved,
                           "store: cannot sync '%.150s/%06llu.log': %s", wal->path,
                           (unsigned long long)number, strerror(saved));
}

/* Sync one file. Answers -1 with errno if that failed, 1 if it is new to us, otherwise 0. */
static int sync_file(mp_wal *wal, mp_wal_file *file, bool is_last) {
    if (file->is_final) return 0;
    bool is_new = file->fd < 0;
    if (is_new) {
        char name[32];
        snprintf(name, sizeof name, "%06llu.log", (unsigned long long)file->number);
        file->fd = openat(dirfd(wal->locked.list), name, O_RDONLY | O_CLOEXEC);
        if (file->fd < 0) return errno == ENOENT ? 0 : -1; /* gone: its data is in a table */
    }
    if (fdatasync(file->fd) != 0) return -1;
    file->is_final = !is_last;
    return is_new;
}

static mantis_status sync_locked(mp_wal *wal, mantis_error *error) {
    mp_wal_file files[MP_WAL_FILES_MAX];
    uint32_t count = 0, kept = 0;
    if (list_files(wal, files, &count) != MANTIS_OK)
        return mp_error_set_os(error, MANTIS_IO, errno, "store: cannot list '%.150s': %s",
                               wal->path, errno ? strerror(errno) : "too many log files");
    carry_over(wal, files, count);
    bool has_new = false;
    mantis_status status = MANTIS_OK;
    /* The oldest first: a log must never be durable while its predecessor is not. */
    for (uint32_t i = 0; i < count && status == MANTIS_OK; i++) {
        int rc = sync_file(wal, &files[i], i + 1 == count);
        if (rc < 0) status = fail(wal, files[i].number, error);
        has_new = has_new || rc == 1;
    }
    if (status == MANTIS_OK && has_new && fsync(dirfd(wal->locked.list)) != 0)
        status = fail(wal, 0, error);
    for (uint32_t i = 0; i < count; i++) {
        if (files[i].fd >= 0) wal->locked.files[kept++] = files[i];
    }
    wal->locked.files_count = kept;
    return status;
}

mantis_status mp_wal_sync(mp_wal *wal, mantis_error *error) {
    mp_lock_acquire(&wal->lock);
    mantis_status status = sync_locked(wal, error);
    mp_lock_release(&wal->lock);
    return status;
}

void mp_wal_close(mp_wal *wal) {
    if (!wal->locked.list) return;
    for (uint32_t i = 0; i < wal->locked.files_count; i++) close(wal->locked.files[i].fd);
    closedir(wal->locked.list);
    *wal = (mp_wal){0};
}

uint64_t mp_wal_size_bytes(mp_wal *wal) {
    uint64_t total = 0;
    mp_lock_acquire(&wal->lock);
    rewinddir(wal->locked.list);
    for (struct dirent *entry; (entry = readdir(wal->locked.list));) {
        struct stat status;
        if (number_of(entry->d_name) != 0 &&
            fstatat(dirfd(wal->locked.list), entry->d_name, &status, 0) == 0)
            total += (uint64_t)status.st_size;
    }
    mp_lock_release(&wal->lock);
    return total;
}
