/* What a pooler has to know of SQL. */
#include "pg/sqltext.h"

#define HEAD_MAX 12u /* tokens of a statement that are looked at for what it is */

/* A statement while it is read. */
typedef struct reader {
    mp_sqllex_token head[HEAD_MAX];
    uint32_t count;                      /* of head */
    mp_sqllex_token before, before_that; /* the last two tokens */
    uint32_t parens;                     /* open ones */
    uint32_t blocks; /* BEGIN ATOMIC and CASE in the body of a function, which END closes */
    bool is_create, is_declare; /* by its first word */
    bool is_query;              /* a cursor's query has begun */
} reader;

/* Is a token of the head, by its index, this keyword? Beyond the head's end none is. */
static bool is(const reader *reading, uint32_t index, const char *keyword) {
    return index < reading->count && mp_sqllex_is(&reading->head[index], keyword);
}

/* ---- what a statement does, whatever it is: looked at token by token ---- */

static bool is_any(const mp_sqllex_token *token, const char *const *keywords) {
    for (; *keywords; keywords++)
        if (mp_sqllex_is(token, *keywords)) return true;
    return false;
}

static bool is_temporary(const mp_sqllex_token *token) {
    return mp_sqllex_is(token, "temp") || mp_sqllex_is(token, "temporary");
}

/* Names of functions and schemas are the same in quotes. */
static bool is_named(const mp_sqllex_token *token, const char *name) {
    char buffer[MP_SQLLEX_NAME_SIZE_MAX];
    size_t size = mp_sqllex_write_name(token, buffer);
    return size == strlen(name) && memcmp(buffer, name, size) == 0;
}

static bool takes_advisory_lock(const mp_sqllex_token *function) {
    static const char *const names[] = {"pg_advisory_lock", "pg_advisory_lock_shared",
                                        "pg_try_advisory_lock", "pg_try_advisory_lock_shared"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_named(function, names[i])) return true;
    return false;
}

/* SELECT … INTO TEMP name; but INSERT INTO temp, and SELECT … INTO temp FROM, name a table. */
static bool makes_temporary_table(const reader *reading, const mp_sqllex_token *token) {
    static const char *const no_names[] = {
        "as",     "default", "except",    "fetch",  "for",    "from",  "group",  "having",
        "insert", "into",    "intersect", "limit",  "offset", "order", "select", "union",
        "using",  "values",  "where",     "window", "with",   NULL};
    if (!is_temporary(&reading->before) || !mp_sqllex_is(&reading->before_that, "into"))
        return false;
    bool is_word = token->kind == MP_SQLLEX_WORD && !is_any(token, no_names);
    return (is_word || token->kind == MP_SQLLEX_NAME) && !is(reading, 0, "insert");
}

static uint32_t what_token_does(reader *reading, const mp_sqllex_token *token) {
    const mp_sqllex_token *before = &reading->before;
    if (token->kind == MP_SQLLEX_SIGN) {
        char sign = token->text.data[0];
        if (sign == '(' && takes_advisory_lock(before)) return MP_SQLTEXT_ADVISORY;
        return sign == '.' && is_named(before, "pg_temp") ? MP_SQLTEXT_TEMPORARY : 0;
    }
    if (reading->is_declare) {
        if (mp_sqllex_is(token, "for")) reading->is_query = true;
        if (!reading->is_query && mp_sqllex_is(token, "hold") && mp_sqllex_is(before, "with"))
            return MP_SQLTEXT_HOLD;
    }
    return makes_temporary_table(reading, token) ? MP_SQLTEXT_TEMPORARY : 0;
}

/* ---- where a statement ends ---- */

/* Of a CREATE: is it of a function or procedure? */
static bool is_routine(const reader *reading) {
    uint32_t index = is(reading, 1, "or") && is(reading, 2, "replace") ? 3 : 1;
    return is(reading, index, "function") || is(reading, index, "procedure");
}

/* Keep count of what must be closed before a semicolon ends the statement. */
static void nest(reader *reading, const mp_sqllex_token *token) {
    const mp_sqllex_token *before = &reading->before;
    if (mp_sqllex_is_sign(token, '(')) reading->parens++;
    else if (mp_sqllex_is_sign(token, ')') && reading->parens) reading->parens--;
    if (!reading->is_create || token->kind != MP_SQLLEX_WORD || !is_routine(reading)) return;
    bool is_label = mp_sqllex_is(before, "as") || mp_sqllex_is_sign(before, '.');
    if (is_label) return;
    bool is_atomic = mp_sqllex_is(token, "atomic") && mp_sqllex_is(before, "begin");
    if (is_atomic || (reading->blocks && mp_sqllex_is(token, "case"))) reading->blocks++;
    else if (reading->blocks && mp_sqllex_is(token, "end")) reading->blocks--;
}

static void note(reader *reading, const mp_sqllex_token *token) {
    if (reading->count == 0) {
        reading->is_create = mp_sqllex_is(token, "create");
        reading->is_declare = mp_sqllex_is(token, "declare");
    }
    if (reading->count < HEAD_MAX) reading->head[reading->count++] = *token;
    reading->before_that = reading->before;
    reading->before = *token;
}

/* Read to the semicolon or the end of the text. False: there was nothing. */
static bool read_statement(mp_sqltext *text, reader *reading, mp_sqltext_statement *out) {
    for (;;) {
        mp_sqllex_token token = mp_sqllex_next(&text->lex);
        if (token.kind <= MP_SQLLEX_CUT) {
            text->is_over = true;
            out->is_cut = token.kind == MP_SQLLEX_CUT;
            return reading->count > 0 || out->is_cut;
        }
        bool is_inside = reading->parens || reading->blocks;
        if (mp_sqllex_is_sign(&token, ';') && !is_inside) {
            if (reading->count) return true;
            continue;
        }
        out->does |= what_token_does(reading, &token);
        nest(reading, &token);
        note(reading, &token);
    }
}

/* ---- what a statement is: looked up by its head ---- */

/* Fill in the name that stands at an index. */
static void write_name(const reader *reading, uint32_t index, mp_sqltext_statement *out) {
    if (index < reading->count)
        out->name_size = (uint32_t)mp_sqllex_write_name(&reading->head[index], out->name);
}

/* A parameter's name may have two parts: "class.setting". */
static void write_parameter(const reader *reading, uint32_t index, mp_sqltext_statement *out) {
    write_name(reading, index, out);
    bool has_parts = index + 2 < reading->count && out->name_size &&
                     mp_sqllex_is_sign(&reading->head[index + 1], '.');
    if (!has_parts) return;
    char *second = out->name + out->name_size + 1;
    size_t size = mp_sqllex_write_name(&reading->head[index + 2], second);
    out->name[out->name_size] = '.';
    out->name_size = size ? out->name_size + 1 + (uint32_t)size : 0;
}

static void set_name(mp_sqltext_statement *out, const char *name) {
    out->name_size = (uint32_t)strlen(name);
    memcpy(out->name, name, out->name_size);
}

/* SET and RESET have some parameters that are called by words of their own. */
static bool read_special_parameter(const reader *reading, uint32_t index,
                                   mp_sqltext_statement *out) {
    static const struct {
        const char *first, *second; /* second NULL: the first is enough */
        const char *name;
    } specials[] = {{"time", "zone", "timezone"},
                    {"session", "authorization", "session_authorization"},
                    {"session", "characteristics", "session_characteristics"},
                    {"transaction", NULL, "transaction"},
                    {"names", NULL, "client_encoding"},
                    {"schema", NULL, "search_path"},
                    {"xml", "option", "xmloption"}};
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
        if (!is(reading, index, specials[i].first)) continue;
        if (specials[i].second && !is(reading, index + 1, specials[i].second)) continue;
        bool is_assigned = index + 1 < reading->count &&
                           (mp_sqllex_is_sign(&reading->head[index + 1], '=') ||
                            is(reading, index + 1, "to"));
        if (is_assigned) continue; /* an ordinary parameter of this name */
        set_name(out, specials[i].name);
        return true;
    }
    return false;
}

static void read_set(const reader *reading, mp_sqltext_statement *out) {
    uint32_t index = 1;
    if (is(reading, 1, "constraints")) {
        out->kind = MP_SQLTEXT_OTHER; /* of the transaction alone */
        return;
    }
    bool is_session = is(reading, 1, "session") && !is(reading, 2, "authorization") &&
                      !is(reading, 2, "characteristics");
    out->is_local = is(reading, 1, "local");
    if (is_session || out->is_local) index++;
    if (!read_special_parameter(reading, index, out)) write_parameter(reading, index, out);
    if (is(reading, 1, "transaction")) out->is_local = true;
}

static void read_reset(const reader *reading, mp_sqltext_statement *out) {
    out->is_all = is(reading, 1, "all");
    if (!out->is_all && !read_special_parameter(reading, 1, out)) write_parameter(reading, 1, out);
}

static void read_discard(const reader *reading, mp_sqltext_statement *out) {
    out->is_all = is(reading, 1, "all");
    if (!out->is_all && reading->count > 1 && is_temporary(&reading->head[1]))
        set_name(out, "temp");
    else if (!out->is_all) write_name(reading, 1, out);
}

static void read_deallocate(const reader *reading, mp_sqltext_statement *out) {
    uint32_t index = is(reading, 1, "prepare") && reading->count > 2 ? 2 : 1;
    out->is_all = is(reading, index, "all");
    if (!out->is_all) write_name(reading, index, out);
}

static void read_prepare(const reader *reading, mp_sqltext_statement *out) {
    bool is_transaction = is(reading, 1, "transaction") && reading->count > 2 &&
                          reading->head[2].kind == MP_SQLLEX_STRING;
    if (is_transaction) out->kind = MP_SQLTEXT_PREPARE_TRANSACTION;
    else write_name(reading, 1, out);
}

static void read_unlisten(const reader *reading, mp_sqltext_statement *out) {
    out->is_all = reading->count > 1 && mp_sqllex_is_sign(&reading->head[1], '*');
    if (!out->is_all) write_name(reading, 1, out);
}

static void read_named(const reader *reading, mp_sqltext_statement *out) {
    write_name(reading, 1, out);
}

/* COMMIT and ROLLBACK: of a prepared transaction, or to a savepoint, they end nothing of ours. */
static void read_ending(const reader *reading, mp_sqltext_statement *out) {
    uint32_t index = is(reading, 1, "work") || is(reading, 1, "transaction") ? 2 : 1;
    if (is(reading, 1, "prepared") || is(reading, index, "to")) out->kind = MP_SQLTEXT_OTHER;
    out->is_chained = is(reading, index, "and") && is(reading, index + 1, "chain");
}

static void read_start(const reader *reading, mp_sqltext_statement *out) {
    if (!is(reading, 1, "transaction")) out->kind = MP_SQLTEXT_OTHER;
}

static void read_create(const reader *reading, mp_sqltext_statement *out) {
    uint32_t index = is(reading, 1, "or") && is(reading, 2, "replace") ? 3 : 1;
    if (is(reading, index, "global") || is(reading, index, "local")) index++;
    if (index < reading->count && is_temporary(&reading->head[index]))
        out->does |= MP_SQLTEXT_TEMPORARY;
}

#define ROW(keyword, kind, read)                                                                   \
    { keyword, sizeof keyword - 1, kind, read }

static const struct {
    const char *keyword;
    size_t size;
    mp_sqltext_kind kind;
    void (*read)(const reader *reading, mp_sqltext_statement *out); /* NULL: nothing more */
} rows[] = {ROW("abort", MP_SQLTEXT_ROLLBACK, read_ending),
            ROW("begin", MP_SQLTEXT_BEGIN, NULL),
            ROW("commit", MP_SQLTEXT_COMMIT, read_ending),
            ROW("copy", MP_SQLTEXT_COPY, NULL),
            ROW("create", MP_SQLTEXT_OTHER, read_create),
            ROW("deallocate", MP_SQLTEXT_DEALLOCATE, read_deallocate),
            ROW("declare", MP_SQLTEXT_DECLARE, read_named),
            ROW("discard", MP_SQLTEXT_DISCARD, read_discard),
            ROW("end", MP_SQLTEXT_COMMIT, read_ending),
            ROW("execute", MP_SQLTEXT_EXECUTE, read_named),
            ROW("listen", MP_SQLTEXT_LISTEN, read_named),
            ROW("lock", MP_SQLTEXT_LOCK, NULL),
            ROW("notify", MP_SQLTEXT_NOTIFY, read_named),
            ROW("prepare", MP_SQLTEXT_PREPARE, read_prepare),
            ROW("reset", MP_SQLTEXT_RESET, read_reset),
            ROW("rollback", MP_SQLTEXT_ROLLBACK, read_ending),
            ROW("set", MP_SQLTEXT_SET, read_set),
            ROW("start", MP_SQLTEXT_BEGIN, read_start),
            ROW("unlisten", MP_SQLTEXT_UNLISTEN, read_unlisten)};

static void classify(const reader *reading, mp_sqltext_statement *out) {
    const mp_sqllex_token *first = &reading->head[0];
    for (size_t i = 0; first->kind == MP_SQLLEX_WORD && i < sizeof rows / sizeof rows[0]; i++) {
        if (first->text.size != rows[i].size) continue;
        if (!mp_sqllex_is_folded(first->text.data, rows[i].keyword)) continue;
        out->kind = rows[i].kind;
        if (rows[i].read) rows[i].read(reading, out);
        return;
    }
}

void mp_sqltext_init(mp_sqltext *text, mp_view sql, bool is_whole, bool standard_strings) {
    bool is_long = sql.size > MP_SQLTEXT_WINDOW;
    if (is_long) sql.size = MP_SQLTEXT_WINDOW;
    *text = (mp_sqltext){.lex = {.text = sql,
                                 .is_whole = is_whole && !is_long,
                                 .standard_strings = standard_strings}};
}

bool mp_sqltext_next(mp_sqltext *text, mp_sqltext_statement *out) {
    reader reading = {0};
    mp_sqltext_statement found = {0};
    if (text->is_over || !read_statement(text, &reading, &found)) return false;
    classify(&reading, &found);
    *out = found;
    return true;
}
