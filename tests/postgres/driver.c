/* A pool of PostgreSQL connections that does what it is told, for scripts: one command a line on
 * standard input, one answer a line on standard output: a status, a SQLSTATE or -, and a text.
 * Against the public face alone. */
#include <libpq-fe.h>
#include <mantis/pool.h>
#include <mantis/postgres.h>
#include <mantis/store.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNS_MAX 64
#define THREADS_MAX 64
#define LOAD_WAIT_MS 200

static mantis_pool *pool;
static mantis_conn conns[CONNS_MAX];
static _Atomic uint64_t opens_failed;

static void answer(mantis_status status, const char *sqlstate, const char *text) {
    printf("%s %s ", mantis_status_name(status), sqlstate && *sqlstate ? sqlstate : "-");
    for (; *text; text++) putchar(*text == '\n' ? ' ' : *text);
    putchar('\n');
    fflush(stdout);
}

static void answer_error(mantis_status status, const mantis_error *error) {
    if (status == MANTIS_OK) answer(status, NULL, "");
    else answer(status, error->sqlstate, error->text);
}

/* ---- open, close, figures ---- */

static void on_open_failed(void *arg, const char *cause) {
    (void)arg;
    (void)cause;
    opens_failed++;
}

static int64_t *find_setting(mantis_pool_config *config, const char *name, size_t length) {
    const struct {
        const char *name;
        int64_t *value;
    } settings[] = {{"conns_min", &config->conns_min},
                    {"conns_max", &config->conns_max},
                    {"open_timeout_ms", &config->open_timeout_ms},
                    {"backoff_min_ms", &config->backoff_min_ms},
                    {"backoff_max_ms", &config->backoff_max_ms},
                    {"check_interval_ms", &config->check_interval_ms},
                    {"fail_fast", &config->fail_fast}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (strlen(settings[i].name) == length && memcmp(settings[i].name, name, length) == 0)
            return settings[i].value;
    return NULL;
}

/* open NAME=VALUE... | DSN */
static void run_open(char *rest) {
    mantis_error error = {0};
    mantis_pool_config config = {.connector = &mantis_postgres,
                                 .name = "test",
                                 .hooks.on_open_failed = on_open_failed,
                                 .dsn = strchr(rest, '|') + 2};
    *strchr(rest, '|') = '\0';
    for (char *word; (word = strsep(&rest, " "));) {
        size_t length = strcspn(word, "=");
        int64_t *value = find_setting(&config, word, length);
        if (value) *value = strtoll(word + length + 1, NULL, 10);
        else if (*word) return answer(MANTIS_INVALID, NULL, word);
    }
    answer_error(mantis_pool_open(&pool, &config, &error), &error);
}

static void run_close(char *rest) {
    mantis_status status = mantis_pool_close(&pool, mantis_deadline_ms(strtoll(rest, NULL, 10)));
    answer(status, NULL, "");
}

static void run_stats(char *rest) {
    (void)rest;
    char text[512];
    mantis_pool_stats s = {0};
    mantis_status status = mantis_pool_get_stats(pool, &s);
    snprintf(text, sizeof text,
             "{\"total\":%u,\"idle\":%u,\"busy\":%u,\"opening\":%u,\"failing\":%d,\"opened\":%llu,"
             "\"open_failed\":%llu,\"told_failed\":%llu,\"closed_broken\":%llu,"
             "\"closed_check\":%llu,\"was_reset\":%llu,\"checked\":%llu}",
             s.total, s.idle, s.busy, s.opening, s.failing, (unsigned long long)s.opened,
             (unsigned long long)s.open_failed, (unsigned long long)opens_failed,
             (unsigned long long)s.closed_broken, (unsigned long long)s.closed_check,
             (unsigned long long)s.was_reset, (unsigned long long)s.checked);
    answer(status, NULL, text);
}

/* warm COUNT MS */
static void run_warm(char *rest) {
    mantis_error error = {0};
    uint32_t count = (uint32_t)strtoul(rest, &rest, 10);
    int64_t ms = strtoll(rest, NULL, 10);
    answer_error(mantis_pool_wait_warm(pool, count, mantis_deadline_ms(ms), &error), &error);
}

/* ---- borrowing ---- */

/* acquire INDEX MS */
static void run_acquire(char *rest) {
    mantis_error error = {0};
    mantis_conn *conn = &conns[strtoul(rest, &rest, 10) % CONNS_MAX];
    int64_t ms = strtoll(rest, NULL, 10);
    answer_error(mantis_pool_acquire(pool, mantis_deadline_ms(ms), conn, &error), &error);
}

/* release INDEX clean|dirty|broken */
static void run_release(char *rest) {
    mantis_conn *conn = &conns[strtoul(rest, &rest, 10) % CONNS_MAX];
    mantis_release how = strstr(rest, "dirty")    ? MANTIS_RELEASE_DIRTY
                         : strstr(rest, "broken") ? MANTIS_RELEASE_BROKEN
                                                  : MANTIS_RELEASE_CLEAN;
    answer(mantis_conn_release_as(conn, how), NULL, "");
}

static PGconn *native_of(mantis_conn conn) {
    void *native = NULL;
    return mantis_conn_native(conn, &native, NULL) == MANTIS_OK ? native : NULL;
}

/* sql INDEX TEXT: the first value */
static void run_sql(char *rest) {
    PGconn *conn = native_of(conns[strtoul(rest, &rest, 10) % CONNS_MAX]);
    if (!conn) return answer(MANTIS_STALE, NULL, "not borrowed");
    PGresult *result = PQexec(conn, rest + 1);
    ExecStatusType status = PQresultStatus(result);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (status == PGRES_COMMAND_OK) answer(MANTIS_OK, NULL, "");
    else if (status == PGRES_TUPLES_OK)
        answer(MANTIS_OK, NULL, PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    else answer(MANTIS_IO, sqlstate, PQerrorMessage(conn));
    PQclear(result);
}

/* send INDEX TEXT: and do not wait for the answer */
static void run_send(char *rest) {
    PGconn *conn = native_of(conns[strtoul(rest, &rest, 10) % CONNS_MAX]);
    answer(conn && PQsendQuery(conn, rest + 1) ? MANTIS_OK : MANTIS_IO, NULL, "");
}

/* modes INDEX: leave it non-blocking and in pipeline mode */
static void run_modes(char *rest) {
    PGconn *conn = native_of(conns[strtoul(rest, NULL, 10) % CONNS_MAX]);
    bool is_done = PQsetnonblocking(conn, 1) == 0 && PQenterPipelineMode(conn) == 1;
    answer(is_done ? MANTIS_OK : MANTIS_IO, NULL, "");
}

/* look INDEX: what is left on the borrower's side */
static void run_look(char *rest) {
    char text[128];
    PGconn *conn = native_of(conns[strtoul(rest, NULL, 10) % CONNS_MAX]);
    PGnotify *notify = PQnotifies(conn);
    snprintf(text, sizeof text, "nonblocking %d pipeline %d notified %d transaction %d",
             PQisnonblocking(conn), PQpipelineStatus(conn) != PQ_PIPELINE_OFF, notify != NULL,
             PQtransactionStatus(conn) != PQTRANS_IDLE);
    PQfreemem(notify);
    answer(MANTIS_OK, NULL, text);
}

/* begin INDEX: a transaction of the key-value operations */
static void run_begin(char *rest) {
    mantis_error error = {0};
    mantis_conn conn = conns[strtoul(rest, NULL, 10) % CONNS_MAX];
    answer_error(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, &error), &error);
}

/* set INDEX KEY VALUE, get INDEX KEY */
static void run_set(char *rest) {
    mantis_error error = {0};
    mantis_conn conn = conns[strtoul(rest, &rest, 10) % CONNS_MAX];
    char *key = rest + 1, *value = strchr(key, ' ');
    size_t size = (size_t)(value - key);
    answer_error(mantis_conn_set(conn, key, size, value + 1, strlen(value + 1), &error), &error);
}

static void run_get(char *rest) {
    mantis_error error = {0};
    mantis_value value = {0};
    mantis_conn conn = conns[strtoul(rest, &rest, 10) % CONNS_MAX];
    mantis_status status = mantis_conn_get(conn, rest + 1, strlen(rest + 1), &value, &error);
    char *text = strndup(value.data ? value.data : error.text,
                         value.data ? value.size : sizeof error.text);
    answer(status, error.sqlstate, text);
    free(text);
    mantis_value_free(&value);
}

/* ---- many borrowers ---- */

typedef struct borrower {
    pthread_t thread;
    int64_t wait_ms;
    mantis_status status;
    mantis_error error;
} borrower;

static void *borrow_once(void *arg) {
    borrower *self = arg;
    mantis_conn conn = {0};
    self->status = mantis_pool_acquire(pool, mantis_deadline_ms(self->wait_ms), &conn,
                                       &self->error);
    mantis_conn_release(&conn);
    return NULL;
}

/* burst COUNT MS: so many at once; what each saw, with tabs between */
static void run_burst(char *rest) {
    borrower borrowers[THREADS_MAX] = {{0}};
    unsigned long count = strtoul(rest, &rest, 10) % (THREADS_MAX + 1);
    for (unsigned long i = 0; i < count; i++) {
        borrowers[i].wait_ms = strtoll(rest, NULL, 10);
        if (pthread_create(&borrowers[i].thread, NULL, borrow_once, &borrowers[i])) abort();
    }
    for (unsigned long i = 0; i < count; i++) {
        pthread_join(borrowers[i].thread, NULL);
        const mantis_error *error = &borrowers[i].error;
        printf("%s%s %s %s", i ? "\t" : "", mantis_status_name(borrowers[i].status),
               *error->sqlstate ? error->sqlstate : "-", error->text);
    }
    putchar('\n');
    fflush(stdout);
}

/* Threads that borrow, ask the server something, and give back, until they are told to stop. */
static struct {
    pthread_t threads[THREADS_MAX];
    unsigned long count;
    _Atomic bool is_stopped;
    _Atomic uint64_t good, bad;
    _Atomic int64_t good_ns; /* the last success */
} load;

static void *run_load_thread(void *arg) {
    (void)arg;
    while (!load.is_stopped) {
        mantis_conn conn = {0};
        mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(LOAD_WAIT_MS), &conn,
                                                   NULL);
        PGresult *result = NULL;
        if (status == MANTIS_OK) result = PQexec(native_of(conn), "SELECT 1");
        bool is_good = PQresultStatus(result) == PGRES_TUPLES_OK;
        PQclear(result);
        mantis_conn_release_as(&conn, is_good ? MANTIS_RELEASE_CLEAN : MANTIS_RELEASE_BROKEN);
        if (is_good) load.good_ns = mantis_now_ns();
        if (is_good) load.good++;
        else load.bad++;
    }
    return NULL;
}

/* load COUNT */
static void run_load(char *rest) {
    load.count = strtoul(rest, NULL, 10) % (THREADS_MAX + 1);
    load.is_stopped = false;
    for (unsigned long i = 0; i < load.count; i++)
        if (pthread_create(&load.threads[i], NULL, run_load_thread, NULL)) abort();
    answer(MANTIS_OK, NULL, "");
}

/* recover MS: how many milliseconds until the next success of the load */
static void run_recover(char *rest) {
    char text[32];
    int64_t start_ns = mantis_now_ns(), end_ns = mantis_deadline_ms(strtoll(rest, NULL, 10));
    struct timespec pause = {.tv_nsec = 1000000};
    while (load.good_ns < start_ns && mantis_now_ns() < end_ns) nanosleep(&pause, NULL);
    bool is_good = load.good_ns >= start_ns;
    snprintf(text, sizeof text, "%lld", (long long)((mantis_now_ns() - start_ns) / 1000000));
    answer(is_good ? MANTIS_OK : MANTIS_TIMEOUT, NULL, text);
}

static void run_rest(char *rest) {
    (void)rest;
    char text[64];
    load.is_stopped = true;
    for (unsigned long i = 0; i < load.count; i++) pthread_join(load.threads[i], NULL);
    snprintf(text, sizeof text, "%llu %llu", (unsigned long long)load.good,
             (unsigned long long)load.bad);
    load.count = 0;
    answer(MANTIS_OK, NULL, text);
}

/* ---- commands ---- */

static const struct {
    const char *name;
    void (*run)(char *rest);
} commands[] = {{"open ", run_open},       {"close ", run_close},     {"stats", run_stats},
                {"warm ", run_warm},       {"acquire ", run_acquire}, {"release ", run_release},
                {"sql ", run_sql},         {"send ", run_send},       {"modes ", run_modes},
                {"look ", run_look},       {"begin ", run_begin},     {"set ", run_set},
                {"get ", run_get},         {"burst ", run_burst},     {"load ", run_load},
                {"recover ", run_recover}, {"rest", run_rest}};

static void run_line(char *line) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        size_t length = strlen(commands[i].name);
        if (strncmp(line, commands[i].name, length) == 0) return commands[i].run(line + length);
    }
    answer(MANTIS_UNSUPPORTED, NULL, line);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    for (ssize_t size; (size = getline(&line, &room, stdin)) > 0;) {
        if (line[size - 1] == '\n') line[size - 1] = '\0';
        run_line(line);
    }
    free(line);
    mantis_pool_close(&pool, mantis_deadline_ms(10000));
    return 0;
}
