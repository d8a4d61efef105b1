/* kill -9 of a process that writes: nothing acknowledged is lost, nothing is torn. Built with a
 * memtable of 64 KiB, so that tables are written and merged all the time.
 *
 * This process never opens a store itself: it forks one child that writes and is killed, and one
 * that looks. Acknowledgements are counted in memory that both share. */
#include "store/lib.h"

#include "base/clock.h"

#include <pthread.h>
#include <sys/mman.h>

#define WRITERS 4u /* even numbers with sync=interval, odd ones with group; from 2 transactions */
#define SIZE_MAX_HERE 200u
#define PARTS 3u /* keys of one batch */
#define HOT_KEYS 100u
#define DAY_MS INT64_C(86400000)

typedef struct shared {
    struct {
        _Alignas(64) _Atomic uint64_t acknowledged; /* batches, ever */
        _Atomic uint64_t started;
    } writers[WRITERS];
    _Atomic uint64_t version; /* the highest that was seen */
    _Atomic int64_t open_ns;  /* the longest open that was looked at */
} shared;

static shared *common;
static const char *path;

static uint64_t key_of(uint32_t writer, uint64_t batch, uint32_t part) {
    return (uint64_t)(writer + 1) * 10000000000ull + batch * PARTS + part;
}

/* A transaction instead of a batch: it has read the hot key before. */
static mantis_status commit_writes(mantis_store *handle, const mantis_write *writes, size_t count) {
    bool is_there;
    mantis_status status = mp_handle_begin(handle, MANTIS_TRANSACTION_WRITE, -1, NULL);
    if (status == MANTIS_OK)
        status = mp_handle_exists(handle, writes[count - 1].key, writes[count - 1].key_size,
                                  &is_there, NULL);
    for (size_t i = 0; i < count && status == MANTIS_OK; i++)
        status = mp_handle_write(handle, &writes[i], 1, MANTIS_DURABLE_DEFAULT, NULL);
    return status == MANTIS_OK ? mp_handle_commit(handle, MANTIS_DURABLE_DEFAULT, NULL) : status;
}

/* One batch: PARTS new keys, of which one will expire tomorrow, and one hot key that is overwritten
 * again and again. */
static mantis_status write_batch(mantis_store *handle, uint32_t writer, uint64_t batch) {
    numbered made[PARTS + 1];
    mantis_write writes[PARTS + 1];
    for (uint32_t part = 0; part <= PARTS; part++) {
        if (part < PARTS) make_numbered(&made[part], key_of(writer, batch, part), 0, SIZE_MAX_HERE);
        else make_numbered(&made[part], writer * HOT_KEYS + batch % HOT_KEYS, batch, SIZE_MAX_HERE);
        writes[part] = (mantis_write){made[part].key, made[part].key_size, made[part].value,
                                      made[part].value_size, part == 1 ? DAY_MS : 0};
    }
    if (writer >= 2) return commit_writes(handle, writes, PARTS + 1);
    return mp_handle_write(handle, writes, PARTS + 1, MANTIS_DURABLE_DEFAULT, NULL);
}

static void name_counter(char name[8], uint32_t writer) { snprintf(name, 8, "count%u", writer); }

static uint64_t counter_of(mantis_store *handle, uint32_t writer, uint64_t *version) {
    char name[8];
    mantis_value value = {0};
    uint64_t count = 0;
    name_counter(name, writer);
    *version = 0;
    mantis_status status = mantis_store_get(handle, name, 6, &value, NULL);
    if (status == MANTIS_NOT_FOUND) return 0;
    if (status != MANTIS_OK || value.size != sizeof count) _exit(4);
    memcpy(&count, value.data, sizeof count);
    *version = value.version;
    mantis_value_free(&value);
    return count;
}

/* Count the batch, by compare-and-set. */
static mantis_status count_batch(mantis_store *handle, uint32_t writer, uint64_t batch) {
    char name[8];
    uint64_t version, made, count = counter_of(handle, writer, &version);
    if (count != batch && count != batch + 1) return MANTIS_CORRUPT;
    count = batch + 1;
    name_counter(name, writer);
    mantis_write write = {name, 6, &count, sizeof count, 0};
    return mp_handle_compare_and_set(handle, &write, version, MANTIS_DURABLE_DEFAULT, &made, NULL);
}

typedef struct writer_arg {
    mp_store *store;
    uint32_t number;
} writer_arg;

static void *write_on(void *arg) {
    writer_arg *self = arg;
    mantis_store *handle = mp_handle_new(self->store, self->number % 2);
    for (;;) {
        uint64_t batch = common->writers[self->number].acknowledged;
        common->writers[self->number].started = batch + 1;
        if (write_batch(handle, self->number, batch) != MANTIS_OK) _exit(3);
        if (count_batch(handle, self->number, batch) != MANTIS_OK) _exit(5);
        common->writers[self->number].acknowledged = batch + 1;
    }
    return NULL;
}

static void write_until_killed(void) {
    mp_store *store = NULL;
    mantis_error error = {0};
    if (mp_store_open(&store, path, &error) != MANTIS_OK) {
        note("%s", error.text);
        _exit(2);
    }
    static writer_arg args[WRITERS];
    pthread_t thread;
    for (uint32_t i = 0; i < WRITERS; i++) {
        args[i] = (writer_arg){store, i};
        if (pthread_create(&thread, NULL, write_on, &args[i]) != 0) _exit(2);
    }
    for (;;) pause();
}

/* How many parts of a batch are there; each must be whole, with a version above the last. */
static uint32_t count_parts(mantis_store *handle, uint32_t writer, uint64_t batch) {
    uint32_t found = 0;
    for (uint32_t part = 0; part < PARTS; part++) {
        int64_t round = round_of(handle, key_of(writer, batch, part), SIZE_MAX_HERE);
        check(round == 0 || round == -1); /* nothing torn */
        found += round == 0;
    }
    return found;
}

static void check_writer(mantis_store *handle, uint32_t writer, uint64_t from) {
    uint64_t acknowledged = common->writers[writer].acknowledged;
    for (uint64_t batch = from; batch < acknowledged; batch++)
        if (count_parts(handle, writer, batch) != PARTS)
            tap_fail(__FILE__, __LINE__, "writer %u lost batch %" PRIu64 " of %" PRIu64, writer,
                     batch, acknowledged);
    uint32_t extra = count_parts(handle, writer, acknowledged);
    check(extra == 0 || extra == PARTS); /* a batch is all or nothing */
    check_equal(count_parts(handle, writer, acknowledged + 1), 0);
    uint64_t version, counted = counter_of(handle, writer, &version);
    check(counted == acknowledged || (counted == acknowledged + 1 && extra == PARTS));
    for (uint64_t hot = 0; hot < HOT_KEYS && hot < acknowledged; hot++) {
        int64_t round = round_of(handle, writer * HOT_KEYS + hot, SIZE_MAX_HERE);
        uint64_t last = (acknowledged - 1 - hot) / HOT_KEYS * HOT_KEYS + hot;
        check(round == (int64_t)last || round == (int64_t)(last + HOT_KEYS));
    }
}

/* Versions grow, also over the crash: what is written now is above all there was. */
static void check_versions(mantis_store *handle) {
    mantis_value value = {0};
    check(mantis_store_set(handle, "version", 7, "", 0, NULL) == MANTIS_OK);
    check(mantis_store_get(handle, "version", 7, &value, NULL) == MANTIS_OK);
    check(value.version > common->version);
    common->version = value.version;
    value.free_owner(value.owner);
}

static void look(const uint64_t from[WRITERS]) {
    int64_t start_ns = mp_clock_now_ns();
    opened store = open_store(path, false);
    int64_t took_ns = mp_clock_now_ns() - start_ns;
    if (took_ns > common->open_ns) common->open_ns = took_ns;
    for (uint32_t i = 0; i < WRITERS; i++) check_writer(store.handle, i, from[i]);
    check_versions(store.handle);
    close_store(&store);
}

static pid_t start_child(void (*run)(const uint64_t *), const uint64_t *from) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child > 0) return child;
    if (run) run(from);
    else write_until_killed();
    fflush(stdout);
    _exit(0);
}

static void check_child(pid_t child) {
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    check_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, 0);
    check_equal(WEXITSTATUS(status), 0);
}

static uint64_t acknowledged_sum(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WRITERS; i++) sum += common->writers[i].acknowledged;
    return sum;
}

/* Kill a writer: every third while it opens, the others after 100 writes and a random time. */
static void write_and_kill(mp_random *random, uint32_t round) {
    uint64_t before = acknowledged_sum();
    pid_t child = start_child(NULL, NULL);
    if (round % 3 == 2) {
        usleep((useconds_t)mp_random_below(random, 30000));
    } else {
        while (acknowledged_sum() < before + 100 / (PARTS + 1) + 1) {
            int status;
            check(waitpid(child, &status, WNOHANG) == 0); /* it lives */
            usleep(500);
        }
        usleep((useconds_t)mp_random_below(random, 60000));
    }
    check(kill(child, SIGKILL) == 0);
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(a_killed_writer_loses_nothing_acknowledged_and_tears_nothing) {
    uint32_t rounds = tap_is_long() ? 200 : 30;
    const char *wanted = getenv("MANTIS_TEST_ROUNDS");
    if (wanted) rounds = (uint32_t)strtoul(wanted, NULL, 10);
    path = fresh_path("crash");
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(common != MAP_FAILED);
    mp_random random;
    mp_random_start(&random, 20260801);
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t from[WRITERS];
        for (uint32_t i = 0; i < WRITERS; i++) from[i] = common->writers[i].acknowledged;
        write_and_kill(&random, round);
        check_child(start_child(look, from));
    }
    uint64_t everything[WRITERS] = {0};
    check_child(start_child(look, everything));
    note("%u rounds, %" PRIu64 " batches of %u writes, longest open %" PRId64 " ms", rounds,
         acknowledged_sum(), PARTS + 1, common->open_ns / MP_NS_PER_MS);
    if (!getenv("MANTIS_SANITIZER")) check(common->open_ns < MP_NS_PER_S);
    remove_tree(path);
}

static void open_once(const uint64_t *unused) {
    (void)unused;
    opened store = open_store(path, false);
    check(set_numbered(store.handle, 1, 0, SIZE_MAX_HERE, NULL) == MANTIS_OK);
    close_store(&store);
}

TEST(a_store_whose_creation_was_killed_can_be_opened) {
    mp_random random;
    mp_random_start(&random, 815);
    for (int round = 0; round < (tap_is_long() ? 200 : 40); round++) {
        path = fresh_path("created");
        pid_t child = start_child(open_once, NULL);
        usleep((useconds_t)mp_random_below(&random, 12000));
        kill(child, SIGKILL);
        check(waitpid(child, NULL, 0) == child);
        check_child(start_child(open_once, NULL));
        remove_tree(path);
    }
}

TAP_MAIN
