/* RocksDB's options, and its calls.
 *
 * The options that decide speed, for whoever wants to compare with bare RocksDB (all others are
 * RocksDB's defaults; set in make_options()):
 *
 *     write_buffer_size          16 MiB       max_background_jobs      2
 *     block cache (LRU)          256 MiB      bloom filter             10 bits a key, full
 *     block_size                 4 KiB        data block hash index    on, format_version 5
 *     compression                none         allow_fallocate          off
 *     wal_recovery_mode          point in time
 *
 * Reads use default read options (checksums verified), writes default write options: no sync, but
 * the log reaches the kernel before a write returns. */
#include "store/engine.h"

#include "base/clock.h"
#include "base/error.h"
#include "store/fault.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MP_ENGINE_BUFFER_BYTES /* smaller in tests: flushes and compactions all the time */
#define MP_ENGINE_BUFFER_BYTES (16 << 20)
#endif
/* Not larger: what it holds is read again at an open after a crash, 0.4 s for 16 MiB. */
#define WRITE_BUFFER_BYTES ((uint64_t)MP_ENGINE_BUFFER_BYTES)
#define WRITE_BUFFER_BYTES_MAX ((uint64_t)256 << 20) /* after a full disk, until the next open */
#define CACHE_BYTES ((size_t)256 << 20)
#define BLOOM_BITS 10
#define BLOCK_BYTES 4096
#define MANIFEST_PREALLOCATION_BYTES 4096
#define INFO_LOG_FATAL 4
#define SMALL_RECORD_BYTES 1024u

/* What the C interface has no function for.
 * avoid_flush_during_shutdown: closing writes no table, so it works on a full disk.
 * max_bgerror_resume_count: RocksDB must not try again on its own what has failed; we reopen.
 * allow_fallocate: an idle store should not hold 18 MiB for a log to come. */
static const char more_options[] = "avoid_flush_during_shutdown=true;"
                                   "max_bgerror_resume_count=0;"
                                   "allow_fallocate=false;";

/* For MP_ENGINE_REOPEN alone: opening writes no table, so it works on a disk that is almost full.
 * Other opens bring what the logs hold into a table, so that old logs are done with (R1). */
static const char reopen_options[] = "avoid_flush_during_recovery=true;";

mantis_status mp_engine_fault(char *message, const char *doing, mantis_error *error) {
    mantis_status status = mp_fault_of_text(message);
    const char *advice = status == MANTIS_CORRUPT ? "; restore the directory from a copy"
                         : status == MANTIS_FULL  ? "; make room"
                                                  : "";
    mp_error_set(error, status, "store: cannot %s: %.180s%s", doing, message, advice);
    rocksdb_free(message);
    return status;
}

static void set_table_options(mp_engine *engine, rocksdb_options_t *options) {
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_block_cache(table, engine->cache);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static mantis_status add_options(rocksdb_options_t *base, const char *text, rocksdb_options_t **out,
                                 mantis_error *error) {
    char *message = NULL;
    *out = rocksdb_options_create();
    rocksdb_get_options_from_string(base, text, *out, &message);
    return message ? mp_engine_fault(message, "set RocksDB's options", error) : MANTIS_OK;
}

static mantis_status make_options(mp_engine *engine, const mp_directory *directory,
                                  mantis_error *error) {
    rocksdb_options_t *base = rocksdb_options_create();
    set_table_options(engine, base);
    rocksdb_options_set_write_buffer_size(base, WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_background_jobs(base, 2);
    rocksdb_options_set_compression(base, rocksdb_no_compression);
    rocksdb_options_set_wal_recovery_mode(base, rocksdb_point_in_time_recovery);
    rocksdb_options_set_manifest_preallocation_size(base, MANIFEST_PREALLOCATION_BYTES);
    rocksdb_options_set_info_log_level(base, INFO_LOG_FATAL);
    rocksdb_options_set_stats_dump_period_sec(base, 0);
    rocksdb_options_set_stats_persist_period_sec(base, 0);
    rocksdb_options_set_compaction_filter(base, engine->filter);
    if (engine->env) rocksdb_options_set_env(base, engine->env);
    if (directory) rocksdb_options_set_wal_dir(base, directory->wal);
    mantis_status status = add_options(base, more_options, &engine->options, error);
    if (status == MANTIS_OK)
        status = add_options(engine->options, reopen_options, &engine->reopen_options, error);
    rocksdb_options_destroy(base);
    return status;
}

/* ---- what is past its time ---- */

static void forget_nothing(void *engine) { (void)engine; }

static const char *name_filter(void *engine) {
    (void)engine;
    return "mantis-expiry";
}

/* RocksDB merges tables, and asks of the newest record of each key whether it can go. It goes for
 * snapshots, too: they do not show it any more either. */
static unsigned char is_past(void *engine, int level, const char *key, size_t key_size,
                             const char *data, size_t size, char **new_data, size_t *new_size,
                             unsigned char *is_changed) {
    (void)level;
    (void)key;
    (void)key_size;
    (void)new_data;
    (void)new_size;
    (void)is_changed;
    mp_record record;
    return mp_record_read(data, size, &record) && mp_engine_is_expired(engine, &record);
}

/* ---- open and close ---- */

mantis_status mp_engine_init(mp_engine *engine, const mp_directory *directory,
                             mantis_error *error) {
    *engine = (mp_engine){.is_in_memory = directory == NULL, .wall_ms = mp_clock_wall_ms};
    engine->filter = rocksdb_compactionfilter_create(engine, forget_nothing, is_past, name_filter);
    engine->cache = rocksdb_cache_create_lru(CACHE_BYTES);
    if (!directory) engine->env = rocksdb_create_mem_env();
    engine->read = rocksdb_readoptions_create();
    engine->write = rocksdb_writeoptions_create();
    if (!directory) rocksdb_writeoptions_disable_WAL(engine->write, 1);
    mantis_status status = make_options(engine, directory, error);
    if (status != MANTIS_OK) mp_engine_finish(engine);
    return status;
}

/* RocksDB insists on an info log of its own, writes a page of options to it at each open whatever
 * its level, and aborts the process if that write fails (an assertion of Debian's build). So it
 * gets one off the store's disk, with a level at which nothing more is written, and the file is
 * removed as soon as RocksDB has it open. The name is the store's, whose lock we hold: what a
 * killed process left behind is used again. */
static const char *const log_places[] = {"/dev/shm", "/run", "/tmp", NULL};

static bool is_our_directory(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
           (status.st_mode & 0777) == 0700;
}

static bool make_log_directory(const mp_directory *directory, char *path, size_t size) {
    struct stat status;
    if (fstat(directory->fd, &status) != 0) return false;
    for (uint32_t i = 0; log_places[i]; i++) {
        snprintf(path, size, "%s/mantis-log-%llx-%llx", log_places[i],
                 (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
        if (mkdir(path, 0700) == 0 || is_our_directory(path)) return true;
    }
    path[0] = 0;
    return false;
}

static void remove_log_directory(const char *path) {
    DIR *list = opendir(path);
    if (!list) return;
    for (struct dirent *entry; (entry = readdir(list));) unlinkat(dirfd(list), entry->d_name, 0);
    closedir(list);
    rmdir(path);
}

static mantis_status open_database(mp_engine *engine, const mp_directory *directory,
                                   mp_engine_mode mode, rocksdb_options_t *options,
                                   mantis_error *error) {
    char log_path[96] = "";
    bool has_log = directory && make_log_directory(directory, log_path, sizeof log_path);
    rocksdb_options_set_db_log_dir(options, log_path);
    const char *path = directory ? directory->data : "/memory";
    char *message = NULL;
    if (mode == MP_ENGINE_READ) engine->db = rocksdb_open_for_read_only(options, path, 0, &message);
    else engine->db = rocksdb_open(options, path, &message);
    if (has_log) remove_log_directory(log_path);
    return message ? mp_engine_fault(message, "open the store", error) : MANTIS_OK;
}

mantis_status mp_engine_open(mp_engine *engine, const mp_directory *directory, mp_engine_mode mode,
                             uint64_t wal_bytes, mantis_error *error) {
    rocksdb_options_t *options = mode == MP_ENGINE_REOPEN ? engine->reopen_options
                                                          : engine->options;
    uint64_t buffer_bytes = WRITE_BUFFER_BYTES;
    /* A memtable takes about twice the room of its log records. */
    if (mode == MP_ENGINE_REOPEN && wal_bytes * 2 > buffer_bytes) buffer_bytes = wal_bytes * 2;
    if (buffer_bytes > WRITE_BUFFER_BYTES_MAX) buffer_bytes = WRITE_BUFFER_BYTES_MAX;
    engine->has_large_buffer = buffer_bytes > WRITE_BUFFER_BYTES;
    rocksdb_options_set_write_buffer_size(options, buffer_bytes);
    rocksdb_options_set_create_if_missing(options, mode == MP_ENGINE_CREATE);
    return open_database(engine, directory, mode, options, error);
}

void mp_engine_close(mp_engine *engine) {
    if (engine->db) rocksdb_close(engine->db);
    engine->db = NULL;
}

void mp_engine_finish(mp_engine *engine) {
    mp_engine_close(engine);
    if (engine->options) rocksdb_options_destroy(engine->options);
    if (engine->reopen_options) rocksdb_options_destroy(engine->reopen_options);
    if (engine->filter) rocksdb_compactionfilter_destroy(engine->filter);
    if (engine->read) rocksdb_readoptions_destroy(engine->read);
    if (engine->write) rocksdb_writeoptions_destroy(engine->write);
    if (engine->cache) rocksdb_cache_destroy(engine->cache);
    if (engine->env) rocksdb_env_destroy(engine->env);
    *engine = (mp_engine){0};
}

/* ---- reading ---- */

mantis_status mp_engine_refuse_record(mantis_error *error) {
    return mp_error_set(error, MANTIS_CORRUPT,
                        "store: a stored value is not what was written; restore the directory "
                        "from a copy");
}

mantis_status mp_engine_read(const mp_engine *engine, const rocksdb_readoptions_t *options,
                             const void *key, size_t key_size, rocksdb_pinnableslice_t **pin,
                             mp_record *record, mantis_error *error) {
    char *message = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned(engine->db, options, key, key_size,
                                                        &message);
    if (message) return mp_engine_fault(message, "read", error);
    size_t size = 0;
    const char *data = found ? rocksdb_pinnableslice_value(found, &size) : NULL;
    mantis_status status = MANTIS_OK;
    if (found && !mp_record_read(data, size, record)) status = mp_engine_refuse_record(error);
    else if (!found || mp_engine_is_expired(engine, record)) status = MANTIS_NOT_FOUND;
    if (status == MANTIS_OK) *pin = found;
    else rocksdb_pinnableslice_destroy(found);
    return status;
}

/* ---- writing ---- */

/* The record goes into the batch in one piece: a small one is put together here, a large one is not
 * copied twice. */
static void put_record(rocksdb_writebatch_t *writes, const mantis_write *write, uint64_t version,
                       int64_t born_ms) {
    unsigned char small[SMALL_RECORD_BYTES];
    size_t head_size = mp_record_write_head(small, version,
                                            write->ttl_ms ? born_ms + write->ttl_ms : 0);
    if (head_size + write->value_size <= sizeof small) {
        if (write->value_size > 0) memcpy(small + head_size, write->value, write->value_size);
        rocksdb_writebatch_put(writes, write->key, write->key_size, (const char *)small,
                               head_size + write->value_size);
        return;
    }
    const char *keys[] = {write->key}, *values[] = {(const char *)small, write->value};
    size_t key_sizes[] = {write->key_size}, value_sizes[] = {head_size, write->value_size};
    rocksdb_writebatch_putv(writes, 1, keys, key_sizes, 2, values, value_sizes);
}

void mp_batch_add(mp_batch *batch, const mantis_write *write, uint64_t version, int64_t born_ms) {
    if (!batch->writes) batch->writes = rocksdb_writebatch_create();
    if (write->value) put_record(batch->writes, write, version, born_ms);
    else rocksdb_writebatch_delete(batch->writes, write->key, write->key_size);
}

static mantis_status write_batch(mp_engine *engine, rocksdb_writebatch_t *writes,
                                 mantis_error *error) {
    char *message = NULL;
    rocksdb_write(engine->db, engine->write, writes, &message);
    return message ? mp_engine_fault(message, "write", error) : MANTIS_OK;
}

mantis_status mp_engine_write(mp_engine *engine, mp_batch *batch, mantis_error *error) {
    if (!batch->writes || rocksdb_writebatch_count(batch->writes) == 0) return MANTIS_OK;
    size_t size = 0;
    rocksdb_writebatch_data(batch->writes, &size);
    mantis_status status = write_batch(engine, batch->writes, error);
    if (size > batch->kept_bytes) mp_batch_finish(batch);
    else rocksdb_writebatch_clear(batch->writes);
    return status;
}

void mp_batch_finish(mp_batch *batch) {
    if (batch->writes) rocksdb_writebatch_destroy(batch->writes);
    batch->writes = NULL;
}

/* ---- what goes on behind ---- */

bool mp_engine_is_busy(mp_engine *engine) {
    static const char *const works[] = {"rocksdb.mem-table-flush-pending",
                                        "rocksdb.num-running-flushes",
                                        "rocksdb.num-running-compactions", NULL};
    uint64_t sum = 0;
    for (uint32_t i = 0; works[i]; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int(engine->db, works[i], &value) == 0) sum += value;
    }
    return sum > 0;
}

mantis_status mp_engine_check(mp_engine *engine, mantis_error *error) {
    uint64_t errors = 0;
    if (rocksdb_property_int(engine->db, "rocksdb.background-errors", &errors) != 0 || errors == 0)
        return MANTIS_OK;
    /* What it was, RocksDB only says to one who writes. If it takes a write still, a compaction has
     * failed for want of room: others are retried by RocksDB, or refuse writes. */
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
    mantis_status status = write_batch(engine, nothing, error);
    rocksdb_writebatch_destroy(nothing);
    if (status != MANTIS_OK) return status;
    return mp_error_set(error, MANTIS_FULL, "store: tables could not be merged; make room");
}

void mp_engine_shrink_buffer(mp_engine *engine) {
    char bytes[24], *message = NULL;
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)WRITE_BUFFER_BYTES);
    const char *key = "write_buffer_size", *value = bytes;
    rocksdb_set_options(engine->db, 1, &key, &value, &message);
    engine->has_large_buffer = message != NULL;
    rocksdb_free(message);
}

mantis_status mp_engine_flush(mp_engine *engine, mantis_error *error) {
    char *message = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush(engine->db, options, &message);
    rocksdb_flushoptions_destroy(options);
    return message ? mp_engine_fault(message, "write a table", error) : MANTIS_OK;
}
