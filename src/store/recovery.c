/* Reading RocksDB's log format: files of 32 KiB blocks; a record is one or more fragments of
 * {checksum 4, length 2, type 1} and bytes, none of which crosses a block. A record of a log begins
 * with {sequence number 8, count 4}; one of a manifest is a list of tags and values. */
#include "store/recovery.h"

#include "base/bytes.h"
#include "base/error.h"
#include "store/crc32c.h"
#include "store/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_SIZE 32768u
#define HEAD_SIZE 7u
#define CHECKSUM_MASK 0xA282EAD8u
#define RECORD_HEAD_SIZE 12u
#define LOGS_MAX 4096u
#define BEGINNING_MAX 256u /* of a manifest's record: what we want stands at its beginning */

enum fragment { FRAGMENT_FULL = 1, FRAGMENT_FIRST, FRAGMENT_MIDDLE, FRAGMENT_LAST };
enum tag { TAG_COMPARATOR = 1, TAG_LOG = 2, TAG_NEXT_FILE = 3, TAG_SEQUENCE = 4, TAG_PREVIOUS = 9 };
#define TAG_DATABASE_ID 8193u

/* A file read from its beginning to the first thing that is not a whole record. */
typedef struct log_reader {
    int fd;
    unsigned char block[BLOCK_SIZE];
    size_t block_size;
    size_t at;          /* in block */
    uint64_t block_at;  /* of block in the file */
    uint64_t valid_end; /* of the last whole record in the file */
    bool has_unknown;   /* stopped at a sound fragment of an unknown type */
    /* the beginning of the record that was read last */
    unsigned char beginning[BEGINNING_MAX];
    size_t beginning_size;
    uint64_t record_size;
} log_reader;

static uint32_t get_u32(const unsigned char *in) {
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static bool read_block(log_reader *reader) {
    reader->block_at += reader->block_size;
    reader->at = reader->block_size = 0;
    while (reader->block_size < BLOCK_SIZE) {
        ssize_t n = pread(reader->fd, reader->block + reader->block_size,
                          BLOCK_SIZE - reader->block_size,
                          (off_t)(reader->block_at + reader->block_size));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        reader->block_size += (size_t)n;
    }
    return reader->block_size > 0;
}

/* The next fragment's type, or 0 if there is none that is whole. */
static int read_fragment(log_reader *reader, const unsigned char **data, size_t *size) {
    if (BLOCK_SIZE - reader->at < HEAD_SIZE || reader->at == reader->block_size) {
        /* what is left of a block is too small for a head, and filled with zeros */
        if (reader->block_size > 0 && reader->block_size < BLOCK_SIZE) return 0;
        if (!read_block(reader)) return 0;
    }
    const unsigned char *head = reader->block + reader->at;
    if (reader->block_size - reader->at < HEAD_SIZE) return 0;
    size_t length = (size_t)head[4] | (size_t)head[5] << 8;
    if (reader->block_size - reader->at - HEAD_SIZE < length) return 0;
    uint32_t crc = mp_crc32c_add(0, head + 6, 1 + length);
    uint32_t masked = ((crc >> 15) | (crc << 17)) + CHECKSUM_MASK;
    if (masked != get_u32(head)) return 0;
    reader->at += HEAD_SIZE + length;
    *data = head + HEAD_SIZE;
    *size = length;
    reader->has_unknown = head[6] < FRAGMENT_FULL || head[6] > FRAGMENT_LAST;
    return reader->has_unknown ? 0 : head[6];
}

static void add_to_beginning(log_reader *reader, const unsigned char *data, size_t size) {
    size_t room = sizeof reader->beginning - reader->beginning_size;
    size_t step = size < room ? size : room;
    memcpy(reader->beginning + reader->beginning_size, data, step);
    reader->beginning_size += step;
    reader->record_size += size;
}

/* Read one record. False: there is no whole one any more. */
static bool read_record(log_reader *reader) {
    bool is_inside = false;
    reader->beginning_size = 0;
    reader->record_size = 0;
    for (;;) {
        const unsigned char *data;
        size_t size;
        int type = read_fragment(reader, &data, &size);
        bool is_first = type == FRAGMENT_FULL || type == FRAGMENT_FIRST;
        if (type == 0 || is_first == is_inside) return false;
        add_to_beginning(reader, data, size);
        is_inside = true;
        if (type == FRAGMENT_FULL || type == FRAGMENT_LAST) break;
    }
    reader->valid_end = reader->block_at + reader->at;
    return true;
}

static log_reader *open_reader(int directory_fd, const char *name) {
    log_reader *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    made->fd = openat(directory_fd, name, O_RDWR | O_CLOEXEC);
    if (made->fd >= 0) return made;
    free(made);
    return NULL;
}

static void close_reader(log_reader *reader) {
    if (!reader) return;
    close(reader->fd);
    free(reader);
}

/* ---- the manifest ---- */

typedef struct log_standing {
    uint64_t log;      /* older logs are in tables already */
    uint64_t sequence; /* of the last write that the tables may hold */
} log_standing;

static bool read_varint(const unsigned char **at, const unsigned char *end, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

/* An edit begins with its numbers, in this order; what follows, files, is not for us. */
static void read_edit(const unsigned char *at, size_t size, log_standing *out) {
    const unsigned char *end = at + size;
    for (uint64_t tag, value; read_varint(&at, end, &tag) && read_varint(&at, end, &value);) {
        if (tag == TAG_COMPARATOR || tag == TAG_DATABASE_ID) {
            if (value > (uint64_t)(end - at)) return;
            at += value;
        } else if (tag == TAG_LOG) {
            if (value > out->log) out->log = value;
        } else if (tag == TAG_SEQUENCE) {
            if (value > out->sequence) out->sequence = value;
        } else if (tag != TAG_NEXT_FILE && tag != TAG_PREVIOUS) {
            return;
        }
    }
}

/* False: the manifest cannot be read; RocksDB will say what is wrong with it. */
static bool read_manifest(const mp_directory *directory, log_standing *out) {
    char name[64] = "data/";
    int fd = openat(directory->fd, "data/CURRENT", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, name + 5, sizeof name - 6);
    close(fd);
    if (length <= 1 || name[5 + length - 1] != '\n') return false;
    name[5 + length - 1] = 0;
    log_reader *manifest = open_reader(directory->fd, name);
    if (!manifest) return false;
    bool found = false;
    while (read_record(manifest)) {
        read_edit(manifest->beginning, manifest->beginning_size, out);
        found = true;
    }
    close_reader(manifest);
    return found;
}

/* ---- the logs ---- */

typedef struct log_line {
    int fd;         /* of the directory */
    uint64_t next;  /* the sequence number that has to come next */
    bool has_begun; /* a record was seen: from now on next must be met exactly */
    bool is_broken; /* there was a gap: nothing after it counts */
} log_line;

static mantis_status fail(const char *doing, uint64_t number, mantis_error *error) {
    int saved = errno;
    return mp_error_set_os(error, mp_fault_of_errno(saved), saved,
                           "store: cannot %s log %06llu: %s", doing, (unsigned long long)number,
                           strerror(saved));
}

static mantis_status set_aside(const log_line *line, uint64_t number, mantis_error *error) {
    char from[32], to[32];
    snprintf(from, sizeof from, "%06llu.log", (unsigned long long)number);
    snprintf(to, sizeof to, "%06llu.lost", (unsigned long long)number);
    return renameat(line->fd, from, line->fd, to) == 0 ? MANTIS_OK : fail("rename", number, error);
}

/* Follow the writes in one log as long as they are consecutive. */
static void follow(log_line *line, log_reader *log) {
    uint64_t end = 0;
    while (read_record(log)) {
        if (log->record_size < RECORD_HEAD_SIZE) break;
        uint64_t sequence = mp_bytes_get_u64(log->beginning);
        uint64_t count = get_u32(log->beginning + 8);
        if (line->has_begun ? sequence != line->next : sequence > line->next) {
            line->is_broken = true;
            break;
        }
        line->has_begun = true;
        line->next = sequence + count;
        end = log->valid_end;
    }
    log->valid_end = end;
}

static mantis_status check_log(log_line *line, uint64_t number, mantis_error *error) {
    char name[32];
    if (line->is_broken) return set_aside(line, number, error);
    snprintf(name, sizeof name, "%06llu.log", (unsigned long long)number);
    log_reader *log = open_reader(line->fd, name);
    struct stat status;
    if (!log || fstat(log->fd, &status) != 0) {
        close_reader(log);
        return fail("read", number, error);
    }
    follow(line, log);
    mantis_status result = MANTIS_OK;
    if (log->has_unknown)
        result = mp_error_set(error, MANTIS_UNSUPPORTED,
                              "store: log %06llu has a record of an unknown kind; use the version "
                              "that wrote it",
                              (unsigned long long)number);
    else if (line->is_broken && log->valid_end == 0) result = set_aside(line, number, error);
    else if (log->valid_end < (uint64_t)status.st_size &&
             (ftruncate(log->fd, (off_t)log->valid_end) != 0 || fsync(log->fd) != 0))
        result = fail("cut off", number, error);
    close_reader(log);
    return result;
}

static int compare_numbers(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The numbers of the logs that RocksDB will read, in order. */
static uint32_t list_logs(DIR *list, uint64_t oldest, uint64_t numbers[LOGS_MAX]) {
    uint32_t count = 0;
    for (struct dirent *entry; count < LOGS_MAX && (entry = readdir(list));) {
        char *end = NULL;
        uint64_t number = strtoull(entry->d_name, &end, 10);
        if (end == entry->d_name || strcmp(end, ".log") != 0 || number < oldest) continue;
        numbers[count++] = number;
    }
    qsort(numbers, count, sizeof *numbers, compare_numbers);
    return count;
}

mantis_status mp_recovery_run(const mp_directory *directory, mantis_error *error) {
    log_standing standing = {0};
    if (!read_manifest(directory, &standing)) return MANTIS_OK;
    DIR *list = opendir(directory->wal);
    if (!list)
        return mp_error_set_os(error, MANTIS_CORRUPT, errno,
                               "store: cannot read directory '%.150s': %s; restore the directory "
                               "from a copy",
                               directory->wal, strerror(errno));
    uint64_t numbers[LOGS_MAX];
    uint32_t count = list_logs(list, standing.log, numbers);
    log_line line = {.fd = dirfd(list), .next = standing.sequence + 1};
    mantis_status status = MANTIS_OK;
    for (uint32_t i = 0; i < count && status == MANTIS_OK; i++)
        status = check_log(&line, numbers[i], error);
    if (status == MANTIS_OK && line.is_broken && fsync(dirfd(list)) != 0)
        status = fail("sync the directory of", numbers[0], error);
    closedir(list);
    return status;
}
