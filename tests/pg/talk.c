/* A connection of src/pg over a blocking socket. */
#include "pg/talk.h"

#include "pg/answer.h"
#include "pg/crypto.h"
#include "pg/startup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

int connect_to(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect: %s", strerror(errno));
    return fd;
}

void talk_open(conversation *talk, int fd, mp_wire_side from) {
    talk->fd = fd;
    talk->out = (mp_wire_out){.data = talk->out_data, .size = sizeof talk->out_data};
    mp_wire_rules_init(&talk->rules, from, MP_WIRE_LENGTH_MAX,
                       from == MP_WIRE_SERVER ? "123ACDEGHIKNRSTVWZcdnstv" : "BCDEFHPQSXcdfp");
}

void talk_send(conversation *talk) {
    if (talk->out.is_full) die("what is to be sent does not fit");
    for (size_t sent = 0; sent < talk->out.length;) {
        ssize_t size = send(talk->fd, talk->out_data + sent, talk->out.length - sent, MSG_NOSIGNAL);
        if (size < 0) die("send: %s", strerror(errno));
        sent += (size_t)size;
    }
    talk->out.length = 0;
}

bool talk_fill(conversation *talk) {
    static const size_t sizes[] = {1, 7, 3, 64, 2, 4096, 5, 65536};
    memmove(talk->in, talk->in + talk->used, talk->have - talk->used);
    talk->have -= talk->used;
    talk->used = 0;
    size_t room = sizeof talk->in - talk->have, size = sizes[talk->reads++ % 8];
    if (room == 0) die("a message does not fit");
    ssize_t got = recv(talk->fd, talk->in + talk->have, size < room ? size : room, 0);
    if (got < 0 && errno != ECONNRESET) die("recv: %s", strerror(errno));
    if (got > 0) talk->have += (size_t)got;
    return got > 0;
}

bool talk_read(conversation *talk, mp_message *out) {
    for (;;) {
        mantis_error error = {0};
        mp_wire_found found = mp_wire_scan(&talk->wire, &talk->rules, talk->in, talk->have,
                                           &talk->used, out);
        if (found == MP_WIRE_WHOLE) return true;
        if (found == MP_WIRE_BAD) {
            mp_wire_explain(out, MP_WIRE_SERVER, &error);
            die("%s", error.text);
        }
        if (!talk_fill(talk)) return false;
    }
}

static void print_error(const mp_message *message) {
    mp_answer_error error;
    if (!mp_answer_parse_error(message, &error)) die("an error that cannot be read");
    printf("%c %.*s %.*s %.*s", message->type, (int)error.severity.size, error.severity.data,
           (int)error.sqlstate.size, error.sqlstate.data, (int)error.text.size, error.text.data);
    if (error.detail.data) printf(" detail: %.*s", (int)error.detail.size, error.detail.data);
    if (error.hint.data) printf(" hint: %.*s", (int)error.hint.size, error.hint.data);
    printf("\n");
}

static void print_row(const mp_message *message) {
    mp_wire_in in = mp_wire_in_of(message);
    uint16_t count = mp_wire_read_u16(&in);
    for (uint16_t i = 0; i < count; i++) {
        uint32_t size = mp_wire_read_u32(&in);
        mp_view cell = size == UINT32_MAX ? (mp_view){"NULL", 4} : mp_wire_read_bytes(&in, size);
        printf("%s%.*s", i ? "|" : "D ", (int)cell.size, cell.data);
    }
    if (!mp_wire_is_read(&in)) die("a row that cannot be read");
    printf("\n");
}

static void print_message(const mp_message *message) {
    mp_view tag;
    uint8_t status;
    mp_answer_copy copy;
    mp_answer_parameter parameter;
    switch (message->type) {
    case MP_ANSWER_ERROR:
    case MP_ANSWER_NOTICE: print_error(message); return;
    case MP_ANSWER_DATA_ROW: print_row(message); return;
    case MP_ANSWER_COMMAND_COMPLETE:
        if (!mp_answer_parse_complete(message, &tag)) die("a tag that cannot be read");
        printf("C %.*s\n", (int)tag.size, tag.data);
        return;
    case MP_ANSWER_READY:
        if (!mp_answer_parse_ready(message, &status)) die("no state of a transaction");
        printf("Z %c\n", status);
        return;
    case MP_ANSWER_PARAMETER_STATUS:
        if (!mp_answer_parse_parameter(message, &parameter)) die("no parameter");
        printf("S %.*s=%.*s\n", (int)parameter.name.size, parameter.name.data,
               (int)parameter.value.size, parameter.value.data);
        return;
    case MP_ANSWER_COPY_IN:
    case MP_ANSWER_COPY_OUT:
        if (!mp_answer_parse_copy(message, &copy)) die("a copy that cannot be read");
        printf("%c %s %u\n", message->type, copy.is_binary ? "binary" : "text", copy.columns_count);
        return;
    default: printf("%c\n", message->type);
    }
}

void talk_print(conversation *talk) {
    mp_message message;
    while (talk_read(talk, &message)) {
        print_message(&message);
        if (message.type == MP_ANSWER_READY || message.type == MP_ANSWER_COPY_IN) return;
    }
    printf("closed\n");
}

/* After AuthenticationOk: up to ReadyForQuery. */
static void finish_log_in(conversation *talk, const mp_message *message) {
    mp_answer_backend_key key;
    if (message->type != MP_ANSWER_BACKEND_KEY) return;
    if (!mp_answer_parse_backend_key(message, &key)) die("no key");
    talk->pid = key.pid;
    talk->key_size = key.key.size;
    memcpy(talk->key, key.key.data, key.key.size);
}

bool talk_log_in(conversation *talk, mp_login *login) {
    char nonce[MP_CRYPTO_NONCE_SIZE];
    mantis_error error = {0};
    mp_message message;
    if (!mp_crypto_nonce(nonce)) die("no random numbers");
    mp_startup_begin(&talk->out);
    mp_startup_write_param(&talk->out, mp_view_of("user"), login->user);
    mp_startup_write_param(&talk->out, mp_view_of("database"), mp_view_of("postgres"));
    mp_startup_commit(&talk->out);
    talk_send(talk);
    while (talk_read(talk, &message)) {
        if (message.type == MP_ANSWER_ERROR) {
            print_error(&message);
            return false;
        }
        finish_log_in(talk, &message);
        if (message.type == MP_ANSWER_READY) return login->stage == MP_LOGIN_DONE;
        if (message.type != MP_ANSWER_AUTHENTICATION) continue;
        mp_view view = {nonce, sizeof nonce};
        if (mp_login_answer(login, &message, view, &talk->out, &error) != MANTIS_OK) {
            printf("refused %s %s\n", error.sqlstate, error.text);
            return false;
        }
        talk_send(talk);
    }
    printf("closed\n");
    return false;
}
