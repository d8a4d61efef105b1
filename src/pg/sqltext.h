/* What a pooler has to know of a client's SQL: which of its statements open or close transactions,
 * name prepared statements, or leave something behind in the session. It looks at the first
 * MP_SQLTEXT_WINDOW bytes, and says where that was not enough. A pure function of the text: what a
 * function does that is called, or a DO block, it cannot know. */
#ifndef MP_PG_SQLTEXT_H
#define MP_PG_SQLTEXT_H

#include "pg/sqllex.h"
#include "pg/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_SQLTEXT_WINDOW 16384u
#define MP_SQLTEXT_NAME_SIZE_MAX (2 * MP_SQLLEX_NAME_SIZE_MAX + 1) /* "class.setting" */

typedef enum mp_sqltext_kind {
    MP_SQLTEXT_OTHER,
    MP_SQLTEXT_BEGIN,               /* also START TRANSACTION */
    MP_SQLTEXT_COMMIT,              /* also END */
    MP_SQLTEXT_ROLLBACK,            /* also ABORT; not ROLLBACK TO a savepoint */
    MP_SQLTEXT_PREPARE_TRANSACTION, /* which ends a transaction too */
    MP_SQLTEXT_SET,                 /* name: the parameter, or the word: "transaction", "role" */
    MP_SQLTEXT_RESET,               /* name, or is_all */
    MP_SQLTEXT_DISCARD,             /* name: "plans", "temp", "sequences", or is_all */
    MP_SQLTEXT_PREPARE,             /* name: the statement's */
    MP_SQLTEXT_EXECUTE,             /* name */
    MP_SQLTEXT_DEALLOCATE,          /* name, or is_all */
    MP_SQLTEXT_LISTEN,              /* name: the channel's */
    MP_SQLTEXT_UNLISTEN,            /* name, or is_all */
    MP_SQLTEXT_NOTIFY,              /* name */
    MP_SQLTEXT_DECLARE,             /* name: the cursor's */
    MP_SQLTEXT_LOCK,
    MP_SQLTEXT_COPY
} mp_sqltext_kind;

/* What a statement of any kind does besides. */
#define MP_SQLTEXT_TEMPORARY 1u /* makes something temporary, or names the schema pg_temp */
#define MP_SQLTEXT_HOLD 2u      /* declares a cursor WITH HOLD */
#define MP_SQLTEXT_ADVISORY 4u  /* calls a function that takes an advisory lock for the session */

typedef struct mp_sqltext_statement {
    mp_sqltext_kind kind;
    bool is_all;                         /* RESET ALL, DISCARD ALL, DEALLOCATE ALL, UNLISTEN * */
    bool is_local;                       /* SET LOCAL: until the transaction ends */
    bool is_chained;                     /* COMMIT AND CHAIN: another transaction begins at once */
    bool is_cut;                         /* the text breaks off in it: more could follow */
    uint32_t does;                       /* the flags above */
    uint32_t name_size;                  /* 0: it has none, or none that can be told, as U&"…" */
    char name[MP_SQLTEXT_NAME_SIZE_MAX]; /* as the server will know it: folded, unquoted, cut */
} mp_sqltext_statement;

/* A text that is being read. */
typedef struct mp_sqltext {
    mp_sqllex lex;
    bool is_over; /* the end has been seen */
} mp_sqltext;

/* Begin with a text, of which the window is read. is_whole: there is nothing behind it.
 * standard_strings is the session's standard_conforming_strings. */
void mp_sqltext_init(mp_sqltext *text, mp_view sql, bool is_whole, bool standard_strings);

/* The next statement; empty ones are passed over. False: there is none. */
bool mp_sqltext_next(mp_sqltext *text, mp_sqltext_statement *out);

#endif
