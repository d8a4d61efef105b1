/* Reading DSNs of PostgreSQL. libpq reads what is its own; we take our parameters out before. */
#include "connectors/postgres_dsn.h"

#include "base/clock.h"
#include "base/error.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_PART_MAX 63 /* a name in PostgreSQL is cut off beyond */
#define SHOWN_MAX 60      /* of a wrong parameter, in errors */

static const char default_port[] = "5432"; /* libpq's own, for an empty one in a list */
static const char own_prefix[] = "mantis_";
static const char own_parameters[] = "mantis_table=NAME and mantis_reset=SQL";

static mantis_status refuse_memory(mantis_error *error) {
    return mp_error_set(error, MANTIS_NOMEM, "DSN: out of memory");
}

/* ---- our parameters ---- */

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Undo %XX in place. False: one is no such thing. */
static bool decode(char *text) {
    char *out = text;
    for (const char *in = text; *in; in++, out++) {
        *out = *in;
        if (*in != '%') continue;
        int high = digit_of(in[1]), low = high < 0 ? -1 : digit_of(in[2]);
        if (low < 0 || high + low == 0) return false;
        *out = (char)(high * 16 + low);
        in += 2;
    }
    *out = '\0';
    return true;
}

static bool is_name(const char *text, size_t length) {
    if (length == 0 || length > TABLE_PART_MAX || (text[0] >= '0' && text[0] <= '9')) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && !(c >= '0' && c <= '9')) return false;
    }
    return true;
}

/* "schema"."name" from schema.name: as it was written, and never a keyword. */
static mantis_status read_table(const char *value, mp_postgres_dsn *out, mantis_error *error) {
    const char *dot = strchr(value, '.');
    size_t schema = dot ? (size_t)(dot - value) : 0;
    const char *name = dot ? dot + 1 : value;
    if ((dot && !is_name(value, schema)) || !is_name(name, strlen(name)))
        return mp_error_set(error, MANTIS_INVALID,
                            "DSN: mantis_table is '%.*s': a table is NAME or SCHEMA.NAME, each of "
                            "1 to 63 letters, digits and _, and no digit first",
                            SHOWN_MAX, value);
    size_t size = strlen(value) + sizeof "\"\".\"\"";
    char *table = malloc(size);
    if (!table) return refuse_memory(error);
    if (dot) (void)snprintf(table, size, "\"%.*s\".\"%s\"", (int)schema, value, name);
    else (void)snprintf(table, size, "\"%s\"", name);
    free(out->table);
    out->table = table;
    return MANTIS_OK;
}

static mantis_status read_reset(const char *value, mp_postgres_dsn *out, mantis_error *error) {
    if (!*value)
        return mp_error_set(error, MANTIS_INVALID,
                            "DSN: mantis_reset is empty: write the SQL that resets a connection, "
                            "or leave it out for DISCARD ALL");
    char *reset = strdup(value);
    if (!reset) return refuse_memory(error);
    free(out->reset);
    out->reset = reset;
    return MANTIS_OK;
}

/* One of our parameters: "mantis_table=kv", of this length. */
static mantis_status read_own(const char *text, size_t length, mp_postgres_dsn *out,
                              mantis_error *error) {
    char *copy = strndup(text, length);
    if (!copy) return refuse_memory(error);
    char *equals = strchr(copy, '=');
    char *value = equals ? equals + 1 : NULL;
    mantis_status status;
    if (equals) *equals = '\0';
    if (value && !decode(value))
        status = mp_error_set(error, MANTIS_INVALID,
                              "DSN: the value of %.*s has a %% that does not begin %%XX: write "
                              "%%25 for a %% itself",
                              SHOWN_MAX, copy);
    else if (value && strcmp(copy, "mantis_table") == 0) status = read_table(value, out, error);
    else if (value && strcmp(copy, "mantis_reset") == 0) status = read_reset(value, out, error);
    else
        status = mp_error_set(error, MANTIS_INVALID,
                              "DSN: '%.*s' is no parameter of ours; there are %s", SHOWN_MAX, copy,
                              own_parameters);
    free(copy);
    return status;
}

/* ---- taking them out ---- */

static bool is_uri(const char *text) {
    return strncmp(text, "postgres://", sizeof "postgres://" - 1) == 0 ||
           strncmp(text, "postgresql://", sizeof "postgresql://" - 1) == 0;
}

/* Where the name of the first host begins: behind user and password, whose end libpq finds so. */
static const char *find_authority(const char *uri) {
    const char *start = strstr(uri, "://") + 3;
    const char *end = start + strcspn(start, "@/");
    return *end == '@' ? end + 1 : start;
}

/* Copy a URI without our parameters, which are read. */
static mantis_status take_own(const char *uri, mp_postgres_dsn *out, mantis_error *error) {
    const char *query = strchr(find_authority(uri), '?');
    char *conninfo = strdup(uri);
    if (!conninfo) return refuse_memory(error);
    out->conninfo = conninfo;
    if (!query) return MANTIS_OK;
    char *end = conninfo + (query - uri);
    char before = '?';
    for (const char *part = query + 1; *part;) {
        size_t length = strcspn(part, "&");
        if (strncmp(part, own_prefix, sizeof own_prefix - 1) == 0) {
            mantis_status status = read_own(part, length, out, error);
            if (status != MANTIS_OK) return status;
        } else {
            *end++ = before;
            memcpy(end, part, length);
            end += length;
            before = '&';
        }
        part += length;
        if (*part == '&') part++;
    }
    *end = '\0';
    return MANTIS_OK;
}

/* ---- what libpq reads ---- */

/* What libpq says of a text that it does not understand, up to where it quotes that text. */
static const char *const complaints[] = {
    "missing \"=\" after \"",
    "unterminated quoted string in connection info string",
    "invalid connection option \"",
    "end of string reached when looking for matching \"]\" in IPv6 host address in URI: \"",
    "IPv6 host address may not be empty in URI: \"",
    "unexpected character \"",
    "extra key/value separator \"=\" in URI query parameter: \"",
    "missing key/value separator \"=\" in URI query parameter: \"",
    "invalid URI query parameter: \"",
    "invalid percent-encoded token: \"",
    "forbidden value %00 in percent-encoded value: \"",
};

/* How long is the name of a parameter that libpq quotes? 0: what it quotes may be a password. */
static size_t name_length(const char *complaint, const char *quoted) {
    size_t length = strspn(quoted, "abcdefghijklmnopqrstuvwxyz_");
    bool is_name = strncmp(complaint, "invalid URI query parameter", 27) == 0 ||
                   strncmp(complaint, "invalid connection option", 25) == 0;
    return is_name && strcmp(quoted + length, "\"\n") == 0 ? length : 0;
}

/* The password may stand wherever libpq stumbles, and have quotes in it: of the message only words
 * that are known to be libpq's are shown. In another language none are. */
static mantis_status refuse_conninfo(const char *message, mantis_error *error) {
    for (size_t i = 0; i < sizeof complaints / sizeof complaints[0]; i++) {
        const char *complaint = complaints[i];
        size_t length = strlen(complaint);
        if (strncmp(message, complaint, length) != 0) continue;
        if (complaint[length - 1] != '"')
            return mp_error_set(error, MANTIS_INVALID, "DSN: %s", complaint);
        size_t shown = name_length(complaint, message + length);
        return mp_error_set(error, MANTIS_INVALID, "DSN: %s%.*s\"", complaint,
                            shown ? (int)shown : 3, shown ? message + length : "...");
    }
    return mp_error_set(error, MANTIS_INVALID,
                        "DSN: libpq does not understand it, and what it says may have the password "
                        "in it");
}

static const char *find_option(const PQconninfoOption *options, const char *keyword) {
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val && *options->val ? options->val : NULL;
    return NULL;
}

static uint32_t count_items(const char *list) {
    uint32_t count = list ? 1 : 0;
    for (; list && *list; list++) count += *list == ',';
    return count;
}

/* Item index of a list with commas, on the heap; a list of one is meant for every host. */
static bool copy_item(const char *list, uint32_t index, const char *if_empty, char **out) {
    if (!list) return true;
    if (count_items(list) > 1)
        while (index-- > 0) list += strcspn(list, ",") + 1;
    size_t size = strcspn(list, ",");
    *out = size ? strndup(list, size) : strdup(if_empty);
    return *out != NULL;
}

static bool has_empty_item(const char *list) {
    if (!list) return false;
    return *list == ',' || list[strlen(list) - 1] == ',' || strstr(list, ",,");
}

/* Several hosts. Where a list is not as long as another, or what an empty item means, is libpq's to
 * say: then it has them as they are. */
static mantis_status read_hosts(const PQconninfoOption *options, mp_postgres_dsn *out,
                                mantis_error *error) {
    const char *host = find_option(options, "host"), *port = find_option(options, "port");
    const char *hostaddr = find_option(options, "hostaddr");
    uint32_t count = count_items(hostaddr ? hostaddr : host), ports = count_items(port);
    bool differs = (host && hostaddr && count_items(host) != count) ||
                   (ports > 1 && ports != count);
    if (count < 2 || differs || has_empty_item(host) || has_empty_item(hostaddr)) return MANTIS_OK;
    if (count > MP_POSTGRES_HOSTS_MAX)
        return mp_error_set(error, MANTIS_INVALID, "DSN: it names %u hosts: at most %d", count,
                            MP_POSTGRES_HOSTS_MAX);
    out->hosts_count = count;
    for (uint32_t i = 0; i < count; i++)
        if (!copy_item(host, i, "", &out->hosts[i].host) ||
            !copy_item(hostaddr, i, "", &out->hosts[i].hostaddr) ||
            !copy_item(port, i, default_port, &out->hosts[i].port))
            return refuse_memory(error);
    return MANTIS_OK;
}

static mantis_status read_conninfo(mp_postgres_dsn *out, mantis_error *error) {
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(out->conninfo, &message);
    mantis_status status;
    if (options) {
        const char *seconds = find_option(options, "connect_timeout");
        long timeout_s = seconds ? strtol(seconds, NULL, 10) : 0;
        out->connect_timeout_ns = timeout_s > 0 ? mp_clock_ns_of_ms(timeout_s * 1000) : MP_NEVER_NS;
        status = read_hosts(options, out, error);
    } else {
        status = message ? refuse_conninfo(message, error) : refuse_memory(error);
    }
    PQconninfoFree(options);
    PQfreemem(message);
    return status;
}

/* ---- all of it ---- */

mantis_status mp_postgres_dsn_parse(const char *text, mp_postgres_dsn *out, mantis_error *error) {
    mp_postgres_dsn dsn = {0};
    mantis_status status = MANTIS_OK;
    if (!text) text = "";
    if (is_uri(text)) status = take_own(text, &dsn, error);
    else if (!(dsn.conninfo = strdup(text))) status = refuse_memory(error);
    if (status == MANTIS_OK && !dsn.table) status = read_table(MP_POSTGRES_TABLE, &dsn, error);
    if (status == MANTIS_OK && !dsn.reset) status = read_reset(MP_POSTGRES_RESET, &dsn, error);
    if (status == MANTIS_OK) status = read_conninfo(&dsn, error);
    if (status == MANTIS_OK) *out = dsn;
    else mp_postgres_dsn_finish(&dsn);
    return status;
}

void mp_postgres_dsn_finish(mp_postgres_dsn *dsn) {
    for (uint32_t i = 0; i < dsn->hosts_count; i++) {
        free(dsn->hosts[i].host);
        free(dsn->hosts[i].hostaddr);
        free(dsn->hosts[i].port);
    }
    if (dsn->conninfo) explicit_bzero(dsn->conninfo, strlen(dsn->conninfo));
    free(dsn->conninfo);
    free(dsn->table);
    free(dsn->reset);
    *dsn = (mp_postgres_dsn){0};
}
