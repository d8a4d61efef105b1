/* What sqltext finds in a text, as a line: "BEGIN; SET search_path LOCAL; OTHER CUT". */
#ifndef MP_TESTS_PG_SHOW_H
#define MP_TESTS_PG_SHOW_H

#include "pg/sqltext.h"

#include <stdio.h>

static const char *const kind_names[] = {[MP_SQLTEXT_OTHER] = "OTHER",
                                         [MP_SQLTEXT_BEGIN] = "BEGIN",
                                         [MP_SQLTEXT_COMMIT] = "COMMIT",
                                         [MP_SQLTEXT_ROLLBACK] = "ROLLBACK",
                                         [MP_SQLTEXT_PREPARE_TRANSACTION] = "PREPARE TRANSACTION",
                                         [MP_SQLTEXT_SET] = "SET",
                                         [MP_SQLTEXT_RESET] = "RESET",
                                         [MP_SQLTEXT_DISCARD] = "DISCARD",
                                         [MP_SQLTEXT_PREPARE] = "PREPARE",
                                         [MP_SQLTEXT_EXECUTE] = "EXECUTE",
                                         [MP_SQLTEXT_DEALLOCATE] = "DEALLOCATE",
                                         [MP_SQLTEXT_LISTEN] = "LISTEN",
                                         [MP_SQLTEXT_UNLISTEN] = "UNLISTEN",
                                         [MP_SQLTEXT_NOTIFY] = "NOTIFY",
                                         [MP_SQLTEXT_DECLARE] = "DECLARE",
                                         [MP_SQLTEXT_LOCK] = "LOCK",
                                         [MP_SQLTEXT_COPY] = "COPY"};

static void show_statements(mp_view sql, bool is_whole, bool standard_strings, char *out,
                            size_t size) {
    mp_sqltext text;
    mp_sqltext_statement found;
    size_t length = 0;
    out[0] = 0;
    mp_sqltext_init(&text, sql, is_whole, standard_strings);
    while (mp_sqltext_next(&text, &found) && length + 256 < size) {
        length += (size_t)snprintf(
            out + length, size - length, "%s%s%s%.*s%s%s%s%s%s%s%s", length ? "; " : "",
            kind_names[found.kind], found.name_size ? " " : "", (int)found.name_size, found.name,
            found.is_all ? " ALL" : "", found.is_local ? " LOCAL" : "",
            found.is_chained ? " CHAIN" : "", found.does & MP_SQLTEXT_TEMPORARY ? " TEMP" : "",
            found.does & MP_SQLTEXT_HOLD ? " HOLD" : "",
            found.does & MP_SQLTEXT_ADVISORY ? " ADVISORY" : "", found.is_cut ? " CUT" : "");
    }
}

#endif
