/* Accepting connections: one acceptor on one loop for all listening sockets, over TCP, in the file
 * system, or inherited. It hands out each connection as a stream that belongs to no loop yet.
 *
 * When the process has no descriptor left, a connection that comes is accepted with one that was
 * kept in reserve, shown to on_full for a refusal, and closed. If even that one is lost to another
 * thread, the acceptor tries again every MP_LISTEN_RETRY_NS. It never spins. */
#ifndef MP_NET_LISTEN_H
#define MP_NET_LISTEN_H

#include "net/stream.h"

#define MP_LISTEN_RETRY_NS (50 * MP_NS_PER_MS)
#define MP_LISTEN_TURN_MAX 64 /* connections of one socket accepted in a turn */

typedef struct mp_listen mp_listen;     /* the acceptor */
typedef struct mp_listener mp_listener; /* one of its sockets */

typedef struct mp_listen_handler {
    /* A connection: give it to a loop with mp_stream_detach(), or abort it. tag is the listener's.
     * Owner   the stream is the callee's. */
    void (*on_accept)(mp_stream *stream, void *tag, void *arg);

    /* The same, but there is no descriptor for it: send a refusal of at most 4 KiB, if at all. The
     * stream is closed when this returns; nothing else may be done with it. */
    void (*on_full)(mp_stream *stream, void *tag, void *arg);
    void *arg;
} mp_listen_handler;

/* One socket to listen on. Zeroed but for address, or inherited_fd, it means the defaults. */
typedef struct mp_listen_config {
    mp_address address;        /* port 0: any, see mp_listen_address() */
    int inherited_fd;          /* 0: none; it is listening already, and becomes the acceptor's */
    int backlog;               /* 0: 128 */
    mp_stream_options options; /* of its connections */
    bool defers;               /* TCP: hand out a connection when its first bytes have come */
    bool shares_port;          /* TCP: other processes may listen there too (SO_REUSEPORT) */
    bool has_mode, has_group;  /* in the file system: */
    uint32_t mode, group;      /* the permissions and the group of the socket */
    void *tag;                 /* given with its connections */
} mp_listen_config;

/* Open an acceptor without any socket.
 * Owner   the caller, until mp_listen_close(); handler is copied.
 * Threads the loop's, as for all below.
 * Errors  NOMEM IO (no descriptor to keep in reserve) */
mantis_status mp_listen_open(mp_listen **out, mp_loop *loop, const mp_listen_handler *handler,
                             mantis_error *error);

/* Listen on one more socket. A socket file that nobody listens on is replaced. *out may be NULL.
 * Errors  LOCKED (somebody listens there) INVALID (inherited_fd is no listening stream socket) IO
 *         NOMEM */
mantis_status mp_listen_add(mp_listen *listen, const mp_listen_config *config, mp_listener **out,
                            mantis_error *error);

/* Stop listening on one; its socket file goes, if it is still ours. Connections in the kernel's
 * queue are reset. */
void mp_listen_remove(mp_listen *listen, mp_listener *listener);

/* Where it listens, with the port that was chosen.
 * Owner   the listener. */
const mp_address *mp_listen_address(const mp_listener *listener);

/* Accept nothing for now; connections queue up in the kernel. */
void mp_listen_pause(mp_listen *listen);
void mp_listen_resume(mp_listen *listen);

/* Remove all sockets and free it. An empty one is fine. */
void mp_listen_close(mp_listen **listen);

#endif
