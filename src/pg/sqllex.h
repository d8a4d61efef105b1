/* The words of SQL, parted as PostgreSQL parts them: comments (which nest), strings of every kind,
 * dollar quotes and quoted names are each one thing, however much of what is inside looks like SQL.
 * Nothing is allocated and nothing is changed. */
#ifndef MP_PG_SQLLEX_H
#define MP_PG_SQLLEX_H

#include "pg/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef enum mp_sqllex_kind {
    MP_SQLLEX_END,    /* of the text */
    MP_SQLLEX_CUT,    /* the text breaks off in the middle of something */
    MP_SQLLEX_WORD,   /* a keyword, or a name without quotes */
    MP_SQLLEX_NAME,   /* "a name" */
    MP_SQLLEX_STRING, /* 'text' E'text' B'01' X'1f' U&'text' $tag$text$tag$ */
    MP_SQLLEX_NUMBER, /* digits and points */
    MP_SQLLEX_PARAM,  /* $1 */
    MP_SQLLEX_SIGN    /* one character of anything else */
} mp_sqllex_kind;

typedef struct mp_sqllex_token {
    mp_sqllex_kind kind;
    bool is_escaped; /* a NAME as U&"…": what it is called is not told here */
    mp_view text;    /* as it stands, with its quotes */
} mp_sqllex_token;

/* A text that is being read. Set all but the place, which begins as NULL. */
typedef struct mp_sqllex {
    mp_view text;
    bool is_whole;         /* otherwise what comes last is CUT, since it may go on */
    bool standard_strings; /* standard_conforming_strings: a backslash is only one in E'' */
    const char *at;
} mp_sqllex;

/* The next token. After END or CUT there are no others. */
mp_sqllex_token mp_sqllex_next(mp_sqllex *lex);

/* Is the word, of the keyword's size, the keyword? */
bool mp_sqllex_is_folded(const char *word, const char *keyword);

/* Is it this keyword, which is given in lower case? */
static inline bool mp_sqllex_is(const mp_sqllex_token *token, const char *keyword) {
    return token->kind == MP_SQLLEX_WORD && token->text.size == strlen(keyword) &&
           mp_sqllex_is_folded(token->text.data, keyword);
}

/* Is it this character? */
static inline bool mp_sqllex_is_sign(const mp_sqllex_token *token, char sign) {
    return token->kind == MP_SQLLEX_SIGN && token->text.data[0] == sign;
}

/* PostgreSQL cuts names to this. */
#define MP_SQLLEX_NAME_SIZE_MAX 63u

/* What a WORD or NAME names: in lower case without quotes, inside them as it stands; cut, at the
 * beginning of a character of UTF-8. Answers its size; 0 for what is no name that can be told. */
size_t mp_sqllex_write_name(const mp_sqllex_token *token, char out[MP_SQLLEX_NAME_SIZE_MAX]);

#endif
