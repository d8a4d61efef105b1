/* The store against a model of it, by random operations from a seed.
 *
 * One thread: several handles, with transactions that overlap; a model of arrays says what each
 * call must answer, to the byte and to the version. The clock is planted; tables are written and
 * merged, the engine is exchanged, and the store is closed and opened, in between.
 *
 * Many threads: each write's version is noted, and with each transaction and compare-and-set what
 * it has read. Afterwards every one of them must have read what was there when it wrote: they could
 * have run one after the other.
 *
 * MANTIS_TEST_SEED=N runs with that seed alone; built with a memtable of 64 KiB. */
#include "store/lib.h"

#include "base/clock.h"

#include <pthread.h>

/* Syncs cost nothing here: there are many thousands of them, and what they are for is tested
 * elsewhere. */
int fdatasync(int fd) {
    (void)fd;
    return 0;
}

/* In the order of their bytes, many of them beginnings of others. */
static const char *const keys[] = {"a",   "a\x01", "a0",  "aa", "ab",    "aba", "abb", "ac",
                                   "b",   "b0",    "b1",  "ba", "bb",    "bba", "c",   "ca",
                                   "caa", "cab",   "cac", "cb", "c\xff", "d",   "e",   "\xff\xff"};
#define KEYS 24u
_Static_assert(sizeof keys / sizeof *keys == KEYS, "all keys are counted");

/* A value is known by a number, which it begins with. */
#define VALUE_BYTES_MAX 200u

static size_t make_value(uint64_t number, unsigned char out[VALUE_BYTES_MAX]) {
    size_t size = 8 + number * 31 % (VALUE_BYTES_MAX - 8);
    memset(out, (int)(number & 255), size);
    memcpy(out, &number, 8);
    return size;
}

static uint64_t number_of(const void *data, size_t size) {
    unsigned char expected[VALUE_BYTES_MAX];
    uint64_t number;
    check(size >= 8 && size <= VALUE_BYTES_MAX);
    memcpy(&number, data, 8);
    check(make_value(number, expected) == size && memcmp(data, expected, size) == 0);
    return number;
}

/* ---- the model ---- */

#define HANDLES 4u
#define BATCH_MAX 5u
#define BORN_MS INT64_C(4102444800000) /* in 2100: an open looks at the real clock */

/* What a key holds. */
typedef struct cell {
    bool is_set;
    uint64_t version, number;
    int64_t expires_ms; /* 0: never */
} cell;

typedef struct txn_model {
    bool is_open, is_doomed, is_snapshot;
    cell seen[KEYS], written[KEYS];
    bool is_read[KEYS], is_written[KEYS];
    uint64_t read[KEYS]; /* versions */
} txn_model;

typedef struct model {
    mp_random random;
    char path[FRESH_PATH_MAX]; /* "": in memory */
    mp_store *store;
    mantis_store *handles[HANDLES];
    cell cells[KEYS];
    txn_model txns[HANDLES];
    uint64_t version_next, number_next;
    uint64_t counts[16]; /* of outcomes, for the note at the end */
} model;

static bool is_there(const cell *held) {
    return held->is_set && (held->expires_ms == 0 || held->expires_ms > planted_ms);
}

static uint64_t version_held(const cell *held) { return is_there(held) ? held->version : 0; }

static uint32_t choose(model *all, uint32_t below) {
    return (uint32_t)mp_random_below(&all->random, below);
}

/* What a handle must see at a key. */
static cell *view(model *all, uint32_t h, uint32_t key) {
    txn_model *txn = &all->txns[h];
    if (!txn->is_open) return &all->cells[key];
    return txn->is_written[key] ? &txn->written[key] : &txn->seen[key];
}

static void note_read(model *all, uint32_t h, uint32_t key) {
    txn_model *txn = &all->txns[h];
    if (!txn->is_open || txn->is_snapshot || txn->is_written[key] || txn->is_read[key]) return;
    txn->is_read[key] = true;
    txn->read[key] = version_held(&txn->seen[key]);
}

/* ---- reading ---- */

static void check_found(const cell *expected, uint64_t version, int64_t expires_ms,
                        const void *data, size_t size) {
    check_equal(version, expected->version);
    check_equal(expires_ms, expected->expires_ms);
    check_equal(number_of(data, size), expected->number);
}

static void try_get(model *all, uint32_t h) {
    uint32_t key = choose(all, KEYS);
    mantis_value value = {0};
    mantis_status status = mantis_store_get(all->handles[h], keys[key], strlen(keys[key]), &value,
                                            NULL);
    if (all->txns[h].is_doomed) {
        check_equal(status, MANTIS_CONFLICT);
        return;
    }
    const cell *expected = view(all, h, key);
    check_equal(status, is_there(expected) ? MANTIS_OK : MANTIS_NOT_FOUND);
    if (status == MANTIS_OK)
        check_found(expected, value.version, value.expires_ms, value.data, value.size);
    mantis_value_free(&value);
    note_read(all, h, key);
}

static void try_exists(model *all, uint32_t h) {
    uint32_t key = choose(all, KEYS);
    bool found = false;
    mantis_status status = mp_handle_exists(all->handles[h], keys[key], strlen(keys[key]), &found,
                                            NULL);
    check_equal(status, all->txns[h].is_doomed ? MANTIS_CONFLICT : MANTIS_OK);
    if (status != MANTIS_OK) return;
    check_equal(found, is_there(view(all, h, key)));
    note_read(all, h, key);
}

typedef struct scan_check {
    model *all;
    uint32_t handle, next; /* the first key that can come */
    uint32_t seen, stop_after;
    const char *prefix;
} scan_check;

/* The first key from there on that must be seen, or KEYS. */
static uint32_t next_key(const scan_check *scan, uint32_t from) {
    for (uint32_t key = from; key < KEYS; key++)
        if (strncmp(keys[key], scan->prefix, strlen(scan->prefix)) == 0 &&
            is_there(view(scan->all, scan->handle, key)))
            return key;
    return KEYS;
}

static bool check_entry(const mantis_entry *entry, void *arg) {
    scan_check *scan = arg;
    uint32_t key = next_key(scan, scan->next);
    check(key < KEYS);
    if (entry->key_size != strlen(keys[key]) || memcmp(entry->key, keys[key], entry->key_size) != 0)
        tap_fail(__FILE__, __LINE__, "the scan came to '%.*s', not to '%s'", (int)entry->key_size,
                 (const char *)entry->key, keys[key]);
    check_found(view(scan->all, scan->handle, key), entry->version, entry->expires_ms, entry->value,
                entry->value_size);
    scan->next = key + 1;
    return ++scan->seen != scan->stop_after;
}

static void try_scan(model *all, uint32_t h) {
    static const char *const prefixes[] = {"", "a", "ab", "b", "c", "ca", "x", "\xff"};
    scan_check scan = {.all = all, .handle = h, .prefix = prefixes[choose(all, 8)]};
    uint32_t limit = choose(all, 5);
    mantis_cursor cursor = {0};
    while (!cursor.at_end) { /* from cursor to cursor, until the end */
        uint32_t before = scan.seen;
        scan.stop_after = choose(all, 3) ? 0 : scan.seen + 1 + choose(all, 3);
        mantis_status status = mp_handle_scan(all->handles[h], scan.prefix, strlen(scan.prefix),
                                              limit, &cursor, check_entry, &scan, NULL);
        check_equal(status, all->txns[h].is_doomed ? MANTIS_CONFLICT : MANTIS_OK);
        if (status != MANTIS_OK) break;
        check(limit == 0 || scan.seen - before <= limit);
        check(!cursor.at_end || next_key(&scan, scan.next) == KEYS);
        check(cursor.at_end || scan.seen > before);
    }
    mantis_cursor_free(&cursor);
}

/* ---- writing ---- */

/* Writes of this or that, with what they leave in the model. */
typedef struct made {
    mantis_write writes[BATCH_MAX];
    unsigned char values[BATCH_MAX][VALUE_BYTES_MAX];
    uint32_t keys[BATCH_MAX];
    cell cells[BATCH_MAX];
    uint32_t count;
} made;

static void make_writes(model *all, uint32_t count, made *out) {
    out->count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = out->keys[i] = choose(all, KEYS);
        uint64_t number = ++all->number_next;
        int64_t ttl_ms = choose(all, 3) ? 0 : 1 + choose(all, 60);
        bool is_delete = choose(all, 4) == 0;
        size_t size = make_value(number, out->values[i]);
        out->writes[i] = (mantis_write){keys[key], strlen(keys[key]),
                                        is_delete ? NULL : out->values[i], is_delete ? 0 : size,
                                        is_delete ? 0 : ttl_ms};
        out->cells[i] = (cell){.is_set = !is_delete,
                               .number = number,
                               .expires_ms = is_delete || !ttl_ms ? 0 : planted_ms + ttl_ms};
    }
}

static void apply_writes(model *all, const made *in) {
    for (uint32_t i = 0; i < in->count; i++) {
        all->cells[in->keys[i]] = in->cells[i];
        all->cells[in->keys[i]].version = all->version_next++;
    }
}

static void keep_writes(txn_model *txn, const made *in) {
    for (uint32_t i = 0; i < in->count; i++) {
        txn->is_written[in->keys[i]] = true;
        txn->written[in->keys[i]] = in->cells[i];
    }
}

static void try_write(model *all, uint32_t h) {
    made in;
    txn_model *txn = &all->txns[h];
    make_writes(all, 1 + (choose(all, 2) ? 0 : choose(all, BATCH_MAX)), &in);
    mantis_status status;
    if (choose(all, 3)) {
        status = mp_handle_write(all->handles[h], in.writes, in.count,
                                 choose(all, 4) ? MANTIS_DURABLE_DEFAULT : MANTIS_DURABLE_SYNCED,
                                 NULL);
    } else {
        mantis_commit commit = {.writes = in.writes, .count = in.count};
        status = submit_and_wait(all->handles[h], &commit);
        if (status == MANTIS_OK && !txn->is_open)
            check_equal(commit.version, all->version_next + in.count - 1);
    }
    if (txn->is_doomed) check_equal(status, MANTIS_CONFLICT);
    else check_equal(status, txn->is_open && txn->is_snapshot ? MANTIS_INVALID : MANTIS_OK);
    if (status == MANTIS_OK && txn->is_open) keep_writes(txn, &in);
    else if (status == MANTIS_OK) apply_writes(all, &in);
}

static void try_compare_and_set(model *all, uint32_t h) {
    made in;
    make_writes(all, 1, &in);
    uint64_t held = version_held(&all->cells[in.keys[0]]), version = 0, expected = held;
    if (choose(all, 3) == 0) expected = choose(all, 2) ? 0 : all->cells[in.keys[0]].version;
    mantis_status status;
    if (choose(all, 2)) {
        status = mp_handle_compare_and_set(all->handles[h], in.writes, expected, 0, &version, NULL);
    } else {
        mantis_commit commit = {.kind = MANTIS_COMMIT_COMPARE_AND_SET,
                                .writes = in.writes,
                                .count = 1,
                                .expected = expected};
        status = submit_and_wait(all->handles[h], &commit);
        version = commit.version;
    }
    if (all->txns[h].is_open) {
        check_equal(status, MANTIS_INVALID);
        return;
    }
    check_equal(status, expected == held ? MANTIS_OK : MANTIS_CONFLICT);
    all->counts[status == MANTIS_OK ? 0 : 1]++;
    if (status != MANTIS_OK) return;
    check_equal(version, in.writes[0].value ? all->version_next : 0);
    apply_writes(all, &in);
}

/* ---- transactions ---- */

static void try_begin(model *all, uint32_t h) {
    txn_model *txn = &all->txns[h];
    bool is_snapshot = choose(all, 3) == 0;
    mantis_status status = mp_handle_begin(
        all->handles[h], is_snapshot ? MANTIS_TRANSACTION_SNAPSHOT : MANTIS_TRANSACTION_WRITE, -1,
        NULL);
    check_equal(status, txn->is_open ? MANTIS_BUSY : MANTIS_OK);
    if (status != MANTIS_OK) return;
    *txn = (txn_model){.is_open = true, .is_snapshot = is_snapshot};
    memcpy(txn->seen, all->cells, sizeof txn->seen);
}

static bool has_conflict(const model *all, const txn_model *txn) {
    for (uint32_t key = 0; key < KEYS; key++)
        if (txn->is_read[key] && txn->read[key] != version_held(&all->cells[key])) return true;
    return false;
}

static void try_commit(model *all, uint32_t h) {
    txn_model *txn = &all->txns[h];
    mantis_commit commit = {.kind = MANTIS_COMMIT_TRANSACTION};
    mantis_status status = choose(all, 2) ? mp_handle_commit(all->handles[h], 0, NULL)
                                          : submit_and_wait(all->handles[h], &commit);
    mantis_status expected = MANTIS_OK;
    if (!txn->is_open) expected = MANTIS_INVALID;
    else if (txn->is_doomed || has_conflict(all, txn)) expected = MANTIS_CONFLICT;
    check_equal(status, expected);
    all->counts[status == MANTIS_OK ? 2 : status == MANTIS_CONFLICT ? 3 : 4]++;
    for (uint32_t key = 0; status == MANTIS_OK && key < KEYS; key++) {
        if (!txn->is_written[key]) continue;
        all->cells[key] = txn->written[key];
        all->cells[key].version = all->version_next++;
    }
    txn->is_open = txn->is_doomed = false;
}

static void try_rollback(model *all, uint32_t h) {
    check_equal(mp_handle_rollback(all->handles[h], NULL), MANTIS_OK);
    all->txns[h].is_open = all->txns[h].is_doomed = false;
}

/* ---- what happens below ---- */

static void open_all(model *all) {
    mantis_error error = {0};
    if (mp_store_open(&all->store, *all->path ? all->path : NULL, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "open: %s", error.text);
    plant_clock(all->store);
    for (uint32_t h = 0; h < HANDLES; h++) all->handles[h] = mp_handle_new(all->store, h % 2);
}

/* Close with transactions open, which roll back. */
static void close_all(model *all) {
    for (uint32_t h = 0; h < HANDLES; h++) {
        mp_handle_free(all->handles[h]);
        all->txns[h] = (txn_model){0};
    }
    mp_store_close(all->store);
}

static void exchange_engine(model *all) {
    mantis_error error = {.status = MANTIS_FULL, .text = "as if the disk was full"};
    mp_store_fence(all->store, MANTIS_FULL, &error);
    int64_t start_ns = mp_clock_now_ns();
    while (mp_store_check_fence(all->store, NULL) != MANTIS_OK) {
        check(mp_clock_now_ns() - start_ns < 20 * MP_NS_PER_S);
        usleep(500);
    }
    for (uint32_t h = 0; h < HANDLES; h++) all->txns[h].is_doomed = all->txns[h].is_open;
}

static void disturb(model *all) {
    bool on_disk = *all->path != 0;
    switch (choose(all, 100)) {
    case 0:
        if (on_disk) exchange_engine(all);
        break;
    case 1:
        if (!on_disk) break;
        close_all(all);
        open_all(all);
        break;
    case 2:
    case 3: rocksdb_compact_range(all->store->engine.db, NULL, 0, NULL, 0); break;
    case 4:
    case 5: check_equal(mp_engine_flush(&all->store->engine, NULL), MANTIS_OK); break;
    default: planted_ms += choose(all, 20); break;
    }
}

static void step(model *all) {
    uint32_t h = choose(all, HANDLES), what = choose(all, 100);
    if (what < 20) try_get(all, h);
    else if (what < 27) try_exists(all, h);
    else if (what < 37) try_scan(all, h);
    else if (what < 60) try_write(all, h);
    else if (what < 72) try_compare_and_set(all, h);
    else if (what < 81) try_begin(all, h);
    else if (what < 90) try_commit(all, h);
    else if (what < 92) try_rollback(all, h);
    else disturb(all);
}

static void run_model(bool in_memory, uint64_t seed, uint32_t steps) {
    static model all;
    all = (model){.version_next = 1};
    planted_ms = BORN_MS;
    if (!in_memory) snprintf(all.path, sizeof all.path, "%s", fresh_path("model"));
    mp_random_start(&all.random, seed);
    note("seed %" PRIu64 ", %s", seed, in_memory ? "in memory" : "on disk");
    open_all(&all);
    for (uint32_t i = 0; i < steps; i++) step(&all);
    for (uint32_t h = 0; h < HANDLES; h++) try_scan(&all, h);
    close_all(&all);
    if (!in_memory) remove_tree(all.path);
    note("compare-and-set: %" PRIu64 " done, %" PRIu64 " conflicts; commit: %" PRIu64
         " done, %" PRIu64 " conflicts",
         all.counts[0], all.counts[1], all.counts[2], all.counts[3]);
    check(all.counts[0] > 0 && all.counts[1] > 0 && all.counts[2] > 0 && all.counts[3] > 0);
}

TEST(the_store_answers_what_its_model_says) {
    const char *only = getenv("MANTIS_TEST_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, rounds = tap_is_long() ? 40 : 3;
    for (uint64_t seed = first; seed < first + (only ? 1 : rounds); seed++) {
        run_model(false, seed, 12000);
        run_model(true, seed, 8000);
    }
}

/* ---- many threads ---- */

#define THREADS 6u
#define LOGGED_MAX 16u /* keys that one operation reads */

/* One write that was applied. */
typedef struct write_log {
    uint64_t version, number;
    uint32_t key;
    bool is_delete;
} write_log;

/* What an operation had read when it was applied. */
typedef struct read_log {
    uint64_t at; /* the version of its first write; 0: it wrote nothing */
    uint32_t count;
    uint32_t keys[LOGGED_MAX];
    uint64_t versions[LOGGED_MAX], numbers[LOGGED_MAX];
} read_log;

typedef struct worker {
    mp_store *store;
    uint32_t number, operations;
    mp_random random;
    write_log *writes;
    read_log *reads;
    size_t writes_count, reads_count, writes_room, reads_room, conflicts;
} worker;

static void log_write(worker *self, uint32_t key, uint64_t version, uint64_t number, bool gone) {
    check(self->writes_count < self->writes_room);
    self->writes[self->writes_count++] = (write_log){version, number, key, gone};
}

static uint64_t read_key(mantis_store *handle, uint32_t key, read_log *log) {
    mantis_value value = {0};
    mantis_status status = mantis_store_get(handle, keys[key], strlen(keys[key]), &value, NULL);
    check(status == MANTIS_OK || status == MANTIS_NOT_FOUND);
    log->keys[log->count] = key;
    log->versions[log->count] = value.version;
    log->numbers[log->count] = status == MANTIS_OK ? number_of(value.data, value.size) : 0;
    log->count++;
    mantis_value_free(&value);
    return log->versions[log->count - 1];
}

static void keep_reads(worker *self, const read_log *log) {
    check(self->reads_count < self->reads_room);
    self->reads[self->reads_count++] = *log;
}

static mantis_write make_write(worker *self, uint32_t key, uint64_t number,
                               unsigned char value[VALUE_BYTES_MAX]) {
    size_t size = make_value(number, value);
    bool is_delete = mp_random_below(&self->random, 5) == 0;
    return (mantis_write){keys[key], strlen(keys[key]), is_delete ? NULL : value,
                          is_delete ? 0 : size, 0};
}

static void set_one(worker *self, mantis_store *handle, uint32_t key, uint64_t number) {
    unsigned char value[VALUE_BYTES_MAX];
    mantis_write write = make_write(self, key, number, value);
    mantis_commit commit = {.writes = &write, .count = 1};
    check_equal(submit_and_wait(handle, &commit), MANTIS_OK);
    log_write(self, key, commit.version, number, !write.value);
}

static void compare_one(worker *self, mantis_store *handle, uint32_t key, uint64_t number) {
    unsigned char value[VALUE_BYTES_MAX];
    read_log log = {0};
    uint64_t expected = read_key(handle, key, &log), version = 0;
    mantis_write write = make_write(self, key, number, value);
    write.value = value; /* a delete would not tell its version */
    write.value_size = make_value(number, value);
    mantis_status status = mp_handle_compare_and_set(handle, &write, expected, 0, &version, NULL);
    check(status == MANTIS_OK || status == MANTIS_CONFLICT);
    self->conflicts += status == MANTIS_CONFLICT;
    if (status != MANTIS_OK) return;
    log_write(self, key, version, number, false);
    log.at = version;
    keep_reads(self, &log);
}

static void run_txn(worker *self, mantis_store *handle, uint64_t number) {
    unsigned char value[VALUE_BYTES_MAX];
    bool is_written[KEYS] = {0}, is_read[KEYS] = {0}, is_delete[KEYS] = {0};
    read_log log = {0};
    uint32_t written = 0;
    check_equal(mp_handle_begin(handle, MANTIS_TRANSACTION_WRITE, -1, NULL), MANTIS_OK);
    for (uint32_t i = 0, count = 1 + (uint32_t)mp_random_below(&self->random, 8); i < count; i++) {
        uint32_t key = (uint32_t)mp_random_below(&self->random, KEYS);
        if (mp_random_below(&self->random, 3)) {
            if (!is_written[key] && !is_read[key]) read_key(handle, key, &log);
            is_read[key] = true;
        } else {
            mantis_write write = make_write(self, key, number, value);
            check_equal(mp_handle_write(handle, &write, 1, 0, NULL), MANTIS_OK);
            written += !is_written[key];
            is_written[key] = true;
            is_delete[key] = !write.value;
        }
    }
    mantis_commit commit = {.kind = MANTIS_COMMIT_TRANSACTION};
    mantis_status status = submit_and_wait(handle, &commit);
    check(status == MANTIS_OK || status == MANTIS_CONFLICT);
    self->conflicts += status == MANTIS_CONFLICT;
    if (status != MANTIS_OK) return;
    uint64_t version = log.at = written ? commit.version - written + 1 : 0;
    for (uint32_t key = 0; key < KEYS; key++)
        if (is_written[key]) log_write(self, key, version++, number, is_delete[key]);
    keep_reads(self, &log);
}

static void *work(void *arg) {
    worker *self = arg;
    mantis_store *handle = mp_handle_new(self->store, self->number % 2);
    for (uint64_t i = 1; i <= self->operations; i++) {
        uint64_t number = i * THREADS + self->number;
        uint32_t key = (uint32_t)mp_random_below(&self->random, KEYS);
        switch (mp_random_below(&self->random, 4)) {
        case 0: set_one(self, handle, key, number); break;
        case 1: compare_one(self, handle, key, number); break;
        default: run_txn(self, handle, number); break;
        }
    }
    mp_handle_free(handle);
    return NULL;
}

static int compare_writes(const void *left, const void *right) {
    uint64_t a = ((const write_log *)left)->version, b = ((const write_log *)right)->version;
    return (a > b) - (a < b);
}

/* What was read must be what the last write to the key before that place has left there. */
static void check_read(const write_log *writes, size_t end, const read_log *log, uint32_t i) {
    uint64_t version = 0, number = 0;
    for (size_t at = end; at-- > 0;) {
        if (writes[at].key != log->keys[i]) continue;
        if (!writes[at].is_delete) version = writes[at].version, number = writes[at].number;
        break;
    }
    if (version != log->versions[i] || number != log->numbers[i])
        tap_fail(__FILE__, __LINE__,
                 "a transaction that wrote version %" PRIu64 " had read '%s' as of version %" PRIu64
                 ", but %" PRIu64 " was there",
                 log->at, keys[log->keys[i]], log->versions[i], version);
}

static size_t find_version(const write_log *writes, size_t count, uint64_t version) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (writes[middle].version < version) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* One that only read must have read what was there at some one moment. */
static void check_moment(const write_log *writes, size_t count, const read_log *log) {
    uint64_t from = 0, until = UINT64_MAX;
    for (uint32_t i = 0; i < log->count; i++) {
        uint64_t begin = log->versions[i], end = UINT64_MAX;
        bool is_missing = begin == 0;
        if (is_missing) continue; /* there are several times at which it was */
        for (size_t at = find_version(writes, count, begin) + 1; at < count; at++) {
            if (writes[at].key != log->keys[i]) continue;
            end = writes[at].version;
            break;
        }
        from = begin > from ? begin : from;
        until = end < until ? end : until;
    }
    check(from < until);
}

static void check_history(worker *workers, size_t count) {
    size_t total = 0, conflicts = 0, reads = 0;
    for (uint32_t i = 0; i < count; i++) total += workers[i].writes_count;
    write_log *writes = calloc(total, sizeof *writes);
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(writes + at, workers[i].writes, workers[i].writes_count * sizeof *writes);
        at += workers[i].writes_count;
        conflicts += workers[i].conflicts;
        reads += workers[i].reads_count;
    }
    qsort(writes, total, sizeof *writes, compare_writes);
    for (size_t i = 1; i < total; i++) check(writes[i].version > writes[i - 1].version);
    for (uint32_t w = 0; w < count; w++)
        for (size_t r = 0; r < workers[w].reads_count; r++) {
            const read_log *log = &workers[w].reads[r];
            size_t end = log->at ? find_version(writes, total, log->at) : 0;
            for (uint32_t i = 0; log->at && i < log->count; i++) check_read(writes, end, log, i);
            if (!log->at) check_moment(writes, total, log);
        }
    note("%zu writes, %zu operations that had read, %zu conflicts", total, reads, conflicts);
    check(conflicts > 0);
    free(writes);
}

TEST(transactions_of_many_threads_could_have_run_one_after_the_other) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("history"));
    opened store = open_store(path, false);
    static worker workers[THREADS];
    pthread_t threads[THREADS];
    uint32_t operations = tap_is_long() ? 40000 : 4000;
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.store = store.store,
                              .number = i,
                              .operations = operations,
                              .writes_room = operations * 8,
                              .reads_room = operations};
        workers[i].writes = calloc(workers[i].writes_room, sizeof(write_log));
        workers[i].reads = calloc(workers[i].reads_room, sizeof(read_log));
        mp_random_start(&workers[i].random, i + 1);
        check(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    check_history(workers, THREADS);
    for (uint32_t i = 0; i < THREADS; i++) {
        free(workers[i].writes);
        free(workers[i].reads);
    }
    close_store(&store);
    remove_tree(path);
}

TAP_MAIN
