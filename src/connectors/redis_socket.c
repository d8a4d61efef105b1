/* Sockets to a server: each address of a host is tried in turn, none longer than its share of the
 * time that is left. */
#include "connectors/redis_socket.h"

#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- options ---- */

static void set_number(int fd, int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void mp_redis_socket_set_timeout(int fd, const mp_redis_dsn *dsn) {
    struct timeval timeout = {.tv_sec = dsn->timeout_ms / 1000,
                              .tv_usec = dsn->timeout_ms % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

/* Commands go out at once, and the kernel notices within half a minute that the other machine has
 * gone. A socket in the file system has neither. */
static void set_tcp(int fd) {
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

/* ---- one address ---- */

static bool wait_connected(int fd, int64_t deadline_ns) {
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    for (;;) {
        int64_t left_ns = deadline_ns - mp_clock_now_ns();
        struct timespec left = mp_clock_timespec(left_ns > 0 ? left_ns : 0);
        int count = ppoll(&one, 1, &left, NULL);
        if (count > 0) return true;
        if (count == 0) errno = ETIMEDOUT;
        if (count == 0 || errno != EINTR) return false;
    }
}

/* Connect a socket that does not block, and make it one that does. False: errno says why. */
static bool connect_socket(int fd, const struct sockaddr *address, socklen_t size,
                           int64_t deadline_ns) {
    if (connect(fd, address, size) < 0) {
        int os_errno = 0;
        socklen_t length = sizeof os_errno;
        if (errno != EINPROGRESS || !wait_connected(fd, deadline_ns)) return false;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &os_errno, &length) < 0) return false;
        errno = os_errno;
        if (os_errno) return false;
    }
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0;
}

/* A connected socket, or -1 with errno. */
static int open_address(const struct sockaddr *address, socklen_t size, mp_redis_work *work,
                        int64_t deadline_ns) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    errno = ECANCELED;
    if (mp_redis_work_set(work, fd) && connect_socket(fd, address, size, deadline_ns)) return fd;
    int os_errno = errno;
    (void)mp_redis_work_set(work, -1);
    (void)close(fd);
    errno = os_errno;
    return -1;
}

/* ---- all addresses ---- */

static mantis_status fail_connect(const mp_redis_dsn *dsn, mantis_error *error) {
    int os_errno = errno;
    (void)mp_error_set(error, MANTIS_CONNECT_FAILED, "cannot connect to %s: %s", dsn->label,
                       strerror(os_errno));
    error->os_errno = os_errno;
    return MANTIS_CONNECT_FAILED;
}

static int open_any(const struct addrinfo *list, mp_redis_work *work, int64_t deadline_ns) {
    int64_t left = 0;
    for (const struct addrinfo *one = list; one; one = one->ai_next) left++;
    for (const struct addrinfo *one = list; one; one = one->ai_next, left--) {
        int64_t now_ns = mp_clock_now_ns();
        int64_t until_ns = left == 1 ? deadline_ns : now_ns + (deadline_ns - now_ns) / left;
        int fd = open_address(one->ai_addr, one->ai_addrlen, work, until_ns);
        if (fd >= 0) return fd;
    }
    return -1;
}

static mantis_status open_tcp(const mp_redis_dsn *dsn, mp_redis_work *work, int64_t deadline_ns,
                              int *out, mantis_error *error) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int code = getaddrinfo(dsn->host, dsn->port, &hints, &list);
    if (code != 0)
        return mp_error_set(error, MANTIS_CONNECT_FAILED, "cannot resolve the host of %s: %s",
                            dsn->label, gai_strerror(code));
    *out = open_any(list, work, deadline_ns);
    mantis_status status = *out >= 0 ? MANTIS_OK : fail_connect(dsn, error);
    freeaddrinfo(list);
    if (status == MANTIS_OK) set_tcp(*out);
    return status;
}

static mantis_status open_unix(const mp_redis_dsn *dsn, mp_redis_work *work, int64_t deadline_ns,
                               int *out, mantis_error *error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", dsn->path);
    *out = open_address((const struct sockaddr *)&address, sizeof address, work, deadline_ns);
    return *out >= 0 ? MANTIS_OK : fail_connect(dsn, error);
}

mantis_status mp_redis_socket_open(const mp_redis_dsn *dsn, mp_redis_work *work,
                                   int64_t deadline_ns, int *out, mantis_error *error) {
    int fd = -1;
    mantis_status status = dsn->path ? open_unix(dsn, work, deadline_ns, &fd, error)
                                     : open_tcp(dsn, work, deadline_ns, &fd, error);
    if (status != MANTIS_OK) return status;
    mp_redis_socket_set_timeout(fd, dsn);
    *out = fd;
    return MANTIS_OK;
}
