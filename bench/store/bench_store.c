/* What the store costs beside bare RocksDB: the same options (src/store/engine.c), keys and bytes,
 * in one run, in rounds that take turns. Each side runs in a process of its own, so that its CPU
 * time can be told apart; one waits while the other works. Prints one JSON object.
 *
 *     bench_store [DIR] [--keys N] [--operations N] [--rounds N] [--group-ms N]
 *
 * DIR (default /tmp) should be on the disk that the figures are about.
 *
 * CPU time is the process's, with RocksDB's threads, until its tables are written and merged. */
#include <mantis/pool.h>
#include <mantis/store.h>

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEY_SIZE 16u
#define VALUE_SIZE 100u
#define WRITERS_MAX 64
#define ROUNDS_MAX 31

enum side { OURS, BARE, SIDES };
enum work { SET, GET, GROUP_MANY, GROUP_ONE, WORKS };
static const char *const side_names[] = {"ours", "bare"};

static struct {
    uint32_t keys, operations, rounds, group_ms;
    const char *dir;
} options = {1000000, 300000, 1, 1000, "/tmp"};

typedef struct result {
    double ops_per_s;
    double cpu_s_per_100k;
} result;

static unsigned char *keys;

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static double now_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static void make_keys(void) {
    uint64_t state = 4711;
    keys = malloc((size_t)options.keys * KEY_SIZE);
    if (!keys) give_up("out of memory");
    for (size_t i = 0; i < (size_t)options.keys * 2; i++) {
        uint64_t word = next_random(&state);
        memcpy(keys + i * 8, &word, 8);
    }
}

/* ---- the two sides: the same three operations ---- */

typedef struct writer {
    mantis_conn conn;
    uint64_t state;
    uint64_t count;
} writer;

static mantis_pool *pool, *group_pool;
static rocksdb_t *bare;
static rocksdb_readoptions_t *bare_read;
static rocksdb_writeoptions_t *bare_write, *bare_synced;

static mantis_pool *open_pool(const char *directory, const char *sync, int64_t conns) {
    char dsn[512];
    mantis_error error = {0};
    mantis_pool *opened = NULL;
    snprintf(dsn, sizeof dsn, "mantis:%s?sync=%s", directory, sync);
    mantis_pool_config config = {.connector = &mantis_embedded,
                                 .dsn = dsn,
                                 .conns_min = conns,
                                 .conns_max = conns,
                                 .name = "bench"};
    if (mantis_pool_open(&opened, &config, &error) != MANTIS_OK) give_up(error.text);
    return opened;
}

static void *sync_bare(void *arg) {
    (void)arg;
    for (;;) {
        char *message = NULL;
        usleep(100000);
        rocksdb_flush_wal(bare, 1, &message);
        if (message) give_up(message);
    }
    return NULL;
}

/* As in src/store/engine.c. */
static void open_bare(const char *directory) {
    char *message = NULL;
    rocksdb_options_t *base = rocksdb_options_create(), *all = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_size(table, 4096);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru((size_t)256 << 20));
    rocksdb_options_set_block_based_table_factory(base, table);
    rocksdb_options_set_create_if_missing(base, 1);
    rocksdb_options_set_write_buffer_size(base, (size_t)16 << 20);
    rocksdb_options_set_max_background_jobs(base, 2);
    rocksdb_options_set_compression(base, rocksdb_no_compression);
    rocksdb_options_set_info_log_level(base, 4);
    rocksdb_options_set_stats_dump_period_sec(base, 0);
    rocksdb_options_set_stats_persist_period_sec(base, 0);
    rocksdb_get_options_from_string(base, "allow_fallocate=false;", all, &message);
    if (!message) bare = rocksdb_open(all, directory, &message);
    if (message) give_up(message);
    bare_read = rocksdb_readoptions_create();
    bare_write = rocksdb_writeoptions_create();
    bare_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(bare_synced, 1);
    pthread_t thread;
    if (pthread_create(&thread, NULL, sync_bare, NULL) != 0) give_up("no thread");
}

static void set_one(enum side side, writer *self, const unsigned char *key, bool synced) {
    unsigned char value[VALUE_SIZE];
    memset(value, 0x5a, sizeof value);
    uint64_t word = next_random(&self->state);
    memcpy(value, &word, 8);
    if (side == OURS) {
        if (mantis_conn_set(self->conn, key, KEY_SIZE, value, sizeof value, NULL) != MANTIS_OK)
            give_up("a set failed");
        return;
    }
    char *message = NULL;
    rocksdb_put(bare, synced ? bare_synced : bare_write, (const char *)key, KEY_SIZE,
                (const char *)value, sizeof value, &message);
    if (message) give_up(message);
}

static void get_one(enum side side, writer *self, const unsigned char *key) {
    if (side == OURS) {
        mantis_value value = {0};
        if (mantis_conn_get(self->conn, key, KEY_SIZE, &value, NULL) != MANTIS_OK ||
            value.size != VALUE_SIZE)
            give_up("a get failed");
        mantis_value_free(&value);
        return;
    }
    char *message = NULL;
    size_t size = 0;
    char *value = rocksdb_get(bare, bare_read, (const char *)key, KEY_SIZE, &size, &message);
    if (!value || size != VALUE_SIZE) give_up("a bare get failed");
    rocksdb_free(value);
}

/* ---- one round ---- */

static const unsigned char *any_key(writer *self) {
    return keys + next_random(&self->state) % options.keys * KEY_SIZE;
}

/* Wait until the process's threads rest, and answer its CPU time. */
static double settle(void) {
    double before = now_s(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < 400; i++) {
        usleep(40000);
        double now = now_s(CLOCK_PROCESS_CPUTIME_ID);
        if (now - before < 0.002) return now;
        before = now;
    }
    return before;
}

static result run_one_thread(enum side side, enum work work, writer *self) {
    double cpu = settle(), start = now_s(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < options.operations; i++) {
        if (work == SET) set_one(side, self, any_key(self), false);
        else get_one(side, self, any_key(self));
    }
    double took = now_s(CLOCK_MONOTONIC) - start;
    cpu = settle() - cpu;
    return (result){options.operations / took, cpu / options.operations * 1e5};
}

static atomic_bool is_over;
static enum side group_side;

static void *write_synced(void *arg) {
    writer *self = arg;
    for (; !is_over; self->count++) set_one(group_side, self, any_key(self), true);
    return NULL;
}

static result run_group(enum side side, int writers_count) {
    static writer writers[WRITERS_MAX];
    pthread_t threads[WRITERS_MAX];
    uint64_t count = 0;
    group_side = side;
    is_over = false;
    double cpu = settle(), start = now_s(CLOCK_MONOTONIC);
    for (int i = 0; i < writers_count; i++) {
        writers[i] = (writer){.state = (uint64_t)i * 77 + 1};
        if (side == OURS &&
            mantis_pool_acquire(group_pool, MANTIS_DEADLINE_NONE, &writers[i].conn, NULL))
            give_up("no connection");
        if (pthread_create(&threads[i], NULL, write_synced, &writers[i]) != 0) give_up("no thread");
    }
    usleep(options.group_ms * 1000);
    is_over = true;
    for (int i = 0; i < writers_count; i++) {
        pthread_join(threads[i], NULL);
        if (side == OURS) mantis_conn_release(&writers[i].conn);
        count += writers[i].count;
    }
    double took = now_s(CLOCK_MONOTONIC) - start;
    cpu = settle() - cpu;
    return (result){(double)count / took, cpu / (double)count * 1e5};
}

static void load(enum side side, writer *self) {
    for (uint32_t i = 0; i < options.keys; i++)
        set_one(side, self, keys + (size_t)i * KEY_SIZE, false);
    settle();
}

/* A side's process: for each work asked for, one result. */
static void serve(enum side side, int in, int out) {
    char directory[256];
    writer self = {.state = 99};
    snprintf(directory, sizeof directory, "%s/%s", options.dir, side_names[side]);
    if (side == OURS) {
        pool = open_pool(directory, "interval", 1);
        group_pool = open_pool(directory, "group", WRITERS_MAX);
        if (mantis_pool_acquire(pool, MANTIS_DEADLINE_NONE, &self.conn, NULL) != MANTIS_OK)
            give_up("no connection");
    } else {
        open_bare(directory);
    }
    load(side, &self);
    char work = 0;
    for (result made = {0}; write(out, &made, sizeof made) == sizeof made;) {
        if (read(in, &work, 1) != 1) break;
        if (work == SET || work == GET) made = run_one_thread(side, (enum work)work, &self);
        else made = run_group(side, work == GROUP_MANY ? WRITERS_MAX : 1);
    }
    _exit(0);
}

/* ---- taking turns ---- */

typedef struct worker {
    int in, out;
} worker;

static worker start_worker(enum side side) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) give_up("no pipe");
    pid_t child = fork();
    if (child < 0) give_up("no process");
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        serve(side, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    worker made = {from[0], to[1]};
    result ready;
    if (read(made.in, &ready, sizeof ready) != sizeof ready) give_up("a side did not start");
    return made;
}

static result ask(worker *whom, enum work work) {
    char byte = (char)work;
    result made;
    if (write(whom->out, &byte, 1) != 1 || read(whom->in, &made, sizeof made) != sizeof made)
        give_up("a side has died");
    return made;
}

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static result results[SIDES][WORKS][ROUNDS_MAX];

static double pick(enum side side, enum work work, bool cpu, double share) {
    double values[ROUNDS_MAX];
    for (uint32_t i = 0; i < options.rounds; i++)
        values[i] = cpu ? results[side][work][i].cpu_s_per_100k : results[side][work][i].ops_per_s;
    qsort(values, options.rounds, sizeof *values, compare_doubles);
    return values[(uint32_t)(share * (options.rounds - 1))];
}

static void print_work(const char *name, enum work work, bool last) {
    printf("  \"%s\": {", name);
    for (int side = 0; side < SIDES; side++)
        printf("\"%s_ops_per_s\": {\"median\": %.0f, \"best\": %.0f}, "
               "\"%s_cpu_s_per_100k\": %.4f, ",
               side_names[side], pick(side, work, false, 0.5), pick(side, work, false, 1),
               side_names[side], pick(side, work, true, 0.5));
    printf("\"ops_ratio\": %.3f, \"cpu_ratio\": %.3f}%s\n",
           pick(OURS, work, false, 0.5) / pick(BARE, work, false, 0.5),
           pick(OURS, work, true, 0.5) / pick(BARE, work, true, 0.5), last ? "" : ",");
}

static uint32_t number(const char *text, uint32_t most) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value == 0 || value > most) give_up("an argument is no number in its range");
    return (uint32_t)value;
}

static void read_arguments(int count, char **words) {
    int first = count > 1 && words[1][0] != '-' ? 2 : 1;
    if (first == 2) options.dir = words[1];
    if ((count - first) % 2 != 0) give_up("the last argument has no value");
    for (int i = first; i + 1 < count; i += 2) {
        if (strcmp(words[i], "--keys") == 0) options.keys = number(words[i + 1], 100000000);
        else if (strcmp(words[i], "--operations") == 0)
            options.operations = number(words[i + 1], 100000000);
        else if (strcmp(words[i], "--rounds") == 0) options.rounds = number(words[i + 1], 31);
        else if (strcmp(words[i], "--group-ms") == 0)
            options.group_ms = number(words[i + 1], 60000);
        else give_up("unknown argument; see the comment at the top of bench_store.c");
    }
}

int main(int count, char **words) {
    char made[256];
    read_arguments(count, words);
    snprintf(made, sizeof made, "%s/bench-store-XXXXXX", options.dir);
    if (!mkdtemp(made)) give_up("cannot make a directory");
    options.dir = made;
    make_keys();
    worker workers[SIDES] = {start_worker(OURS), start_worker(BARE)};
    for (uint32_t round = 0; round < options.rounds; round++)
        for (int work = 0; work < WORKS; work++)
            for (int turn = 0; turn < SIDES; turn++) {
                int side = (turn + (int)round) % SIDES;
                results[side][work][round] = ask(&workers[side], (enum work)work);
                fprintf(stderr, "round %u work %d %s: %.0f/s, %.4f CPU s per 100,000\n", round,
                        work, side_names[side], results[side][work][round].ops_per_s,
                        results[side][work][round].cpu_s_per_100k);
            }
    printf("{\n  \"keys\": %u, \"operations\": %u, \"rounds\": %u, \"group_ms\": %u,\n",
           options.keys, options.operations, options.rounds, options.group_ms);
    print_work("set", SET, false);
    print_work("get", GET, false);
    print_work("group_64_writers", GROUP_MANY, false);
    print_work("group_1_writer", GROUP_ONE, true);
    printf("}\n");
    for (int side = 0; side < SIDES; side++) close(workers[side].out);
    while (wait(NULL) > 0) continue;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", made);
    return system(command) == 0 ? 0 : 1;
}
