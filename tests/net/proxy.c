/* What a plain byte proxy costs on src/net, beside the same proxy written straight on epoll: system
 * calls and CPU time a round trip. Both sides are other processes of this program: 32 clients that
 * each send a request and wait for its answer, and a server that answers. And CPU time for much
 * data in one direction, from a server that never pauses.
 *
 *     net-proxy [rounds [round trips a round]] */
#include "lib/tap.h"
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define CLIENTS 32
#define REQUEST 40
#define ANSWER 90

static int round_trips = 10000;

/* ---- sockets of the two sides ---- */

static int listen_any(struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof *address;
    check(fd >= 0 && bind(fd, (struct sockaddr *)address, size) == 0 && listen(fd, 128) == 0);
    check(getsockname(fd, (struct sockaddr *)address, &size) == 0);
    return fd;
}

static int connect_to(const struct sockaddr_in *address, int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    check(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    check(flags == 0 || fcntl(fd, F_SETFL, flags) == 0);
    return fd;
}

static int add(int epoll_fd, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void read_all(int fd, size_t size) {
    char buffer[256];
    while (size) {
        ssize_t count = read(fd, buffer, size < sizeof buffer ? size : sizeof buffer);
        check(count > 0);
        size -= (size_t)count;
    }
}

static void run_clients(const struct sockaddr_in *address) {
    static const char request[REQUEST];
    int epoll_fd = epoll_create1(0), fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to(address, 0);
        check(add(epoll_fd, fds[i], EPOLLIN, &fds[i]) == 0);
        check(write(fds[i], request, REQUEST) == REQUEST);
    }
    for (int begun = CLIENTS, ended = 0; ended < round_trips;) {
        struct epoll_event events[CLIENTS];
        int count = epoll_wait(epoll_fd, events, CLIENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = *(int *)events[i].data.ptr;
            read_all(fd, ANSWER);
            ended++;
            if (begun < round_trips) check(write(fd, request, REQUEST) == REQUEST);
            begun++;
        }
    }
}

static void run_server(int listener) {
    static const char answer[ANSWER];
    int epoll_fd = epoll_create1(0), fds[CLIENTS], left = CLIENTS;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        int one = 1;
        check(setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
        check(fds[i] >= 0 && add(epoll_fd, fds[i], EPOLLIN, &fds[i]) == 0);
    }
    while (left) {
        struct epoll_event events[CLIENTS];
        int count = epoll_wait(epoll_fd, events, CLIENTS, -1);
        for (int i = 0; i < count; i++) {
            char request[REQUEST];
            int fd = *(int *)events[i].data.ptr;
            ssize_t size = read(fd, request, REQUEST);
            check(size == REQUEST || size == 0);
            if (size) check(write(fd, answer, ANSWER) == ANSWER);
            else left--;
            if (!size) close(fd);
        }
    }
}

/* ---- much data, from one server to one client ---- */

#define BULK_BYTES ((size_t)256 << 20)

static void send_much(int listener) {
    static char bytes[1 << 16];
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (size_t left = BULK_BYTES; left; left -= sizeof bytes) {
        size_t done = 0;
        while (done < sizeof bytes) {
            ssize_t size = write(fd, bytes + done, sizeof bytes - done);
            check(size > 0);
            done += (size_t)size;
        }
    }
    char end;
    check(read(fd, &end, 1) == 0);
}

static void receive_much(const struct sockaddr_in *address) {
    static char bytes[1 << 16];
    int fd = connect_to(address, 0);
    for (size_t left = BULK_BYTES; left;) {
        ssize_t size = read(fd, bytes, sizeof bytes);
        check(size > 0);
        left -= (size_t)size;
    }
}

/* ---- the proxy on epoll alone ---- */

typedef struct end {
    int fd;
    struct end *other;
} end;

static uint64_t proxy_by_hand(int listener, const struct sockaddr_in *server) {
    static end ends[CLIENTS * 2];
    static char buffer[65536];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint32_t events_of = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    for (int i = 0; i < CLIENTS; i++) {
        end *client = &ends[2 * i], *far = client + 1;
        *client = (end){accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), far};
        *far = (end){connect_to(server, O_NONBLOCK), client};
        int one = 1;
        check(setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
        check(add(epoll_fd, client->fd, events_of, client) == 0);
        check(add(epoll_fd, far->fd, events_of, far) == 0);
    }
    uint64_t calls = 0;
    for (int left = CLIENTS; left;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        calls++;
        for (int i = 0; i < count; i++) {
            end *from = events[i].data.ptr;
            if (!(events[i].events & EPOLLIN) || from->fd < 0) continue;
            ssize_t size = recv(from->fd, buffer, sizeof buffer, 0);
            calls++;
            if (size > 0) {
                check(send(from->other->fd, buffer, (size_t)size, MSG_NOSIGNAL) == size);
                calls++;
            } else if (size == 0) {
                left--;
                close(from->fd);
                close(from->other->fd);
                from->fd = from->other->fd = -1;
            }
        }
    }
    close(epoll_fd);
    return calls;
}

/* ---- the proxy on src/net ---- */

typedef struct link {
    mp_stream *client, *server;
} link_t;

static mp_loop *loop;
static mp_address server_address;
static int links;

static void on_end(mp_stream *stream, const mantis_error *error, void *owner) {
    (void)stream, (void)error;
    link_t *link = owner;
    mp_stream_abort(link->client);
    mp_stream_abort(link->server);
    free(link);
    if (--links == 0) mp_loop_stop(loop);
}

static size_t on_client_bytes(mp_stream *stream, const unsigned char *data, size_t size,
                              void *owner) {
    (void)stream;
    mp_stream_send(((link_t *)owner)->server, data, size);
    return size;
}

static size_t on_server_bytes(mp_stream *stream, const unsigned char *data, size_t size,
                              void *owner) {
    (void)stream;
    mp_stream_send(((link_t *)owner)->client, data, size);
    return size;
}

static void on_client_full(mp_stream *stream, void *owner) {
    (void)stream;
    mp_stream_pause(((link_t *)owner)->server);
}

static void on_client_drained(mp_stream *stream, void *owner) {
    (void)stream;
    mp_stream_resume(((link_t *)owner)->server);
}

static const mp_stream_handler client_handler = {.on_bytes = on_client_bytes,
                                                 .on_end = on_end,
                                                 .on_full = on_client_full,
                                                 .on_drained = on_client_drained};
static const mp_stream_handler server_handler = {.on_bytes = on_server_bytes, .on_end = on_end};

static void on_accept(mp_stream *stream, void *tag, void *arg) {
    (void)tag, (void)arg;
    link_t *link = calloc(1, sizeof *link);
    check(link);
    links++;
    link->client = stream;
    mp_stream_detach(stream, loop, &client_handler, link);
    link->server = mp_stream_connect(loop, &server_address, NULL, MP_NEVER_NS, &server_handler,
                                     link);
    check(link->server);
}

static uint64_t proxy_on_net(int listener, const struct sockaddr_in *server) {
    mp_listen *acceptor = NULL;
    mp_listen_handler handler = {.on_accept = on_accept, .on_full = on_accept};
    mp_listen_config config = {.inherited_fd = dup(listener)};
    check(mp_address_parse(&server_address, "127.0.0.1", ntohs(server->sin_port)));
    check(mp_loop_open(&loop, NULL, NULL) == MANTIS_OK);
    check(mp_listen_open(&acceptor, loop, &handler, NULL) == MANTIS_OK);
    check(mp_listen_add(acceptor, &config, NULL, NULL) == MANTIS_OK);
    mp_loop_run(loop);
    mp_listen_close(&acceptor);
    const mp_loop_counts *counts = mp_loop_get_counts(loop);
    uint64_t calls = counts->turns + counts->reads + counts->writes;
    mp_loop_close(&loop);
    return calls;
}

/* ---- measuring ---- */

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static pid_t start(void (*run)(int, const struct sockaddr_in *), int fd,
                   const struct sockaddr_in *address) {
    pid_t child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    run(fd, address);
    _exit(0);
}

static void be_server(int fd, const struct sockaddr_in *address) {
    (void)address;
    run_server(fd);
}

static void be_clients(int fd, const struct sockaddr_in *address) {
    (void)fd;
    run_clients(address);
}

static void be_sender(int fd, const struct sockaddr_in *address) {
    (void)address;
    send_much(fd);
}

static void be_receiver(int fd, const struct sockaddr_in *address) {
    (void)fd;
    receive_much(address);
}

typedef struct cost {
    double calls, cpu_us;
} cost;

/* Per round trip; of much data as if it were one. */
static cost measure(uint64_t (*proxy)(int, const struct sockaddr_in *), bool is_bulk) {
    struct sockaddr_in front, back;
    int front_fd = listen_any(&front), back_fd = listen_any(&back);
    pid_t server = start(is_bulk ? be_sender : be_server, back_fd, NULL);
    pid_t clients = start(is_bulk ? be_receiver : be_clients, -1, &front);
    int trips = is_bulk ? 1 : round_trips;
    double before = cpu_seconds();
    double calls = (double)proxy(front_fd, &back);
    cost result = {calls / trips, (cpu_seconds() - before) * 1e6 / trips};
    int status = 0;
    check(waitpid(clients, &status, 0) == clients && status == 0);
    check(waitpid(server, &status, 0) == server && status == 0);
    close(front_fd);
    close(back_fd);
    return result;
}

static int by_cpu(const void *left, const void *right) {
    double a = ((const cost *)left)->cpu_us, b = ((const cost *)right)->cpu_us;
    return (a > b) - (a < b);
}

int main(int count, char **words) {
    enum { ROUNDS_MAX = 101 };
    cost hand[ROUNDS_MAX], net[ROUNDS_MAX], bulk[ROUNDS_MAX];
    int rounds = count > 1 ? (int)strtol(words[1], NULL, 10) : 3;
    check(rounds > 0 && rounds <= ROUNDS_MAX);
    if (count > 2) round_trips = (int)strtol(words[2], NULL, 10);
    for (int i = 0; i < rounds; i++) {
        hand[i] = measure(proxy_by_hand, false);
        net[i] = measure(proxy_on_net, false);
        bulk[i] = measure(proxy_on_net, true);
    }
    qsort(hand, (size_t)rounds, sizeof *hand, by_cpu);
    qsort(net, (size_t)rounds, sizeof *net, by_cpu);
    qsort(bulk, (size_t)rounds, sizeof *bulk, by_cpu);
    cost h = hand[rounds / 2], n = net[rounds / 2], b = bulk[rounds / 2];
    printf("# by hand: %.2f system calls, %.2f us of CPU a round trip\n", h.calls, h.cpu_us);
    printf("# on net:  %.2f system calls, %.2f us of CPU a round trip, %.3f of by hand\n", n.calls,
           n.cpu_us, n.cpu_us / h.cpu_us);
    double mebibytes = (double)(BULK_BYTES >> 20);
    printf("# much data on net: %.2f s of CPU a GiB, %.1f system calls a MiB\n",
           b.cpu_us / 1e6 * 1024 / mebibytes, b.calls / mebibytes);
    bool is_ok = n.calls < 5;
    printf("%sok 1 - a_round_trip_through_a_proxy_takes_less_than_five_system_calls\n1..1\n",
           is_ok ? "" : "not ");
    return is_ok ? 0 : 1;
}
