/* The packets that begin a connection. */
#include "pg/startup.h"

#include "pg/answer.h"
#include "pg/sqlstate.h"

#include <strings.h>

#define CODE_CANCEL 80877102u
#define CODE_SSL 80877103u
#define CODE_GSSENC 80877104u
#define LENGTH_MIN 8u /* the length and the code */
#define EXTENSION "_pq_."

/* ---- a login ---- */

static bool is_prefix(mp_view value, const char *word, size_t least) {
    return value.size >= least && value.size <= strlen(word) &&
           strncasecmp(value.data, word, value.size) == 0;
}

/* A boolean as PostgreSQL reads one: any beginning of a word that can only be that word. */
static bool parse_bool(mp_view value, bool *out) {
    bool is_true = is_prefix(value, "true", 1) || is_prefix(value, "yes", 1) ||
                   is_prefix(value, "on", 2) || mp_view_is(value, "1");
    bool is_false = is_prefix(value, "false", 1) || is_prefix(value, "no", 1) ||
                    is_prefix(value, "off", 2) || mp_view_is(value, "0");
    *out = is_true;
    return is_true || is_false;
}

static mantis_status read_replication(mp_startup *login, mp_view value, mantis_error *error) {
    bool is_on = false;
    if (mp_view_is(value, "database")) login->replication = MP_STARTUP_LOGICAL;
    else if (parse_bool(value, &is_on))
        login->replication = is_on ? MP_STARTUP_PHYSICAL : MP_STARTUP_NO_REPLICATION;
    else
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_PARAMETER_VALUE,
                                "invalid value for parameter \"replication\": \"%.*s\"; valid are "
                                "false, 0, true, 1, database",
                                MP_VIEW_ARGS(value));
    return MANTIS_OK;
}

/* The parameters that say who comes, where to, and how. */
static mantis_status read_param(mp_startup *login, mp_view name, mp_view value,
                                mantis_error *error) {
    if (mp_view_is(name, "user")) login->user = value;
    else if (mp_view_is(name, "database")) login->database = value;
    else if (mp_view_is(name, "options")) login->options = value;
    else if (mp_view_is(name, "replication")) return read_replication(login, value, error);
    else if (mp_view_begins(name, EXTENSION)) login->extensions_count++;
    return MANTIS_OK;
}

static mantis_status check_names(mp_startup *login, mantis_error *error) {
    if (login->user.size == 0)
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_AUTHORIZATION, "no username supplied");
    if (login->database.size == 0) login->database = login->user;
    if (login->user.size > MP_STARTUP_USER_SIZE_MAX)
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_AUTHORIZATION,
                                "username is too long: %zu bytes, at most %u", login->user.size,
                                MP_STARTUP_USER_SIZE_MAX);
    if (login->database.size > MP_STARTUP_DATABASE_SIZE_MAX)
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_CATALOG_NAME,
                                "database name is too long: %zu bytes, at most %u",
                                login->database.size, MP_STARTUP_DATABASE_SIZE_MAX);
    return MANTIS_OK;
}

static mantis_status parse_login(mp_wire_in in, uint32_t version, mp_startup *out,
                                 mantis_error *error) {
    mp_startup login = {.kind = MP_STARTUP_LOGIN, .version = version};
    login.params = in.at;
    login.params_size = (uint32_t)(in.end - in.at);
    for (;;) {
        mp_view name = mp_wire_read_string(&in);
        if (name.size == 0) break;
        mp_view value = mp_wire_read_string(&in);
        if (in.is_bad) break;
        mantis_status status = read_param(&login, name, value, error);
        if (status != MANTIS_OK) return status;
    }
    if (!mp_wire_is_read(&in))
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "invalid startup packet layout: expected terminator as "
                                "last byte");
    mantis_status status = check_names(&login, error);
    if (status == MANTIS_OK) *out = login;
    return status;
}

/* ---- any packet ---- */

static mantis_status parse_cancel(mp_wire_in in, mp_startup *out, mantis_error *error) {
    mp_startup cancel = {.kind = MP_STARTUP_CANCEL, .cancel_pid = mp_wire_read_u32(&in)};
    cancel.cancel_key = mp_wire_read_bytes(&in, (size_t)(in.end - in.at));
    if (in.is_bad || cancel.cancel_key.size < MP_ANSWER_KEY_SIZE_MIN ||
        cancel.cancel_key.size > MP_ANSWER_KEY_SIZE_MAX)
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "invalid length of cancel request packet");
    *out = cancel;
    return MANTIS_OK;
}

/* What follows the length: all of it is there. */
static mantis_status parse_packet(mp_wire_in in, mp_startup *out, mantis_error *error) {
    uint32_t code = mp_wire_read_u32(&in);
    if (code == CODE_CANCEL) return parse_cancel(in, out, error);
    if (code == CODE_SSL || code == CODE_GSSENC) {
        if (in.at != in.end)
            return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                    "invalid length of startup packet");
        *out = (mp_startup){.kind = code == CODE_SSL ? MP_STARTUP_SSL : MP_STARTUP_GSSENC};
        return MANTIS_OK;
    }
    uint32_t major = code >> 16, minor = code & 0xffffu;
    if (major == 2)
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "old V2 protocol not supported");
    if (major != 3)
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "unsupported frontend protocol %u.%u: server supports "
                                "3.0 to 3.0",
                                major, minor);
    return parse_login(in, code, out, error);
}

mp_startup_found mp_startup_parse(const uint8_t *data, size_t size, mp_startup *out,
                                  size_t *packet_size, mantis_error *error) {
    *packet_size = 0;
    if (size < 4) return MP_STARTUP_MORE;
    uint32_t length = mp_wire_get_u32(data);
    if (length < LENGTH_MIN || length > MP_STARTUP_SIZE_MAX) {
        mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION, "invalid length of startup packet");
        return MP_STARTUP_BAD;
    }
    *packet_size = length;
    if (size < length) return MP_STARTUP_MORE;
    mp_wire_in in = {data + 4, data + length, false};
    return parse_packet(in, out, error) == MANTIS_OK ? MP_STARTUP_DONE : MP_STARTUP_BAD;
}

/* ---- its parameters ---- */

/* The parameter at the place: false at the end. They were found whole when the packet was read. */
static bool read_any_param(const mp_startup *startup, uint32_t *at, mp_view *name, mp_view *value) {
    mp_wire_in in = {startup->params + *at, startup->params + startup->params_size, false};
    *name = mp_wire_read_string(&in);
    if (name->size == 0) return false;
    *value = mp_wire_read_string(&in);
    *at = (uint32_t)(in.at - startup->params);
    return !in.is_bad;
}

static bool is_known(mp_view name) {
    return mp_view_is(name, "user") || mp_view_is(name, "database") ||
           mp_view_is(name, "options") || mp_view_is(name, "replication") ||
           mp_view_begins(name, EXTENSION);
}

bool mp_startup_next_param(const mp_startup *startup, uint32_t *at, mp_view *name, mp_view *value) {
    while (read_any_param(startup, at, name, value))
        if (!is_known(*name)) return true;
    return false;
}

void mp_startup_write_negotiation(const mp_startup *startup, mp_wire_out *out) {
    uint32_t at = 0;
    mp_view name, value;
    mp_wire_begin(out, MP_ANSWER_NEGOTIATE_VERSION);
    mp_wire_write_u32(out, MP_STARTUP_VERSION);
    mp_wire_write_u32(out, startup->extensions_count);
    while (read_any_param(startup, &at, &name, &value))
        if (mp_view_begins(name, EXTENSION)) mp_wire_write_string(out, name);
    mp_wire_commit(out, MP_ANSWER_NEGOTIATE_VERSION);
}

/* ---- the parameter "options" ---- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static size_t skip_blanks(mp_view text, size_t at) {
    while (at < text.size && is_blank(text.data[at])) at++;
    return at;
}

/* The word at the place without its backslashes: its size, above size_max if it is longer. */
static size_t read_word(mp_view text, size_t *at, char *word, size_t size_max) {
    size_t size = 0;
    for (; *at < text.size && !is_blank(text.data[*at]); ++*at) {
        if (text.data[*at] == '\\' && ++*at == text.size) break;
        if (size < size_max) word[size] = text.data[*at];
        size++;
    }
    return size;
}

static mp_startup_option refuse_option(mantis_error *error, const char *why) {
    mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                     "unsupported options startup parameter: %s", why);
    return MP_STARTUP_OPTION_BAD;
}

mp_startup_option mp_startup_next_option(mp_view options, size_t *at, mp_startup_setting *out,
                                         mantis_error *error) {
    const char *only = "only '-c config=val' and '--config=val' are allowed";
    size_t size_max = sizeof out->text;
    size_t place = skip_blanks(options, *at);
    if (place >= options.size) return MP_STARTUP_OPTION_END;
    mp_view rest = {options.data + place, options.size - place};
    if (!mp_view_begins(rest, "-c") && !mp_view_begins(rest, "--"))
        return refuse_option(error, only);
    place += 2;
    if (mp_view_begins(rest, "-c")) place = skip_blanks(options, place);
    size_t size = read_word(options, &place, out->text, size_max);
    if (size > size_max) return refuse_option(error, "parameter too long");
    char *equals = memchr(out->text, '=', size);
    if (!equals || equals == out->text) return refuse_option(error, only);
    for (char *c = out->text; c < equals; c++)
        if (*c == '-') *c = '_';
    out->name = (mp_view){out->text, (size_t)(equals - out->text)};
    out->value = (mp_view){equals + 1, size - out->name.size - 1};
    *at = place;
    return MP_STARTUP_OPTION_SETTING;
}

/* ---- writing, as a client of a server ---- */

void mp_startup_begin(mp_wire_out *out) {
    mp_wire_begin(out, 0);
    mp_wire_write_u32(out, MP_STARTUP_VERSION);
}

void mp_startup_write_param(mp_wire_out *out, mp_view name, mp_view value) {
    mp_wire_write_string(out, name);
    mp_wire_write_string(out, value);
}

void mp_startup_commit(mp_wire_out *out) {
    mp_wire_write_u8(out, 0);
    mp_wire_commit(out, 0);
}

void mp_startup_write_ssl(mp_wire_out *out) {
    mp_wire_begin(out, 0);
    mp_wire_write_u32(out, CODE_SSL);
    mp_wire_commit(out, 0);
}

void mp_startup_write_cancel(mp_wire_out *out, uint32_t pid, mp_view key) {
    mp_wire_begin(out, 0);
    mp_wire_write_u32(out, CODE_CANCEL);
    mp_wire_write_u32(out, pid);
    mp_wire_write_bytes(out, key.data, key.size);
    mp_wire_commit(out, 0);
}
