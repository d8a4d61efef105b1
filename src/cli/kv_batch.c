/* Batches: all lines are read first, then applied together or not at all. */
#include "cli/args.h"
#include "cli/kv.h"

#include <stdlib.h>
#include <string.h>

/* What was read: each write points into its line. */
typedef struct batch_lines {
    mantis_write *writes;
    char **lines;
    size_t count, room;
    size_t bytes;
} batch_lines;

static void free_batch(batch_lines *batch) {
    for (size_t i = 0; i < batch->count; i++) free(batch->lines[i]);
    free(batch->lines);
    free(batch->writes);
}

static bool add_write(batch_lines *batch, char *line, const mantis_write *write) {
    if (batch->count == batch->room) {
        size_t room = batch->room ? 2 * batch->room : 64;
        mantis_write *writes = realloc(batch->writes, room * sizeof *writes);
        if (writes) batch->writes = writes;
        char **lines = realloc(batch->lines, room * sizeof *lines);
        if (lines) batch->lines = lines;
        if (!writes || !lines) return false;
        batch->room = room;
    }
    batch->lines[batch->count] = line;
    batch->writes[batch->count++] = *write;
    batch->bytes += write->key_size + write->value_size;
    return true;
}

/* What is wrong with a line of a batch, or NULL. */
static const char *parse_write(char *line, size_t size, mantis_write *out) {
    mp_kv_line parts;
    mp_kv_parse_line(line, size, &parts);
    bool is_set = strcmp(parts.command, "set") == 0;
    if (!is_set && strcmp(parts.command, "del") != 0) return "it must be 'set K V' or 'del K'";
    if (!parts.key_size) return "there is no key";
    if (!is_set && parts.value) return "del takes one key without spaces";
    *out = (mantis_write){parts.key, parts.key_size, parts.value, parts.value_size, 0};
    if (is_set && !parts.value) out->value = "";
    return NULL;
}

/* Read all lines. Answers NULL, or what is wrong with the last one read. */
static const char *read_batch(FILE *in, batch_lines *batch) {
    for (;;) {
        char *line = NULL;
        size_t room = 0, size = 0;
        mantis_write write;
        if (!mp_kv_read_line(in, &line, &room, &size)) {
            free(line);
            return ferror(in) ? "it cannot be read" : NULL;
        }
        const char *wrong = parse_write(line, size, &write);
        if (!wrong && batch->bytes + size > (size_t)MP_KV_BATCH_BYTES)
            wrong = "a batch holds at most 64 MiB";
        if (!wrong && !add_write(batch, line, &write)) wrong = "out of memory";
        if (wrong) {
            free(line);
            return wrong;
        }
    }
}

static mantis_status apply_batch(mantis_pool *pool, const batch_lines *batch, mantis_error *error) {
    mantis_conn conn = {0};
    mantis_status status = mantis_pool_acquire(pool, MANTIS_DEADLINE_DEFAULT, &conn, error);
    if (status != MANTIS_OK) return status;
    status = mantis_conn_batch(conn, batch->writes, batch->count, MANTIS_DURABLE_DEFAULT, error);
    (void)mantis_conn_release(&conn);
    return status;
}

int mp_kv_run_batch(mantis_pool *pool, FILE *in) {
    batch_lines batch = {0};
    mantis_error error = {0};
    const char *wrong = read_batch(in, &batch);
    mantis_status status = wrong ? MANTIS_INVALID : apply_batch(pool, &batch, &error);
    if (wrong)
        (void)fprintf(stderr, "mantispool kv batch: line %zu: %s; nothing was applied\n",
                      batch.count + 1, wrong);
    else if (status != MANTIS_OK)
        (void)fprintf(stderr, "mantispool kv batch: %s; nothing was applied\n",
                      error.text[0] ? error.text : mantis_status_text(status));
    else (void)printf("applied %zu %s\n", batch.count, batch.count == 1 ? "write" : "writes");
    free_batch(&batch);
    return status == MANTIS_OK ? MP_EXIT_OK : MP_EXIT_FAILED;
}
