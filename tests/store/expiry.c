/* Time to live: an expired key is missing for everyone at once, in every way of asking; what is
 * expired goes in the end; and the bytes that say when. The clock is planted, but where it must be
 * the real one. */
#include "store/lib.h"

#include "base/bytes.h"
#include "store/record.h"

#include <pthread.h>

#define BORN_MS INT64_C(1700000000000)

static void set_for(mantis_store *handle, const char *key, const char *value, int64_t ttl_ms) {
    mantis_write write = {key, strlen(key), value, strlen(value), ttl_ms};
    mantis_error error = {0};
    if (mp_handle_write(handle, &write, 1, MANTIS_DURABLE_DEFAULT, &error) != MANTIS_OK)
        tap_fail(__FILE__, __LINE__, "set %s: %s", key, error.text);
}

static int64_t expiry_of(mantis_store *handle, const char *key) {
    mantis_value value = {0};
    check_equal(mantis_store_get(handle, key, strlen(key), &value, NULL), MANTIS_OK);
    int64_t expires_ms = value.expires_ms;
    mantis_value_free(&value);
    return expires_ms;
}

static int64_t real_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- for everyone at once ---- */

#define WATCHERS 6

static bool count_entry(const mantis_entry *entry, void *arg) {
    (void)entry;
    ++*(int *)arg;
    return true;
}

/* In how many of the ways of asking is the key there? */
static int count_ways(mantis_store *handle) {
    bool is_there = false;
    mantis_value value = {0};
    int seen = 0, all = 0;
    all += mantis_store_get(handle, "key", 3, &value, NULL) == MANTIS_OK;
    mantis_value_free(&value);
    check_equal(mp_handle_exists(handle, "key", 3, &is_there, NULL), MANTIS_OK);
    all += is_there;
    check_equal(mp_handle_scan(handle, "k", 1, 0, NULL, count_entry, &seen, NULL), MANTIS_OK);
    return all + seen;
}

typedef struct watcher {
    mp_store *store;
    pthread_barrier_t *barrier;
    int kind; /* 0 and 1: outside of a transaction, with interval and group; else in one */
} watcher;

static void *watch(void *arg) {
    watcher *self = arg;
    mantis_store *handle = mp_handle_new(self->store, self->kind == 1);
    if (self->kind >= 2)
        check_equal(
            mp_handle_begin(handle, self->kind % 2 ? MANTIS_TRANSACTION_SNAPSHOT : 0, -1, NULL),
            MANTIS_OK);
    for (int phase = 0; phase < 3; phase++) {
        pthread_barrier_wait(self->barrier); /* the clock stands */
        check_equal(count_ways(handle), phase < 2 ? 3 : 0);
        pthread_barrier_wait(self->barrier);
    }
    mp_handle_free(handle);
    return NULL;
}

TEST(an_expired_key_is_missing_for_everyone_at_once) {
    opened store = open_store(fresh_path("expiry"), false);
    plant_clock(store.store);
    planted_ms = BORN_MS;
    set_for(store.handle, "key", "value", 1000);
    check_equal(expiry_of(store.handle, "key"), BORN_MS + 1000);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, WATCHERS + 1);
    pthread_t threads[WATCHERS];
    watcher watchers[WATCHERS];
    for (int i = 0; i < WATCHERS; i++) {
        watchers[i] = (watcher){store.store, &barrier, i};
        check(pthread_create(&threads[i], NULL, watch, &watchers[i]) == 0);
    }
    static const int64_t ages_ms[] = {0, 999, 1000};
    for (int phase = 0; phase < 3; phase++) {
        planted_ms = BORN_MS + ages_ms[phase];
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    for (int i = 0; i < WATCHERS; i++) pthread_join(threads[i], NULL);
    /* for a compare-and-set, too */
    mantis_write write = {"key", 3, "new", 3, 0};
    uint64_t made = 0;
    check_equal(mp_handle_compare_and_set(store.handle, &write, 1, 0, &made, NULL),
                MANTIS_CONFLICT);
    check_equal(mp_handle_compare_and_set(store.handle, &write, 0, 0, &made, NULL), MANTIS_OK);
    check_equal(expiry_of(store.handle, "key"), 0);
    close_store(&store);
}

TEST(each_write_says_anew_how_long_its_key_lives) {
    for (int group = 0; group < 2; group++) {
        opened store = open_store(fresh_path("anew"), group);
        plant_clock(store.store);
        planted_ms = BORN_MS;
        set_for(store.handle, "key", "v", 10);
        planted_ms = BORN_MS + 9;
        set_for(store.handle, "key", "w", 10);
        planted_ms = BORN_MS + 18;
        check_value(store.handle, "key", "w");
        set_value(store.handle, "key", "x"); /* for ever */
        planted_ms = BORN_MS + 1000000;
        check_value(store.handle, "key", "x");
        set_for(store.handle, "key", "y", 1);
        check_value(store.handle, "key", "y");
        planted_ms++;
        check_value(store.handle, "key", NULL);
        check_equal(mantis_store_delete(store.handle, "key", 3, NULL), MANTIS_OK);
        close_store(&store);
    }
}

TEST(the_keys_of_a_batch_expire_together_and_a_large_value_has_its_time_too) {
    opened store = open_store(fresh_path("batch"), true);
    plant_clock(store.store);
    planted_ms = BORN_MS;
    static char large[100000];
    mantis_write writes[] = {{"a", 1, "1", 1, 50},
                             {"b", 1, "2", 1, 0},
                             {"c", 1, "3", 1, 50},
                             {"a", 1, large, sizeof large, 60}};
    check_equal(mp_handle_write(store.handle, writes, 4, 0, NULL), MANTIS_OK);
    check_equal(expiry_of(store.handle, "a"), BORN_MS + 60);
    check_equal(expiry_of(store.handle, "b"), 0);
    check_equal(expiry_of(store.handle, "c"), BORN_MS + 50);
    planted_ms = BORN_MS + 55;
    check_value(store.handle, "c", NULL);
    check_value(store.handle, "b", "2");
    mantis_value value = {0};
    check_equal(mantis_store_get(store.handle, "a", 1, &value, NULL), MANTIS_OK);
    check_equal(value.size, sizeof large);
    mantis_value_free(&value);
    close_store(&store);
}

TEST(the_longest_time_to_live_is_kept) {
    opened store = open_store(NULL, false);
    plant_clock(store.store);
    planted_ms = BORN_MS;
    set_for(store.handle, "key", "v", MANTIS_TTL_MAX_MS);
    check_equal(expiry_of(store.handle, "key"), BORN_MS + MANTIS_TTL_MAX_MS);
    planted_ms = BORN_MS + MANTIS_TTL_MAX_MS - 1;
    check_value(store.handle, "key", "v");
    close_store(&store);
}

/* ---- the real clock ---- */

TEST(expiry_is_by_the_wall_clock_and_means_the_same_after_a_restart) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("wall"));
    opened store = open_store(path, false);
    int64_t before_ms = real_ms();
    set_for(store.handle, "long", "v", 3600000);
    int64_t expires_ms = expiry_of(store.handle, "long");
    check(expires_ms >= before_ms + 3600000 && expires_ms <= real_ms() + 3600000);
    set_for(store.handle, "short", "v", 1);
    close_store(&store);
    while (real_ms() <= before_ms + 2) usleep(500);
    store = open_store(path, true);
    check_equal(expiry_of(store.handle, "long"), expires_ms);
    check_value(store.handle, "short", NULL);
    close_store(&store);
}

TEST(a_key_lives_until_its_time_and_not_longer) {
    opened store = open_store(NULL, false);
    for (int round = 0; round < 20; round++) {
        int64_t before_ms = real_ms();
        set_for(store.handle, "key", "v", 5);
        int64_t after_ms = real_ms();
        for (bool is_there = true; is_there;) {
            int64_t asked_ms = real_ms();
            check_equal(mp_handle_exists(store.handle, "key", 3, &is_there, NULL), MANTIS_OK);
            check(is_there ? asked_ms < after_ms + 5 : real_ms() >= before_ms + 5);
        }
    }
    close_store(&store);
}

/* ---- what goes in the end ---- */

/* How many records the engine holds, its own and expired ones included. */
static int count_records(mp_store *store) {
    int count = 0;
    rocksdb_iterator_t *at = rocksdb_create_iterator(store->engine.db, store->engine.read);
    for (rocksdb_iter_seek_to_first(at); rocksdb_iter_valid(at); rocksdb_iter_next(at)) count++;
    rocksdb_iter_destroy(at);
    return count;
}

static void compact(mp_store *store) {
    check_equal(mp_engine_flush(&store->engine, NULL), MANTIS_OK);
    rocksdb_compact_range(store->engine.db, NULL, 0, NULL, 0);
}

TEST(expired_records_go_when_tables_are_merged_and_what_they_covered_stays_covered) {
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        opened store = open_store(in_memory ? NULL : fresh_path("merged"), false);
        plant_clock(store.store);
        planted_ms = BORN_MS;
        char key[16];
        for (int i = 0; i < 100; i++) {
            snprintf(key, sizeof key, "k%03d", i);
            set_value(store.handle, key, "old"); /* in a table of its own */
        }
        compact(store.store);
        for (int i = 0; i < 100; i++) {
            snprintf(key, sizeof key, "k%03d", i);
            set_for(store.handle, key, "new", i < 60 ? 100 : 200);
        }
        /* a snapshot does not keep them */
        check_equal(mp_handle_begin(store.handle, MANTIS_TRANSACTION_SNAPSHOT, -1, NULL), 0);
        planted_ms = BORN_MS + 100;
        compact(store.store);
        check_value(store.handle, "k000", NULL);
        check_value(store.handle, "k059", NULL);
        check_value(store.handle, "k060", "new");
        check_equal(mp_handle_rollback(store.handle, NULL), MANTIS_OK);
        check_value(store.handle, "k000", NULL);
        set_value(store.handle, "z", "so that there is something to merge");
        compact(store.store);
        check_equal(count_records(store.store), 40 + 1 + 1); /* one is the store's own */
        check_value(store.handle, "k000", NULL);
        check_value(store.handle, "k099", "new");
        close_store(&store);
    }
}

TEST(what_a_table_lost_by_its_time_is_not_there_after_a_restart) {
    char path[FRESH_PATH_MAX];
    snprintf(path, sizeof path, "%s", fresh_path("gone"));
    opened store = open_store(path, false);
    set_for(store.handle, "short", "v", 1);
    set_for(store.handle, "long", "v", 3600000);
    int64_t until_ms = real_ms() + 2;
    while (real_ms() < until_ms) usleep(500);
    compact(store.store);
    check_equal(count_records(store.store), 2);
    close_store(&store);
    store = open_store(path, false);
    check_value(store.handle, "short", NULL);
    check_value(store.handle, "long", "v");
    close_store(&store);
}

/* ---- the bytes ---- */

TEST(a_record_is_taken_apart_as_it_was_put_together) {
    static const int64_t times_ms[] = {0, 1, BORN_MS, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        unsigned char bytes[MP_RECORD_HEAD_MAX + 3];
        size_t head = mp_record_write_head(bytes, 1234567890123456789u, times_ms[i]);
        check_equal(head, times_ms[i] ? 17 : 9);
        memcpy(bytes + head, "abc", 3);
        mp_record record;
        check(mp_record_read(bytes, head + 3, &record));
        check(record.version == 1234567890123456789u && record.expires_ms == times_ms[i]);
        check(record.value_size == 3 && memcmp(record.value, "abc", 3) == 0);
        for (size_t size = 0; size < head; size++) check(!mp_record_read(bytes, size, &record));
    }
}

TEST(bytes_that_are_no_record_are_refused_and_never_read_beyond_their_end) {
    mp_random random;
    mp_random_start(&random, 1970);
    for (int round = 0; round < 200000; round++) {
        size_t size = mp_random_below(&random, 24);
        unsigned char *bytes = malloc(size + 1); /* so that AddressSanitizer knows its end */
        check(bytes != NULL);
        for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)mp_random_next(&random);
        if (size > 0 && round % 2) bytes[0] = (unsigned char)(round / 2 % 2);
        unsigned char *exact = realloc(bytes, size ? size : 1);
        mp_record record = {0};
        bool is_record = mp_record_read(exact, size, &record);
        size_t head = size > 0 && exact[0] == 1 ? 17 : 9;
        bool has_time = size >= head && head == 17;
        check(is_record == (size >= head && exact[0] <= 1 &&
                            (!has_time || (int64_t)mp_bytes_get_u64(exact + 9) > 0)));
        if (is_record) check(record.value_size == size - head);
        free(exact);
    }
}

TEST(a_record_whose_time_is_damaged_is_corrupt_for_who_reads_it_and_stays) {
    opened store = open_store(NULL, false);
    set_value(store.handle, "key", "v");
    unsigned char bytes[MP_RECORD_HEAD_MAX];
    mp_record_write_head(bytes, 1, 1);
    mp_bytes_put_u64(bytes + 9, UINT64_MAX); /* before 1970 */
    char *message = NULL;
    rocksdb_put(store.store->engine.db, store.store->engine.write, "key", 3, (char *)bytes,
                sizeof bytes, &message);
    check(!message);
    compact(store.store);
    mantis_value value = {0};
    mantis_error error = {0};
    bool is_there = false;
    int seen = 0;
    mantis_write write = {"key", 3, "w", 1, 0};
    uint64_t made;
    check_equal(mantis_store_get(store.handle, "key", 3, &value, &error), MANTIS_CORRUPT);
    check_contains(error.text, "not what was written");
    check_equal(mp_handle_exists(store.handle, "key", 3, &is_there, NULL), MANTIS_CORRUPT);
    check_equal(mp_handle_scan(store.handle, "", 0, 0, NULL, count_entry, &seen, NULL),
                MANTIS_CORRUPT);
    check_equal(mp_handle_compare_and_set(store.handle, &write, 0, 0, &made, NULL), MANTIS_CORRUPT);
    set_value(store.handle, "key", "whole again");
    check_value(store.handle, "key", "whole again");
    close_store(&store);
}

TAP_MAIN
