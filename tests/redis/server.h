/* A real Redis server for a test: on a free port of 127.0.0.1 and a socket in a directory of its
 * own, as a user without rights, and dead as soon as the test is. Also one that is none: it accepts
 * connections and does with them what a test says. */
#ifndef MP_TESTS_REDIS_SERVER_H
#define MP_TESTS_REDIS_SERVER_H

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define SERVER_OPTIONS_MAX 16

typedef struct server {
    pid_t pid;
    int port;
    char directory[160], socket[192], dsn[64]; /* dsn: redis://127.0.0.1:PORT */
    const char *options[SERVER_OPTIONS_MAX];
    redisContext *control; /* the test's own connection */
} server;

/* Start it with more options, "--maxclients", "5", …, NULL, and wait until it answers. Skips the
 * test if there is no server to be had. */
void server_start(server *one, ...) __attribute__((sentinel));

/* Kill it at once; start it again on the same port. */
void server_kill(server *one);
void server_restart(server *one);

/* Kill it, and remove its directory. */
void server_finish(server *one);

/* Stop its clock, and let it go on. */
void server_freeze(const server *one);
void server_thaw(const server *one);

/* A command on the control connection; the caller frees the reply. It must not be an error. */
redisReply *server_ask(server *one, const char *format, ...);

/* The same, and the reply does not matter. */
void server_tell(server *one, const char *format, ...);

/* A number out of INFO: "total_connections_received". */
long long server_info(server *one, const char *field);

/* ---- one that is none ---- */

typedef enum fake_kind {
    FAKE_SILENT, /* reads, and never answers */
    FAKE_TRICKLE /* sends the first half of an answer, a byte every 20 ms for ever */
} fake_kind;

typedef struct fake_server {
    int fd, port;
    fake_kind kind;
    char dsn[64];
    pthread_t thread;
    atomic_int accepted, ended; /* connections, and those that their client has closed */
} fake_server;

void fake_server_start(fake_server *one, fake_kind kind);

#endif
