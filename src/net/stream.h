/* A stream of bytes to one peer, over TCP or a socket in the file system.
 *
 * It is completion-shaped: nobody above asks whether something is readable. The loop reads into a
 * buffer of its own, one a thread, and calls on_bytes; the owner says how much of it is consumed,
 * and the rest is kept for it. mp_stream_send() takes everything: what the kernel refuses belongs
 * to the stream. A stream at rest owns no buffer. No descriptor, no EAGAIN, no epoll is seen above.
 *
 * What is sent from within a call of the loop is gathered: when that call returns, each stream that
 * was sent to gets one write. Bytes that lie in what on_bytes was given are written from there, and
 * only what the kernel refuses is copied; other bytes are copied by mp_stream_send().
 *
 *     on_bytes(client, data, size) -> mp_stream_send(server, data, whole) -> return whole
 *
 * N1  Every byte that arrived is given to on_bytes, in order, before on_end says that it was the
 *     last; also after a failed write, also when the stream moved to another loop.
 * N2  on_end is called once at most, and after it no on_bytes.
 * N3  After mp_stream_close(), _abort() and _detach() nothing more is called here but on_closed,
 *     and nothing may be sent.
 * N4  What was sent goes out in order, and whole unless the stream ends before.
 * N5  Nothing is called from within mp_stream_* functions, so the owner need not be re-entrant.
 *
 * A stream belongs to one loop at a time, and all calls are on that loop's thread.
 *
 * TLS will be a filter between this interface and the transport. */
#ifndef MP_NET_STREAM_H
#define MP_NET_STREAM_H

#include "net/address.h"
#include "net/loop.h"

#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MP_STREAM_READ_MAX ((size_t)64 << 10) /* the most that is read at once, and in a turn */
#define MP_STREAM_KEEP_MAX ((size_t)16 << 10) /* the most that on_bytes may leave and want more */
#define MP_STREAM_FULL ((size_t)64 << 10)     /* on_full: so much was refused by the kernel */

typedef struct mp_stream mp_stream;

/* Who is told what. All but on_bytes and on_end may be NULL. owner is what was given with the
 * handler. */
typedef struct mp_stream_handler {
    /* It is ready for use on this thread: connected, or come by mp_stream_detach(). */
    void (*on_open)(mp_stream *stream, void *owner);

    /* Bytes have arrived: data is valid until the call returns. Returns how many of them are
     * consumed. The rest is kept and comes again: in front of the next bytes to arrive; or, if the
     * stream was paused or detached meanwhile, upon mp_stream_resume() or on the other loop.
     * Otherwise at most MP_STREAM_KEEP_MAX may be left. size is at most MP_STREAM_KEEP_MAX +
     * MP_STREAM_READ_MAX. */
    size_t (*on_bytes)(mp_stream *stream, const unsigned char *data, size_t size, void *owner);

    /* No more bytes will come. error is NULL: the peer has said its last word, and may still read.
     * Otherwise the connection is dead or never came to be, and what is sent is thrown away:
     * CONNECT_FAILED TIMEOUT (of the connect) IO NOMEM; valid until the call returns. What was
     * never consumed is kept no longer. The stream is still there to be closed. */
    void (*on_end)(mp_stream *stream, const mantis_error *error, void *owner);

    /* The kernel takes no more, and MP_STREAM_FULL bytes wait in the stream: stop what feeds it,
     * until on_drained says that all of them went out, or on_end that it is too late. */
    void (*on_full)(mp_stream *stream, void *owner);
    void (*on_drained)(mp_stream *stream, void *owner);

    /* While the stream is not read: the peer has said its last word; with is_gone it will not read
     * any more either, and what is sent is thrown away. Once for each at most. If the stream is
     * paused there may still be bytes, and on_end is still to come, when reading goes on. */
    void (*on_hangup)(mp_stream *stream, bool is_gone, void *owner);

    /* After mp_stream_close(): the peer has closed too, or the deadline has passed. */
    void (*on_closed)(void *owner);
} mp_stream_handler;

/* For TCP; a socket in the file system needs none of them. Zeroed: keepalive probes find an idle
 * peer that has gone within 15 s, and so does a look at what was sent and not acknowledged; one
 * that merely does not read lives as long as it likes. Small writes are never delayed. */
typedef struct mp_stream_options {
    bool keepalive_off;       /* no probes, and no such look */
    uint32_t keepidle_s;      /* 0: 5 */
    uint32_t keepintvl_s;     /* 0: 2 */
    uint32_t keepcnt;         /* 0: 4 */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT: ends those that do not read, too; 0: none */
    uint32_t buffer_bytes;    /* of the kernel, each way; 0: its choice */
} mp_stream_options;

/* ---- coming and going ---- */

/* Connect. on_open comes when it is done, on_end when it failed, always later and never from here.
 * What is sent before is sent then. address and options are copied; options may be NULL.
 * Owner   the caller, until close or abort. NULL: no memory.
 * Errors  (in on_end) CONNECT_FAILED TIMEOUT */
mp_stream *mp_stream_connect(mp_loop *loop, const mp_address *address,
                             const mp_stream_options *options, int64_t deadline_ns,
                             const mp_stream_handler *handler, void *owner);

/* Say goodbye: send what was sent, say that it was the last, and throw away what still comes, until
 * the peer closes too or deadline_ns has passed. So its last words reach a peer that is still
 * sending. At once if the peer has ended already and all was sent, or if it is still connecting.
 * on_closed tells when.
 * Owner   the stream is the loop's and gone. NULL is fine. */
void mp_stream_close(mp_stream *stream, int64_t deadline_ns);

/* Close at once. What is gathered or waits is thrown away.
 * Owner   the stream is gone; its memory stays until the turn ends. NULL is fine. */
void mp_stream_abort(mp_stream *stream);

/* Give the stream to another loop, with what was received and not consumed and what was not sent
 * yet. On that loop's thread on_open of this handler is called; from now on this thread must not
 * touch it. Also for streams that belong to no loop yet, as mp_listen hands them out. It must be
 * connected.
 * Threads the stream's; the acceptor's for one that was just accepted. */
void mp_stream_detach(mp_stream *stream, mp_loop *to, const mp_stream_handler *handler,
                      void *owner);

/* Have somebody else told from now on. */
void mp_stream_set_handler(mp_stream *stream, const mp_stream_handler *handler, void *owner);

/* ---- bytes ---- */

/* Send these pieces, one behind the other. The memory is the caller's again on return; of what lies
 * in the bytes that on_bytes was given, when that returns. */
void mp_stream_sendv(mp_stream *stream, const struct iovec *pieces, uint32_t count);

/* Send one piece. */
static inline void mp_stream_send(mp_stream *stream, const void *data, size_t size) {
    mp_stream_sendv(stream, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size},
                    1);
}

/* Write what is gathered for this stream now. */
void mp_stream_flush(mp_stream *stream);

/* Read no more, and keep what is there. Within on_bytes: what it does not consume may then be as
 * long as it is. */
void mp_stream_pause(mp_stream *stream);

/* Go on reading: what was kept comes in this turn or the next. */
void mp_stream_resume(mp_stream *stream);

/* ---- what is known ---- */

mp_loop *mp_stream_loop(const mp_stream *stream);
bool mp_stream_is_unix(const mp_stream *stream);
bool mp_stream_is_paused(const mp_stream *stream);
bool mp_stream_is_full(const mp_stream *stream);      /* between on_full and on_drained */
size_t mp_stream_backlog(const mp_stream *stream);    /* bytes sent that the kernel has not */
uint64_t mp_stream_received(const mp_stream *stream); /* bytes, since it was opened */
uint64_t mp_stream_sent(const mp_stream *stream);     /* bytes that the kernel took */

/* The address of this end, or of the peer. False: it is gone. One system call. */
bool mp_stream_local(const mp_stream *stream, mp_address *out);
bool mp_stream_remote(const mp_stream *stream, mp_address *out);

/* Who the peer on a socket in the file system was when it connected. False: it is not one. */
bool mp_stream_peer(const mp_stream *stream, uint32_t *out_uid, uint32_t *out_pid);

#endif
