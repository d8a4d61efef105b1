/* Listening sockets: files, names, inherited ones, and no descriptor left. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define REFUSAL "no room"

typedef struct reception {
    mp_loop *loop;
    mp_listen *listen;
    mp_stream *streams[256];
    int accepted, refused;
    bool keeps; /* the streams stay open */
    void *tag;
    void (*on_refusal)(void);
} reception;

static reception desk;

static void on_accept(mp_stream *stream, void *tag, void *arg) {
    reception *r = arg;
    r->tag = tag;
    if (r->keeps) r->streams[r->accepted] = stream;
    else mp_stream_abort(stream);
    r->accepted++;
}

static void on_full(mp_stream *stream, void *tag, void *arg) {
    (void)tag;
    reception *r = arg;
    r->refused++;
    mp_stream_send(stream, REFUSAL, sizeof REFUSAL - 1);
    if (r->on_refusal) r->on_refusal();
}

static void open_desk(void) {
    const char *directory = getenv("TMPDIR");
    check(!directory || chdir(directory) == 0);
    umask(0);
    mp_listen_handler handler = {.on_accept = on_accept, .on_full = on_full, .arg = &desk};
    check(mp_loop_open(&desk.loop, NULL, NULL) == MANTIS_OK);
    check(mp_listen_open(&desk.listen, desk.loop, &handler, NULL) == MANTIS_OK);
}

static void close_desk(void) {
    for (int i = 0; i < desk.accepted; i++) mp_stream_abort(desk.streams[i]);
    mp_listen_close(&desk.listen);
    mp_loop_close(&desk.loop);
}

static mp_listen_config at_path(const char *path) {
    mp_listen_config config = {0};
    check(mp_address_set_path(&config.address, path));
    return config;
}

static mp_listen_config at_host(const char *host) {
    mp_listen_config config = {0};
    check(mp_address_parse(&config.address, host, 0));
    return config;
}

static mp_listener *add(const mp_listen_config *config) {
    mp_listener *listener = NULL;
    mantis_error error = {0};
    mantis_status status = mp_listen_add(desk.listen, config, &listener, &error);
    if (status != MANTIS_OK) printf("# %s\n", error.text);
    check(status == MANTIS_OK && listener);
    return listener;
}

static int connect_to(const mp_address *address) {
    int fd = socket(address->u.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0);
    if (connect(fd, &address->u.any, address->size) == 0) return fd;
    close(fd);
    return -1;
}

static void turn_for(int64_t ns) {
    int64_t end_ns = mp_clock_now_ns() + ns;
    while (mp_clock_now_ns() < end_ns) mp_loop_turn(desk.loop, end_ns);
}

static void until_accepted(int count) {
    int64_t end_ns = mp_clock_now_ns() + 20 * SECOND;
    while (desk.accepted < count) {
        mp_loop_turn(desk.loop, end_ns);
        check(mp_clock_now_ns() < end_ns);
    }
}

TEST(a_port_of_the_kernel_s_choice_is_known_and_connections_know_both_ends) {
    open_desk();
    desk.keeps = true;
    mp_listen_config config = at_host("127.0.0.1");
    config.tag = &config;
    mp_address address, ours, theirs;
    address = *mp_listen_address(add(&config));
    check(mp_address_port(&address) > 0);
    int fd = connect_to(&address);
    until_accepted(1);
    check(desk.tag == &config);
    check(mp_stream_local(desk.streams[0], &ours) && mp_stream_remote(desk.streams[0], &theirs));
    char text[MP_ADDRESS_TEXT_MAX], expected[MP_ADDRESS_TEXT_MAX];
    snprintf(expected, sizeof expected, "127.0.0.1:%u", mp_address_port(&address));
    check(strcmp(mp_address_format(&ours, text), expected) == 0);
    check(strcmp(mp_address_format_host(&theirs, text), "127.0.0.1") == 0);
    uint32_t uid, pid;
    check(!mp_stream_is_unix(desk.streams[0]) && !mp_stream_peer(desk.streams[0], &uid, &pid));
    close(fd);
    close_desk();
}

TEST(ipv6_is_listened_on_by_itself) {
    open_desk();
    mp_listen_config config = at_host("::1");
    mantis_error error = {0};
    if (mp_listen_add(desk.listen, &config, NULL, &error) != MANTIS_OK)
        tap_skip("this machine has no ::1");
    close_desk();
}

TEST(a_socket_file_has_its_mode_and_says_who_the_peer_is) {
    open_desk();
    desk.keeps = true;
    mp_listen_config config = at_path("listen.socket");
    config.has_mode = true;
    config.mode = 0640;
    config.has_group = true;
    config.group = getgid();
    add(&config);
    struct stat file;
    check(stat("listen.socket", &file) == 0 && (file.st_mode & 07777) == 0640);
    int fd = connect_to(&config.address);
    until_accepted(1);
    uint32_t uid = 0, pid = 0;
    check(mp_stream_peer(desk.streams[0], &uid, &pid));
    check(uid == getuid() && pid == (uint32_t)getpid());
    close(fd);
    close_desk();
    check(stat("listen.socket", &file) < 0 && errno == ENOENT);
}

TEST(a_socket_file_that_nobody_listens_on_is_replaced) {
    open_desk();
    mp_listen_config config = at_path("stale.socket");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(fd, &config.address.u.any, config.address.size) == 0);
    close(fd);
    add(&config);
    fd = connect_to(&config.address);
    until_accepted(1);
    close(fd);
    close_desk();
}

TEST(a_socket_file_in_use_is_left_alone) {
    open_desk();
    mp_listen_config config = at_path("used.socket");
    add(&config);
    mantis_error error = {0};
    check(mp_listen_add(desk.listen, &config, NULL, &error) == MANTIS_LOCKED);
    check_contains(error.text, "cannot listen on used.socket: Address already in use");
    int fd = connect_to(&config.address);
    until_accepted(1);
    close(fd);
    close_desk();
}

TEST(a_file_that_is_no_socket_is_left_alone) {
    open_desk();
    mp_listen_config config = at_path("plain.file");
    close(open("plain.file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check(mp_listen_add(desk.listen, &config, NULL, NULL) != MANTIS_OK);
    struct stat file;
    check(stat("plain.file", &file) == 0 && S_ISREG(file.st_mode));
    close_desk();
}

TEST(a_socket_file_that_another_has_taken_over_is_not_removed) {
    open_desk();
    mp_listen_config config = at_path("taken.socket");
    add(&config);
    check(unlink("taken.socket") == 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(fd, &config.address.u.any, config.address.size) == 0);
    close_desk();
    struct stat file;
    check(stat("taken.socket", &file) == 0);
    close(fd);
}

TEST(a_name_without_a_file_is_listened_on) {
    open_desk();
    char name[64], text[MP_ADDRESS_TEXT_MAX];
    snprintf(name, sizeof name, "@mantis-test-%d", getpid());
    mp_listen_config config = at_path(name);
    mp_address address = *mp_listen_address(add(&config));
    check(strcmp(mp_address_format(&address, text), name) == 0);
    int fd = connect_to(&config.address);
    until_accepted(1);
    close(fd);
    check(mp_listen_add(desk.listen, &config, NULL, NULL) == MANTIS_LOCKED);
    close_desk();
}

TEST(an_inherited_socket_is_listened_on_and_another_descriptor_is_refused) {
    open_desk();
    mp_listen_config config = at_host("127.0.0.1");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(fd, &config.address.u.any, config.address.size) == 0);
    mp_listen_config inherited = {.inherited_fd = fd};
    mantis_error error = {0};
    check(mp_listen_add(desk.listen, &inherited, NULL, &error) == MANTIS_INVALID);
    check_contains(error.text, "is no socket that listens");
    check(listen(fd, 8) == 0);
    mp_address address = *mp_listen_address(add(&inherited));
    int client = connect_to(&address);
    until_accepted(1);
    close(client);
    close_desk();
}

TEST(a_port_in_use_and_an_address_of_another_machine_are_said) {
    open_desk();
    mp_listen_config config = at_host("127.0.0.1"), foreign = at_host("192.0.2.1");
    mp_address address = *mp_listen_address(add(&config));
    mantis_error error = {0};
    config.address = address;
    check(mp_listen_add(desk.listen, &config, NULL, &error) == MANTIS_LOCKED);
    check(mp_listen_add(desk.listen, &foreign, NULL, &error) == MANTIS_IO);
    check_contains(error.text, "cannot listen on 192.0.2.1:0: ");
    close_desk();
}

TEST(a_paused_acceptor_lets_them_queue_and_a_removed_socket_refuses) {
    open_desk();
    mp_listen_config config = at_host("127.0.0.1");
    mp_listener *listener = add(&config);
    mp_address address = *mp_listen_address(listener);
    mp_listen_pause(desk.listen);
    int fd = connect_to(&address);
    turn_for(20 * MS);
    check(desk.accepted == 0);
    mp_listen_resume(desk.listen);
    until_accepted(1);
    mp_listen_remove(desk.listen, listener);
    check(connect_to(&address) < 0);
    close(fd);
    close_desk();
}

/* ---- no descriptor left ---- */

static struct rlimit limit_before;

static void lower_limit(uint64_t free_descriptors) {
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    check(getrlimit(RLIMIT_NOFILE, &limit_before) == 0);
    struct rlimit lower = {(rlim_t)next + free_descriptors, limit_before.rlim_max};
    check(setrlimit(RLIMIT_NOFILE, &lower) == 0);
}

static void restore_limit(void) { check(setrlimit(RLIMIT_NOFILE, &limit_before) == 0); }

/* In a process of its own: so many clients, of which each must be accepted (and then hears nothing)
 * or refused within 3 s. Exit status: how many were refused. */
static pid_t start_clients(const mp_address *address, int count) {
    pid_t child = fork();
    if (child) return child;
    restore_limit();
    int refused = 0, fds[256];
    for (int i = 0; i < count; i++) fds[i] = connect_to(address);
    int64_t end_ns = mp_clock_now_ns() + 3 * SECOND;
    for (int i = 0; i < count; i++) {
        int64_t left_ms = (end_ns - mp_clock_now_ns()) / MS;
        struct pollfd one = {.fd = fds[i], .events = POLLIN};
        char text[64] = "";
        if (poll(&one, 1, left_ms > 0 ? (int)left_ms : 0) <= 0) continue;
        ssize_t size = recv(fds[i], text, sizeof text, 0);
        if (size == (ssize_t)sizeof REFUSAL - 1 && memcmp(text, REFUSAL, sizeof REFUSAL - 1) == 0)
            refused++;
    }
    _exit(refused);
}

static int end_clients(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) mp_loop_turn(desk.loop, mp_clock_now_ns() + MS);
    check(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(without_descriptors_every_client_is_accepted_or_refused_and_nothing_spins) {
    open_desk();
    desk.keeps = true;
    mp_listen_config config = at_host("127.0.0.1");
    config.backlog = 128;
    mp_address address = *mp_listen_address(add(&config));
    lower_limit(10);
    pid_t child = start_clients(&address, 60);
    int refused = end_clients(child);
    check(desk.accepted >= 5 && desk.accepted <= 10); /* some may have been open above */
    check_equal(refused, 60 - desk.accepted);
    check_equal(desk.refused, refused);
    int accepted = desk.accepted;
    /* nobody waits: it sleeps */
    uint64_t before = mp_loop_get_counts(desk.loop)->turns;
    turn_for(200 * MS);
    check(mp_loop_get_counts(desk.loop)->turns - before < 20);
    restore_limit();
    int fd = connect_to(&address);
    until_accepted(accepted + 1);
    close(fd);
    close_desk();
}

/* As if somebody else took the last descriptor: the reserve cannot be opened again. */
static void lose_reserve(void) {
    struct rlimit none = {3, limit_before.rlim_max};
    check(setrlimit(RLIMIT_NOFILE, &none) == 0);
}

TEST(an_acceptor_that_lost_its_reserve_waits_without_spinning_and_comes_back) {
    open_desk();
    desk.keeps = true;
    mp_listen_config config = at_host("127.0.0.1");
    mp_address address = *mp_listen_address(add(&config));
    int fds[5];
    for (int i = 0; i < 5; i++) fds[i] = connect_to(&address);
    lower_limit(0);
    desk.on_refusal = lose_reserve;
    uint64_t before = mp_loop_get_counts(desk.loop)->turns;
    turn_for(500 * MS);
    check(mp_loop_get_counts(desk.loop)->turns - before < 60);
    check(desk.refused == 1 && desk.accepted == 0);
    restore_limit();
    until_accepted(4);
    check(desk.refused == 1);
    for (int i = 0; i < 5; i++) close(fds[i]);
    close_desk();
}

TAP_MAIN
