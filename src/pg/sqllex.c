/* The words of SQL. */
#include "pg/sqllex.h"

#include <stdint.h>

/* ---- characters ---- */

enum { BLANK = 1, NEWLINE = 2, DIGIT = 4, LETTER = 8, DOLLAR = 16 };

static const uint8_t kinds[256] = {
    [' '] = BLANK,         ['\t'] = BLANK,           ['\f'] = BLANK,
    ['\v'] = BLANK,        ['\n'] = BLANK | NEWLINE, ['\r'] = BLANK | NEWLINE,
    ['0' ... '9'] = DIGIT, ['a' ... 'z'] = LETTER,   ['A' ... 'Z'] = LETTER,
    ['_'] = LETTER,        ['$'] = DOLLAR,           [128 ... 255] = LETTER};

/* Is it of one of these kinds? */
static bool is(char c, uint32_t of) { return kinds[(uint8_t)c] & of; }

static char to_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

/* ---- places: each function goes from one to the next, or to NULL if the text ends before ---- */

static bool begins(const char *at, const char *end, char first, char second) {
    return end - at >= 2 && at[0] == first && at[1] == second;
}

static const char *skip_line(const char *at, const char *end) {
    while (at < end && !is(*at, NEWLINE)) at++;
    return at;
}

/* Behind a comment that begins here; those in it count too. */
static const char *skip_comment(const char *at, const char *end) {
    uint32_t depth = 0;
    while (at < end) {
        if (begins(at, end, '/', '*')) depth++, at += 2;
        else if (begins(at, end, '*', '/')) {
            at += 2;
            if (--depth == 0) return at;
        } else at++;
    }
    return NULL;
}

static const char *skip_blanks(const char *at, const char *end) {
    while (at && at < end) {
        if (is(*at, BLANK)) at++;
        else if (begins(at, end, '-', '-')) at = skip_line(at, end);
        else if (begins(at, end, '/', '*')) at = skip_comment(at, end);
        else break;
    }
    return at;
}

/* Behind the next quote that is not part of the text. */
static const char *skip_quoted(const char *at, const char *end, char quote, bool has_doubled,
                               bool has_backslashes) {
    while (at < end) {
        if (*at == '\\' && has_backslashes) at += end - at >= 2 ? 2 : 1;
        else if (*at != quote) at++;
        else if (has_doubled && begins(at, end, quote, quote)) at += 2;
        else return at + 1;
    }
    return NULL;
}

/* A string goes on after a newline, in another pair of quotes: behind the opening one, or NULL. */
static const char *find_continuation(const char *at, const char *end) {
    bool has_newline = false;
    while (at < end) {
        if (is(*at, BLANK)) has_newline |= is(*at++, NEWLINE);
        else if (begins(at, end, '-', '-')) at = skip_line(at, end);
        else break;
    }
    return at < end && *at == '\'' && has_newline ? at + 1 : NULL;
}

/* Behind a string of which the opening quote has been read. */
static const char *skip_string(const char *at, const char *end, bool has_doubled,
                               bool has_backslashes) {
    for (;;) {
        const char *behind = skip_quoted(at, end, '\'', has_doubled, has_backslashes);
        if (!behind) return NULL;
        at = find_continuation(behind, end);
        if (!at) return behind;
    }
}

/* Behind "$tag$", or NULL if there is none here. */
static const char *skip_tag(const char *at, const char *end) {
    const char *tag = ++at;
    while (at < end && is(*at, LETTER | DIGIT)) at++;
    bool is_tag = at < end && *at == '$' && !is(*tag, DIGIT);
    return is_tag ? at + 1 : NULL;
}

/* Behind the next "$tag$" that is the same as the one from tag to at. */
static const char *skip_dollars(const char *tag, const char *at, const char *end) {
    size_t size = (size_t)(at - tag);
    const char *found = memmem(at, (size_t)(end - at), tag, size);
    return found ? found + size : NULL;
}

/* ---- tokens ---- */

static mp_sqllex_token token_of(mp_sqllex_kind kind, const char *from, const char *to) {
    if (!to) return (mp_sqllex_token){.kind = MP_SQLLEX_CUT};
    return (mp_sqllex_token){.kind = kind, .text = {from, (size_t)(to - from)}};
}

/* A string with a letter before it, or NULL for a place where none begins. */
static const char *skip_lettered_string(const char *at, const char *end, bool *is_string) {
    char letter = to_lower(*at);
    *is_string = true;
    if (begins(at + 1, end, '&', '\'') && letter == 'u')
        return skip_string(at + 3, end, true, false);
    if (end - at >= 2 && at[1] == '\'') {
        if (letter == 'e') return skip_string(at + 2, end, true, true);
        if (letter == 'b' || letter == 'x') return skip_string(at + 2, end, false, false);
    }
    *is_string = false;
    return NULL;
}

static mp_sqllex_token read_word(const char *at, const char *end) {
    bool is_string;
    const char *behind = skip_lettered_string(at, end, &is_string);
    if (is_string) return token_of(MP_SQLLEX_STRING, at, behind);
    if (to_lower(*at) == 'u' && begins(at + 1, end, '&', '"')) {
        mp_sqllex_token name = token_of(MP_SQLLEX_NAME, at,
                                        skip_quoted(at + 3, end, '"', true, false));
        name.is_escaped = true;
        return name;
    }
    behind = at;
    while (behind < end && is(*behind, LETTER | DIGIT | DOLLAR)) behind++;
    return token_of(MP_SQLLEX_WORD, at, behind);
}

static mp_sqllex_token read_dollar(const char *at, const char *end) {
    const char *behind = at + 1;
    if (behind < end && is(*behind, DIGIT)) {
        while (behind < end && is(*behind, DIGIT)) behind++;
        return token_of(MP_SQLLEX_PARAM, at, behind);
    }
    behind = skip_tag(at, end);
    if (!behind) return token_of(MP_SQLLEX_SIGN, at, at + 1);
    return token_of(MP_SQLLEX_STRING, at, skip_dollars(at, behind, end));
}

static mp_sqllex_token read_token(const mp_sqllex *lex, const char *at, const char *end) {
    const char *behind = at;
    if (is(*at, LETTER)) return read_word(at, end);
    if (*at == '\'')
        return token_of(MP_SQLLEX_STRING, at,
                        skip_string(at + 1, end, true, !lex->standard_strings));
    if (*at == '"') return token_of(MP_SQLLEX_NAME, at, skip_quoted(at + 1, end, '"', true, false));
    if (*at == '$') return read_dollar(at, end);
    if (!is(*at, DIGIT)) return token_of(MP_SQLLEX_SIGN, at, at + 1);
    while (behind < end && (is(*behind, DIGIT) || *behind == '.')) behind++;
    return token_of(MP_SQLLEX_NUMBER, at, behind);
}

mp_sqllex_token mp_sqllex_next(mp_sqllex *lex) {
    const char *end = lex->text.data + lex->text.size;
    const char *at = skip_blanks(lex->at ? lex->at : lex->text.data, end);
    mp_sqllex_token token = {.kind = MP_SQLLEX_CUT};
    if (at == end && lex->is_whole) token.kind = MP_SQLLEX_END;
    else if (at && at < end) token = read_token(lex, at, end);
    if (token.kind > MP_SQLLEX_CUT) lex->at = token.text.data + token.text.size;
    else lex->at = end;
    bool is_open = !lex->is_whole && lex->at == end;
    if (is_open) token = (mp_sqllex_token){.kind = MP_SQLLEX_CUT};
    return token;
}

bool mp_sqllex_is_folded(const char *word, const char *keyword) {
    for (; *keyword; word++, keyword++)
        if (to_lower(*word) != *keyword) return false;
    return true;
}

/* ---- names ---- */

/* How much of a name of this size is kept. */
static size_t cut_size(const char *name, size_t size) {
    if (size <= MP_SQLLEX_NAME_SIZE_MAX) return size;
    size = MP_SQLLEX_NAME_SIZE_MAX;
    while (size && ((uint8_t)name[size] & 0xc0) == 0x80) size--;
    return size;
}

size_t mp_sqllex_write_name(const mp_sqllex_token *token, char out[MP_SQLLEX_NAME_SIZE_MAX]) {
    char name[MP_SQLLEX_NAME_SIZE_MAX + 1]; /* one more, to see where a character begins */
    size_t size = 0;
    bool is_word = token->kind == MP_SQLLEX_WORD;
    if (!is_word && (token->kind != MP_SQLLEX_NAME || token->is_escaped)) return 0;
    const char *at = token->text.data, *end = at + token->text.size;
    if (!is_word) at++, end--; /* the quotes */
    for (; at < end && size < sizeof name; at++) {
        name[size++] = is_word ? to_lower(*at) : *at;
        if (!is_word && *at == '"') at++; /* written twice */
    }
    size = cut_size(name, size);
    memcpy(out, name, size);
    return size;
}
