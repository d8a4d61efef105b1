/* Servers for the tests of Redis. */
#include "redis/server.h"

#include "lib/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#define START_TRIES 1000 /* of 20 ms */
#define NOBODY 65534

static void pause_ms(long ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* ---- finding one ---- */

/* Debian's redis-tools have the server too, under the name of a part of it. */
static const char *find_program(void) {
    static const char *const places[] = {"/usr/bin/redis-server", "/usr/local/bin/redis-server",
                                         "/usr/bin/redis-check-rdb"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], X_OK) == 0) return places[i];
    return NULL;
}

static int listen_anywhere(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    check(listen(fd, 64) == 0 && getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- running one ---- */

/* In the child: become the server. The directory is entered before rights are given up, since its
 * parents may be closed to others. */
static _Noreturn void become_server(const server *one, pid_t parent) {
    const char *program = find_program(), *words[SERVER_OPTIONS_MAX + 16];
    char port[16];
    size_t count = 0;
    const char *fixed[] = {
        "redis-server", "--port", port, "--bind",      "127.0.0.1", "--unixsocket",
        "./redis.sock", "--save", "",   "--loglevel",  "warning",   "--logfile",
        "log",          "--dir",  ".",  "--daemonize", "no"};
    _Static_assert(sizeof fixed / sizeof fixed[0] <= 17, "they fit");
    (void)snprintf(port, sizeof port, "%d", one->port);
    for (; count < sizeof fixed / sizeof fixed[0]; count++) words[count] = fixed[count];
    for (size_t i = 0; one->options[i]; i++) words[count++] = one->options[i];
    words[count] = NULL;
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) _exit(126);
    if (chdir(one->directory) < 0) _exit(126);
    if (getuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) _exit(126);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) _exit(126);
    execv(program, (char **)(void *)words);
    _exit(127);
}

/* Connect the control connection, if the server answers yet. */
static bool connect_control(server *one) {
    struct timeval limit = {.tv_sec = 20};
    redisContext *context = redisConnectUnixWithTimeout(one->socket, limit);
    redisReply *reply = NULL;
    bool answers = false;
    if (context && !context->err) {
        (void)redisSetTimeout(context, limit);
        reply = redisCommand(context, "PING");
        answers = reply && (reply->type == REDIS_REPLY_STATUS ||
                            strncmp(reply->str, "NOAUTH", 6) == 0 || /* the test will log in */
                            strncmp(reply->str, "LOADING", 7) == 0); /* the test will log in */
    }
    freeReplyObject(reply);
    if (answers) one->control = context;
    else if (context) redisFree(context);
    return answers;
}

void server_restart(server *one) {
    pid_t parent = getpid();
    (void)unlink(one->socket);
    fflush(stdout);
    one->pid = fork();
    check(one->pid >= 0);
    if (one->pid == 0) become_server(one, parent);
    for (int i = 0; i < START_TRIES; i++) {
        int status = 0;
        if (connect_control(one)) return;
        check_equal(waitpid(one->pid, &status, WNOHANG), 0); /* it runs */
        pause_ms(20);
    }
    tap_fail(__FILE__, __LINE__, "the server answers");
}

void server_start(server *one, ...) {
    if (!find_program()) tap_skip("there is no redis-server (Debian: redis-tools)");
    const char *parent = getenv("TMPDIR");
    *one = (server){0};
    va_list options;
    va_start(options, one);
    for (size_t i = 0; (one->options[i] = va_arg(options, const char *)); i++)
        check(i + 2 < SERVER_OPTIONS_MAX);
    va_end(options);
    (void)snprintf(one->directory, sizeof one->directory, "%s/redis-XXXXXX",
                   parent && strlen(parent) < 80 ? parent : "/tmp"); /* sockets have short names */
    check(mkdtemp(one->directory) != NULL);
    if (getuid() == 0) check(chown(one->directory, NOBODY, NOBODY) == 0);
    (void)snprintf(one->socket, sizeof one->socket, "%s/redis.sock", one->directory);
    close(listen_anywhere(&one->port));
    (void)snprintf(one->dsn, sizeof one->dsn, "redis://127.0.0.1:%d", one->port);
    server_restart(one);
}

void server_kill(server *one) {
    if (one->control) redisFree(one->control);
    one->control = NULL;
    if (one->pid <= 0) return;
    check(kill(one->pid, SIGKILL) == 0);
    check(waitpid(one->pid, NULL, 0) == one->pid);
    one->pid = 0;
}

void server_finish(server *one) {
    static const char *const left[] = {"redis.sock", "log", "dump.rdb"};
    server_kill(one);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        char path[224];
        (void)snprintf(path, sizeof path, "%s/%s", one->directory, left[i]);
        (void)unlink(path);
    }
    (void)rmdir(one->directory);
}

void server_freeze(const server *one) { check(kill(one->pid, SIGSTOP) == 0); }

void server_thaw(const server *one) { check(kill(one->pid, SIGCONT) == 0); }

/* ---- talking to it ---- */

static redisReply *ask(server *one, const char *format, va_list args) {
    redisReply *reply = redisvCommand(one->control, format, args);
    if (!reply) tap_fail(__FILE__, __LINE__, "%s: %s", format, one->control->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        tap_fail(__FILE__, __LINE__, "%s: %s", format, reply->str);
    return reply;
}

redisReply *server_ask(server *one, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *reply = ask(one, format, args);
    va_end(args);
    return reply;
}

void server_tell(server *one, const char *format, ...) {
    va_list args;
    va_start(args, format);
    freeReplyObject(ask(one, format, args));
    va_end(args);
}

long long server_info(server *one, const char *field) {
    redisReply *reply = server_ask(one, "INFO everything");
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "\n%s:", field);
    const char *found = strstr(reply->str, wanted);
    check(found != NULL);
    long long number = strtoll(found + strlen(wanted), NULL, 10);
    freeReplyObject(reply);
    return number;
}

/* ---- one that is none ---- */

typedef struct fake_client {
    fake_server *server;
    int fd;
} fake_client;

static void *serve_client(void *arg) {
    fake_client client = *(fake_client *)arg;
    struct pollfd one = {.fd = client.fd, .events = POLLIN};
    bool is_trickle = client.server->kind == FAKE_TRICKLE;
    char bytes[256];
    free(arg);
    if (is_trickle) (void)send(client.fd, "$1000000\r\n", 10, MSG_NOSIGNAL);
    for (;;) {
        if (poll(&one, 1, is_trickle ? 20 : -1) > 0 && recv(client.fd, bytes, sizeof bytes, 0) <= 0)
            break;
        if (is_trickle && send(client.fd, "x", 1, MSG_NOSIGNAL) < 0) break;
    }
    client.server->ended++;
    close(client.fd);
    return NULL;
}

static void *accept_clients(void *arg) {
    fake_server *one = arg;
    for (;;) {
        int fd = accept(one->fd, NULL, NULL);
        if (fd < 0) return NULL;
        fake_client *client = malloc(sizeof *client);
        pthread_t thread;
        check(client != NULL);
        *client = (fake_client){one, fd};
        one->accepted++;
        check(pthread_create(&thread, NULL, serve_client, client) == 0);
        check(pthread_detach(thread) == 0);
    }
}

void fake_server_start(fake_server *one, fake_kind kind) {
    *one = (fake_server){.kind = kind};
    one->fd = listen_anywhere(&one->port);
    (void)snprintf(one->dsn, sizeof one->dsn, "redis://127.0.0.1:%d", one->port);
    check(pthread_create(&one->thread, NULL, accept_clients, one) == 0);
}
