/* Talking to a server without waiting beyond a deadline: connecting, running a statement, looking
 * whether it is still there. */
#include "connectors/postgres.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LIST_SIZE 4096 /* of the hosts that are left, for libpq */
#define LOOKS_MAX 64   /* messages taken in before a grant; more than a quiet server sends */

/* ---- waiting ---- */

/* Wait until the socket is ready. False: the time has come first. */
static bool wait_ready(const PGconn *conn, short events, int64_t until_ns) {
    for (;;) {
        struct pollfd socket = {.fd = PQsocket(conn), .events = events};
        int64_t left_ns = until_ns == MP_NEVER_NS ? 0 : until_ns - mp_clock_now_ns();
        if (left_ns < 0) left_ns = 0;
        struct timespec left = mp_clock_timespec(left_ns);
        int ready = ppoll(&socket, 1, until_ns == MP_NEVER_NS ? NULL : &left, NULL);
        if (ready > 0) return true;
        if (ready == 0 || errno != EINTR) return false;
    }
}

static mantis_status refuse_late(mantis_error *error, const char *what, int64_t waited_ns) {
    char data[32];
    mp_text text = {.data = data, .size = sizeof data};
    mp_text_add_time(&text, waited_ns);
    (void)mp_error_set(error, MANTIS_TIMEOUT, "%s: no answer in %s", what, data);
    if (error) error->os_errno = ETIMEDOUT;
    return MANTIS_TIMEOUT;
}

/* ---- connecting ---- */

/* One walk over the hosts that are left. */
typedef struct host_walk {
    const mp_postgres_dsn *dsn;
    uint64_t left; /* bit i: host i is still to be tried, or was not in vain */
    PGconn *conn;
    int64_t deadline_ns;
    int64_t host_since_ns, host_until_ns; /* the one being tried now */
    char host[256], port[16];
} host_walk;

/* The items of one list for the hosts that are left; NULL if the DSN has no such list. */
static const char *join_hosts(const host_walk *walk, size_t member, char *list) {
    mp_text text = {.data = list, .size = LIST_SIZE};
    bool is_first = true;
    for (uint32_t i = 0; i < walk->dsn->hosts_count; i++) {
        const char *item;
        if (!(walk->left >> i & 1)) continue;
        memcpy(&item, (const char *)&walk->dsn->hosts[i] + member, sizeof item);
        if (!item) return NULL;
        mp_text_add(&text, "%s%s", is_first ? "" : ",", item);
        is_first = false;
    }
    return is_first || text.length >= LIST_SIZE ? NULL : list;
}

/* A library does not write to standard error, as libpq would. */
static void drop_notice(void *arg, const PGresult *result) {
    (void)arg;
    (void)result;
}

/* Begin with all that are left. libpq goes from one to the next by itself if one refuses. */
static void begin_walk(host_walk *walk) {
    char host[LIST_SIZE], hostaddr[LIST_SIZE], port[LIST_SIZE];
    const char *keywords[6] = {"fallback_application_name", "dbname"};
    const char *values[6] = {"mantispool", walk->dsn->conninfo};
    uint64_t all = walk->dsn->hosts_count ? UINT64_MAX >> (64 - walk->dsn->hosts_count) : 0;
    if (walk->left != all) { /* behind dbname, so that they replace what it names */
        keywords[2] = "host";
        values[2] = join_hosts(walk, offsetof(mp_postgres_host, host), host);
        keywords[3] = "hostaddr";
        values[3] = join_hosts(walk, offsetof(mp_postgres_host, hostaddr), hostaddr);
        keywords[4] = "port";
        values[4] = join_hosts(walk, offsetof(mp_postgres_host, port), port);
    }
    walk->conn = PQconnectStartParams(keywords, values, 1);
    if (!walk->conn) return;
    (void)PQsetErrorVerbosity(walk->conn, PQERRORS_VERBOSE); /* has SQLSTATEs */
    (void)PQsetNoticeReceiver(walk->conn, drop_notice, NULL);
}

static const char *or_empty(const char *text) { return text ? text : ""; }

/* Which of the hosts is tried now; hosts_count if that is not known. */
static uint32_t find_host(const host_walk *walk) {
    uint32_t i = 0;
    for (; i < walk->dsn->hosts_count; i++) {
        const mp_postgres_host *host = &walk->dsn->hosts[i];
        bool is_name = strcmp(host->host ? host->host : host->hostaddr, walk->host) == 0;
        bool is_port = !host->port || strcmp(host->port, walk->port) == 0;
        if ((walk->left >> i & 1) && is_name && is_port) break;
    }
    return i;
}

/* A host that is tried from now on gets its share of what is left of the time. */
static void note_host(host_walk *walk) {
    const char *host = or_empty(PQhost(walk->conn)), *port = or_empty(PQport(walk->conn));
    if (walk->host_since_ns && strcmp(host, walk->host) == 0 && strcmp(port, walk->port) == 0)
        return;
    int64_t now_ns = mp_clock_now_ns();
    int count = __builtin_popcountll(walk->left);
    int64_t share_ns = walk->deadline_ns == MP_NEVER_NS || count < 2
                           ? MP_NEVER_NS
                           : (walk->deadline_ns - now_ns) / count;
    if (walk->dsn->connect_timeout_ns < share_ns) share_ns = walk->dsn->connect_timeout_ns;
    walk->host_since_ns = now_ns;
    walk->host_until_ns = mp_clock_after(now_ns, share_ns);
    if (walk->deadline_ns < walk->host_until_ns) walk->host_until_ns = walk->deadline_ns;
    (void)snprintf(walk->host, sizeof walk->host, "%s", host);
    (void)snprintf(walk->port, sizeof walk->port, "%s", port);
}

/* Errors: TIMEOUT: the present host does not answer; CONNECT_FAILED: none of them will have us. */
static mantis_status poll_walk(host_walk *walk, mantis_error *why) {
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    walk->host_since_ns = 0;
    if (PQstatus(walk->conn) == CONNECTION_BAD) state = PGRES_POLLING_FAILED;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED)
            return mp_postgres_error_of_conn(walk->conn, MANTIS_CONNECT_FAILED, why);
        note_host(walk);
        short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_ready(walk->conn, events, walk->host_until_ns)) {
            char what[320];
            (void)snprintf(what, sizeof what, "connection to server at \"%s\", port %s", walk->host,
                           walk->port);
            return refuse_late(why, what, mp_clock_now_ns() - walk->host_since_ns);
        }
        state = PQconnectPoll(walk->conn);
    }
    (void)PQsetErrorVerbosity(walk->conn, PQERRORS_DEFAULT);
    return MANTIS_OK;
}

PGconn *mp_postgres_link_open(const mp_postgres_dsn *dsn, int64_t deadline_ns, mantis_error *why) {
    host_walk walk = {.dsn = dsn, .deadline_ns = deadline_ns};
    if (dsn->hosts_count) walk.left = UINT64_MAX >> (64 - dsn->hosts_count);
    for (;;) {
        mantis_error detail = {0};
        begin_walk(&walk);
        mantis_status status = poll_walk(&walk, &detail);
        if (status == MANTIS_OK) return walk.conn;
        PQfinish(walk.conn);
        /* Who refuses tells more than who is silent. */
        if (why->status == MANTIS_OK || status == MANTIS_CONNECT_FAILED) *why = detail;
        uint32_t silent = status == MANTIS_TIMEOUT ? find_host(&walk) : dsn->hosts_count;
        if (silent == dsn->hosts_count) break;
        walk.left &= ~(UINT64_C(1) << silent); /* and again with the others */
        if (!walk.left || mp_clock_now_ns() >= deadline_ns) break;
    }
    why->status = MANTIS_CONNECT_FAILED;
    return NULL;
}

/* ---- a statement ---- */

/* The next result, or NULL after the last one. False: not before the deadline. */
static bool next_result(PGconn *conn, int64_t deadline_ns, PGresult **out) {
    while (PQisBusy(conn)) {
        if (!wait_ready(conn, POLLIN, deadline_ns)) return false;
        if (!PQconsumeInput(conn)) break; /* PQgetResult() has the error */
    }
    *out = PQgetResult(conn);
    return true;
}

static bool is_good(const PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

mantis_status mp_postgres_link_run(PGconn *conn, const char *sql, int64_t deadline_ns,
                                   PGresult **out, mantis_error *why) {
    int64_t start_ns = mp_clock_now_ns();
    if (!PQsendQuery(conn, sql)) return mp_postgres_error_of_conn(conn, MANTIS_IO, why);
    PGresult *kept = NULL, *result = NULL;
    mantis_status status = MANTIS_OK;
    for (;;) {
        if (!next_result(conn, deadline_ns, &result)) {
            PQclear(kept);
            return refuse_late(why, "server", mp_clock_now_ns() - start_ns);
        }
        if (!result) break;
        if (status == MANTIS_OK && !is_good(result))
            status = mp_postgres_error_of_result(result, "server", why);
        bool is_copy = PQresultStatus(result) == PGRES_COPY_IN ||
                       PQresultStatus(result) == PGRES_COPY_OUT ||
                       PQresultStatus(result) == PGRES_COPY_BOTH;
        PQclear(kept);
        kept = result;
        if (is_copy) break; /* it would never end */
    }
    if (status == MANTIS_OK && out) *out = kept;
    else PQclear(kept);
    return status;
}

/* ---- a look ---- */

bool mp_postgres_link_look(PGconn *conn) {
    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        char byte;
        ssize_t size = recv(PQsocket(conn), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (size < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        if (size == 0 || !PQconsumeInput(conn)) return false;
        (void)PQisBusy(conn); /* reads the messages: notices, notifications, parameters */
    }
    return true;
}
