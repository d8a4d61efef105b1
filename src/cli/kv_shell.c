/* The shell: one command a line, one line of answer, written out before the next is read. */
#include "cli/args.h"
#include "cli/kv.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct kv_shell {
    FILE *out;
    mantis_conn conn;
    mp_kv_line line;
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

static mantis_status shell_get(kv_shell *shell, mantis_error *error) {
    mantis_value value = {0};
    mantis_status status = mantis_conn_get(shell->conn, shell->line.key, shell->line.key_size,
                                           &value, error);
    if (status == MANTIS_NOT_FOUND) {
        (void)fputs("(nil)\n", shell->out);
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

static mantis_status shell_help(kv_shell *shell, mantis_error *error) {
    (void)error;
    (void)fputs("set K V | get K | del K | exists K | scan [PREFIX] | help | quit\n", shell->out);
    return MANTIS_OK;
}

static mantis_status shell_quit(kv_shell *shell, mantis_error *error) {
    (void)error;
    shell->is_over = true;
    (void)fputs("OK\n", shell->out);
    return MANTIS_OK;
}

static const struct {
    const char *name;
    bool has_key, has_value; /* has_value: it may have one, and an empty one if it is left out */
    shell_run run;
} shell_commands[] = {
    {"set", true, true, shell_set},        {"get", true, false, shell_get},
    {"del", true, false, shell_delete},    {"delete", true, false, shell_delete},
    {"exists", true, false, shell_exists}, {"scan", false, false, shell_scan},
    {"help", false, false, shell_help},    {"quit", false, false, shell_quit},
    {"exit", false, false, shell_quit},
};
enum { SHELL_COMMANDS = sizeof shell_commands / sizeof shell_commands[0] };

static mantis_status run_line(kv_shell *shell, mantis_error *error) {
    const mp_kv_line *line = &shell->line;
    for (size_t i = 0; i < SHELL_COMMANDS; i++) {
        if (strcmp(line->command, shell_commands[i].name) != 0) continue;
        if (shell_commands[i].has_key && !line->key_size) {
            (void)snprintf(error->text, sizeof error->text, "%s needs a key", line->command);
            return MANTIS_INVALID;
        }
        if (!shell_commands[i].has_value && line->value) {
            (void)snprintf(error->text, sizeof error->text,
                           "%s takes one word: there are no keys "
                           "with spaces here",
                           line->command);
            return MANTIS_INVALID;
        }
        return shell_commands[i].run(shell, error);
    }
    (void)snprintf(error->text, sizeof error->text, "there is no command '%.40s': type help",
                   line->command);
    return MANTIS_INVALID;
}

/* One line for one line: what an error says must not break it. */
static void write_error(FILE *out, mantis_status status, const mantis_error *error) {
    char text[sizeof error->text + 64];
    (void)snprintf(text, sizeof text, "ERR %s\n",
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
        mantis_status status = mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &shell.conn,
                                                   &error);
        if (status == MANTIS_OK) status = run_line(&shell, &error);
        (void)mantis_conn_release(&shell.conn);
        if (status != MANTIS_OK) write_error(out, status, &error);
        is_written = fflush(out) == 0 && !ferror(out);
        if (!shell.is_over) write_prompt(is_terminal);
    }
    free(line);
    return is_written && !ferror(in) ? MP_EXIT_OK : MP_EXIT_FAILED;
}
