/* What libpq and the server say about a failure, as a mantis_error. */
#include "connectors/postgres.h"

#include "base/bytes.h"
#include "base/error.h"

#include <string.h>

#define SQLSTATE_SIZE 5

/* ---- results ---- */

/* What a SQLSTATE, or the class that it begins with, is for callers of the key-value operations. */
static const struct {
    const char *sqlstate;
    mantis_status status;
} meanings[] = {
    {"25006", MANTIS_UNSUPPORTED}, /* read_only_sql_transaction: a standby, or so by its settings */
    {"42501", MANTIS_UNSUPPORTED}, /* insufficient_privilege */
    {"40001", MANTIS_CONFLICT},    /* serialization_failure */
    {"40P01", MANTIS_CONFLICT},    /* deadlock_detected */
    {"53100", MANTIS_FULL},        /* disk_full */
    {"53200", MANTIS_NOMEM},       /* out_of_memory */
    {"54", MANTIS_TOO_BIG},        /* program_limit_exceeded: a key larger than an index takes */
};

static mantis_status status_of(const char *sqlstate) {
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (strncmp(sqlstate, meanings[i].sqlstate, strlen(meanings[i].sqlstate)) == 0)
            return meanings[i].status;
    return MANTIS_IO;
}

static void set_sqlstate(mantis_error *error, const char *sqlstate) {
    if (error) memcpy(error->sqlstate, sqlstate, SQLSTATE_SIZE);
}

mantis_status mp_postgres_error_of_result(const PGresult *result, const char *doing,
                                          mantis_error *error) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool has_state = sqlstate && strlen(sqlstate) == SQLSTATE_SIZE;
    mantis_status status = has_state ? status_of(sqlstate) : MANTIS_IO;
    if (!message) message = PQresultErrorMessage(result); /* libpq's own */
    if (!*message) message = "no answer";
    (void)mp_error_set(error, status, "%s: %.*s%s%.5s%s", doing, (int)strcspn(message, "\n"),
                       message, has_state ? " (SQLSTATE " : "", has_state ? sqlstate : "",
                       has_state ? ")" : "");
    if (has_state) set_sqlstate(error, sqlstate);
    return status;
}

/* ---- connections ---- */

/* Where a SQLSTATE stands in a line "FATAL:  53300: sorry, too many clients already"; or NULL. */
static const char *find_sqlstate(const char *line, size_t length) {
    static const char set[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i + 3 + SQLSTATE_SIZE + 2 <= length; i++) {
        const char *at = line + i + 3;
        if (memcmp(line + i, ":  ", 3) == 0 && strspn(at, set) == SQLSTATE_SIZE &&
            memcmp(at + SQLSTATE_SIZE, ": ", 2) == 0)
            return at;
    }
    return NULL;
}

/* "LOCATION:  InitProcess, proc.c:360", whatever the first word is in the server's language. */
static bool is_location(const char *line, size_t length) {
    size_t digits = 0;
    while (digits < length && line[length - 1 - digits] >= '0' && line[length - 1 - digits] <= '9')
        digits++;
    return digits > 0 && length > digits + 3 && memcmp(line + length - digits - 3, ".c:", 3) == 0;
}

/* What one line of libpq's message says: without its SQLSTATE, and behind the first line without
 * words that would only be said again for each host. */
static void add_line(mp_text *text, const char *line, size_t length, const char *sqlstate) {
    static const char again[] = "connection to server ";
    if (text->length && strncmp(line, again, sizeof again - 1) == 0) {
        line += sizeof again - 1;
        length -= sizeof again - 1;
    }
    size_t head = sqlstate ? (size_t)(sqlstate - line) - 1 : 0; /* one blank is enough */
    size_t tail = sqlstate ? head + 1 + SQLSTATE_SIZE + 2 : 0;
    mp_text_add(text, "%s%.*s%.*s", text->length ? "; " : "", (int)head, line, (int)(length - tail),
                line + tail);
}

/* Its lines one after another, but for those that begin with a tab, which are advice, and those
 * that only a developer of PostgreSQL wants to see. */
mantis_status mp_postgres_error_of_conn(const PGconn *conn, mantis_status status,
                                        mantis_error *error) {
    char data[sizeof error->text];
    mp_text text = {.data = data, .size = sizeof data};
    char sqlstate[SQLSTATE_SIZE + 1] = "";
    const char *line = conn ? PQerrorMessage(conn) : "out of memory";
    for (size_t length; *line; line += length + (line[length] == '\n')) {
        length = strcspn(line, "\n");
        if (length == 0 || *line == '\t' || is_location(line, length)) continue;
        const char *found = find_sqlstate(line, length);
        if (found) memcpy(sqlstate, found, SQLSTATE_SIZE);
        add_line(&text, line, length, found);
    }
    (void)mp_error_set(error, status, "%s", text.length ? data : "the connection is broken");
    if (*sqlstate) set_sqlstate(error, sqlstate);
    return status;
}
