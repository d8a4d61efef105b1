/* Threads that each send a query over and over: through a pool of libpq's connections, each through
 * a connection of its own, or each through one that is opened for the query.
 *
 *     select pool|own|opened CONNINFO THREADS CONNS QUERY SECONDS
 *
 * QUERY is select (that of `pgbench -S`), prepared (the same, prepared once a connection), or wait
 * (5 ms).
 * Prints one line of JSON. Latencies are from asking for a connection to having the answer. */
#include <libpq-fe.h>
#include <malloc.h>
#include <mantis/pool.h>
#include <mantis/postgres.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREADS_MAX 1024
#define ACCOUNTS 100000 /* of pgbench -i -s 1 */
#define TIMES_MAX 65536 /* latencies that a thread keeps */

typedef struct worker {
    pthread_t thread;
    PGconn *own;
    uint64_t ops, errors, random;
    uint32_t times_us[TIMES_MAX];
} worker;

static mantis_pool *pool; /* NULL: each thread has a connection of its own, or opens one */
static const char *conninfo, *query_name;
static bool is_opened; /* for each query */
static bool
    is_prepared; /* once a connection; one that is opened for a query sends it all at once */
static _Atomic bool is_over;
static worker *workers;
static size_t conn_bytes; /* of one that is open, libpq's own */

static void fail(const char *what, const char *why) {
    fprintf(stderr, "select: %s: %s\n", what, why);
    exit(1);
}

/* ---- connections ---- */

static const char prepared_sql[] = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";

static void prepare_query(PGconn *pg) {
    PGresult *result = PQprepare(pg, "q", prepared_sql, 1, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) fail("prepare", PQerrorMessage(pg));
    PQclear(result);
}

static PGconn *open_own(void) {
    PGconn *pg = PQconnectdb(conninfo);
    if (PQstatus(pg) != CONNECTION_OK) fail("connect", PQerrorMessage(pg));
    return pg;
}

/* ---- the load ---- */

static PGresult *ask(PGconn *pg, unsigned account) {
    char text[96];
    const char *const values[] = {text};
    if (strcmp(query_name, "wait") == 0) return PQexec(pg, "SELECT pg_sleep(0.005)");
    snprintf(text, sizeof text, "%u", account);
    if (is_prepared && is_opened)
        return PQexecParams(pg, prepared_sql, 1, NULL, values, NULL, NULL, 0);
    if (is_prepared) return PQexecPrepared(pg, "q", 1, values, NULL, NULL, 0);
    snprintf(text, sizeof text, "SELECT abalance FROM pgbench_accounts WHERE aid = %u", account);
    return PQexec(pg, text);
}

static bool send_query(worker *me, PGconn *pg) {
    me->random = me->random * 6364136223846793005u + 1442695040888963407u;
    unsigned account = (unsigned)(me->random >> 33) % ACCOUNTS + 1;
    PGresult *result = ask(pg, account);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate && strcmp(sqlstate, "26000") == 0) { /* the first on this connection */
        PQclear(result);
        prepare_query(pg);
        result = ask(pg, account);
    }
    bool is_good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    PQclear(result);
    return is_good;
}

static bool run_opened(worker *me) {
    PGconn *pg = open_own();
    bool is_good = send_query(me, pg);
    PQfinish(pg);
    return is_good;
}

static bool run_once(worker *me) {
    if (is_opened) return run_opened(me);
    if (!pool) return send_query(me, me->own);
    mantis_conn conn = {0};
    void *pg = NULL;
    bool is_good = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conn, NULL) == MANTIS_OK &&
                   mantis_conn_native(conn, &pg, NULL) == MANTIS_OK && send_query(me, pg);
    mantis_conn_release(&conn);
    return is_good;
}

static void *run_worker(void *arg) {
    worker *me = arg;
    while (!is_over) {
        int64_t began_ns = mantis_now_ns();
        if (!run_once(me)) me->errors++;
        int64_t took_ns = mantis_now_ns() - began_ns;
        me->times_us[me->ops++ % TIMES_MAX] = (uint32_t)(took_ns / 1000);
    }
    return NULL;
}

static int compare_times(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_result(int threads, double seconds, double used_s) {
    uint64_t ops = 0, errors = 0;
    size_t count = 0;
    uint32_t *times_us = calloc((size_t)threads * TIMES_MAX, sizeof *times_us);
    if (!times_us) fail("times", "out of memory");
    for (int i = 0; i < threads; i++) {
        uint64_t kept = workers[i].ops < TIMES_MAX ? workers[i].ops : TIMES_MAX;
        memcpy(times_us + count, workers[i].times_us, kept * sizeof *times_us);
        count += kept;
        ops += workers[i].ops;
        errors += workers[i].errors;
    }
    qsort(times_us, count, sizeof *times_us, compare_times);
    printf("{\"ops\": %llu, \"errors\": %llu, \"ops_per_s\": %.1f, \"p50_us\": %u, "
           "\"p99_us\": %u, \"cpu_s_per_100k\": %.4f, \"conn_bytes\": %zu}\n",
           (unsigned long long)ops, (unsigned long long)errors, (double)ops / seconds,
           count ? times_us[count / 2] : 0, count ? times_us[count * 99 / 100] : 0,
           ops ? used_s * 1e5 / (double)ops : 0, conn_bytes);
    free(times_us);
}

/* Open what the threads will use; all of it, so that none of it is measured. */
static void prepare(int threads, int conns) {
    struct mallinfo2 before = mallinfo2();
    mantis_error error = {0};
    mantis_pool_config config = {.connector = &mantis_postgres,
                                 .dsn = conninfo,
                                 .conns_min = conns,
                                 .conns_max = conns,
                                 .check_interval_ms = -1};
    if (conns > 0 &&
        (mantis_pool_open(&pool, &config, &error) != MANTIS_OK ||
         mantis_pool_wait_warm(pool, 0, mantis_deadline_ms(60000), &error) != MANTIS_OK))
        fail("pool", error.text);
    for (int i = 0; i < threads; i++) {
        workers[i].random = (uint64_t)i + 1;
        if (!pool && !is_opened) workers[i].own = open_own();
    }
    struct mallinfo2 after = mallinfo2();
    conn_bytes = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) /
                 (size_t)(pool ? conns : threads);
}

int main(int count, char **words) {
    if (count != 7)
        fail("usage", "select pool|own|opened CONNINFO THREADS CONNS select|prepared|wait SECONDS");
    is_opened = strcmp(words[1], "opened") == 0;
    conninfo = words[2];
    query_name = words[5];
    is_prepared = strcmp(query_name, "prepared") == 0;
    int threads = (int)strtol(words[3], NULL, 10), conns = (int)strtol(words[4], NULL, 10);
    double seconds = strtod(words[6], NULL);
    if (threads < 1 || threads > THREADS_MAX) fail("THREADS", "1 to 1024");
    workers = calloc((size_t)threads, sizeof *workers);
    if (!workers) fail("workers", "out of memory");
    prepare(threads, strcmp(words[1], "pool") == 0 ? conns : 0);

    double before_s = cpu_s();
    int64_t began_ns = mantis_now_ns();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) != 0)
            fail("thread", "not started");
    usleep((useconds_t)(seconds * 1e6));
    is_over = true;
    double took_s = (double)(mantis_now_ns() - began_ns) / 1e9;
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);

    print_result(threads, took_s, cpu_s() - before_s);
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    for (int i = 0; i < threads; i++) PQfinish(workers[i].own);
    free(workers);
    return 0;
}
