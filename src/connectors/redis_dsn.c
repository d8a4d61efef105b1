/* Reading `redis://` DSNs. Nothing is quoted in an error that could be a piece of a password which
 * was not encoded as it should be: a '/' in one, for example, makes its first half look like a
 * port. */
#include "connectors/redis_dsn.h"

#include "base/error.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define FORM "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]"
#define FORM_UNIX "redis+unix://[[USER]:PASSWORD@]/PATH[?db=DB]"
#define DB_MAX 2147483647u
#define TIMEOUT_MAX_MS 86400000u

static mantis_status refuse(mantis_error *error, const char *why) {
    return mp_error_set(error, MANTIS_INVALID, "Redis DSN: %s", why);
}

/* ---- pieces ---- */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode %XX in place. False: what follows a '%' is no character. */
static bool decode(char *text) {
    char *out = text;
    for (; *text; text++, out++) {
        *out = *text;
        if (*text != '%') continue;
        int high = hex_value(text[1]), low = high < 0 ? -1 : hex_value(text[2]);
        if (low < 0 || high + low == 0) return false;
        *out = (char)(high * 16 + low);
        text += 2;
    }
    *out = '\0';
    return true;
}

/* A whole number up to most, of digits alone. */
static bool parse_number(const char *text, uint32_t most, uint32_t *out) {
    uint64_t number = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 10 || text[digits]) return false;
    for (; *text; text++) number = number * 10 + (uint64_t)(*text - '0');
    if (number > most) return false;
    *out = (uint32_t)number;
    return true;
}

/* Cut text at the first of this character; answers what is behind it, or NULL. */
static char *cut(char *text, char at) {
    char *found = strchr(text, at);
    if (!found) return NULL;
    *found = '\0';
    return found + 1;
}

/* ---- user and password ---- */

/* [USER]:PASSWORD */
static mantis_status parse_login(char *login, mp_redis_dsn *out, mantis_error *error) {
    char *password = cut(login, ':');
    if (!password)
        return refuse(error, "what stands before '@' has no ':'; write USER:PASSWORD@, or "
                             ":PASSWORD@ for the default user");
    if (!decode(login) || !decode(password))
        return refuse(error, "a '%' in the user or the password is not followed by two hexadecimal "
                             "digits (%00 is none either); write '%' itself as %25");
    out->user = *login ? login : NULL;
    out->password = password;
    return MANTIS_OK;
}

/* ---- where it is ---- */

static mantis_status parse_port(const char *port, mp_redis_dsn *out, mantis_error *error) {
    uint32_t number = 0;
    if (!parse_number(port, 65535, &number) || number == 0)
        return refuse(error, "the port must be a whole number from 1 to 65535");
    out->port = port;
    return MANTIS_OK;
}

/* HOST[:PORT], or [ADDRESS][:PORT] with the brackets written. */
static mantis_status parse_host(char *host, mp_redis_dsn *out, mantis_error *error) {
    char *port = NULL;
    if (*host == '[') {
        char *behind = cut(++host, ']');
        if (!behind || (*behind && *behind != ':'))
            return refuse(error, "an IPv6 address is written [ADDRESS] or [ADDRESS]:PORT");
        if (*behind) port = behind + 1;
    } else {
        port = cut(host, ':');
        if (port && strchr(port, ':'))
            return refuse(error, "the host has more than one ':'; an IPv6 address is written "
                                 "[ADDRESS]:PORT");
    }
    if (!decode(host))
        return refuse(error, "a '%' in the host is not followed by two hexadecimal digits");
    out->host = *host ? host : "localhost";
    out->port = "6379";
    return port ? parse_port(port, out, error) : MANTIS_OK;
}

static mantis_status parse_path(char *path, mp_redis_dsn *out, mantis_error *error) {
    if (!path || !*path) return refuse(error, "it names no socket; write " FORM_UNIX);
    if (!decode(path))
        return refuse(error, "a '%' in the path is not followed by two hexadecimal digits");
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return refuse(error, "the path of the socket is too long: at most 107 bytes");
    out->path = path;
    return MANTIS_OK;
}

/* ---- options ---- */

static mantis_status parse_db(const char *db, mp_redis_dsn *out, mantis_error *error) {
    if (parse_number(db, DB_MAX, &out->db)) return MANTIS_OK;
    return refuse(error, "the database must be a whole number: /5, or ?db=5");
}

static mantis_status parse_option(const char *option, const char *value, mp_redis_dsn *out,
                                  mantis_error *error) {
    if (strcmp(option, "db") == 0) return parse_db(value, out, error);
    if (strcmp(option, "name") == 0) {
        out->name = *value ? value : NULL;
        return MANTIS_OK;
    }
    if (strcmp(option, "timeout_ms") == 0) {
        if (parse_number(value, TIMEOUT_MAX_MS, &out->timeout_ms)) return MANTIS_OK;
        return refuse(error, "timeout_ms must be a whole number from 0 (none) to 86400000");
    }
    if (strcmp(option, "role") == 0) {
        out->wants_primary = strcmp(value, "primary") == 0;
        if (out->wants_primary || strcmp(value, "any") == 0) return MANTIS_OK;
        return refuse(error, "role must be primary or any");
    }
    return mp_error_set(error, MANTIS_INVALID,
                        "Redis DSN: '%.20s' is not an option; there are db, name, role and "
                        "timeout_ms",
                        option);
}

static mantis_status parse_query(char *query, mp_redis_dsn *out, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    while (query && *query && status == MANTIS_OK) {
        char *option = query;
        query = cut(option, '&');
        char *value = cut(option, '=');
        if (!value) value = option + strlen(option);
        if (!decode(value))
            return refuse(error, "a '%' in an option is not followed by two hexadecimal digits");
        status = parse_option(option, value, out, error);
    }
    return status;
}

/* ---- the whole ---- */

/* What stands behind the scheme. */
static mantis_status parse_rest(char *rest, bool is_unix, mp_redis_dsn *out, mantis_error *error) {
    char *query = cut(rest, '?'), *path = strchr(rest, '/');
    if ((path && strchr(path, '@')) || (query && strchr(query, '@')))
        return refuse(error, "there is an '@' behind the first '/' or '?'; in a user or password "
                             "'/' is written %2F, '?' %3F, '@' %40 and '%' %25");
    char *login = NULL, *host = rest, *at = strrchr(rest, '@');
    if (at) {
        *at = '\0';
        login = rest;
        host = at + 1;
    }
    mantis_status status = MANTIS_OK;
    if (is_unix) {
        if (*host != '/' && *host) return refuse(error, "a path begins with '/': write " FORM_UNIX);
        status = parse_path(path, out, error);
    } else {
        if (path) *path++ = '\0';
        status = parse_host(host, out, error);
        if (status == MANTIS_OK && path && *path) status = parse_db(path, out, error);
    }
    if (status == MANTIS_OK && login) status = parse_login(login, out, error);
    return status == MANTIS_OK ? parse_query(query, out, error) : status;
}

static void format_label(mp_redis_dsn *dsn) {
    bool is_address = dsn->host && strchr(dsn->host, ':');
    if (dsn->path) (void)snprintf(dsn->label, sizeof dsn->label, "%s", dsn->path);
    else
        (void)snprintf(dsn->label, sizeof dsn->label, is_address ? "[%.90s]:%s" : "%.90s:%s",
                       dsn->host, dsn->port);
}

mantis_status mp_redis_dsn_parse(const char *text, mp_redis_dsn *out, mantis_error *error) {
    static const char tcp[] = "redis://", at_path[] = "redis+unix://";
    if (!text) text = "";
    if (strncmp(text, "rediss:", 7) == 0)
        return mp_error_set(error, MANTIS_UNSUPPORTED,
                            "Redis DSN: rediss:// (TLS) is not supported; connect with redis:// to "
                            "a TLS tunnel beside this program, such as stunnel");
    bool is_unix = strncmp(text, at_path, sizeof at_path - 1) == 0;
    if (!is_unix && strncmp(text, tcp, sizeof tcp - 1) != 0)
        return refuse(error, "write " FORM " or " FORM_UNIX);
    mp_redis_dsn parsed = {
        .texts = strdup(text), .texts_size = strlen(text), .timeout_ms = MP_REDIS_TIMEOUT_MS};
    if (!parsed.texts) return mp_error_set(error, MANTIS_NOMEM, "Redis DSN: out of memory");
    char *rest = parsed.texts + (is_unix ? sizeof at_path : sizeof tcp) - 1;
    mantis_status status = parse_rest(rest, is_unix, &parsed, error);
    if (status != MANTIS_OK) {
        mp_redis_dsn_finish(&parsed);
        return status;
    }
    format_label(&parsed);
    *out = parsed;
    return MANTIS_OK;
}

void mp_redis_dsn_finish(mp_redis_dsn *dsn) {
    if (dsn->texts) explicit_bzero(dsn->texts, dsn->texts_size);
    free(dsn->texts);
    *dsn = (mp_redis_dsn){0};
}
