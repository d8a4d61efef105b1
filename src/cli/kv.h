/* What the kv command and its shell share. */
#ifndef MP_CLI_KV_H
#define MP_CLI_KV_H

#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a pool for kv may hold for one batch. */
#define MP_KV_BATCH_BYTES (INT64_C(64) << 20)

/* Read lines from in and answer each on out, until the end of in or `quit`. Answers the exit
 * code. */
int mp_kv_run_shell(mantis_pool *pool, FILE *in, FILE *out);

/* Read "set K V" and "del K" lines from in and apply them all, or none of them. Answers the exit
 * code; what is wrong is said on standard error. */
int mp_kv_run_batch(mantis_pool *pool, FILE *in);

/* Visit the keys with a prefix, one "key<TAB>value" line each, with \xNN for what is not printable.
 * Blocks for reads.
 * Errors  as mantis_conn_scan() */
mantis_status mp_kv_write_scan(mantis_conn conn, const char *prefix, size_t prefix_size,
                               uint32_t limit, FILE *out, mantis_error *error);

/* Read the next line without its break, as getline() does: *line is the caller's to free. False at
 * the end. A line is as long as it is; its size is checked where key and value are. */
bool mp_kv_read_line(FILE *in, char **line, size_t *room, size_t *size);

/* A line of input, cut at its first two spaces: command, key, and the rest as it stands. */
typedef struct mp_kv_line {
    char *command, *key, *value; /* in the line's own memory; key NULL: there is none */
    size_t key_size, value_size;
} mp_kv_line;

/* Cut up a line of this size without its line break. */
void mp_kv_parse_line(char *line, size_t size, mp_kv_line *out);

/* Cut the first word off *rest, which is NULL then if there was no space behind it. */
char *mp_kv_cut_word(char **rest, size_t *rest_size, size_t *size);

/* Read "500ms", "10s", "5m", "2h" or "7d". Answers NULL, or what is wrong. */
const char *mp_kv_parse_time(const char *text, int64_t *ms);

/* Read a version. Answers NULL, or what is wrong. */
const char *mp_kv_parse_version(const char *text, uint64_t *version);

/* Write how long there is until then, as mp_kv_parse_time() reads it, or "never", and a line
 * break. */
void mp_kv_write_left(int64_t expires_ms, FILE *out);

#endif
