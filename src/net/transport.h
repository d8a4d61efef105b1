/* What a loop stands on, as a table of calls: the kernel (kernel.c), or a network in memory
 * (sim.c). And what loop.c, stream.c and these two know of each other. Nothing above net includes
 * this.
 *
 * Readiness is edge-triggered: an event says that something has changed, and comes again only when
 * it changes again. io_uring would have no read: its wait would hand over what has arrived. */
#ifndef MP_NET_TRANSPORT_H
#define MP_NET_TRANSPORT_H

#include "base/park.h"
#include "net/stream.h"

/* Events of a stream; the first two are also those of a watch. */
enum {
    MP_EVENT_READ = MP_WATCH_READ,
    MP_EVENT_WRITE = MP_WATCH_WRITE,
    MP_EVENT_LAST = 4, /* the peer has said its last word: read on to the end */
    MP_EVENT_GONE = 8, /* and reads no more either */
    /* not of the transport, but of the stream's own */
    MP_EVENT_AGAIN = 16, /* what is kept is to be given again */
    MP_EVENT_FULL = 32,  /* its owner is to be told */
    MP_EVENT_CLOSED = 64 /* its owner is to be told */
};

/* How the other side of a stream does. */
typedef enum mp_answer { MP_ANSWERED, MP_ANSWER_DUE, MP_ANSWER_MISSING } mp_answer;

/* Numbers are 0 or more, or an errno below 0. */
typedef struct mp_transport {
    /* Sleep until something is ready, until_ns at most, and mark it. Returns the clock. */
    int64_t (*wait)(mp_loop *loop, int64_t until_ns);
    void (*wake)(mp_loop *loop); /* any thread, under the loop's lock */
    void (*finish)(mp_loop *loop);

    /* Report events from now on, and begin with those that are there. That writing is possible is
     * reported to who hears_write: on a socket in the file system the kernel says so after each
     * read of the peer's. */
    int (*add)(mp_loop *loop, int fd, mp_ready *ready, bool hears_write);
    void (*hear_write)(mp_loop *loop, int fd, mp_ready *ready, bool hears_write);
    void (*remove)(mp_loop *loop, int fd);
    int (*watch)(mp_loop *loop, mp_watch *watch, int events);

    int (*connect)(mp_loop *loop, const mp_address *address, const mp_stream_options *options);
    int (*connect_result)(mp_loop *loop, int fd); /* 0, or the errno of the connect */
    ssize_t (*read)(mp_loop *loop, int fd, void *buffer, size_t size);
    ssize_t (*write)(mp_loop *loop, int fd, const struct iovec *pieces, uint32_t count);
    void (*shut)(mp_loop *loop, int fd); /* no more is written */
    void (*close)(mp_loop *loop, int fd);

    /* Was all that was written acknowledged, or has nothing been heard for silent_ns? */
    mp_answer (*answer)(mp_loop *loop, int fd, int64_t silent_ns);
    bool (*name)(mp_loop *loop, int fd, bool is_remote, mp_address *out);
    bool (*peer)(mp_loop *loop, int fd, uint32_t *out_uid, uint32_t *out_pid);
} mp_transport;

#define MP_GATHER_PIECES_MAX 64u
#define MP_GATHER_BYTES_MAX ((size_t)16 << 10)

/* What was sent in the call that the loop is in, by all streams: written when it returns. */
typedef struct mp_gather {
    uint32_t count;
    size_t copied; /* of bytes */
    mp_stream *of[MP_GATHER_PIECES_MAX];
    struct iovec pieces[MP_GATHER_PIECES_MAX];
    unsigned char bytes[MP_GATHER_BYTES_MAX];
} mp_gather;

struct mp_loop {
    /* set at open, then const */
    const mp_transport *transport;
    void *place; /* the transport's */
    mp_loop_config config;
    /* its own thread only */
    int64_t now_ns;
    mp_heap timers;
    mp_list ready, streams;
    mp_stream *dead;            /* their memory goes when the turn ends */
    mp_timer look;              /* after peers that do not answer */
    mp_stream *running;         /* whose turn it is, unless it was closed or detached in it */
    mp_loop *running_to;        /* it was detached to this loop, and goes when its turn ends */
    const unsigned char *given; /* to on_bytes, now */
    size_t given_size;
    mp_loop_counts counts;
    mp_gather gather;
    unsigned char buffer[MP_STREAM_KEEP_MAX + MP_STREAM_READ_MAX];
    /* under lock */
    mp_lock lock;
    struct {
        mp_post *first, *last;
        bool is_asleep, is_stopped;
        uint64_t wakes;
    } locked;
};

/* Open a loop on a transport: loop.c. place is the transport's, and finished with it. */
mantis_status mp_loop_open_on(mp_loop **out, const mp_transport *transport, void *place,
                              const mp_loop_config *config, mantis_error *error);

/* Something happened to a stream or watch: its turn comes in this pass of the loop. */
void mp_loop_mark(mp_loop *loop, mp_ready *ready, int events);
void mp_loop_unmark(mp_loop *loop, mp_ready *ready);

/* stream.c, for the loop: a stream's turn; write what was gathered; free the dead; the look after
 * silent peers; end what is saying goodbye. */
void mp_stream_run(mp_ready *ready, mp_loop *loop);
void mp_stream_write_gathered(mp_loop *loop);
void mp_stream_free_dead(mp_loop *loop);
void mp_stream_look(mp_timer *timer, mp_loop *loop);
void mp_stream_finish_all(mp_loop *loop);

/* A connection that was accepted, for mp_listen and the simulator: a stream on no loop yet, whose
 * descriptor belongs to loop's transport. NULL: no memory, and fd is still the caller's. */
mp_stream *mp_stream_adopt(mp_loop *loop, int fd, bool is_unix, const mp_stream_options *options);
int mp_stream_fd(const mp_stream *stream);

/* Set a TCP socket's options; one for listening hands them on to its connections. kernel.c. */
void mp_kernel_set_options(int fd, const mp_stream_options *options);

#endif
