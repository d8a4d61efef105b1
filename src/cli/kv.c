/* mantispool kv: read and write a store from the command line. */
#include "cli/kv.h"

#include "cli/args.h"
#include "cli/session.h"
#include "connectors/dsn.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* What was asked for. */
typedef struct kv_request {
    const char *dsn;
    const char *operands[3]; /* K and V, or K, a version and V, or a prefix; "" if there is none */
    size_t operands_count;
    int64_t limit;
    const char *ttl; /* NULL: none */
    int64_t ttl_ms;
    uint64_t expected;
    bool with_version;
} kv_request;

/* Options that are for some operations alone. */
typedef enum kv_option { KV_NONE = 0, KV_LIMIT, KV_TTL, KV_VERSION } kv_option;

/* One operation. Those that need no connection of their own have no run(). */
typedef struct kv_operation {
    const char *name;
    const char *usage;
    size_t operands_min, operands_max;
    kv_option option; /* that it takes */
    mantis_status (*run)(mantis_conn conn, const kv_request *request, mantis_error *error);
    int (*run_lines)(mantis_pool *pool);
} kv_operation;

static const char details[] =
    "Operations:\n"
    "  get K                write the value of K; exit code 1 if there is none; with --version\n"
    "                       its version and a tab before it\n"
    "  set K V              set K to V, with --ttl for that long\n"
    "  cas K VERSION [V]    compare and set: if K has that version (0: if it is not there) set it\n"
    "                       to V, or delete it without V, and write its new version; exit code 1\n"
    "                       if it has another\n"
    "  ttl K                write how long K lives: 1500ms, or never\n"
    "  del K                delete K; one that is not there is no error\n"
    "  exists K             exit code 0 if K is there, 1 if not\n"
    "  scan [PREFIX]        write the keys that begin with PREFIX in order (redis: in none), as\n"
    "                       key<TAB>value; what is not printable as \\xNN\n"
    "  batch                read lines 'set K V' and 'del K', apply them all or none of them\n"
    "  shell                read one command a line and answer each with one line: OK, the value,\n"
    "                       (nil), CONFLICT, or ERR and a reason. The command help lists them;\n"
    "                       begin, commit and rollback enclose a transaction\n\n"
    "In lines K ends at the first space, and V is the rest of the line. Behind -- nothing is an\n"
    "option: mantispool kv set K -- --help. What was acknowledged with OK or exit code 0 is as\n"
    "durable as the DSN says (sync=interval: it survives a crash of the process; sync=group: and\n"
    "of the machine; a server: what its configuration says). DSN is one of\n" MP_DSN_LINES;

/* ---- operations ---- */

static mantis_status refuse_missing(const char *key, mantis_error *error) {
    error->status = MANTIS_NOT_FOUND;
    (void)snprintf(error->text, sizeof error->text, "there is no key '%.200s'", key);
    return MANTIS_NOT_FOUND;
}

static mantis_status run_get(mantis_conn conn, const kv_request *request, mantis_error *error) {
    const char *key = request->operands[0];
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(conn, key, strlen(key), &value, error);
    if (status == MANTIS_NOT_FOUND) return refuse_missing(key, error);
    if (status != MANTIS_OK) return status;
    if (request->with_version) (void)printf("%" PRIu64 "\t", value.version);
    (void)fwrite(value.data, 1, value.size, stdout);
    (void)fputc('\n', stdout);
    mantis_value_free(&value);
    return MANTIS_OK;
}

static mantis_status run_set(mantis_conn conn, const kv_request *request, mantis_error *error) {
    const char *key = request->operands[0], *value = request->operands[1];
    mantis_write write = {key, strlen(key), value, strlen(value), request->ttl_ms};
    return mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, error);
}

static mantis_status run_compare(mantis_conn conn, const kv_request *request, mantis_error *error) {
    const char *key = request->operands[0], *value = request->operands[2];
    mantis_write write = {key, strlen(key), value, strlen(value), request->ttl_ms};
    if (request->operands_count < 3) write.value = NULL;
    uint64_t version = 0;
    mantis_status status = mantis_conn_compare_and_set(conn, &write, request->expected,
                                                       MANTIS_DURABLE_DEFAULT, &version, error);
    if (status == MANTIS_OK) (void)printf("%" PRIu64 "\n", version);
    return status;
}

static mantis_status run_ttl(mantis_conn conn, const kv_request *request, mantis_error *error) {
    const char *key = request->operands[0];
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(conn, key, strlen(key), &value, error);
    if (status == MANTIS_NOT_FOUND) return refuse_missing(key, error);
    if (status == MANTIS_OK) mp_kv_write_left(value.expires_ms, stdout);
    mantis_value_free(&value);
    return status;
}

static mantis_status run_delete(mantis_conn conn, const kv_request *request, mantis_error *error) {
    return mantis_conn_delete(conn, request->operands[0], strlen(request->operands[0]), error);
}

static mantis_status run_exists(mantis_conn conn, const kv_request *request, mantis_error *error) {
    const char *key = request->operands[0];
    bool is_there = false;
    mantis_status status = mantis_conn_exists(conn, key, strlen(key), &is_there, error);
    return status == MANTIS_OK && !is_there ? refuse_missing(key, error) : status;
}

static mantis_status run_scan(mantis_conn conn, const kv_request *request, mantis_error *error) {
    return mp_kv_write_scan(conn, request->operands[0], strlen(request->operands[0]),
                            (uint32_t)request->limit, stdout, error);
}

static int run_batch(mantis_pool *pool) { return mp_kv_run_batch(pool, stdin); }

static int run_shell(mantis_pool *pool) { return mp_kv_run_shell(pool, stdin, stdout); }

static const kv_operation operations[] = {
    {"get", "get K", 1, 1, KV_VERSION, run_get, NULL},
    {"set", "set K V", 2, 2, KV_TTL, run_set, NULL},
    {"cas", "cas K VERSION [V]", 2, 3, KV_TTL, run_compare, NULL},
    {"ttl", "ttl K", 1, 1, KV_NONE, run_ttl, NULL},
    {"del", "del K", 1, 1, KV_NONE, run_delete, NULL},
    {"exists", "exists K", 1, 1, KV_NONE, run_exists, NULL},
    {"scan", "scan [PREFIX]", 0, 1, KV_LIMIT, run_scan, NULL},
    {"batch", "batch < LINES", 0, 0, KV_NONE, NULL, run_batch},
    {"shell", "shell", 0, 0, KV_NONE, NULL, run_shell},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

/* ---- scan ---- */

/* The size of the UTF-8 character that begins here, 2 to 4; 0 if none does, or a control character
 * (RFC 3629, section 4). */
static size_t count_utf8(const unsigned char *c, const unsigned char *end) {
    size_t size = *c >= 0xf0 ? 4 : *c >= 0xe0 ? 3 : 2;
    if (*c < 0xc2 || *c > 0xf4 || (size_t)(end - c) < size) return 0;
    unsigned char least = *c == 0xc2 || *c == 0xe0 ? 0xa0 : *c == 0xf0 ? 0x90 : 0x80;
    unsigned char most = *c == 0xed ? 0x9f : *c == 0xf4 ? 0x8f : 0xbf;
    if (c[1] < least || c[1] > most) return 0;
    for (size_t i = 2; i < size; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    return size;
}

static void write_bytes(const void *bytes, size_t size, FILE *out) {
    const unsigned char *c = bytes;
    for (const unsigned char *end = c + size; c < end;) {
        size_t plain = *c >= 0x20 && *c < 0x7f && *c != '\\' ? 1 : count_utf8(c, end);
        if (plain) (void)fwrite(c, 1, plain, out);
        else (void)fprintf(out, "\\x%02x", *c);
        c += plain ? plain : 1;
    }
}

static bool write_entry(const mantis_entry *entry, void *arg) {
    FILE *out = arg;
    write_bytes(entry->key, entry->key_size, out);
    (void)fputc('\t', out);
    write_bytes(entry->value, entry->value_size, out);
    (void)fputc('\n', out);
    return !ferror(out);
}

mantis_status mp_kv_write_scan(mantis_conn conn, const char *prefix, size_t prefix_size,
                               uint32_t limit, FILE *out, mantis_error *error) {
    return mantis_conn_scan(conn, prefix, prefix_size, limit, NULL, write_entry, out, error);
}

/* ---- the command ---- */

static const kv_operation *find_operation(const char *name) {
    if (strcmp(name, "delete") == 0) name = "del";
    for (size_t i = 0; i < OPERATIONS; i++)
        if (strcmp(operations[i].name, name) == 0) return &operations[i];
    return NULL;
}

static int refuse_operation(const mp_command *command, const char *name) {
    const char *names[OPERATIONS + 1] = {NULL};
    for (size_t i = 0; i < OPERATIONS; i++) names[i] = operations[i].name;
    const char *similar = mp_args_find_similar(name, names);
    if (similar)
        return mp_args_refuse(command, "there is no operation '%s'; did you mean %s?", name,
                              similar);
    return mp_args_refuse(command,
                          "there is no operation '%s': there are get, set, cas, ttl, del, exists, "
                          "scan, batch, shell",
                          name);
}

/* An option that the operation does not take is a mistake. */
static int check_option(const mp_command *command, const kv_operation *operation, bool is_given,
                        kv_option option, const char *name) {
    if (!is_given || operation->option == option) return -1;
    return mp_args_refuse(command, "%s takes no --%s", operation->name, name);
}

/* What the options and operands of the operation say. Answers -1, or an exit code. */
static int parse_request(const mp_command *command, const kv_operation *operation,
                         kv_request *request) {
    int code = check_option(command, operation, request->limit != 0, KV_LIMIT, "limit");
    if (code < 0) code = check_option(command, operation, request->ttl != NULL, KV_TTL, "ttl");
    if (code < 0)
        code = check_option(command, operation, request->with_version, KV_VERSION, "version");
    if (code >= 0) return code;
    const char *wrong = request->ttl ? mp_kv_parse_time(request->ttl, &request->ttl_ms) : NULL;
    if (wrong) return mp_args_refuse(command, "--ttl is '%s': %s", request->ttl, wrong);
    if (operation->run != run_compare) return -1;
    wrong = mp_kv_parse_version(request->operands[1], &request->expected);
    if (wrong) return mp_args_refuse(command, "VERSION is '%s': %s", request->operands[1], wrong);
    if (request->ttl && request->operands_count < 3)
        return mp_args_refuse(command, "cas without V deletes the key, which has no --ttl then");
    return -1;
}

/* Answers -1 and fills request and operation, or an exit code. */
static int parse_args(const mp_command *command, int argc, char **argv, kv_request *request,
                      const kv_operation **operation) {
    const mp_option options[] = {
        {"store", "DSN", MP_OPTION_TEXT, &request->dsn, 0, 0, "the store"},
        {"limit", "N", MP_OPTION_NUMBER, &request->limit, 0, UINT32_MAX,
         "scan: at most so many keys; 0: all"},
        {"ttl", "TIME", MP_OPTION_TEXT, &request->ttl, 0, 0,
         "set, cas: how long the key lives: 500ms, 10s, 5m, 2h, 7d"},
        {"version", NULL, MP_OPTION_FLAG, &request->with_version, 0, 0,
         "get: write the version of the value before it"},
    };
    mp_args args = {
        .command = command,
        .usage = "[options] OPERATION [K [V]]",
        .details = details,
        .options = options,
        .options_count = sizeof options / sizeof options[0],
        .operands_max = MP_OPERANDS_MAX,
    };
    int code = mp_args_parse(&args, argc, argv);
    if (code >= 0) return code;
    if (!args.operands_count)
        return mp_args_refuse(command, "no operation: mantispool kv %s", args.usage);
    *operation = find_operation(args.operands[0]);
    if (!*operation) return refuse_operation(command, args.operands[0]);
    size_t operands = args.operands_count - 1;
    if (operands < (*operation)->operands_min || operands > (*operation)->operands_max)
        return mp_args_refuse(command,
                              "%s has %zu argument%s: mantispool kv %s (quote what has "
                              "spaces)",
                              (*operation)->name, operands, operands == 1 ? "" : "s",
                              (*operation)->usage);
    for (size_t i = 0; i < operands; i++) request->operands[i] = args.operands[i + 1];
    request->operands_count = operands;
    code = parse_request(command, *operation, request);
    if (code >= 0) return code;
    mantis_error error = {0};
    const mantis_connector *connector;
    if (mp_dsn_find(request->dsn, &connector, &error) != MANTIS_OK)
        return mp_args_refuse(command, "--store: %s", error.text);
    return -1;
}

/* One operation on a borrowed connection. */
static int run_operation(mantis_pool *pool, const kv_operation *operation,
                         const kv_request *request) {
    mantis_conn conn = {0};
    mantis_error error = {0};
    mantis_status status = mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, &error);
    if (status == MANTIS_OK) status = operation->run(conn, request, &error);
    (void)mantis_conn_release(&conn);
    if (status != MANTIS_OK) {
        (void)fprintf(stderr, "mantispool kv %s: %s\n", operation->name,
                      error.text[0] ? error.text : mantis_status_text(status));
        return MP_EXIT_FAILED;
    }
    if (fflush(stdout) == 0 && !ferror(stdout)) return MP_EXIT_OK;
    (void)fprintf(stderr, "mantispool kv %s: cannot write the answer\n", operation->name);
    return MP_EXIT_FAILED;
}

static int run_kv(const mp_command *command, int argc, char **argv) {
    kv_request request = {.dsn = MP_SESSION_DSN, .operands = {"", "", ""}};
    const kv_operation *operation = NULL;
    int code = parse_args(command, argc, argv, &request, &operation);
    if (code >= 0) return code;
    mantis_pool *pool = mp_session_open(command, request.dsn, 1, MP_KV_BATCH_BYTES);
    if (!pool) return MP_EXIT_FAILED;
    code = operation->run ? run_operation(pool, operation, &request) : operation->run_lines(pool);
    mp_session_close(pool);
    return code;
}

const mp_command mp_command_kv = {
    .name = "kv",
    .summary =
        "Read and write a key-value store: get, set, cas, ttl, del, exists, scan, batch, shell",
    .run = run_kv,
};
