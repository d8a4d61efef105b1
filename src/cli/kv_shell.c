/* The shell: one command a line, one line of answer, written out before the next is read. */
#include "cli/args.h"
#include "cli/kv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct kv_shell {
    FILE *out;
    mantis_conn conn; /* borrowed for each line, and for a whole transaction */
    mp_kv_line line;
    bool has_transaction;
    bool is_over;
} kv_shell;

typedef mantis_status (*shell_run)(kv_shell *shell, mantis_error *error);

static mantis_status shell_set(kv_shell *shell, mantis_error *error) {
    const mp_kv_line *line = &shell->line;
    mantis_status status = mantis_conn_set(shell->conn, line->key, line->key_size, line->value,
                                           line->value_size, error);
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

static mantis_status write_value(const mantis_value *value, FILE *out, mantis_error *error) {
    if (value->size && memchr(value->data, '\n', value->size)) {
        (void)snprintf(error->text, sizeof error->text,
                       "the value has a line break, and this "
                       "answer is one line: read it with mantispool kv get");
        return MANTIS_UNSUPPORTED;
    }
    (void)fwrite(value->data, 1, value->size, out);
    (void)fputc('\n', out);
    return MANTIS_OK;
}

static void write_missing(kv_shell *shell) { (void)fputs("(nil)\n", shell->out); }

static mantis_status shell_get(kv_shell *shell, mantis_error *error) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(shell->conn, shell->line.key, shell->line.key_size,
                                           &value, error);
    if (status == MANTIS_NOT_FOUND) {
        write_missing(shell);
        return MANTIS_OK;
    }
    if (status == MANTIS_OK) status = write_value(&value, shell->out, error);
    mantis_value_free(&value);
    return status;
}

static mantis_status shell_delete(kv_shell *shell, mantis_error *error) {
    mantis_status status = mantis_conn_delete(shell->conn, shell->line.key, shell->line.key_size,
                                              error);
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

static mantis_status shell_exists(kv_shell *shell, mantis_error *error) {
    bool is_there = false;
    mantis_status status = mantis_conn_exists(shell->conn, shell->line.key, shell->line.key_size,
                                              &is_there, error);
    if (status == MANTIS_OK) (void)fputs(is_there ? "1\n" : "0\n", shell->out);
    return status;
}

static mantis_status shell_scan(kv_shell *shell, mantis_error *error) {
    mantis_status status = mp_kv_write_scan(shell->conn, shell->line.key, shell->line.key_size, 0,
                                            shell->out, error);
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

/* ---- versions and times ---- */

static mantis_status refuse(mantis_error *error, const char *what, const char *wrong) {
    (void)snprintf(error->text, sizeof error->text, "%s: %s", what, wrong);
    return MANTIS_INVALID;
}

static mantis_status shell_version(kv_shell *shell, mantis_error *error) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(shell->conn, shell->line.key, shell->line.key_size,
                                           &value, error);
    if (status == MANTIS_OK || status == MANTIS_NOT_FOUND) {
        (void)fprintf(shell->out, "%" PRIu64 "\n", value.version);
        status = MANTIS_OK;
    }
    mantis_value_free(&value);
    return status;
}

/* "VERSION [V]" behind the key; without V it is deleted. */
static mantis_status shell_compare(kv_shell *shell, mantis_error *error) {
    mp_kv_line *line = &shell->line;
    size_t word_size = 0;
    uint64_t expected = 0, version = 0;
    if (!line->value)
        return refuse(error, "cas", "say cas K VERSION V, or cas K VERSION to delete");
    const char *wrong =
        mp_kv_parse_version(mp_kv_cut_word(&line->value, &line->value_size, &word_size), &expected);
    if (wrong) return refuse(error, "the version", wrong);
    mantis_write write = {line->key, line->key_size, line->value, line->value_size, 0};
    mantis_status status = mantis_conn_compare_and_set(shell->conn, &write, expected,
                                                       MANTIS_DURABLE_DEFAULT, &version, error);
    if (status == MANTIS_OK) (void)fprintf(shell->out, "%" PRIu64 "\n", version);
    return status;
}

/* How long the key lives. */
static mantis_status write_ttl(kv_shell *shell, mantis_error *error) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(shell->conn, shell->line.key, shell->line.key_size,
                                           &value, error);
    if (status == MANTIS_OK) mp_kv_write_left(value.expires_ms, shell->out);
    mantis_value_free(&value);
    if (status != MANTIS_NOT_FOUND) return status;
    write_missing(shell);
    return MANTIS_OK;
}

/* "TIME V" behind the key: it is set for that long. */
static mantis_status shell_ttl(kv_shell *shell, mantis_error *error) {
    mp_kv_line *line = &shell->line;
    size_t word_size = 0;
    mantis_write write = {.key = line->key, .key_size = line->key_size};
    if (!line->value) return write_ttl(shell, error);
    const char *wrong = mp_kv_parse_time(
        mp_kv_cut_word(&line->value, &line->value_size, &word_size), &write.ttl_ms);
    if (wrong) return refuse(error, "the time", wrong);
    write.value = line->value ? line->value : "";
    write.value_size = line->value_size;
    mantis_status status = mantis_conn_set_with(shell->conn, &write, MANTIS_DURABLE_DEFAULT, error);
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

/* ---- transactions ---- */

static mantis_status begin(kv_shell *shell, mantis_transaction kind, mantis_error *error) {
    mantis_status status = mantis_conn_begin(shell->conn, kind, error);
    if (status != MANTIS_OK) return status;
    shell->has_transaction = true;
    (void)fputs("OK\n", shell->out);
    return MANTIS_OK;
}

static mantis_status shell_begin(kv_shell *shell, mantis_error *error) {
    return begin(shell, MANTIS_TRANSACTION_WRITE, error);
}

static mantis_status shell_snapshot(kv_shell *shell, mantis_error *error) {
    return begin(shell, MANTIS_TRANSACTION_SNAPSHOT, error);
}

static mantis_status shell_commit(kv_shell *shell, mantis_error *error) {
    mantis_status status = mantis_conn_commit(shell->conn, MANTIS_DURABLE_DEFAULT, error);
    shell->has_transaction = false; /* however it ended */
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

static mantis_status shell_rollback(kv_shell *shell, mantis_error *error) {
    mantis_status status = mantis_conn_rollback(shell->conn, error);
    shell->has_transaction = false;
    if (status == MANTIS_OK) (void)fputs("OK\n", shell->out);
    return status;
}

/* ---- the shell itself ---- */

static mantis_status shell_help(kv_shell *shell, mantis_error *error) {
    (void)error;
    (void)fputs(
        "set K V | get K | del K | exists K | scan [PREFIX] | version K | cas K VERSION [V] | "
        "ttl K [TIME V] | begin | snapshot | commit | rollback | help | quit\n",
        shell->out);
    return MANTIS_OK;
}

static mantis_status shell_quit(kv_shell *shell, mantis_error *error) {
    (void)error;
    shell->is_over = true;
    (void)fputs("OK\n", shell->out);
    return MANTIS_OK;
}

/* What follows a command's name. */
typedef enum shell_operands {
    NOTHING = 0,
    MAYBE_KEY, /* or a prefix */
    KEY,
    KEY_AND_REST /* which may be missing, or empty */
} shell_operands;

static const struct {
    const char *name;
    shell_operands operands;
    shell_run run;
} shell_commands[] = {
    {"set", KEY_AND_REST, shell_set},
    {"get", KEY, shell_get},
    {"del", KEY, shell_delete},
    {"delete", KEY, shell_delete},
    {"exists", KEY, shell_exists},
    {"scan", MAYBE_KEY, shell_scan},
    {"version", KEY, shell_version},
    {"cas", KEY_AND_REST, shell_compare},
    {"ttl", KEY_AND_REST, shell_ttl},
    {"begin", NOTHING, shell_begin},
    {"snapshot", NOTHING, shell_snapshot},
    {"commit", NOTHING, shell_commit},
    {"rollback", NOTHING, shell_rollback},
    {"help", NOTHING, shell_help},
    {"quit", NOTHING, shell_quit},
    {"exit", NOTHING, shell_quit},
};
enum { SHELL_COMMANDS = sizeof shell_commands / sizeof shell_commands[0] };

/* What is wrong with what follows the command's name, or NULL. */
static const char *check_operands(const mp_kv_line *line, shell_operands operands) {
    if (operands == NOTHING && line->key) return "it stands alone on its line";
    if (operands >= KEY && !line->key_size) return "it needs a key";
    if (operands < KEY_AND_REST && line->value)
        return "it takes one word: there are no keys with spaces here";
    return NULL;
}

static mantis_status run_line(kv_shell *shell, mantis_error *error) {
    const mp_kv_line *line = &shell->line;
    for (size_t i = 0; i < SHELL_COMMANDS; i++) {
        if (strcmp(line->command, shell_commands[i].name) != 0) continue;
        const char *wrong = check_operands(line, shell_commands[i].operands);
        return wrong ? refuse(error, line->command, wrong) : shell_commands[i].run(shell, error);
    }
    (void)snprintf(error->text, sizeof error->text, "there is no command '%.40s': type help",
                   line->command);
    return MANTIS_INVALID;
}

/* One line for one line: what an error says must not break it. */
static void write_error(FILE *out, mantis_status status, const mantis_error *error) {
    char text[sizeof error->text + 64];
    (void)snprintf(text, sizeof text, "%s %s\n", status == MANTIS_CONFLICT ? "CONFLICT" : "ERR",
                   error->text[0] ? error->text : mantis_status_text(status));
    for (char *c = text; *c && c[1]; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    (void)fputs(text, out);
}

static void write_prompt(bool is_terminal) {
    if (is_terminal) (void)fputs("> ", stderr);
}

int mp_kv_run_shell(mantis_pool *pool, FILE *in, FILE *out) {
    kv_shell shell = {.out = out};
    char *line = NULL;
    size_t room = 0, size = 0;
    bool is_terminal = isatty(fileno(in)) && isatty(fileno(out)), is_written = true;
    write_prompt(is_terminal);
    while (!shell.is_over && is_written && mp_kv_read_line(in, &line, &room, &size)) {
        mantis_error error = {0};
        mp_kv_parse_line(line, size, &shell.line);
        mantis_status status = MANTIS_OK;
        if (!shell.has_transaction)
            status = mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &shell.conn, &error);
        if (status == MANTIS_OK) status = run_line(&shell, &error);
        if (!shell.has_transaction) (void)mantis_conn_release(&shell.conn);
        if (status != MANTIS_OK) write_error(out, status, &error);
        is_written = fflush(out) == 0 && !ferror(out);
        if (!shell.is_over) write_prompt(is_terminal);
    }
    (void)mantis_conn_release(&shell.conn); /* an open transaction is rolled back */
    free(line);
    return is_written && !ferror(in) ? MP_EXIT_OK : MP_EXIT_FAILED;
}
