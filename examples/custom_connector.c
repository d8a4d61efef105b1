/* A connector of one's own in a dozen lines: pool whatever takes a while to open, here files.
 *
 *     cc custom_connector.c $(pkg-config --cflags --libs mantispool) -o custom && ./custom
 *
 * The pool needs open and close alone. is_broken is an extra: a file that failed once is not lent
 * again. `blocks` says that open may take its time, so it runs on the library's threads and never
 * on a borrower's. Without a start() of the connector, `place` is the pool's copy of the DSN. */
#include <errno.h>
#include <mantis/pool.h>
#include <stdio.h>
#include <string.h>

static void file_open(void *place, mantis_op *op) {
    FILE *file = fopen(place, "a");
    if (file) mantis_op_done(op, file);
    else mantis_op_failed(op, strerror(errno)); /* copied: it becomes the cause in errors */
}

static void file_close(void *place, void *native, mantis_op *op) {
    (void)place;
    fclose(native);
    mantis_op_done(op, NULL);
}

static bool file_is_broken(void *place, void *native) {
    (void)place;
    return ferror(native) != 0;
}

static const mantis_connector files = {
    .name = "file",
    .blocks = true,
    .open = file_open,
    .close = file_close,
    .is_broken = file_is_broken,
};

/* Borrow a file, write a line, give it back. */
static mantis_status write_line(mantis_pool *pool, const char *line, mantis_error *error) {
    mantis_conn conn = {0};
    void *native = NULL;
    mantis_status status = mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conn, error);
    if (status == MANTIS_OK) status = mantis_conn_native(conn, &native, error);
    if (status == MANTIS_OK && (fputs(line, native) < 0 || fflush(native) != 0)) status = MANTIS_IO;
    mantis_conn_release_as(&conn,
                           status == MANTIS_OK ? MANTIS_RELEASE_CLEAN : MANTIS_RELEASE_BROKEN);
    return status;
}

/* Write to a pool of files with this path, and say how it went. */
static mantis_status run(const char *path) {
    mantis_pool_config config = {
        .connector = &files,
        .dsn = path,
        .name = "log",
        .conns_max = 2,
        .fail_fast = 1, /* when an open fails, say so, and do not go on trying until the deadline */
    };
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    mantis_status status = mantis_pool_open(&pool, &config, &error);
    for (int i = 0; i < 3 && status == MANTIS_OK; i++) status = write_line(pool, "hello\n", &error);
    if (status == MANTIS_OK) printf("wrote three lines to %s\n", path);
    else printf("%s: %s\n", path, error.text[0] ? error.text : mantis_status_text(status));
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return status;
}

int main(int argc, char **argv) {
    mantis_status good = run(argc > 1 ? argv[1] : "custom_connector.log");
    mantis_status bad = run("no-such-directory/log"); /* the error has the cause */
    return good == MANTIS_OK && bad != MANTIS_OK ? 0 : 1;
}
