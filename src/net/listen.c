/* Listening sockets, and what happens when there is no descriptor left. */
#include "net/listen.h"

#include "base/error.h"
#include "base/list.h"
#include "net/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_DEFAULT 128
#define DEFER_S 45        /* of TCP_DEFER_ACCEPT */
#define REFUSAL_READ 4096 /* of what a refused client has sent: unread, it would reset the answer */

struct mp_listener {
    mp_node node; /* in the acceptor */
    mp_listen *listen;
    mp_watch watch;
    mp_stream_options options;
    void *tag;
    bool is_unix;
    bool has_file; /* made here: it goes with the listener if it is still the same */
    dev_t device;
    ino_t inode;
    mp_address address;
};

struct mp_listen {
    mp_loop *loop;
    mp_listen_handler handler;
    mp_list listeners;
    mp_timer retry; /* there was no descriptor at all */
    int reserve_fd; /* -1: lost to somebody else */
    bool is_paused;
};

/* ---- accepting ---- */

static int open_reserve(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* Accept nothing, or go on, on all sockets. */
static void watch_all(mp_listen *listen, bool is_on) {
    for (mp_node *node = listen->listeners.head; node; node = node->next) {
        mp_listener *listener = mp_container_of(node, mp_listener, node);
        (void)mp_watch_set(&listener->watch, listen->loop, is_on ? MP_WATCH_READ : 0, NULL);
    }
}

static void on_retry(mp_timer *timer, mp_loop *loop) {
    (void)loop;
    mp_listen *listen = mp_container_of(timer, mp_listen, retry);
    if (listen->reserve_fd < 0) listen->reserve_fd = open_reserve();
    if (!listen->is_paused) watch_all(listen, true);
}

static void try_later(mp_listen *listen) {
    watch_all(listen, false);
    mp_timer_set(&listen->retry, listen->loop, mp_loop_now_ns(listen->loop) + MP_LISTEN_RETRY_NS);
}

static int accept_one(const mp_listener *listener) {
    int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* There is no descriptor but the one in reserve: with it, one more client gets an answer. False: it
 * was not to be had. */
static bool refuse_one(mp_listener *listener) {
    mp_listen *listen = listener->listen;
    if (listen->reserve_fd < 0) return false;
    (void)close(listen->reserve_fd);
    int fd = accept_one(listener);
    mp_stream *stream =
        fd >= 0 ? mp_stream_adopt(listen->loop, fd, listener->is_unix, &listener->options) : NULL;
    if (stream) {
        listen->handler.on_full(stream, listener->tag, listen->handler.arg);
        mp_stream_flush(stream);
        unsigned char ignored[REFUSAL_READ];
        (void)shutdown(fd, SHUT_WR);
        (void)recv(fd, ignored, sizeof ignored, 0);
        mp_stream_abort(stream);
    } else if (fd >= 0) (void)close(fd);
    listen->reserve_fd = open_reserve();
    return fd >= 0 || fd == -EAGAIN;
}

static bool is_out_of_room(int result) {
    return result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
}

static void on_ready(mp_watch *watch, mp_loop *loop, int events) {
    (void)events;
    mp_listener *listener = mp_container_of(watch, mp_listener, watch);
    mp_listen *listen = listener->listen;
    for (int i = 0; i < MP_LISTEN_TURN_MAX && watch->wanted; i++) {
        int fd = accept_one(listener);
        if (fd == -EAGAIN) return;
        mp_stream *stream = fd >= 0
                                ? mp_stream_adopt(loop, fd, listener->is_unix, &listener->options)
                                : NULL;
        if (stream) listen->handler.on_accept(stream, listener->tag, listen->handler.arg);
        else if (fd >= 0) (void)close(fd);
        else if (is_out_of_room(fd) && !refuse_one(listener)) try_later(listen);
        /* any other error is of a connection that is gone already */
    }
}

/* ---- sockets ---- */

static mantis_status fail_listen(const mp_listen_config *config, mantis_status status, int os_errno,
                                 mantis_error *error) {
    if (config->inherited_fd)
        return mp_error_set_os(error, status, os_errno,
                               "descriptor %d, inherited to listen on: %s; it is no socket that "
                               "listens for connections",
                               config->inherited_fd, strerror(os_errno));
    char address[MP_ADDRESS_TEXT_MAX];
    return mp_error_set_os(error, status, os_errno, "cannot listen on %s: %s",
                           mp_address_format(&config->address, address), strerror(os_errno));
}

/* Is it a socket file on which nobody listens any more? Then it is removed. */
static bool remove_stale(const mp_address *address) {
    struct stat file;
    if (lstat(address->u.un.sun_path, &file) < 0 || !S_ISSOCK(file.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool is_stale = connect(fd, &address->u.any, address->size) < 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return is_stale && unlink(address->u.un.sun_path) == 0;
}

/* Bind; a socket file gets its owner and permissions before anybody can connect. 0 or -errno. */
static int bind_unix(int fd, const mp_listen_config *config) {
    const mp_address *address = &config->address;
    const char *path = address->u.un.sun_path;
    if (bind(fd, &address->u.any, address->size) < 0) {
        int os_errno = errno;
        if (os_errno != EADDRINUSE || !remove_stale(address)) return -os_errno;
        if (bind(fd, &address->u.any, address->size) < 0) return -errno;
    }
    if (*path == '\0') return 0;
    if (config->has_group && chown(path, (uid_t)-1, config->group) < 0) return -errno;
    if (config->has_mode && chmod(path, config->mode) < 0) return -errno;
    return 0;
}

static int bind_tcp(int fd, const mp_listen_config *config) {
    int one = 1, defer_s = DEFER_S;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (config->address.u.any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (config->shares_port) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (config->defers)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof defer_s);
    return bind(fd, &config->address.u.any, config->address.size) == 0 ? 0 : -errno;
}

/* A socket that listens, or -errno. */
static int open_socket(const mp_listen_config *config) {
    const mp_address *address = &config->address;
    bool is_unix = mp_address_is_unix(address);
    int fd = socket(address->u.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int result = is_unix ? bind_unix(fd, config) : bind_tcp(fd, config);
    if (result == 0 && listen(fd, config->backlog ? config->backlog : BACKLOG_DEFAULT) < 0)
        result = -errno;
    if (result == 0) return fd;
    (void)close(fd);
    return result;
}

/* One that somebody else opened: 0, or -errno if it is none. */
static int check_inherited(int fd) {
    int is_listening = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof is_listening;
    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0)
        return -errno;
    if (!is_listening) return -EINVAL;
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static void note_file(mp_listener *listener) {
    struct stat file;
    const char *path = listener->address.u.un.sun_path;
    listener->has_file = listener->is_unix && *path && stat(path, &file) == 0;
    if (!listener->has_file) return;
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
}

static void remove_file(const mp_listener *listener) {
    struct stat file;
    const char *path = listener->address.u.un.sun_path;
    if (listener->has_file && stat(path, &file) == 0 && file.st_dev == listener->device &&
        file.st_ino == listener->inode)
        (void)unlink(path);
}

mantis_status mp_listen_add(mp_listen *listen, const mp_listen_config *config, mp_listener **out,
                            mantis_error *error) {
    int fd = config->inherited_fd, result = 0;
    if (fd) result = check_inherited(fd);
    else result = fd = open_socket(config);
    if (result == -EADDRINUSE) return fail_listen(config, MANTIS_LOCKED, EADDRINUSE, error);
    if (result < 0)
        return fail_listen(config, config->inherited_fd ? MANTIS_INVALID : MANTIS_IO, -result,
                           error);
    mp_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        if (!config->inherited_fd) (void)close(fd);
        return fail_listen(config, MANTIS_NOMEM, ENOMEM, error);
    }
    listener->listen = listen;
    listener->watch = (mp_watch){.fd = fd, .on_ready = on_ready};
    listener->options = config->options;
    listener->tag = config->tag;
    mp_list_push(&listen->listeners, &listener->node);
    listener->address.size = sizeof listener->address.u;
    (void)getsockname(fd, &listener->address.u.any, &listener->address.size);
    listener->is_unix = mp_address_is_unix(&listener->address);
    if (!config->inherited_fd) note_file(listener);
    if (!listener->is_unix) mp_kernel_set_options(fd, &config->options);
    mantis_status status = MANTIS_OK;
    if (!listen->is_paused)
        status = mp_watch_set(&listener->watch, listen->loop, MP_WATCH_READ, error);
    if (status != MANTIS_OK) mp_listen_remove(listen, listener);
    else if (out) *out = listener;
    return status;
}

void mp_listen_remove(mp_listen *listen, mp_listener *listener) {
    (void)mp_watch_set(&listener->watch, listen->loop, 0, NULL);
    remove_file(listener);
    (void)close(listener->watch.fd);
    mp_list_remove(&listen->listeners, &listener->node);
    free(listener);
}

const mp_address *mp_listen_address(const mp_listener *listener) { return &listener->address; }

/* ---- the acceptor ---- */

mantis_status mp_listen_open(mp_listen **out, mp_loop *loop, const mp_listen_handler *handler,
                             mantis_error *error) {
    mp_listen *listen = calloc(1, sizeof *listen);
    if (!listen) return mp_error_set(error, MANTIS_NOMEM, "no memory for an acceptor");
    *listen = (mp_listen){.loop = loop, .handler = *handler, .retry.on_due = on_retry};
    listen->reserve_fd = open_reserve();
    if (listen->reserve_fd >= 0) {
        *out = listen;
        return MANTIS_OK;
    }
    int os_errno = errno;
    free(listen);
    return mp_error_set_os(error, MANTIS_IO, os_errno, "cannot keep a descriptor in reserve: %s",
                           strerror(os_errno));
}

void mp_listen_pause(mp_listen *listen) {
    listen->is_paused = true;
    watch_all(listen, false);
}

void mp_listen_resume(mp_listen *listen) {
    listen->is_paused = false;
    watch_all(listen, true);
}

void mp_listen_close(mp_listen **listen) {
    if (!listen || !*listen) return;
    mp_listen *closing = *listen;
    *listen = NULL;
    while (!mp_list_is_empty(&closing->listeners))
        mp_listen_remove(closing, mp_container_of(closing->listeners.head, mp_listener, node));
    mp_timer_stop(&closing->retry, closing->loop);
    if (closing->reserve_fd >= 0) (void)close(closing->reserve_fd);
    free(closing);
}
