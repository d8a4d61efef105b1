/* SQL is parted and told apart as PostgreSQL does it, whatever hides in comments and quotes. */
#include "lib/tap.h"

#include "pg/bytes.h"
#include "pg/show.h"

typedef struct row {
    const char *sql, *expected;
} row;

static void check_rows(const row *rows, size_t count, bool standard_strings) {
    char shown[4096];
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(rows[i].sql);
        char *copy = malloc(size + 1); /* of just its size */
        memcpy(copy, rows[i].sql, size);
        show_statements((mp_view){copy, size}, true, standard_strings, shown, sizeof shown);
        if (strcmp(shown, rows[i].expected) != 0)
            tap_fail(__FILE__, __LINE__, "%s\n# is: %s\n# and not: %s", rows[i].sql,
                     rows[i].expected, shown);
        free(copy);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof(rows)[0], true)

TEST(transactions_begin_and_end) {
    static const row rows[] = {{"BEGIN", "BEGIN"},
                               {"begin work", "BEGIN"},
                               {"Begin Transaction Isolation Level Serializable", "BEGIN"},
                               {"START TRANSACTION READ ONLY", "BEGIN"},
                               {"START", "OTHER"},
                               {"COMMIT", "COMMIT"},
                               {"END", "COMMIT"},
                               {"END WORK", "COMMIT"},
                               {"COMMIT TRANSACTION", "COMMIT"},
                               {"COMMIT AND CHAIN", "COMMIT CHAIN"},
                               {"COMMIT WORK AND NO CHAIN", "COMMIT"},
                               {"COMMIT PREPARED 'x'", "OTHER"},
                               {"ROLLBACK", "ROLLBACK"},
                               {"ABORT", "ROLLBACK"},
                               {"ROLLBACK TRANSACTION AND CHAIN", "ROLLBACK CHAIN"},
                               {"ROLLBACK TO x", "OTHER"},
                               {"ROLLBACK WORK TO SAVEPOINT x", "OTHER"},
                               {"ROLLBACK PREPARED 'x'", "OTHER"},
                               {"SAVEPOINT begin", "OTHER"},
                               {"RELEASE x", "OTHER"},
                               {"PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"},
                               {"beginning", "OTHER"},
                               {"\"begin\"", "OTHER"}};
    CHECK_ROWS(rows);
}

TEST(parameters_are_set_and_reset_by_name) {
    static const row rows[] = {
        {"SET search_path TO a, b", "SET search_path"},
        {"SET Search_Path = a", "SET search_path"},
        {"SET SESSION statement_timeout=5", "SET statement_timeout"},
        {"SET LOCAL statement_timeout = 5", "SET statement_timeout LOCAL"},
        {"SET my.own = 1", "SET my.own"},
        {"SET \"My\".\"Own\" = 1", "SET My.Own"},
        {"SET LOCAL my.own = 1", "SET my.own LOCAL"},
        {"SET TIME ZONE 'UTC'", "SET timezone"},
        {"SET LOCAL TIME ZONE 'UTC'", "SET timezone LOCAL"},
        {"SET NAMES 'utf8'", "SET client_encoding"},
        {"SET SCHEMA 'x'", "SET search_path"},
        {"SET ROLE alice", "SET role"},
        {"SET SESSION AUTHORIZATION alice", "SET session_authorization"},
        {"SET LOCAL SESSION AUTHORIZATION alice", "SET session_authorization LOCAL"},
        {"SET SESSION SESSION AUTHORIZATION alice", "SET session_authorization"},
        {"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET session_characteristics"},
        {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET transaction LOCAL"},
        {"SET XML OPTION DOCUMENT", "SET xmloption"},
        {"SET CONSTRAINTS ALL DEFERRED", "OTHER"},
        {"SET names TO 'x'", "SET names"},
        {"SET", "SET"},
        {"SET U&\"d\\0061t\" TO 1", "SET"},
        {"RESET ALL", "RESET ALL"},
        {"RESET search_path", "RESET search_path"},
        {"RESET my.own", "RESET my.own"},
        {"RESET TIME ZONE", "RESET timezone"},
        {"RESET SESSION AUTHORIZATION", "RESET session_authorization"},
        {"RESET \"all\"", "RESET all"}};
    CHECK_ROWS(rows);
}

TEST(prepared_statements_are_named) {
    static const row rows[] = {{"PREPARE p AS SELECT 1", "PREPARE p"},
                               {"PREPARE P(int, text) AS SELECT $1", "PREPARE p"},
                               {"PREPARE \"P\"\"q\" AS SELECT 1", "PREPARE P\"q"},
                               {"PREPARE transaction AS SELECT 1", "PREPARE transaction"},
                               {"EXECUTE p", "EXECUTE p"},
                               {"EXECUTE \"P\"('a;b')", "EXECUTE P"},
                               {"DEALLOCATE p", "DEALLOCATE p"},
                               {"DEALLOCATE PREPARE p", "DEALLOCATE p"},
                               {"DEALLOCATE \"_pg3_0\"", "DEALLOCATE _pg3_0"},
                               {"DEALLOCATE ALL", "DEALLOCATE ALL"},
                               {"deallocate prepare all", "DEALLOCATE ALL"},
                               {"DEALLOCATE \"all\"", "DEALLOCATE all"},
                               {"DEALLOCATE prepare", "DEALLOCATE prepare"},
                               {"DEALLOCATE U&\"p\"", "DEALLOCATE"},
                               {"DEALLOCATE", "DEALLOCATE"},
                               {"DISCARD ALL", "DISCARD ALL"},
                               {"DISCARD PLANS", "DISCARD plans"},
                               {"DISCARD TEMPORARY", "DISCARD temp"},
                               {"DISCARD TEMP", "DISCARD temp"},
                               {"DISCARD SEQUENCES", "DISCARD sequences"}};
    CHECK_ROWS(rows);
}

TEST(what_stays_in_the_session_is_seen) {
    static const row rows[] = {
        {"LISTEN x", "LISTEN x"},
        {"LISTEN \"X y\"", "LISTEN X y"},
        {"UNLISTEN x", "UNLISTEN x"},
        {"UNLISTEN *", "UNLISTEN ALL"},
        {"NOTIFY x, 'payload'", "NOTIFY x"},
        {"DECLARE c CURSOR FOR SELECT 1", "DECLARE c"},
        {"DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "DECLARE c HOLD"},
        {"DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", "DECLARE c"},
        {"DECLARE c CURSOR FOR WITH hold AS (SELECT 1) SELECT 1", "DECLARE c"},
        {"CREATE TEMP TABLE t (a int)", "OTHER TEMP"},
        {"CREATE TEMPORARY VIEW v AS SELECT 1", "OTHER TEMP"},
        {"CREATE LOCAL TEMP TABLE t (a int)", "OTHER TEMP"},
        {"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "OTHER TEMP"},
        {"CREATE TEMP SEQUENCE s", "OTHER TEMP"},
        {"CREATE TABLE temp (a int)", "OTHER"},
        {"CREATE TABLE pg_temp.t (a int)", "OTHER TEMP"},
        {"CREATE TABLE \"pg_temp\" . t (a int)", "OTHER TEMP"},
        {"CREATE TABLE \"PG_TEMP\".t (a int)", "OTHER"},
        {"SELECT 1 INTO TEMP t", "OTHER TEMP"},
        {"SELECT 1 INTO TEMPORARY TABLE t", "OTHER TEMP"},
        {"SELECT 1 INTO temp", "OTHER"},
        {"SELECT a INTO temp FROM x", "OTHER"},
        {"INSERT INTO temp t VALUES (1)", "OTHER"},
        {"WITH x AS (INSERT INTO temp VALUES (1)) SELECT 1", "OTHER"},
        {"SELECT temp FROM temp", "OTHER"},
        {"SELECT pg_advisory_lock(1)", "OTHER ADVISORY"},
        {"SELECT PG_Try_Advisory_Lock_Shared (1, 2)", "OTHER ADVISORY"},
        {"SELECT pg_catalog.pg_advisory_lock(1)", "OTHER ADVISORY"},
        {"SELECT \"pg_advisory_lock_shared\"/**/(1)", "OTHER ADVISORY"},
        {"SELECT pg_advisory_xact_lock(1)", "OTHER"},
        {"SELECT pg_advisory_lock", "OTHER"},
        {"SELECT 'pg_advisory_lock(1)'", "OTHER"},
        {"DECLARE c CURSOR WITH HOLD FOR SELECT pg_advisory_lock(1)", "DECLARE c HOLD ADVISORY"},
        {"LOCK TABLE t IN SHARE MODE", "LOCK"},
        {"LOCK t", "LOCK"},
        {"COPY t FROM STDIN", "COPY"},
        {"COPY (SELECT 1; ) TO STDOUT", "COPY"}};
    CHECK_ROWS(rows);
}

TEST(statements_end_at_their_semicolons_and_at_no_others) {
    static const row rows[] = {
        {"", ""},
        {";;  ; /* x */ -- y\n;", ""},
        {"SELECT 1;BEGIN", "OTHER; BEGIN"},
        {"BEGIN;;COMMIT;", "BEGIN; COMMIT"},
        {"CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b); BEGIN",
         "OTHER; BEGIN"},
        {"SELECT ');'; BEGIN", "OTHER; BEGIN"},
        {"SELECT 1); BEGIN", "OTHER; BEGIN"},
        {"(SELECT 1); BEGIN", "OTHER; BEGIN"},
        {".x; )(; BEGIN", "OTHER; OTHER"},
        {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; BEGIN",
         "OTHER; BEGIN"},
        {"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; "
         "COMMIT",
         "OTHER; COMMIT"},
        {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT 2; END; BEGIN",
         "OTHER; BEGIN"},
        {"CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT", "OTHER; COMMIT"},
        {"CREATE TABLE atomic (begin int); COMMIT", "OTHER; COMMIT"},
        {"BEGIN; SELECT CASE WHEN true THEN 1 END; COMMIT", "BEGIN; OTHER; COMMIT"}};
    CHECK_ROWS(rows);
}

TEST(comments_are_never_read_as_sql) {
    static const row rows[] = {{"-- BEGIN", ""},
                               {"-- x\nBEGIN", "BEGIN"},
                               {"-- x\rBEGIN", "BEGIN"},
                               {"--", ""},
                               {"/* BEGIN */ COMMIT", "COMMIT"},
                               {"/* a /* b */ BEGIN */ COMMIT", "COMMIT"},
                               {"/* a /* b */ BEGIN", "OTHER CUT"},
                               {"/*/ BEGIN */ COMMIT", "COMMIT"},
                               {"/**/BEGIN/**/;/**/COMMIT/***/", "BEGIN; COMMIT"},
                               {"/* -- */ BEGIN", "BEGIN"},
                               {"-- /*\nBEGIN -- */", "BEGIN"},
                               {"/* ' */ BEGIN /* ' */", "BEGIN"},
                               {"SELECT 1 --;\n; BEGIN", "OTHER; BEGIN"},
                               {"SELECT 1+--;\n 2; BEGIN", "OTHER; BEGIN"},
                               {"SELECT 1*/*;*/2; BEGIN", "OTHER; BEGIN"},
                               {"SELECT 5 - -1; BEGIN", "OTHER; BEGIN"},
                               {"SELECT 5 --1; BEGIN", "OTHER"},
                               {"/*", "OTHER CUT"},
                               {"/* *", "OTHER CUT"},
                               {"SELECT 1 /* ; BEGIN", "OTHER CUT"},
                               {"BEGIN -- x", "BEGIN"}};
    CHECK_ROWS(rows);
}

TEST(strings_are_never_read_as_sql) {
    static const row rows[] = {{"SELECT ';BEGIN;'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT 'a'';BEGIN'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT 'a\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT E'a\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT e'\\\\'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT E'a''b\\''; COMMIT", "OTHER; COMMIT"},
                               {"SELECT E'a' 'b\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT E'a'\n'b\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT E'a' -- x'\n  'b\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT E'a' /* x\n */ 'b\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT 'a'\n'b\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT B'1'';BEGIN;'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT x'1f'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT N';'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT U&'\\0061;'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT U&'\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT U & ';'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT \"a;BEGIN;\"\"'\"; COMMIT", "OTHER; COMMIT"},
                               {"SELECT U&\"a;\\0061\"; COMMIT", "OTHER; COMMIT"},
                               {"SELECT 'a", "OTHER CUT"},
                               {"SELECT \"a; BEGIN", "OTHER CUT"},
                               {"SELECT E'a\\", "OTHER CUT"},
                               {"SELECT some'a'; BEGIN", "OTHER; BEGIN"},
                               {"SELECT 1e'\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"}};
    CHECK_ROWS(rows);
}

TEST(without_standard_strings_a_backslash_is_one_in_every_string) {
    static const row rows[] = {{"SELECT 'a\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT 'a' 'b\\'; BEGIN; --'; COMMIT", "OTHER; COMMIT"},
                               {"SELECT \"a\\\"; BEGIN", "OTHER; BEGIN"},
                               {"SELECT x'1\\'; BEGIN; --'", "OTHER; BEGIN"},
                               {"SELECT $$a\\$$; BEGIN", "OTHER; BEGIN"}};
    check_rows(rows, sizeof rows / sizeof rows[0], false);
}

TEST(dollar_quotes_end_at_their_own_tag) {
    static const row rows[] = {
        {"SELECT $$;BEGIN;'$$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $a$;$$;BEGIN;$A$;$a$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $a$ $b$a$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $$ $a$$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $\xc3\xa4_1$ ; $\xc3\xa4_1$; COMMIT", "OTHER; COMMIT"},
        {"DO $do$ BEGIN PERFORM 1; COMMIT; END $do$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $1; BEGIN; SELECT $1", "OTHER; BEGIN; OTHER"},
        {"SELECT a$b$;BEGIN;$b$", "OTHER; BEGIN; OTHER CUT"},
        {"SELECT $1a$;BEGIN;$1a$", "OTHER; BEGIN; OTHER"},
        {"SELECT $a;BEGIN;$a$", "OTHER; BEGIN; OTHER CUT"},
        {"SELECT $a-b$;BEGIN", "OTHER; BEGIN"},
        {"SELECT $a$; BEGIN", "OTHER CUT"},
        {"SELECT $a$; BEGIN $a", "OTHER CUT"},
        {"SELECT 1$$;BEGIN;$$; COMMIT", "OTHER; COMMIT"},
        {"SELECT $", "OTHER"}};
    CHECK_ROWS(rows);
}

TEST(names_are_folded_unquoted_and_cut_as_postgresql_does) {
#define TEN "abcdefghij"
#define SIXTY TEN TEN TEN TEN TEN TEN
    static const row rows[] = {
        {"LISTEN " SIXTY "XYZ", "LISTEN " SIXTY "xyz"},
        {"LISTEN " SIXTY "XYZT", "LISTEN " SIXTY "xyz"},
        {"LISTEN \"" SIXTY "\"\"ZT\"", "LISTEN " SIXTY "\"ZT"},
        {"LISTEN \"" SIXTY "Z\"\"TU\"", "LISTEN " SIXTY "Z\"T"},
        {"LISTEN \"" SIXTY "ab\xc3\xa4\"", "LISTEN " SIXTY "ab"},
        {"LISTEN \"" SIXTY "a\xc3\xa4\"", "LISTEN " SIXTY "a\xc3\xa4"},
        {"LISTEN \"" SIXTY "a\xf0\x9f\x98\x80\"", "LISTEN " SIXTY "a"},
        {"LISTEN \xc3\x84x", "LISTEN \xc3\x84x"},
        {"LISTEN _A1$", "LISTEN _a1$"},
        {"LISTEN 'x'", "LISTEN"},
        {"LISTEN 1", "LISTEN"},
        {"SET " SIXTY "ABCDE." SIXTY "ABCDE = 1", "SET " SIXTY "abc." SIXTY "abc"}};
    CHECK_ROWS(rows);
}

TEST(a_text_that_goes_on_is_cut_where_it_matters) {
    static const row rows[] = {{"BEGIN; DEALLOCA", "BEGIN; OTHER CUT"},
                               {"BEGIN; DEALLOCATE ", "BEGIN; DEALLOCATE CUT"},
                               {"BEGIN; DEALLOCATE x", "BEGIN; DEALLOCATE CUT"},
                               {"BEGIN; DEALLOCATE x ", "BEGIN; DEALLOCATE x CUT"},
                               {"BEGIN; DEALLOCATE x; ", "BEGIN; DEALLOCATE x; OTHER CUT"},
                               {"BEGIN; DEALLOCATE x;", "BEGIN; DEALLOCATE x CUT"},
                               {"BEG", "OTHER CUT"},
                               {"", "OTHER CUT"}};
    char shown[512];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        show_statements(mp_view_of(rows[i].sql), false, true, shown, sizeof shown);
        if (strcmp(shown, rows[i].expected) != 0)
            tap_fail(__FILE__, __LINE__, "\"%s\" is %s and not %s", rows[i].sql, rows[i].expected,
                     shown);
    }
}

TEST(only_the_window_is_read) {
    static char sql[MP_SQLTEXT_WINDOW + 64];
    char shown[512];
    memset(sql, ' ', sizeof sql);
    memcpy(sql, "BEGIN;", 6);
    memcpy(sql + MP_SQLTEXT_WINDOW, "COMMIT", 6);
    show_statements((mp_view){sql, sizeof sql}, true, true, shown, sizeof shown);
    check_view(mp_view_of(shown), "BEGIN; OTHER CUT");
    show_statements((mp_view){sql, MP_SQLTEXT_WINDOW}, true, true, shown, sizeof shown);
    check_view(mp_view_of(shown), "BEGIN");
}

/* What is found in the beginning of a text is found in the whole, but for what is cut. */
TEST(a_text_cut_anywhere_never_says_more_than_the_whole) {
    static const char sql[] =
        "BEGIN; SET LOCAL a.b = E'x\\';'; /* ; */ DECLARE c CURSOR WITH HOLD FOR "
        "SELECT $x$;$x$; DEALLOCATE \"P\"; SELECT pg_advisory_lock(1)";
    mp_sqltext_statement whole[8], found;
    mp_sqltext text;
    size_t count = 0;
    mp_sqltext_init(&text, mp_view_of(sql), true, true);
    while (mp_sqltext_next(&text, &whole[count])) count++;
    check_equal(count, 5);
    for (size_t size = 0; size < sizeof sql; size++) {
        char *copy = malloc(size + 1);
        memcpy(copy, sql, size);
        mp_sqltext_init(&text, (mp_view){copy, size}, false, true);
        for (size_t i = 0; mp_sqltext_next(&text, &found); i++) {
            check(i < count);
            if (!found.is_cut) check(memcmp(&found, &whole[i], sizeof found) == 0);
            check(found.kind == whole[i].kind || (found.is_cut && found.kind == MP_SQLTEXT_OTHER));
            check((found.does & ~whole[i].does) == 0);
        }
        free(copy);
    }
}

TAP_MAIN
