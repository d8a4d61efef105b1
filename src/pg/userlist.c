/* PgBouncer's auth_file. */
#include "pg/userlist.h"

#include "base/error.h"

#define SCRAM_BEGINS "SCRAM-SHA-256$"

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static size_t skip_blanks(mp_view line, size_t at) {
    while (at < line.size && is_blank(line.data[at])) at++;
    return at;
}

/* The next line, which is stepped over. False: there is none. */
static bool read_line(mp_userlist *list, char **line, size_t *size) {
    if (list->at >= list->size) return false;
    char *begin = list->text + list->at;
    char *end = memchr(begin, '\n', list->size - list->at);
    *line = begin;
    *size = end ? (size_t)(end - begin) : list->size - list->at;
    list->at += *size + (end ? 1 : 0);
    list->line++;
    return true;
}

/* Take the quotes of the text that begins at *at away, in its place. NULL, or what is wrong. */
static const char *unquote(char *line, size_t size, size_t *at, mp_view *out) {
    size_t from = skip_blanks((mp_view){line, size}, *at);
    if (from == size || line[from] != '"') return "a quote (\") is missing";
    size_t begin = ++from, to = begin;
    for (;; from++) {
        if (from == size) return "the quote is not closed in this line";
        if (line[from] == '"' && (from + 1 == size || line[from + 1] != '"')) break;
        if (line[from] == '"') from++;
        line[to++] = line[from];
    }
    *out = (mp_view){line + begin, to - begin};
    *at = from + 1;
    return NULL;
}

/* NULL, or what is wrong with a line that is no comment. */
static const char *read_user(char *line, size_t size, mp_userlist_user *out) {
    size_t at = 0;
    if (memchr(line, 0, size)) return "it has a zero byte";
    const char *wrong = unquote(line, size, &at, &out->name);
    if (!wrong) wrong = unquote(line, size, &at, &out->secret);
    if (wrong) return wrong;
    if (out->name.size == 0) return "the user's name is empty";
    if (out->name.size > MP_USERLIST_USER_SIZE_MAX) return "username too long in auth file";
    if (out->secret.size > MP_USERLIST_SECRET_SIZE_MAX) return "password too long in auth file";
    out->kind = mp_secret_kind_of(out->secret);
    if (out->kind == MP_SECRET_PLAIN && mp_view_begins(out->secret, SCRAM_BEGINS))
        return "the SCRAM secret is damaged; SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY "
               "would be right";
    return NULL;
}

mantis_status mp_userlist_read(mp_userlist *list, mp_userlist_user *out, mantis_error *error) {
    char *line;
    size_t size;
    while (read_line(list, &line, &size)) {
        size_t first = skip_blanks((mp_view){line, size}, 0);
        if (first == size || line[first] == ';') continue;
        mp_userlist_user user = {0};
        const char *wrong = read_user(line, size, &user);
        if (wrong)
            return mp_error_set(error, MANTIS_INVALID,
                                "broken auth file: line %u: %s (a line is \"user\" \"secret\")",
                                list->line, wrong);
        *out = user;
        return MANTIS_OK;
    }
    return mp_error_set(error, MANTIS_NOT_FOUND, "no more users in the auth file");
}
