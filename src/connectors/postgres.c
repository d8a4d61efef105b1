/* Connections of libpq as connections of a pool. The calls of this connector may block, so they run
 * on the library's openers; each of them ends at its deadline by itself. */
#include "connectors/postgres.h"

#include <mantis/postgres.h>

#include "base/error.h"
#include "connectors/postgres_kv.h"

#include <libpq-events.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- the state beside a connection ---- */

static int on_event(PGEventId id, void *info, void *arg) {
    (void)arg;
    if (id == PGEVT_CONNRESET) { /* PQreset(): the server knows nothing of us any more */
        mp_postgres_session *session = mp_postgres_session_of(((PGEventConnReset *)info)->conn);
        session->prepared = 0;
        mp_postgres_session_forget(session);
    }
    if (id == PGEVT_CONNDESTROY) {
        mp_postgres_session *session = mp_postgres_session_of(((PGEventConnDestroy *)info)->conn);
        if (session) mp_postgres_session_forget(session);
        free(session);
    }
    return 1;
}

mp_postgres_session *mp_postgres_session_of(const PGconn *conn) {
    return PQinstanceData(conn, on_event);
}

void mp_postgres_session_forget(mp_postgres_session *session) {
    for (size_t i = 0; i < session->reads.count; i++) free(session->reads.keys[i]);
    free(session->reads.keys);
    session->reads = (mp_postgres_reads){0};
    session->has_begun = false;
    session->failure = MANTIS_OK;
}

/* What the server says unasked. Dropped, since a library does not write to standard error. */
static void on_notice(void *arg, const PGresult *result) {
    mp_postgres_session *session = arg;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        session->is_dying = true;
}

/* ---- roles ---- */

static mp_postgres_role role_of(const char *target_session_attrs) {
    static const char *const names[] = {"", "read-write", "read-only", "primary", "standby"};
    for (size_t i = 1; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(target_session_attrs, names[i]) == 0) return (mp_postgres_role)i;
    return MP_POSTGRES_ANY;
}

/* As libpq understood it, with its environment and its service file. False: out of memory. */
static bool read_role(PGconn *conn, mp_postgres_role *out) {
    PQconninfoOption *options = PQconninfo(conn);
    if (!options) return false;
    for (PQconninfoOption *option = options; option->keyword; option++)
        if (strcmp(option->keyword, "target_session_attrs") == 0 && option->val)
            *out = role_of(option->val);
    PQconninfoFree(options);
    return true;
}

static bool has_role(mp_postgres_role role, bool is_standby, bool is_read_only) {
    switch (role) {
    case MP_POSTGRES_READ_WRITE: return !is_standby && !is_read_only;
    case MP_POSTGRES_READ_ONLY: return is_standby || is_read_only;
    case MP_POSTGRES_PRIMARY: return !is_standby;
    case MP_POSTGRES_STANDBY: return is_standby;
    case MP_POSTGRES_ANY: break;
    }
    return true;
}

/* As far as the server has told by itself, which one of version 14 or newer does with its answer to
 * the next statement. */
static bool has_reported_role(const PGconn *conn, mp_postgres_role role) {
    if (role == MP_POSTGRES_ANY) return true;
    const char *standby = PQparameterStatus(conn, "in_hot_standby");
    const char *read_only = PQparameterStatus(conn, "default_transaction_read_only");
    if (!standby || !read_only) return true;
    return has_role(role, strcmp(standby, "on") == 0, strcmp(read_only, "on") == 0);
}

static const char role_sql[] = "SELECT pg_catalog.pg_is_in_recovery(), "
                               "pg_catalog.current_setting('default_transaction_read_only')";

static mantis_status check_role(PGconn *conn, mp_postgres_role role, int64_t deadline_ns,
                                mantis_error *why) {
    PGresult *result = NULL;
    mantis_status status = mp_postgres_link_run(conn, role_sql, deadline_ns, &result, why);
    if (status != MANTIS_OK) return status;
    bool is_known = PQntuples(result) == 1 && PQnfields(result) == 2;
    bool is_standby = is_known && strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    bool is_read_only = is_known && strcmp(PQgetvalue(result, 0, 1), "on") == 0;
    PQclear(result);
    if (is_known && has_role(role, is_standby, is_read_only)) return MANTIS_OK;
    return mp_error_set(why, MANTIS_CONNECT_FAILED,
                        "the server is no longer what target_session_attrs asks for: it is %s%s",
                        is_standby ? "a standby" : "a primary",
                        is_read_only ? " and read only" : "");
}

/* ---- opening ---- */

static mantis_status start(void **out, const char *dsn, void *config_place, mantis_error *error) {
    (void)config_place;
    mp_postgres_dsn *made = calloc(1, sizeof *made);
    if (!made) return mp_error_set(error, MANTIS_NOMEM, "DSN: out of memory");
    mantis_status status = mp_postgres_dsn_parse(dsn, made, error);
    if (status == MANTIS_OK) *out = made;
    else free(made);
    return status;
}

static void stop(void *place) {
    if (place) mp_postgres_dsn_finish(place);
    free(place);
}

/* Put our state beside a new connection. False: out of memory. */
static bool add_session(PGconn *conn, const mp_postgres_dsn *dsn) {
    mp_postgres_session *session = calloc(1, sizeof *session);
    if (!session) return false;
    session->dsn = dsn;
    if (!read_role(conn, &session->role) ||
        !PQregisterEventProc(conn, on_event, "mantispool", NULL) ||
        !PQsetInstanceData(conn, on_event, session)) {
        free(session);
        return false;
    }
    (void)PQsetNoticeReceiver(conn, on_notice, session);
    return true;
}

static void open_conn(void *place, mantis_op *op) {
    mantis_error why = {0};
    PGconn *conn = mp_postgres_link_open(place, mantis_op_deadline(op), &why);
    if (conn && !add_session(conn, place)) {
        PQfinish(conn);
        conn = NULL;
        (void)mp_error_set(&why, MANTIS_NOMEM, "out of memory");
    }
    if (conn) mantis_op_done(op, conn);
    else mantis_op_failed_with(op, &why);
}

/* ---- looking after ---- */

static void complete(mantis_op *op, mantis_status status, const mantis_error *why) {
    if (status == MANTIS_OK) mantis_op_done(op, NULL);
    else mantis_op_failed_with(op, why);
}

static void check(void *place, void *native, mantis_op *op) {
    (void)place;
    PGconn *conn = native;
    mp_postgres_role role = mp_postgres_session_of(conn)->role;
    int64_t deadline_ns = mantis_op_deadline(op);
    mantis_error why = {0};
    mantis_status status = role == MP_POSTGRES_ANY
                               ? mp_postgres_link_run(conn, "", deadline_ns, NULL, &why)
                               : check_role(conn, role, deadline_ns, &why);
    complete(op, status, &why);
}

/* Out of what the borrower may have left its end of the connection in. */
static mantis_status leave_modes(PGconn *conn, mantis_error *why) {
    PGTransactionStatusType status = PQtransactionStatus(conn);
    if (status == PQTRANS_ACTIVE || status == PQTRANS_UNKNOWN || !PQexitPipelineMode(conn))
        return mp_error_set(why, MANTIS_IO,
                            status == PQTRANS_UNKNOWN ? "the connection is broken"
                                                      : "it came back with a statement under way");
    if (PQsetnonblocking(conn, 0) != 0) return mp_postgres_error_of_conn(conn, MANTIS_IO, why);
    return MANTIS_OK;
}

static void drop_notifications(PGconn *conn) {
    for (PGnotify *notify; (notify = PQnotifies(conn));) PQfreemem(notify);
}

static mantis_status reset_conn(PGconn *conn, int64_t deadline_ns, mantis_error *why) {
    mp_postgres_session *session = mp_postgres_session_of(conn);
    mantis_status status = leave_modes(conn, why);
    if (status == MANTIS_OK && PQtransactionStatus(conn) != PQTRANS_IDLE)
        status = mp_postgres_link_run(conn, "ROLLBACK", deadline_ns, NULL, why);
    if (status == MANTIS_OK)
        status = mp_postgres_link_run(conn, session->dsn->reset, deadline_ns, NULL, why);
    if (status == MANTIS_OK && PQtransactionStatus(conn) != PQTRANS_IDLE)
        status = mp_error_set(why, MANTIS_IO, "mantis_reset leaves a transaction open");
    if (status != MANTIS_OK) return status;
    mp_postgres_session_forget(session);
    session->has_table = false; /* it was the one on the borrower's search_path */
    drop_notifications(conn);
    if (strcmp(session->dsn->reset, MP_POSTGRES_RESET) == 0) session->prepared = 0;
    else session->must_recall = session->prepared != 0;
    return MANTIS_OK;
}

static void reset(void *place, void *native, mantis_op *op) {
    (void)place;
    mantis_error why = {0};
    mantis_status status = reset_conn(native, mantis_op_deadline(op), &why);
    complete(op, status, &why);
}

static bool is_broken(void *place, void *native) {
    (void)place;
    PGconn *conn = native;
    if (PQstatus(conn) != CONNECTION_OK) return true;
    if (PQtransactionStatus(conn) != PQTRANS_IDLE)
        return true; /* the next one's work is not lost */
    if (!mp_postgres_link_look(conn)) return true;
    const mp_postgres_session *session = mp_postgres_session_of(conn);
    return session->is_dying || !has_reported_role(conn, session->role);
}

/* ---- closing ---- */

/* With nothing to be sent before it, the goodbye fits into the socket: PQfinish() cannot block. */
static void close_conn(void *place, void *native, mantis_op *op) {
    (void)place;
    if (PQtransactionStatus(native) != PQTRANS_IDLE) (void)shutdown(PQsocket(native), SHUT_RDWR);
    PQfinish(native);
    mantis_op_done(op, NULL);
}

static void abort_conn(void *place, void *native, mantis_op *op) {
    (void)place;
    (void)shutdown(PQsocket(native), SHUT_RDWR);
    PQfinish(native);
    mantis_op_done(op, NULL);
}

const mantis_connector mantis_postgres = {.name = "postgres",
                                          .blocks = true,
                                          .start = start,
                                          .stop = stop,
                                          .open = open_conn,
                                          .check = check,
                                          .reset = reset,
                                          .close = close_conn,
                                          .abort = abort_conn,
                                          .is_broken = is_broken,
                                          .kv = &mp_postgres_kv};
