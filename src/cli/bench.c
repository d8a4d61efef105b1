/* mantispool bench: how fast pool and store are together, on this machine. */
#include "base/clock.h"
#include "cli/args.h"
#include "cli/keyspace.h"
#include "cli/load.h"
#include "cli/session.h"
#include "cli/summary.h"
#include "connectors/dsn.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_NS (5 * MP_NS_PER_MS) /* how soon the end of a preload is seen */
#define OUTPUT_BYTES 16384
#define THREADS_MAX 1024
#define CONNECTIONS_MAX 10000

typedef struct bench_run {
    const mp_command *command;
    const char *preload; /* auto, always or never */
    int64_t threads, connections, seconds, keys, value_bytes;
    bool is_json;
    FILE *progress;   /* standard output, or standard error if that is for JSON */
    sigset_t signals; /* which end it early */
    mantis_pool *pool;
    mp_summary summary;
    char shown_dsn[256];
} bench_run;

/* ---- what is asked for ---- */

static const char details[] =
    "Opens a pool, loads the key space, then lets every thread borrow a connection, do one\n"
    "operation and give the connection back, over and over. Ends with a table; Ctrl-C ends it\n"
    "early. DSN is one of\n" MP_DSN_LINES "and " MP_SESSION_DSN " by default.\n\n"
    "The keys that it writes stay there, among your own if the store has any: give it a place\n"
    "of its own, such as mantis:bench-data, and remove that afterwards.\n\n"
    "Operations of a mix: get, set, delete, exists, scan (up to 10 keys of a prefix), with shares\n"
    "relative to each other. Reading a key that is not there counts as an error: the key space\n"
    "was loaded. Deletes have keys of their own, which sets bring back.\n"
    "--preload auto loads the key space unless the store says it is loaded, always loads it\n"
    "again, never takes what there is.\n\n"
    "Exit codes: 0 done, 1 there were errors, 2 wrong arguments, 130 interrupted while loading.\n\n"
    "  mantispool bench --mix set=100 --threads 1 --connections 1\n"
    "  mantispool bench 'mantis:/tmp/data?sync=group' --threads 64 --connections 64\n";

static int64_t default_threads(void) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 2 : processors > 8 ? 16 : 2 * processors;
}

static int parse_args(bench_run *bench, int argc, char **argv) {
    mp_summary *summary = &bench->summary;
    const mp_option options[] = {
        {"threads", "N", MP_OPTION_NUMBER, &bench->threads, 1, THREADS_MAX,
         "threads that borrow connections; default two a processor"},
        {"connections", "N", MP_OPTION_NUMBER, &bench->connections, 0, CONNECTIONS_MAX,
         "connections in the pool; 0: as many as threads"},
        {"seconds", "S", MP_OPTION_NUMBER, &bench->seconds, 1, 86400, "how long"},
        {"mix", "LIST", MP_OPTION_TEXT, &summary->mix_text, 0, 0, "operations and their shares"},
        {"value-size", "BYTES", MP_OPTION_NUMBER, &bench->value_bytes, 0, MANTIS_VALUE_MAX,
         "size of the values"},
        {"keys", "N", MP_OPTION_NUMBER, &bench->keys, 1, 1000000000, "keys in the key space"},
        {"preload", "WHEN", MP_OPTION_TEXT, &bench->preload, 0, 0,
         "load the key space: auto, always or never"},
        {"json", NULL, MP_OPTION_FLAG, &bench->is_json, 0, 0,
         "one JSON object on standard output, progress on standard error"},
    };
    mp_args args = {
        .command = bench->command,
        .usage = "[DSN] [options]",
        .details = details,
        .options = options,
        .options_count = sizeof options / sizeof options[0],
        .operands_max = 1,
    };
    int code = mp_args_parse(&args, argc, argv);
    if (args.operands_count) summary->dsn = args.operands[0];
    return code;
}

/* Answers -1 if what was asked for can be done. */
static int check_args(bench_run *bench) {
    static const char *const when[] = {"auto", "always", "never", NULL};
    mp_summary *summary = &bench->summary;
    char why[256];
    const mantis_connector *connector;
    mantis_error error = {0};
    if (mp_mix_parse(summary->mix_text, &summary->mix, why, sizeof why))
        return mp_args_refuse(bench->command, "--mix: %s", why);
    for (int i = 0; when[i]; i++)
        if (strcmp(bench->preload, when[i]) == 0) bench->preload = when[i];
    if (bench->preload != when[0] && bench->preload != when[1] && bench->preload != when[2])
        return mp_args_refuse(bench->command, "--preload is '%s': it must be auto, always or never",
                              bench->preload);
    if (mp_dsn_find(summary->dsn, &connector, &error) != MANTIS_OK)
        return mp_args_refuse(bench->command, "%s", error.text);
    summary->threads = (uint32_t)bench->threads;
    summary->connections = (uint32_t)(bench->connections ? bench->connections : bench->threads);
    summary->keyspace.keys = (uint64_t)bench->keys;
    summary->keyspace.value_bytes = (size_t)bench->value_bytes;
    return -1;
}

/* ---- progress ---- */

/* Block the signals in this thread and those it starts, so that only wait_ns() sees them. */
static void block_signals(bench_run *bench) {
    (void)sigemptyset(&bench->signals);
    (void)sigaddset(&bench->signals, SIGINT);
    (void)sigaddset(&bench->signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &bench->signals, NULL);
}

/* Wait until then, or for a signal. A second signal ends the program. */
static void wait_until(bench_run *bench, int64_t until_ns) {
    while (!bench->summary.is_interrupted) {
        int64_t left_ns = until_ns - mp_clock_now_ns();
        if (left_ns <= 0) return;
        struct timespec left = mp_clock_timespec(left_ns);
        if (sigtimedwait(&bench->signals, NULL, &left) < 0) continue;
        bench->summary.is_interrupted = true;
        (void)pthread_sigmask(SIG_UNBLOCK, &bench->signals, NULL);
    }
}

static void write_progress(bench_run *bench, const char *head, uint64_t first, const char *between,
                           uint64_t second, const char *end) {
    char line[256];
    mp_text text = {.data = line, .size = sizeof line};
    mp_text_add(&text, "%s", head);
    mp_summary_format_count(first, &text);
    mp_text_add(&text, "%s", between);
    mp_summary_format_count(second, &text);
    (void)fprintf(bench->progress, "%s%s\n", line, end);
    (void)fflush(bench->progress);
}

/* ---- the run ---- */

static void write_plan(bench_run *bench) {
    const mp_summary *summary = &bench->summary;
    (void)fprintf(bench->progress, "%s: %u thread%s on %u connection%s, %lld s, %s\n", summary->dsn,
                  summary->threads, summary->threads == 1 ? "" : "s", summary->connections,
                  summary->connections == 1 ? "" : "s", (long long)bench->seconds,
                  summary->mix_text);
    (void)fflush(bench->progress);
}

/* Load the key space if it must be. Answers -1 to go on. */
static int run_preload(bench_run *bench) {
    const mp_keyspace *keyspace = &bench->summary.keyspace;
    bool is_there = strcmp(bench->preload, "always") != 0 &&
                    mp_keyspace_exists(keyspace, bench->pool);
    if (is_there || strcmp(bench->preload, "never") == 0) {
        write_progress(bench, is_there ? "key space: found " : "key space: not loaded, taken as ",
                       keyspace->keys, " keys, values of ", keyspace->value_bytes, " B");
        return -1;
    }
    write_progress(bench, "key space: loading ", keyspace->keys, " random keys of 16 B, values of ",
                   keyspace->value_bytes, " B");
    int64_t start_ns = mp_clock_now_ns(), next_ns = start_ns;
    mp_preload *preload = mp_preload_start(keyspace, bench->pool, bench->summary.threads);
    mantis_error error = {.status = MANTIS_NOMEM, .text = "out of memory"};
    for (bool is_over = !preload; !is_over && !bench->summary.is_interrupted;) {
        uint64_t done = mp_preload_done(preload, &is_over);
        if (is_over || mp_clock_now_ns() - next_ns >= MP_NS_PER_S) {
            next_ns = mp_clock_now_ns();
            write_progress(bench, "  loaded ", done, ", ",
                           (uint64_t)mp_summary_rate(done, next_ns - start_ns), " keys/s");
        }
        if (!is_over) wait_until(bench, mp_clock_now_ns() + TICK_NS);
    }
    if (preload && mp_preload_finish(preload, &error) == MANTIS_OK) return -1;
    (void)fprintf(stderr, "mantispool bench: loading the key space: %s\n", error.text);
    return bench->summary.is_interrupted ? 130 : MP_EXIT_FAILED;
}

static double read_cpu_s(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) < 0) return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* One line a second until the time is over. */
static void watch_load(bench_run *bench, mp_load *load) {
    uint64_t before = 0, operations = 0, errors = 0;
    int64_t start_ns = mp_clock_now_ns(), last_ns = start_ns;
    for (int64_t second = 1; second <= bench->seconds; second++) {
        char head[32];
        wait_until(bench, start_ns + second * MP_NS_PER_S);
        if (bench->summary.is_interrupted) return;
        int64_t now_ns = mp_clock_now_ns();
        mp_load_read(load, &operations, &errors);
        (void)snprintf(head, sizeof head, "%4lld s  ", (long long)second);
        write_progress(bench, head,
                       (uint64_t)mp_summary_rate(operations - before, now_ns - last_ns), " ops/s  ",
                       errors, " errors");
        before = operations;
        last_ns = now_ns;
    }
}

static void write_summary(const bench_run *bench) {
    static char output[OUTPUT_BYTES];
    mp_text text = {.data = output, .size = sizeof output};
    if (bench->is_json) mp_summary_format_json(&bench->summary, &text);
    else mp_summary_format_text(&bench->summary, &text);
    (void)fputs(output, stdout);
}

static int run_load(bench_run *bench) {
    mp_summary *summary = &bench->summary;
    mp_load *load = mp_load_start(bench->pool, summary->threads, &summary->mix, &summary->keyspace);
    if (!load) {
        (void)fprintf(stderr, "mantispool bench: cannot start %u threads\n", summary->threads);
        return MP_EXIT_FAILED;
    }
    double cpu_s = read_cpu_s();
    watch_load(bench, load);
    mp_load_finish(load, &summary->load);
    summary->cpu_s = read_cpu_s() - cpu_s;
    mp_report_read(bench->pool, &summary->pool);
    write_summary(bench);
    return summary->load.errors ? MP_EXIT_FAILED : MP_EXIT_OK;
}

static int run_bench(const mp_command *command, int argc, char **argv) {
    bench_run bench = {
        .command = command,
        .preload = "auto",
        .threads = default_threads(),
        .seconds = 10,
        .keys = 1000000,
        .value_bytes = 100,
        .summary = {.dsn = MP_SESSION_DSN, .mix_text = "get=80,set=20"},
    };
    int code = parse_args(&bench, argc, argv);
    if (code < 0) code = check_args(&bench);
    if (code >= 0) return code;
    bench.progress = bench.is_json ? stderr : stdout;
    block_signals(&bench);
    bench.pool = mp_session_open(command, bench.summary.dsn, bench.summary.connections, 0);
    if (!bench.pool) return MP_EXIT_FAILED;
    mp_dsn_format(bench.summary.dsn, bench.shown_dsn, sizeof bench.shown_dsn);
    bench.summary.dsn = bench.shown_dsn; /* from here on it is only shown */
    write_plan(&bench);
    code = run_preload(&bench);
    if (code < 0) code = run_load(&bench);
    mp_session_close(bench.pool);
    return code;
}

const mp_command mp_command_bench = {
    .name = "bench",
    .summary =
        "Measure pool and store on this machine: operations a second, and how long each takes",
    .run = run_bench,
};
