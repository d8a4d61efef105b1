/* Commands, replies, and the greeting of a connection. */
#include "connectors/redis_wire.h"

#include "base/error.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ROOM_KEPT ((size_t)64 << 10) /* of the request, from one to the next */
#define ROOM_FIRST ((size_t)256)

/* ---- opening and closing ---- */

mp_redis_wire *mp_redis_wire_open(int fd, const mp_redis_dsn *dsn) {
    mp_redis_wire *wire = calloc(1, sizeof *wire);
    redisContext *context = wire ? redisConnectFd(fd) : NULL;
    if (!context) {
        free(wire);
        return NULL;
    }
    wire->context = context;
    wire->dsn = dsn;
    context->reader->privdata = wire;
    return wire;
}

void mp_redis_wire_close(mp_redis_wire *wire) {
    redisFree(wire->context);
    free(wire->request);
    free(wire);
}

/* ---- failing ---- */

mantis_status mp_redis_wire_check(const mp_redis_wire *wire, mantis_error *error) {
    if (!wire)
        return mp_error_set(error, MANTIS_IO,
                            "the connection was reconnected by its borrower: release it, and "
                            "borrow another one");
    if (!wire->context->err) return MANTIS_OK;
    return mp_error_set(error, MANTIS_IO, "%s: the connection has failed: %.128s", wire->dsn->label,
                        wire->context->errstr);
}

void mp_redis_wire_fail(mp_redis_wire *wire, const char *why) {
    redisContext *context = wire->context;
    if (context->err) return; /* the first cause stays */
    context->err = REDIS_ERR_OTHER;
    (void)snprintf(context->errstr, sizeof context->errstr, "%.127s", why);
}

/* Commands that were put into the context but not sent, and replies that nobody has read, belong to
 * the last borrower. */
static bool has_unsent(const redisContext *context) { return context->obuf && *context->obuf; }

static bool has_unread(const redisContext *context) {
    return context->reader->pos < context->reader->len || context->reader->ridx >= 0;
}

bool mp_redis_wire_is_broken(const redisContext *context) {
    char byte;
    if (context->err || !mp_redis_wire_of(context) || has_unsent(context) || has_unread(context))
        return true;
    if (recv(context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) return true; /* its end too */
    return errno != EAGAIN && errno != EINTR;
}

/* The connection is of no use any more: say why. */
static mantis_status fail_io(mp_redis_wire *wire, int os_errno, bool has_deadline,
                             mantis_error *error) {
    const mp_redis_dsn *dsn = wire->dsn;
    mantis_error why = {0};
    if (os_errno == 0) (void)mp_error_set(&why, MANTIS_IO, "%s closed the connection", dsn->label);
    else if (os_errno == EAGAIN && has_deadline)
        (void)mp_error_set(&why, MANTIS_IO, "%s did not answer in time", dsn->label);
    else if (os_errno == EAGAIN)
        (void)mp_error_set(&why, MANTIS_IO, "%s did not answer for %u ms (timeout_ms in the DSN)",
                           dsn->label, dsn->timeout_ms);
    else (void)mp_error_set(&why, MANTIS_IO, "%s: %s", dsn->label, strerror(os_errno));
    why.os_errno = os_errno == EAGAIN ? ETIMEDOUT : os_errno;
    mp_redis_wire_fail(wire, why.text);
    if (error) *error = why;
    return MANTIS_IO;
}

static bool wait_for(int fd, short events, int64_t deadline_ns) {
    struct pollfd one = {.fd = fd, .events = events};
    for (;;) {
        int64_t left_ns = deadline_ns - mp_clock_now_ns();
        if (left_ns <= 0) return false;
        struct timespec left = mp_clock_timespec(left_ns);
        int count = ppoll(&one, 1, &left, NULL);
        if (count > 0 || (count < 0 && errno != EINTR)) return true; /* the call itself will say */
    }
}

/* ---- commands ---- */

static void append(mp_redis_wire *wire, const void *data, size_t size) {
    size_t wanted = wire->request_size + size;
    if (wanted > wire->request_room) {
        size_t room = wire->request_room ? wire->request_room : ROOM_FIRST;
        while (room < wanted) room *= 2;
        char *grown = realloc(wire->request, room);
        if (!grown) {
            wire->is_out_of_memory = true;
            return;
        }
        wire->request = grown;
        wire->request_room = room;
    }
    if (size) memcpy(wire->request + wire->request_size, data, size);
    wire->request_size = wanted;
}

/* The number of words or bytes that follow. */
static void append_head(mp_redis_wire *wire, char kind, size_t number) {
    char head[32];
    int size = snprintf(head, sizeof head, "%c%zu\r\n", kind, number);
    append(wire, head, (size_t)size);
}

void mp_redis_wire_add(mp_redis_wire *wire, const mp_redis_word *words, size_t count) {
    append_head(wire, '*', count);
    for (size_t i = 0; i < count; i++) {
        append_head(wire, '$', words[i].size);
        append(wire, words[i].data, words[i].size);
        append(wire, "\r\n", 2);
    }
}

/* A server that does not know a command quotes its arguments, of which one may be the password. */
static void hide_arguments(char *refusal) {
    char *arguments = strstr(refusal, ", with args");
    if (arguments) *arguments = '\0';
}

/* A server that refuses a connection says why and closes it, perhaps before it was asked. */
static mantis_status fail_send(mp_redis_wire *wire, int os_errno, bool has_deadline,
                               mantis_error *error) {
    char words[160];
    ssize_t size = recv(wire->context->fd, words, sizeof words - 1, MSG_DONTWAIT);
    if (size <= 1 || words[0] != '-') return fail_io(wire, os_errno, has_deadline, error);
    words[size] = '\0';
    words[strcspn(words, "\r\n")] = '\0';
    hide_arguments(words);
    mp_redis_wire_fail(wire, words + 1);
    return mp_error_set(error, MANTIS_IO, "%s: %s", wire->dsn->label, words + 1);
}

static mantis_status send_all(mp_redis_wire *wire, int64_t deadline_ns, mantis_error *error) {
    bool has_deadline = deadline_ns != MP_NEVER_NS;
    int fd = wire->context->fd, flags = MSG_NOSIGNAL | (has_deadline ? MSG_DONTWAIT : 0);
    for (size_t sent = 0; sent < wire->request_size;) {
        ssize_t count = send(fd, wire->request + sent, wire->request_size - sent, flags);
        if (count >= 0) sent += (size_t)count;
        else if (errno == EAGAIN && has_deadline && wait_for(fd, POLLOUT, deadline_ns)) continue;
        else if (errno != EINTR) return fail_send(wire, errno, has_deadline, error);
    }
    return MANTIS_OK;
}

mantis_status mp_redis_wire_send(mp_redis_wire *wire, int64_t deadline_ns, mantis_error *error) {
    mantis_status status = mp_redis_wire_check(wire, error);
    if (status == MANTIS_OK && wire->is_out_of_memory)
        status = mp_error_set(error, MANTIS_NOMEM, "out of memory for a command of %zu bytes",
                              wire->request_size);
    else if (status == MANTIS_OK) status = send_all(wire, deadline_ns, error);
    wire->request_size = 0;
    wire->is_out_of_memory = false;
    if (wire->request_room > ROOM_KEPT) {
        free(wire->request);
        wire->request = NULL;
        wire->request_room = 0;
    }
    return status;
}

/* ---- replies ---- */

mantis_status mp_redis_wire_read(mp_redis_wire *wire, int64_t deadline_ns, redisReply **out,
                                 mantis_error *error) {
    redisContext *context = wire->context;
    bool has_deadline = deadline_ns != MP_NEVER_NS;
    void *found = NULL;
    for (;;) {
        if (redisGetReplyFromReader(context, &found) != REDIS_OK) break;
        if (found) {
            redisReply *reply = found;
            if (reply->type == REDIS_REPLY_ERROR) hide_arguments(reply->str);
            *out = reply;
            return MANTIS_OK;
        }
        if (has_deadline && !wait_for(context->fd, POLLIN, deadline_ns))
            return fail_io(wire, EAGAIN, true, error);
        errno = 0;
        if (redisBufferRead(context) == REDIS_OK) continue;
        if (context->err == REDIS_ERR_EOF) return fail_io(wire, 0, has_deadline, error);
        if (context->err == REDIS_ERR_IO) return fail_io(wire, errno, has_deadline, error);
        break;
    }
    mantis_status status = context->err == REDIS_ERR_OOM ? MANTIS_NOMEM : MANTIS_IO;
    return mp_error_set(error, status, "%s: %.128s", wire->dsn->label, context->errstr);
}

mantis_status mp_redis_wire_refuse(mp_redis_wire *wire, const char *command,
                                   const redisReply *reply, mantis_error *error) {
    static const struct {
        const char *code;
        mantis_status status;
    } codes[] = {
        {"OOM ", MANTIS_FULL},
        {"READONLY ", MANTIS_UNSUPPORTED},
        {"NOPERM ", MANTIS_UNSUPPORTED},
        {"WRONGTYPE ", MANTIS_INVALID},
        {"ERR unknown ", MANTIS_UNSUPPORTED},
    };
    const char *label = wire->dsn->label;
    if (reply->type != REDIS_REPLY_ERROR)
        return mp_error_set(error, MANTIS_INVALID,
                            "%s answered %s with something else: its holder left it in MULTI or in "
                            "a subscription; release it DIRTY",
                            label, command);
    bool is_demoted = strncmp(reply->str, "READONLY ", 9) == 0 && wire->dsn->wants_primary;
    if (is_demoted || strncmp(reply->str, "NOAUTH ", 7) == 0)
        mp_redis_wire_fail(wire, reply->str); /* it serves nobody any more */
    mantis_status status = MANTIS_IO;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strncmp(reply->str, codes[i].code, strlen(codes[i].code)) == 0)
            status = codes[i].status;
    return mp_error_set(error, status, "%s answered %s with: %.150s", label, command, reply->str);
}

/* ---- the greeting ---- */

static mp_redis_word word_of(const char *text) { return (mp_redis_word){text, strlen(text)}; }

#define STEPS_MAX 5

/* The commands of a greeting, in order. */
typedef struct steps {
    const char *names[STEPS_MAX];
    size_t count;
} steps;

static void add_step(mp_redis_wire *wire, steps *all, const mp_redis_word *words, size_t count) {
    all->names[all->count++] = words[0].data;
    mp_redis_wire_add(wire, words, count);
}

static void add_steps(mp_redis_wire *wire, mp_redis_greeting greeting, steps *all) {
    const mp_redis_dsn *dsn = wire->dsn;
    if (greeting == MP_REDIS_RESET) add_step(wire, all, &MP_REDIS_WORD("RESET"), 1);
    if (greeting != MP_REDIS_CHECK) {
        mp_redis_word login[3] = {MP_REDIS_WORD("AUTH")};
        size_t words = 1;
        if (dsn->user) login[words++] = word_of(dsn->user);
        if (dsn->password) login[words++] = word_of(dsn->password);
        if (dsn->password) add_step(wire, all, login, words);

        char number[16];
        (void)snprintf(number, sizeof number, "%u", dsn->db);
        mp_redis_word choice[] = {MP_REDIS_WORD("SELECT"), word_of(number)};
        if (dsn->db) add_step(wire, all, choice, 2);

        mp_redis_word name[] = {MP_REDIS_WORD("CLIENT"), MP_REDIS_WORD("SETNAME"),
                                word_of(dsn->name ? dsn->name : "")};
        if (dsn->name) add_step(wire, all, name, 3);
    }
    add_step(wire, all, dsn->wants_primary ? &MP_REDIS_WORD("ROLE") : &MP_REDIS_WORD("PING"), 1);
}

/* What is wrong with the answer to a step? NULL: nothing. */
static const char *judge(const char *step, const redisReply *reply) {
    if (reply->type == REDIS_REPLY_ERROR) return reply->str;
    if (strcmp(step, "ROLE") == 0) {
        bool is_list = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                       reply->element[0]->type == REDIS_REPLY_STRING;
        if (!is_list) return "no role";
        return strcmp(reply->element[0]->str, "master") == 0
                   ? NULL
                   : "it is no primary, as role=primary in the DSN asks for";
    }
    const char *wanted = strcmp(step, "RESET") == 0  ? "RESET"
                         : strcmp(step, "PING") == 0 ? "PONG"
                                                     : "OK";
    bool is_fit = reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, wanted) == 0;
    return is_fit ? NULL : "something else: the connection is out of step";
}

/* Is it something that a borrower has left unread, and not yet the answer to RESET? An error is
 * the answer if it speaks of it: a server before 6.2, or rights that are missing. */
static bool is_left_over(const redisReply *reply) {
    return reply->type != REDIS_REPLY_ERROR || !strcasestr(reply->str, "reset");
}

/* Read the answer to a step. */
static mantis_status read_step(mp_redis_wire *wire, const char *step, int64_t deadline_ns,
                               mantis_error *error) {
    for (;;) {
        redisReply *reply = NULL;
        mantis_status status = mp_redis_wire_read(wire, deadline_ns, &reply, error);
        if (status != MANTIS_OK) return status;
        const char *why = judge(step, reply);
        bool is_left = why && strcmp(step, "RESET") == 0 && is_left_over(reply);
        if (why && !is_left)
            status = mp_error_set(error, MANTIS_CONNECT_FAILED, "%s answered %s with: %.120s",
                                  wire->dsn->label, step, why);
        freeReplyObject(reply);
        if (!is_left) return status;
    }
}

mantis_status mp_redis_wire_greet(mp_redis_wire *wire, mp_redis_greeting greeting,
                                  int64_t deadline_ns, mantis_error *error) {
    steps all = {0};
    mantis_status status = mp_redis_wire_check(wire, error);
    if (status != MANTIS_OK) return status;
    if (greeting == MP_REDIS_RESET && has_unsent(wire->context))
        return mp_error_set(error, MANTIS_IO, "the borrower left commands that were not sent");
    add_steps(wire, greeting, &all);
    status = mp_redis_wire_send(wire, deadline_ns, error);
    for (size_t i = 0; i < all.count && status == MANTIS_OK; i++)
        status = read_step(wire, all.names[i], deadline_ns, error);
    return status;
}
