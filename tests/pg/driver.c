/* src/pg at work, for the scripts beside it. What to do is the first argument:
 *
 *     prepare                          a password a line, as it is hashed
 *     check                            "SECRET USER PASSWORD" a line: is it right?
 *     statements on|off                a text a line: what sqltext finds; with standard strings?
 *     session PORT USER SECRET KEYS METHODS
 *                                      log in, run a query a line, print the answers
 *     literals PORT USER               what the server makes of each line as a constant of SQL
 *     extended PORT USER               a conversation of the extended protocol with other names
 *     copy PORT USER                   a copy that fails at our wish
 *     cancel PORT USER                 a query that is cancelled
 *     serve METHOD SECRET              be a server for one client, which logs in by the method
 *
 * Lines and texts are in hexadecimal, "-" is nothing. */
#include "pg/answer.h"
#include "pg/request.h"
#include "pg/saslprep.h"
#include "pg/secret.h"
#include "pg/show.h"
#include "pg/startup.h"
#include "pg/talk.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static conversation connection; /* too large for the stack */

/* ---- hexadecimal ---- */

static int value_of(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    die("no hexadecimal digit: %c", digit);
}

/* What lines have been turned into; all of it stays until the program ends. */
typedef struct block {
    struct block *next;
    _Alignas(16) char bytes[];
} block;

static block *blocks;

/* The bytes of a text in hexadecimal. */
static mp_view bytes_of(const char *text) {
    if (strcmp(text, "-") == 0) return (mp_view){0};
    size_t size = strlen(text) / 2;
    block *made = malloc(sizeof *made + size + 1);
    if (!made) die("no memory");
    made->next = blocks;
    blocks = made;
    for (size_t i = 0; i < size; i++)
        made->bytes[i] = (char)(value_of(text[2 * i]) << 4 | value_of(text[2 * i + 1]));
    return (mp_view){made->bytes, size};
}

static void print_hex(const void *data, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
    printf("\n");
}

/* The next line, without its end; NULL: there is none. */
static char *read_line(void) {
    static char *line;
    static size_t room;
    ssize_t size = getline(&line, &room, stdin);
    if (size <= 0) return NULL;
    if (line[size - 1] == '\n') line[size - 1] = 0;
    return line;
}

static uint16_t port_of(const char *text) { return (uint16_t)strtoul(text, NULL, 10); }

/* ---- functions of text ---- */

static void prepare(char **args) {
    (void)args;
    for (char *line = read_line(); line; line = read_line()) {
        mp_saslprep prepared;
        mp_view password = bytes_of(line);
        if (!mp_saslprep_init(&prepared, password)) die("no memory");
        print_hex(prepared.data, prepared.size);
        mp_saslprep_finish(&prepared);
    }
}

static void check(char **args) {
    (void)args;
    for (char *line = read_line(); line; line = read_line()) {
        char *secret = strtok_r(line, " ", &line), *user = strtok_r(line, " ", &line);
        bool is_right = mp_secret_check_password(bytes_of(secret), bytes_of(user), bytes_of(line));
        printf("%d\n", is_right);
    }
}

static void statements(char **args) {
    static char shown[65536];
    for (char *line = read_line(); line; line = read_line()) {
        mp_view sql = bytes_of(line);
        show_statements(sql, true, strcmp(args[0], "on") == 0, shown, sizeof shown);
        printf("%s\n", shown);
    }
}

/* ---- as a client ---- */

static bool log_in(const char *port, const char *user, mp_login login) {
    login.user = mp_view_of(user);
    talk_open(&connection, connect_to(port_of(port)), MP_WIRE_SERVER);
    bool is_in = talk_log_in(&connection, &login);
    mp_login_finish(&login);
    return is_in;
}

static void log_in_freely(char **args) {
    if (!log_in(args[0], args[1], (mp_login){.methods = MP_LOGIN_ANY})) die("no login");
}

static void leave(void) {
    mp_request_write_terminate(&connection.out);
    talk_send(&connection);
    close(connection.fd);
}

static void session(char **args) {
    mp_view keys = bytes_of(args[3]);
    mp_login login = {.secret = bytes_of(args[2]),
                      .keys = (const mp_scram_keys *)(const void *)keys.data,
                      .methods = (uint32_t)strtoul(args[4], NULL, 10)};
    if (!log_in(args[0], args[1], login)) return;
    printf("in\n");
    for (char *line = read_line(); line; line = read_line()) {
        mp_request_write_query(&connection.out, bytes_of(line));
        talk_send(&connection);
        talk_print(&connection);
    }
    leave();
}

/* The server tells the bytes of each text, without standard strings and with them. */
static void literals(char **args) {
    static const char *const settings[] = {"SET standard_conforming_strings = off",
                                           "SET standard_conforming_strings = on"};
    mp_wire_out *out = &connection.out;
    log_in_freely(args);
    for (char *line = read_line(); line; line = read_line()) {
        mp_view text = bytes_of(line);
        for (int i = 0; i < 2; i++) {
            mp_request_write_query(out, mp_view_of(settings[i]));
            mp_wire_begin(out, MP_REQUEST_QUERY);
            mp_wire_write_bytes(out, "SELECT encode(convert_to(", 25);
            mp_request_write_literal(out, text);
            mp_wire_write_string(out, mp_view_of(", 'UTF8'), 'hex')"));
            mp_wire_commit(out, MP_REQUEST_QUERY);
        }
        talk_send(&connection);
        for (int i = 0; i < 4; i++) talk_print(&connection);
    }
    leave();
}

/* Send a message under another name for its statement: its new beginning, then its old rest. */
static void send_renamed(mp_wire_out *made, const char *name) {
    uint32_t rest_at;
    uint32_t size = (uint32_t)made->length - MP_WIRE_HEAD;
    mp_message message = {made->data + MP_WIRE_HEAD, size, size, made->data[0]};
    if (!mp_request_rename(&message, mp_view_of(name), &connection.out, &rest_at))
        die("cannot be renamed");
    mp_wire_write_bytes(&connection.out, message.body + rest_at, size - rest_at);
    made->length = 0;
}

static void extended(char **args) {
    uint8_t data[1024];
    mp_wire_out made = {.data = data, .size = sizeof data};
    uint32_t types[] = {23, 0};
    mp_view params[] = {mp_view_of("41"), mp_view_of("it's"), {0}};
    mp_request_target statement = {MP_REQUEST_STATEMENT, mp_view_of("theirs")};
    log_in_freely(args);
    mp_request_write_parse(&made, statement.name,
                           mp_view_of("SELECT $1 + 1, $2::text, $3::int IS NULL"), types, 2);
    send_renamed(&made, "ours_1");
    mp_request_write_describe(&made, statement);
    send_renamed(&made, "ours_1");
    mp_request_write_bind(&made, (mp_request_bind){mp_view_of("p"), statement.name}, params, 3);
    send_renamed(&made, "ours_1");
    mp_request_write_describe(&connection.out, (mp_request_target){'P', mp_view_of("p")});
    mp_request_write_execute(&connection.out, (mp_request_execute){mp_view_of("p"), 0});
    mp_request_write_sync(&connection.out);
    mp_request_write_query(&connection.out, mp_view_of("SELECT name FROM pg_prepared_statements"));
    mp_request_write_close(&made, statement);
    send_renamed(&made, "ours_1");
    mp_request_write_sync(&connection.out);
    talk_send(&connection);
    for (int i = 0; i < 3; i++) talk_print(&connection);
    leave();
}

static void copy(char **args) {
    log_in_freely(args);
    mp_request_write_query(&connection.out,
                           mp_view_of("CREATE TEMP TABLE t (a int, b int); COPY t FROM STDIN"));
    talk_send(&connection);
    talk_print(&connection);
    mp_request_write_copy_fail(&connection.out, mp_view_of("the client has gone"));
    talk_send(&connection);
    talk_print(&connection);
    leave();
}

static void cancel(char **args) {
    uint8_t data[64];
    mp_wire_out out = {.data = data, .size = sizeof data};
    log_in_freely(args);
    mp_request_write_query(&connection.out, mp_view_of("SELECT pg_sleep(600)"));
    talk_send(&connection);
    mp_startup_write_cancel(&out, connection.pid,
                            (mp_view){(const char *)connection.key, connection.key_size});
    for (bool is_sent = false; !is_sent;) { /* it may come before the query, and do nothing */
        int fd = connect_to(port_of(args[0]));
        if (send(fd, data, out.length, MSG_NOSIGNAL) < 0 || recv(fd, data + 32, 1, 0) != 0)
            die("the cancel request was answered");
        close(fd);
        struct timeval soon = {.tv_usec = 100000};
        setsockopt(connection.fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
        is_sent = recv(connection.fd, data + 32, 1, MSG_PEEK) == 1;
    }
    talk_print(&connection);
    leave();
}

/* ---- as a server ---- */

/* Read the packets that begin a connection, without encryption, up to the login. */
static mp_startup accept_startup(void) {
    mp_startup startup;
    mantis_error error = {0};
    size_t size;
    for (;;) {
        mp_startup_found found = mp_startup_parse(connection.in + connection.used,
                                                  connection.have - connection.used, &startup,
                                                  &size, &error);
        if (found == MP_STARTUP_BAD) die("%s %s", error.sqlstate, error.text);
        if (found == MP_STARTUP_MORE) {
            if (!talk_fill(&connection)) die("closed before the login");
            continue;
        }
        if (startup.kind == MP_STARTUP_LOGIN) return startup;
        connection.used += size;
        if (connection.used != connection.have) die("bytes before the answer about encryption");
        if (send(connection.fd, "N", 1, MSG_NOSIGNAL) != 1) die("send");
    }
}

static void ask(uint32_t kind, mp_view data) {
    mp_answer_write_authentication(&connection.out, (mp_answer_authentication){kind, data});
    talk_send(&connection);
}

static mp_message hear(void) {
    mp_message message;
    if (!talk_read(&connection, &message)) die("closed while it logs in");
    if (message.type != MP_REQUEST_PASSWORD) die("no password but %c", message.type);
    return message;
}

static bool check_cleartext(mp_view user, mp_view secret) {
    mp_view password;
    ask(MP_ANSWER_AUTH_CLEARTEXT, (mp_view){"", 0});
    mp_message message = hear();
    return mp_request_parse_password(&message, &password) &&
           mp_secret_check_password(secret, user, password);
}

static bool check_md5(mp_view user, mp_view secret) {
    uint8_t salt[MP_ANSWER_SALT_SIZE];
    mp_view answer;
    if (!mp_crypto_random(salt, sizeof salt)) die("no random numbers");
    ask(MP_ANSWER_AUTH_MD5, (mp_view){(const char *)salt, sizeof salt});
    mp_message message = hear();
    return mp_request_parse_password(&message, &answer) &&
           mp_secret_check_md5(secret, user, salt, answer);
}

/* Prints the keys that it saw. */
static bool check_scram(mp_view user, mp_view secret) {
    static mp_scram_server server;
    static const uint8_t process_secret[MP_SCRAM_KEY_SIZE] = {1};
    mp_scram_verifier verifier;
    mantis_error error = {0};
    mp_view mechanism, response, out;
    char nonce[MP_CRYPTO_NONCE_SIZE];
    if (!mp_scram_parse_verifier(secret, &verifier) &&
        !mp_scram_verifier_init(&verifier, user, secret, 4096, process_secret))
        die("no verifier");
    ask(MP_ANSWER_AUTH_SASL, mp_view_of(MP_SCRAM_MECHANISM));
    mp_message message = hear();
    if (!mp_crypto_nonce(nonce) || !mp_request_parse_sasl(&message, &mechanism, &response))
        die("no first message");
    if (mp_scram_server_first(&server, &verifier, (mp_view){nonce, sizeof nonce}, mechanism,
                              response, &out, &error) != MANTIS_OK)
        die("%s", error.text);
    ask(MP_ANSWER_AUTH_SASL_CONTINUE, out);
    message = hear();
    mp_view last = {(const char *)message.body, message.size};
    if (mp_scram_server_final(&server, last, &out, &error) != MANTIS_OK) return false;
    ask(MP_ANSWER_AUTH_SASL_FINAL, out);
    printf("keys ");
    print_hex(&server.keys, sizeof server.keys);
    return true;
}

/* Welcome the client, and answer each query with a row of two columns. */
static void serve_queries(void) {
    static const char *const names[] = {"server_version", "client_encoding"};
    mp_answer_column columns[] = {{"number", 23, 4}, {"text", 25, -1}};
    mp_view cells[] = {mp_view_of("42"), {0}}, sql;
    ask(MP_ANSWER_AUTH_OK, (mp_view){"", 0});
    for (int i = 0; i < 2; i++)
        mp_answer_write_parameter(
            &connection.out,
            (mp_answer_parameter){mp_view_of(names[i]), mp_view_of(i ? "UTF8" : "15.0")});
    mp_answer_write_backend_key(&connection.out, (mp_answer_backend_key){1, {"abcd", 4}});
    mp_answer_write_ready(&connection.out, MP_ANSWER_IDLE);
    talk_send(&connection);
    for (mp_message message; talk_read(&connection, &message);) {
        if (!mp_request_parse_query(&message, &sql)) return;
        printf("query %.*s\n", (int)sql.size, sql.data);
        mp_answer_write_notice(&connection.out,
                               &(mp_answer_error){mp_view_of("NOTICE"), mp_view_of("00000"),
                                                  mp_view_of("heard"), mp_view_of("a detail"),
                                                  mp_view_of("a hint")});
        mp_answer_write_description(&connection.out, columns, 2);
        mp_answer_write_row(&connection.out, cells, 2);
        mp_answer_write_complete(&connection.out, mp_view_of("SHOW"));
        mp_answer_write_ready(&connection.out, MP_ANSWER_IDLE);
        talk_send(&connection);
    }
}

static int listen_and_accept(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        die("cannot listen");
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    int client = accept(fd, NULL, NULL);
    if (client < 0) die("accept");
    return client;
}

static void serve(char **args) {
    mp_view secret = bytes_of(args[1]);
    alarm(120); /* a client that never comes */
    talk_open(&connection, listen_and_accept(), MP_WIRE_CLIENT);
    mp_startup startup = accept_startup();
    printf("user %.*s database %.*s\n", (int)startup.user.size, startup.user.data,
           (int)startup.database.size, startup.database.data);
    char name[MP_STARTUP_USER_SIZE_MAX]; /* the packet goes with the next read */
    mp_view user = {name, startup.user.size};
    memcpy(name, startup.user.data, startup.user.size);
    connection.used += mp_wire_get_u32(connection.in + connection.used);
    bool is_right = strcmp(args[0], "cleartext") == 0 ? check_cleartext(user, secret)
                    : strcmp(args[0], "md5") == 0     ? check_md5(user, secret)
                                                      : check_scram(user, secret);
    printf("login %d\n", is_right);
    if (is_right) serve_queries();
    else {
        mp_answer_error error = {mp_view_of("FATAL"),
                                 mp_view_of("28P01"),
                                 mp_view_of("password authentication failed"),
                                 {0},
                                 {0}};
        mp_answer_write_error(&connection.out, &error);
        talk_send(&connection);
    }
    close(connection.fd);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        int args_count;
        void (*run)(char **args);
    } commands[] = {
        {"prepare", 0, prepare}, {"check", 0, check},       {"statements", 1, statements},
        {"session", 5, session}, {"literals", 2, literals}, {"extended", 2, extended},
        {"copy", 2, copy},       {"cancel", 2, cancel},     {"serve", 2, serve}};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (count < 2 || strcmp(words[1], commands[i].name) != 0) continue;
        if (count != commands[i].args_count + 2) die("%s: other arguments", words[1]);
        commands[i].run(words + 2);
        return 0;
    }
    die("driver: what to do?");
}
