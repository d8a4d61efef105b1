/* Visiting keys in order. A scan of up to a page is one statement; a longer one reads page after
 * page in a transaction with one snapshot. */
#include "connectors/postgres_kv.h"

#include "base/clock.h"
#include "base/error.h"
#include "connectors/postgres_sql.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 64                       /* held in memory at a time, and one more */
#define YEAR_2000_MS INT64_C(946684800000) /* where PostgreSQL's time begins */

enum { COLUMN_KEY, COLUMN_VALUE, COLUMN_VERSION, COLUMN_EXPIRES };

typedef struct table_scan {
    PGconn *conn;
    /* what is to be read: keys from `from` on, below `below` if there is such a one */
    unsigned char *from, *below; /* heap */
    size_t from_size, below_size;
    uint32_t left; /* entries to visit; 0 with is_unlimited */
    bool is_unlimited;
    mantis_on_entry on_entry;
    void *arg;
    bool has_visited, is_stopped, at_end;
} table_scan;

int64_t mp_postgres_scan_expires_ms(const PGresult *result, int row, int column) {
    if (PQgetisnull(result, row, column)) return 0;
    int64_t us = (int64_t)mp_postgres_sql_number(result, row, column);
    return us / 1000 + YEAR_2000_MS;
}

static void *copy_bytes(const void *bytes, size_t size, size_t more) {
    unsigned char *copy = malloc(size + more);
    if (!copy) return NULL;
    if (size) memcpy(copy, bytes, size);
    memset(copy + size, 0, more);
    return copy;
}

/* From behind this key on: behind it comes the same key with a zero byte more. */
static bool start_behind(table_scan *scan, const void *key, size_t size) {
    unsigned char *from = copy_bytes(key, size, 1);
    if (!from) return false;
    free(scan->from);
    scan->from = from;
    scan->from_size = size + 1;
    return true;
}

/* The least key that is above all with this prefix: none if it is empty, or all bytes of 255. */
static bool set_below(table_scan *scan, const unsigned char *prefix, size_t size) {
    while (size > 0 && prefix[size - 1] == 0xff) size--;
    if (size == 0) return true;
    scan->below = copy_bytes(prefix, size, 0);
    if (!scan->below) return false;
    scan->below[size - 1]++;
    scan->below_size = size;
    return true;
}

static bool is_behind(const mantis_cursor *cursor, const void *prefix, size_t size) {
    size_t least = cursor->key_size < size ? cursor->key_size : size;
    int order = least ? memcmp(cursor->key, prefix, least) : 0;
    return order > 0 || (order == 0 && cursor->key_size >= size);
}

static bool init_scan(table_scan *scan, const void *prefix, size_t size,
                      const mantis_cursor *cursor) {
    if (!set_below(scan, prefix, size)) return false;
    if (cursor && cursor->key && is_behind(cursor, prefix, size))
        return start_behind(scan, cursor->key, cursor->key_size);
    scan->from = copy_bytes(prefix, size, 0);
    scan->from_size = size;
    return scan->from || size == 0;
}

static mantis_status read_page(const table_scan *scan, uint32_t rows, PGresult **out,
                               mantis_error *error) {
    mp_postgres_params params = {0};
    mp_postgres_sql_set_bytes(&params, 0, scan->from, scan->from_size);
    mp_postgres_sql_set_number(&params, 1, rows);
    if (scan->below) mp_postgres_sql_set_bytes(&params, 2, scan->below, scan->below_size);
    return mp_postgres_sql_run(scan->conn, scan->below ? MP_POSTGRES_SCAN_BELOW : MP_POSTGRES_SCAN,
                               &params, "scan", out, error);
}

/* Visit the rows of a page. Returns how many were. */
static int visit(table_scan *scan, const PGresult *result, int rows) {
    int row = 0;
    while (row < rows && !scan->is_stopped) {
        mantis_entry entry = {
            .key = PQgetvalue(result, row, COLUMN_KEY),
            .key_size = (size_t)PQgetlength(result, row, COLUMN_KEY),
            .value = PQgetvalue(result, row, COLUMN_VALUE),
            .value_size = (size_t)PQgetlength(result, row, COLUMN_VALUE),
            .version = mp_postgres_sql_number(result, row, COLUMN_VERSION),
            .expires_ms = mp_postgres_scan_expires_ms(result, row, COLUMN_EXPIRES)};
        scan->is_stopped = !scan->on_entry(&entry, scan->arg);
        row++;
    }
    return row;
}

/* One page, and one row more that only says whether it is the last. */
static mantis_status scan_page(table_scan *scan, mantis_error *error) {
    uint32_t rows = !scan->is_unlimited && scan->left < PAGE_ROWS ? scan->left : PAGE_ROWS;
    PGresult *result = NULL;
    mantis_status status = read_page(scan, rows + 1, &result, error);
    if (status != MANTIS_OK) return status;
    int found = PQntuples(result),
        seen = visit(scan, result, found < (int)rows ? found : (int)rows);
    if (!scan->is_unlimited) scan->left -= (uint32_t)seen;
    scan->at_end = seen == found;
    scan->has_visited |= seen > 0;
    if (seen > 0 && !start_behind(scan, PQgetvalue(result, seen - 1, COLUMN_KEY),
                                  (size_t)PQgetlength(result, seen - 1, COLUMN_KEY)))
        status = mp_error_set(error, MANTIS_NOMEM, "scan: out of memory");
    PQclear(result);
    return status;
}

static mantis_status scan_pages(table_scan *scan, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    do status = scan_page(scan, error);
    while (status == MANTIS_OK && !scan->at_end && !scan->is_stopped &&
           (scan->is_unlimited || scan->left > 0));
    return status;
}

/* More than a page: all of them as they are now. A transaction that is open stays open, and what it
 * sees is seen. */
static mantis_status scan_snapshot(table_scan *scan, mantis_error *error) {
    bool is_inside = PQtransactionStatus(scan->conn) != PQTRANS_IDLE;
    mantis_error detail = {0};
    mantis_status status = mp_postgres_sql_prepare(scan->conn, &detail);
    if (status == MANTIS_OK && !is_inside)
        status = mp_postgres_link_run(scan->conn, "BEGIN ISOLATION LEVEL REPEATABLE READ",
                                      MP_NEVER_NS, NULL, &detail);
    if (status == MANTIS_OK) status = scan_pages(scan, &detail);
    if (!is_inside && PQtransactionStatus(scan->conn) != PQTRANS_IDLE) {
        mantis_status ended =
            mp_postgres_link_run(scan->conn, status == MANTIS_OK ? "COMMIT" : "ROLLBACK",
                                 MP_NEVER_NS, NULL, status == MANTIS_OK ? &detail : NULL);
        if (status == MANTIS_OK) status = ended;
    }
    if (status != MANTIS_OK && error) *error = detail;
    return status;
}

/* The cursor stands behind the last entry that was visited: `from` without its zero byte. */
static void set_cursor(mantis_cursor *cursor, table_scan *scan) {
    cursor->at_end = scan->at_end;
    if (!scan->has_visited) return;
    free(cursor->key);
    cursor->key = scan->from;
    cursor->key_size = scan->from_size - 1;
    scan->from = NULL;
}

mantis_status mp_postgres_scan(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                               mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                               mantis_error *error) {
    table_scan scan = {.conn = native,
                       .left = limit,
                       .is_unlimited = limit == 0,
                       .on_entry = on_entry,
                       .arg = arg};
    mantis_status status = MANTIS_NOMEM;
    if (!init_scan(&scan, prefix, prefix_size, cursor))
        (void)mp_error_set(error, status, "scan: out of memory");
    else if (limit > 0 && limit <= PAGE_ROWS) status = scan_page(&scan, error);
    else status = scan_snapshot(&scan, error);
    if (status == MANTIS_OK && cursor) set_cursor(cursor, &scan);
    free(scan.from);
    free(scan.below);
    return status;
}
