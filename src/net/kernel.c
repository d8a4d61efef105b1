/* The kernel as a transport: sockets and edge-triggered epoll. */
#include "base/clock.h"
#include "base/error.h"
#include "net/transport.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_MAX 256 /* of one wait; what is left comes with the next */

struct kernel {
    int epoll_fd;
    int wake_fd; /* edge-triggered too, so it is never read */
};

static struct kernel *kernel_of(const mp_loop *loop) { return loop->place; }

/* ---- waiting ---- */

/* Milliseconds for epoll, rounded up: a timer is never early, and up to 1 ms late. */
static int timeout_ms(int64_t until_ns) {
    if (until_ns == MP_NEVER_NS) return -1;
    int64_t left_ns = until_ns > 0 ? until_ns - mp_clock_now_ns() : 0;
    if (left_ns <= 0) return 0;
    int64_t ms = (left_ns - 1) / MP_NS_PER_MS + 1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static int events_of(uint32_t seen) {
    int events = 0;
    if (seen & EPOLLIN) events |= MP_EVENT_READ;
    if (seen & EPOLLOUT) events |= MP_EVENT_WRITE;
    if (seen & EPOLLRDHUP) events |= MP_EVENT_READ | MP_EVENT_LAST;
    if (seen & (EPOLLERR | EPOLLHUP))
        events |= MP_EVENT_READ | MP_EVENT_WRITE | MP_EVENT_LAST | MP_EVENT_GONE;
    return events;
}

static int64_t kernel_wait(mp_loop *loop, int64_t until_ns) {
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(kernel_of(loop)->epoll_fd, events, EVENTS_MAX, timeout_ms(until_ns));
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr) mp_loop_mark(loop, events[i].data.ptr, events_of(events[i].events));
    return mp_clock_now_ns();
}

static void kernel_wake(mp_loop *loop) {
    uint64_t one = 1;
    while (write(kernel_of(loop)->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static int control(mp_loop *loop, int how, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(kernel_of(loop)->epoll_fd, how, fd, &event) == 0 ? 0 : -errno;
}

static uint32_t stream_events(bool hears_write) {
    return (uint32_t)EPOLLIN | EPOLLRDHUP | EPOLLET | (hears_write ? (uint32_t)EPOLLOUT : 0);
}

static int kernel_add(mp_loop *loop, int fd, mp_ready *ready, bool hears_write) {
    return control(loop, EPOLL_CTL_ADD, fd, stream_events(hears_write), ready);
}

static void kernel_hear_write(mp_loop *loop, int fd, mp_ready *ready, bool hears_write) {
    (void)control(loop, EPOLL_CTL_MOD, fd, stream_events(hears_write), ready);
}

static void kernel_remove(mp_loop *loop, int fd) {
    (void)control(loop, EPOLL_CTL_DEL, fd, 0, NULL);
}

static int kernel_watch(mp_loop *loop, mp_watch *watch, int events) {
    int how = !watch->wanted ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    uint32_t wanted = events & MP_WATCH_READ ? EPOLLIN : 0;
    if (events & MP_WATCH_WRITE) wanted |= EPOLLOUT;
    return control(loop, how, watch->fd, wanted, &watch->ready);
}

/* ---- sockets ---- */

static void set_number(int fd, int level, int option, uint32_t value) {
    int number = value < INT_MAX ? (int)value : INT_MAX;
    (void)setsockopt(fd, level, option, &number, sizeof number);
}

void mp_kernel_set_options(int fd, const mp_stream_options *options) {
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (!options->keepalive_off) {
        set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepidle_s ? options->keepidle_s : 5);
        set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, options->keepintvl_s ? options->keepintvl_s : 2);
        set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, options->keepcnt ? options->keepcnt : 4);
    }
    if (options->user_timeout_ms)
        set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
    if (options->buffer_bytes) {
        set_number(fd, SOL_SOCKET, SO_SNDBUF, options->buffer_bytes);
        set_number(fd, SOL_SOCKET, SO_RCVBUF, options->buffer_bytes);
    }
}

static int kernel_connect(mp_loop *loop, const mp_address *address,
                          const mp_stream_options *options) {
    (void)loop;
    int fd = socket(address->u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (!mp_address_is_unix(address)) mp_kernel_set_options(fd, options);
    if (connect(fd, &address->u.any, address->size) == 0 || errno == EINPROGRESS) return fd;
    int os_errno = errno;
    (void)close(fd);
    return -os_errno;
}

static int kernel_connect_result(mp_loop *loop, int fd) {
    (void)loop;
    int os_errno = 0;
    socklen_t size = sizeof os_errno;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &os_errno, &size) == 0 ? os_errno : errno;
}

static ssize_t kernel_read(mp_loop *loop, int fd, void *buffer, size_t size) {
    (void)loop;
    ssize_t count;
    do count = recv(fd, buffer, size, 0);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

static ssize_t kernel_write(mp_loop *loop, int fd, const struct iovec *pieces, uint32_t count) {
    (void)loop;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    ssize_t size;
    do
        size = count == 1 ? send(fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL)
                          : sendmsg(fd, &message, MSG_NOSIGNAL);
    while (size < 0 && errno == EINTR);
    return size < 0 ? -errno : size;
}

static void kernel_shut(mp_loop *loop, int fd) {
    (void)loop;
    (void)shutdown(fd, SHUT_WR);
}

static void kernel_close(mp_loop *loop, int fd) {
    (void)loop;
    (void)close(fd);
}

/* A peer whose window is closed is alive as long as its machine answers probes; the kernel sends
 * these ever more seldom, so there is nothing to be missed. */
static mp_answer kernel_answer(mp_loop *loop, int fd, int64_t silent_ns) {
    (void)loop;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return MP_ANSWERED;
    if (info.tcpi_unacked == 0) return info.tcpi_notsent_bytes ? MP_ANSWER_DUE : MP_ANSWERED;
    if (size < offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd ||
        info.tcpi_snd_wnd == 0)
        return MP_ANSWER_DUE;
    bool is_missing = (int64_t)info.tcpi_last_ack_recv * MP_NS_PER_MS >= silent_ns;
    return is_missing ? MP_ANSWER_MISSING : MP_ANSWER_DUE;
}

static bool kernel_name(mp_loop *loop, int fd, bool is_remote, mp_address *out) {
    (void)loop;
    mp_address address = {.size = sizeof address.u};
    int result = is_remote ? getpeername(fd, &address.u.any, &address.size)
                           : getsockname(fd, &address.u.any, &address.size);
    if (result == 0) *out = address;
    return result == 0;
}

static bool kernel_peer(mp_loop *loop, int fd, uint32_t *out_uid, uint32_t *out_pid) {
    (void)loop;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0) return false;
    *out_uid = peer.uid;
    *out_pid = (uint32_t)peer.pid;
    return true;
}

/* ---- opening ---- */

static void finish(struct kernel *kernel) {
    if (kernel->epoll_fd >= 0) (void)close(kernel->epoll_fd);
    if (kernel->wake_fd >= 0) (void)close(kernel->wake_fd);
    free(kernel);
}

static void kernel_finish(mp_loop *loop) { finish(kernel_of(loop)); }

static const mp_transport kernel_transport = {.wait = kernel_wait,
                                              .wake = kernel_wake,
                                              .finish = kernel_finish,
                                              .add = kernel_add,
                                              .hear_write = kernel_hear_write,
                                              .remove = kernel_remove,
                                              .watch = kernel_watch,
                                              .connect = kernel_connect,
                                              .connect_result = kernel_connect_result,
                                              .read = kernel_read,
                                              .write = kernel_write,
                                              .shut = kernel_shut,
                                              .close = kernel_close,
                                              .answer = kernel_answer,
                                              .name = kernel_name,
                                              .peer = kernel_peer};

static int open_kernel(struct kernel *kernel) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    kernel->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    kernel->wake_fd = kernel->epoll_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool is_open = kernel->wake_fd >= 0 &&
                   epoll_ctl(kernel->epoll_fd, EPOLL_CTL_ADD, kernel->wake_fd, &event) == 0;
    return is_open ? 0 : errno;
}

mantis_status mp_loop_open(mp_loop **out, const mp_loop_config *config, mantis_error *error) {
    struct kernel *kernel = malloc(sizeof *kernel);
    if (!kernel) return mp_error_set(error, MANTIS_NOMEM, "no memory for an event loop");
    int os_errno = open_kernel(kernel);
    mantis_status status = MANTIS_OK;
    if (os_errno)
        status = mp_error_set_os(error, MANTIS_IO, os_errno, "cannot open an event loop: %s",
                                 strerror(os_errno));
    else status = mp_loop_open_on(out, &kernel_transport, kernel, config, error);
    if (status == MANTIS_OK) (*out)->now_ns = mp_clock_now_ns();
    else finish(kernel);
    return status;
}
