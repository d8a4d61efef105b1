/* Streams: what was received and not consumed, what was sent and not taken, and who is told. */
#include "net/stream.h"

#include "base/assert.h"
#include "base/error.h"
#include "net/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_CHUNK_MIN ((size_t)4 << 10)
#define BACKLOG_PIECES_MAX 16u /* of one write */

/* Whoever was written to is looked at so often, and is gone after so many looks at which nothing
 * had come: 10 to 12.5 s. */
#define LOOK_NS (2500 * MP_NS_PER_MS)
#define LOOKS_MAX 4

/* Bytes that a stream holds: received and not consumed, or sent and not taken by the kernel. */
typedef struct chunk {
    struct chunk *next;
    size_t from, to, size; /* data from..to of size */
    unsigned char data[];
} chunk;

/* What a stream needs only while it comes or goes. */
typedef struct passage {
    mp_timer deadline;
    mp_stream *stream;
    mp_address address; /* where it connects to */
} passage;

enum state {
    LOOSE,      /* accepted, on no loop yet */
    CONNECTING, /* has a passage */
    OPEN,
    CLOSING, /* says goodbye; has a passage, or its owner is yet to be told that it is over */
    DEAD     /* its memory goes when the turn ends */
};

struct mp_stream {
    mp_ready ready;
    union {
        mp_node node; /* in the loop's list */
        mp_post post; /* on its way to another loop */
        mp_stream *next_dead;
    } in;
    mp_loop *loop; /* when LOOSE: of the acceptor */
    const mp_stream_handler *handler;
    void *owner;
    passage *passage;
    chunk *kept;                  /* at most one */
    chunk *backlog, *backlog_end; /* oldest and newest */
    size_t backlog_bytes;
    uint64_t received, sent;
    int fd;
    int broken_errno;      /* what is sent is thrown away, and reading goes on to the end */
    uint8_t broken_status; /* 0: it is whole */
    uint8_t state;
    uint8_t silent; /* 0: all was answered; 1: written to or read from since the last look; 2 and
                       more: 2 + looks at which an answer was missing */
    bool is_unix, is_looked_at, hears_write, is_paused, is_full, is_ended, told_last, told_gone;
};

static mp_stream *stream_of(mp_ready *ready) { return mp_container_of(ready, mp_stream, ready); }

static void mark(mp_stream *stream, int events) {
    mp_loop_mark(stream->loop, &stream->ready, events);
}

static bool has(const mp_stream *stream, int event) { return stream->ready.events & event; }

static void clear(mp_stream *stream, int event) {
    stream->ready.events = (uint16_t)(stream->ready.events & ~event);
}

/* ---- held bytes ---- */

/* A chunk, or NULL: no memory, or the loop's streams hold too much. */
static chunk *hold(mp_loop *loop, size_t size) {
    if (loop->counts.held_bytes + size > loop->config.held_bytes_max) return NULL;
    chunk *held = malloc(sizeof *held + size);
    if (!held) return NULL;
    held->next = NULL;
    held->from = held->to = 0;
    held->size = size;
    loop->counts.held_bytes += size;
    return held;
}

static void release(mp_loop *loop, chunk *held) {
    while (held) {
        chunk *next = held->next;
        loop->counts.held_bytes -= held->size;
        free(held);
        held = next;
    }
}

static size_t held_bytes(const mp_stream *stream) {
    size_t size = stream->kept ? stream->kept->size : 0;
    for (const chunk *held = stream->backlog; held; held = held->next) size += held->size;
    return size;
}

static void fill(chunk *held, const void *data, size_t size) {
    memcpy(held->data + held->to, data, size);
    held->to += size;
}

static void drop_kept(mp_stream *stream) {
    release(stream->loop, stream->kept);
    stream->kept = NULL;
}

static void drop_backlog(mp_stream *stream) {
    release(stream->loop, stream->backlog);
    stream->backlog = stream->backlog_end = NULL;
    stream->backlog_bytes = 0;
    stream->is_full = false;
}

/* ---- its life ---- */

static mp_stream *new_stream(mp_loop *loop, bool is_unix, const mp_stream_options *options,
                             const mp_stream_handler *handler, void *owner) {
    mp_stream *stream = calloc(1, sizeof *stream);
    if (!stream) return NULL;
    stream->ready.is_stream = true;
    stream->loop = loop;
    stream->handler = handler;
    stream->owner = owner;
    stream->fd = -1;
    stream->is_unix = is_unix;
    stream->is_looked_at = !is_unix && !options->keepalive_off && !options->user_timeout_ms;
    return stream;
}

static void enter_loop(mp_stream *stream) {
    mp_list_push(&stream->loop->streams, &stream->in.node);
    stream->loop->counts.streams++;
}

static void leave_loop(mp_stream *stream) {
    mp_loop_unmark(stream->loop, &stream->ready);
    if (stream->state == LOOSE) return;
    mp_list_remove(&stream->loop->streams, &stream->in.node);
    stream->loop->counts.streams--;
}

static void drop_passage(mp_stream *stream) {
    if (stream->passage) mp_timer_stop(&stream->passage->deadline, stream->loop);
    free(stream->passage);
    stream->passage = NULL;
}

/* Its turn, if it is in one, calls it no more. */
static void leave_turn(mp_stream *stream) {
    if (stream->loop->running == stream) stream->loop->running = NULL;
}

static void close_socket(mp_stream *stream) {
    if (stream->fd >= 0) stream->loop->transport->close(stream->loop, stream->fd);
    stream->fd = -1;
}

static void die(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    close_socket(stream);
    drop_passage(stream);
    drop_kept(stream);
    drop_backlog(stream);
    leave_loop(stream);
    stream->state = DEAD;
    stream->in.next_dead = loop->dead;
    loop->dead = stream;
}

void mp_stream_free_dead(mp_loop *loop) {
    while (loop->dead) {
        mp_stream *stream = loop->dead;
        loop->dead = stream->in.next_dead;
        free(stream);
    }
}

/* The connection is of no use any more: nothing is sent, and reading goes on to the end, where its
 * owner is told. */
static void break_stream(mp_stream *stream, mantis_status status, int os_errno) {
    if (stream->broken_status) return;
    stream->broken_status = (uint8_t)status;
    stream->broken_errno = os_errno;
    drop_backlog(stream);
    mark(stream, MP_EVENT_READ | MP_EVENT_LAST | MP_EVENT_GONE);
}

/* ---- telling the owner ---- */

static void tell_open(mp_stream *stream) {
    if (stream->handler->on_open) stream->handler->on_open(stream, stream->owner);
}

static void describe(const mp_stream *stream, mantis_error *error) {
    mantis_status status = (mantis_status)stream->broken_status;
    char address[MP_ADDRESS_TEXT_MAX], what[MP_ADDRESS_TEXT_MAX + 32] = "the connection is lost";
    if (stream->state == CONNECTING)
        (void)snprintf(what, sizeof what, "cannot connect to %s",
                       mp_address_format(&stream->passage->address, address));
    if (status == MANTIS_NOMEM)
        (void)mp_error_set(error, status, "%s: no memory for its buffers, or they hold too much",
                           what);
    else
        (void)mp_error_set_os(error, status, stream->broken_errno, "%s: %s", what,
                              strerror(stream->broken_errno));
}

static void tell_end(mp_stream *stream) {
    mantis_error error;
    if (stream->broken_status) describe(stream, &error);
    drop_passage(stream);
    drop_kept(stream);
    stream->state = OPEN;
    stream->is_ended = stream->told_last = true;
    stream->told_gone = stream->broken_status;
    stream->handler->on_end(stream, stream->broken_status ? &error : NULL, stream->owner);
}

/* It is not read, so that its end would not be found. */
static void tell_hangup(mp_stream *stream) {
    bool is_gone = has(stream, MP_EVENT_GONE), is_last = has(stream, MP_EVENT_LAST);
    if (is_gone ? stream->told_gone : !is_last || stream->told_last) return;
    stream->told_last = true;
    stream->told_gone = is_gone;
    if (stream->handler->on_hangup) stream->handler->on_hangup(stream, is_gone, stream->owner);
}

/* ---- writing ---- */

/* Of a socket in the file system, only while something waits. */
static void hear_write(mp_stream *stream, bool hears_write) {
    if (!stream->is_unix || stream->hears_write == hears_write) return;
    stream->hears_write = hears_write;
    stream->loop->transport->hear_write(stream->loop, stream->fd, &stream->ready, hears_write);
}

/* Have events of the stream's loop; writing is heard of if it connects or something waits. */
static int add_to_loop(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    stream->hears_write = !stream->is_unix || stream->state == CONNECTING || stream->backlog;
    return loop->transport->add(loop, stream->fd, &stream->ready, stream->hears_write);
}

static void expect_answer(mp_stream *stream) {
    if (stream->silent || !stream->is_looked_at) return;
    stream->silent = 1;
    mp_loop *loop = stream->loop;
    if (!loop->look.node.is_in) mp_timer_set(&loop->look, loop, loop->now_ns + LOOK_NS);
}

void mp_stream_look(mp_timer *timer, mp_loop *loop) {
    bool is_due = false;
    for (mp_node *node = loop->streams.head; node; node = node->next) {
        mp_stream *stream = mp_container_of(node, mp_stream, in.node);
        if (!stream->silent || stream->fd < 0) continue;
        mp_answer answer = MP_ANSWER_DUE;
        if (stream->silent > 1) answer = loop->transport->answer(loop, stream->fd, LOOK_NS);
        if (answer == MP_ANSWERED) stream->silent = 0;
        else if (answer == MP_ANSWER_DUE) stream->silent = 2;
        else stream->silent++;
        is_due |= stream->silent != 0;
        if (stream->silent < 2 + LOOKS_MAX) continue;
        loop->counts.unanswered++;
        stream->silent = 0;
        stream->is_looked_at = false;
        break_stream(stream, MANTIS_IO, ETIMEDOUT);
    }
    if (is_due) mp_timer_set(timer, loop, loop->now_ns + LOOK_NS);
}

/* Hand pieces to the kernel; returns how many bytes it took. */
static size_t write_now(mp_stream *stream, const struct iovec *pieces, uint32_t count) {
    mp_loop *loop = stream->loop;
    loop->counts.writes++;
    ssize_t taken = loop->transport->write(loop, stream->fd, pieces, count);
    if (taken == -EAGAIN) return 0;
    if (taken < 0) {
        break_stream(stream, MANTIS_IO, (int)-taken);
        return 0;
    }
    stream->sent += (uint64_t)taken;
    expect_answer(stream);
    return (size_t)taken;
}

/* Copy what was not taken. False: no memory. */
static bool append(mp_stream *stream, const unsigned char *data, size_t size) {
    stream->backlog_bytes += size;
    chunk *last = stream->backlog_end;
    size_t room = last ? last->size - last->to : 0, fits = size < room ? size : room;
    if (fits) fill(last, data, fits);
    if (fits == size) return true;
    size -= fits;
    chunk *more = hold(stream->loop, size > BACKLOG_CHUNK_MIN ? size : BACKLOG_CHUNK_MIN);
    if (!more) return false;
    fill(more, data + fits, size);
    if (last) last->next = more;
    else stream->backlog = more;
    stream->backlog_end = more;
    return true;
}

/* Keep all of the pieces but the first `taken` bytes. */
static void keep_rest(mp_stream *stream, const struct iovec *pieces, uint32_t count, size_t taken) {
    mp_loop *loop = stream->loop;
    loop->counts.refused++;
    for (uint32_t i = 0; i < count; i++) {
        size_t skip = taken < pieces[i].iov_len ? taken : pieces[i].iov_len;
        taken -= skip;
        const unsigned char *rest = (const unsigned char *)pieces[i].iov_base + skip;
        if (skip == pieces[i].iov_len || append(stream, rest, pieces[i].iov_len - skip)) continue;
        break_stream(stream, MANTIS_NOMEM, ENOMEM);
        return;
    }
    if (stream->state == OPEN || stream->state == CLOSING) hear_write(stream, true);
    bool is_much = loop->counts.held_bytes > loop->config.held_bytes_max / 2;
    if (stream->is_full || (stream->backlog_bytes < MP_STREAM_FULL && !is_much)) return;
    stream->is_full = true;
    mark(stream, MP_EVENT_FULL);
}

static void write_pieces(mp_stream *stream, const struct iovec *pieces, uint32_t count) {
    if (stream->broken_status) return;
    bool is_free = !stream->backlog && stream->state != CONNECTING;
    size_t size = 0, taken = is_free ? write_now(stream, pieces, count) : 0;
    for (uint32_t i = 0; i < count; i++) size += pieces[i].iov_len;
    if (taken < size && !stream->broken_status) keep_rest(stream, pieces, count, taken);
}

/* The kernel takes more: all that waits, or until it refuses. */
static void write_backlog(mp_stream *stream) {
    while (stream->backlog) {
        struct iovec pieces[BACKLOG_PIECES_MAX];
        uint32_t count = 0;
        for (chunk *c = stream->backlog; c && count < BACKLOG_PIECES_MAX; c = c->next)
            pieces[count++] = (struct iovec){c->data + c->from, c->to - c->from};
        size_t taken = write_now(stream, pieces, count);
        if (taken == 0) return;
        stream->backlog_bytes -= taken;
        while (taken) {
            chunk *first = stream->backlog;
            size_t part = first->to - first->from < taken ? first->to - first->from : taken;
            first->from += part;
            taken -= part;
            if (first->from < first->to) return; /* a short write: the kernel is full */
            stream->backlog = first->next;
            first->next = NULL;
            release(stream->loop, first);
        }
    }
    stream->backlog_end = NULL;
    hear_write(stream, false);
}

/* ---- gathering ---- */

/* One write for each stream; nobody is called. */
void mp_stream_write_gathered(mp_loop *loop) {
    mp_gather *gather = &loop->gather;
    for (uint32_t i = 0; i < gather->count; i++) {
        mp_stream *stream = gather->of[i];
        if (!stream) continue;
        struct iovec pieces[MP_GATHER_PIECES_MAX];
        uint32_t count = 0;
        for (uint32_t j = i; j < gather->count; j++) {
            if (gather->of[j] != stream) continue;
            pieces[count++] = gather->pieces[j];
            gather->of[j] = NULL;
        }
        write_pieces(stream, pieces, count);
    }
    gather->count = 0;
    gather->copied = 0;
}

static void forget_gathered(const mp_stream *stream) {
    mp_gather *gather = &stream->loop->gather;
    for (uint32_t i = 0; i < gather->count; i++)
        if (gather->of[i] == stream) gather->of[i] = NULL;
}

/* Does it lie in what on_bytes was given? That stays until everything gathered is written. */
static bool is_given(const mp_loop *loop, const unsigned char *data) {
    return (uintptr_t)data - (uintptr_t)loop->given < loop->given_size;
}

static void gather_piece(mp_stream *stream, const unsigned char *data, size_t size) {
    mp_loop *loop = stream->loop;
    mp_gather *gather = &loop->gather;
    bool is_copied = !is_given(loop, data);
    if (gather->count == MP_GATHER_PIECES_MAX ||
        (is_copied && gather->copied + size > MP_GATHER_BYTES_MAX))
        mp_stream_write_gathered(loop);
    if (is_copied && size > MP_GATHER_BYTES_MAX) {
        struct iovec piece = {(void *)(uintptr_t)data, size};
        write_pieces(stream, &piece, 1);
        return;
    }
    if (is_copied) {
        data = memcpy(gather->bytes + gather->copied, data, size);
        gather->copied += size;
    }
    uint32_t last = gather->count - 1;
    if (gather->count && gather->of[last] == stream &&
        (unsigned char *)gather->pieces[last].iov_base + gather->pieces[last].iov_len == data) {
        gather->pieces[last].iov_len += size;
        return;
    }
    gather->of[gather->count] = stream;
    gather->pieces[gather->count++] = (struct iovec){(void *)(uintptr_t)data, size};
}

void mp_stream_sendv(mp_stream *stream, const struct iovec *pieces, uint32_t count) {
    mp_assert(stream->state < CLOSING); /* N3 */
    if (stream->broken_status) return;
    for (uint32_t i = 0; i < count; i++)
        if (pieces[i].iov_len) gather_piece(stream, pieces[i].iov_base, pieces[i].iov_len);
}

void mp_stream_flush(mp_stream *stream) { mp_stream_write_gathered(stream->loop); }

/* ---- reading ---- */

static bool may_keep(const mp_stream *stream, size_t size) {
    return size <= MP_STREAM_KEEP_MAX || stream->is_paused || stream->loop->running_to;
}

/* Keep what on_bytes left of data. False: no memory. */
static bool keep(mp_stream *stream, const unsigned char *data, size_t size) {
    mp_assert(may_keep(stream, size));
    if (size == 0) return true;
    stream->kept = hold(stream->loop, size);
    if (stream->kept) fill(stream->kept, data, size);
    return stream->kept != NULL;
}

/* Call on_bytes; returns how much it consumed. What it sent of these bytes is written before they
 * are moved. */
static size_t give(mp_stream *stream, const unsigned char *data, size_t size) {
    mp_loop *loop = stream->loop;
    loop->given = data;
    loop->given_size = size;
    size_t consumed = stream->handler->on_bytes(stream, data, size, stream->owner);
    mp_stream_write_gathered(loop);
    loop->given_size = 0;
    mp_assert(consumed <= size);
    return consumed;
}

static bool is_over(const mp_loop *loop) { return !loop->running && !loop->running_to; }

/* Give what is kept again, from where it lies. */
static void give_kept(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    clear(stream, MP_EVENT_AGAIN);
    chunk *kept = stream->kept;
    if (!kept) return;
    stream->kept = NULL;
    kept->from += give(stream, kept->data + kept->from, kept->to - kept->from);
    if (is_over(loop) || kept->from == kept->to) {
        release(loop, kept);
        return;
    }
    mp_assert(may_keep(stream, kept->to - kept->from));
    stream->kept = kept;
}

/* Give what was read into the loop's buffer, behind what is kept. */
static void give_read(mp_stream *stream, unsigned char *data, size_t size) {
    mp_loop *loop = stream->loop;
    if (stream->kept) {
        size_t before = stream->kept->to - stream->kept->from;
        data = memcpy(data - before, stream->kept->data + stream->kept->from, before);
        size += before;
        drop_kept(stream);
    }
    size_t consumed = give(stream, data, size);
    if (!is_over(loop) && !keep(stream, data + consumed, size - consumed))
        break_stream(stream, MANTIS_NOMEM, ENOMEM);
}

static ssize_t read_now(mp_stream *stream, unsigned char *buffer) {
    mp_loop *loop = stream->loop;
    loop->counts.reads++;
    ssize_t size = loop->transport->read(loop, stream->fd, buffer, MP_STREAM_READ_MAX);
    /* a short read has emptied the socket, unless the end stands behind it */
    bool is_empty = size == -EAGAIN ||
                    (size > 0 && (size_t)size < MP_STREAM_READ_MAX && !has(stream, MP_EVENT_LAST));
    if (is_empty) clear(stream, MP_EVENT_READ);
    return size;
}

static void read_stream(mp_stream *stream) {
    if (has(stream, MP_EVENT_AGAIN)) {
        give_kept(stream);
        return;
    }
    unsigned char *buffer = stream->loop->buffer + MP_STREAM_KEEP_MAX;
    ssize_t size = read_now(stream, buffer);
    if (size > 0) {
        stream->received += (uint64_t)size;
        if (stream->silent) stream->silent = 1; /* it may have been there for long */
        give_read(stream, buffer, (size_t)size);
    } else if (size == 0 || stream->broken_status) tell_end(stream);
    else if (size != -EAGAIN) {
        break_stream(stream, MANTIS_IO, (int)-size);
        tell_end(stream);
    }
}

void mp_stream_pause(mp_stream *stream) { stream->is_paused = true; }

void mp_stream_resume(mp_stream *stream) {
    stream->is_paused = false;
    mark(stream, stream->kept ? MP_EVENT_AGAIN : 0);
}

/* ---- its turn ---- */

static bool wants_read(const mp_stream *stream) {
    return !stream->is_ended && !stream->is_paused && has(stream, MP_EVENT_READ | MP_EVENT_AGAIN);
}

static void run_connecting(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    int os_errno = 0;
    if (!stream->broken_status) {
        if (!has(stream, MP_EVENT_WRITE | MP_EVENT_GONE)) return;
        os_errno = loop->transport->connect_result(loop, stream->fd);
    }
    if (os_errno) break_stream(stream, MANTIS_CONNECT_FAILED, os_errno);
    if (stream->broken_status) {
        tell_end(stream);
        return;
    }
    drop_passage(stream);
    stream->state = OPEN;
    if (!stream->backlog) hear_write(stream, false);
    tell_open(stream);
}

/* What the kernel takes now of the backlog. Its owner may be called. */
static void run_write(mp_stream *stream) {
    clear(stream, MP_EVENT_WRITE);
    if (!stream->backlog) return;
    write_backlog(stream);
    if (stream->backlog || !stream->is_full) return;
    stream->is_full = false;
    bool was_told = !has(stream, MP_EVENT_FULL);
    clear(stream, MP_EVENT_FULL);
    if (was_told && stream->handler->on_drained) stream->handler->on_drained(stream, stream->owner);
}

static void run_open(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    if (has(stream, MP_EVENT_WRITE)) run_write(stream);
    if (loop->running && has(stream, MP_EVENT_FULL)) {
        clear(stream, MP_EVENT_FULL);
        if (stream->is_full && stream->handler->on_full)
            stream->handler->on_full(stream, stream->owner);
    }
    if (loop->running && (stream->is_paused || stream->is_ended)) tell_hangup(stream);
    if (loop->running && wants_read(stream)) read_stream(stream);
    if (loop->running && wants_read(stream)) mark(stream, 0);
}

static void finish_closing(mp_stream *stream) {
    const mp_stream_handler *handler = stream->handler;
    void *owner = stream->owner;
    die(stream);
    if (handler->on_closed) handler->on_closed(owner);
}

static void run_closing(mp_stream *stream) {
    mp_loop *loop = stream->loop;
    if (has(stream, MP_EVENT_CLOSED)) {
        finish_closing(stream);
        return;
    }
    if (has(stream, MP_EVENT_WRITE) && stream->backlog) {
        write_backlog(stream);
        if (!stream->backlog) loop->transport->shut(loop, stream->fd);
    }
    clear(stream, MP_EVENT_WRITE);
    if (has(stream, MP_EVENT_READ) && !stream->is_ended) {
        ssize_t size = read_now(stream, loop->buffer);
        stream->is_ended = size <= 0 && size != -EAGAIN;
        if (has(stream, MP_EVENT_READ)) mark(stream, 0);
    }
    if (stream->broken_status || (stream->is_ended && !stream->backlog)) finish_closing(stream);
}

static void depart(mp_stream *stream, mp_loop *to);

void mp_stream_run(mp_ready *ready, mp_loop *loop) {
    mp_stream *stream = stream_of(ready);
    loop->running = stream;
    loop->running_to = NULL;
    if (stream->state == CONNECTING) run_connecting(stream);
    if (loop->running && stream->state == OPEN) run_open(stream);
    else if (loop->running && stream->state == CLOSING) run_closing(stream);
    if (loop->running_to) depart(stream, loop->running_to);
    loop->running = NULL;
    loop->running_to = NULL;
}

/* ---- coming ---- */

/* A deadline for coming or going. False: no memory. */
static bool start_passage(mp_stream *stream, int64_t deadline_ns,
                          void (*on_due)(mp_timer *timer, mp_loop *loop)) {
    stream->passage = calloc(1, sizeof *stream->passage);
    if (!stream->passage) return false;
    stream->passage->stream = stream;
    stream->passage->deadline.on_due = on_due;
    mp_timer_set(&stream->passage->deadline, stream->loop, deadline_ns);
    return true;
}

static void on_connect_due(mp_timer *timer, mp_loop *loop) {
    (void)loop;
    break_stream(mp_container_of(timer, passage, deadline)->stream, MANTIS_TIMEOUT, ETIMEDOUT);
}

mp_stream *mp_stream_connect(mp_loop *loop, const mp_address *address,
                             const mp_stream_options *options, int64_t deadline_ns,
                             const mp_stream_handler *handler, void *owner) {
    static const mp_stream_options defaults;
    if (!options) options = &defaults;
    mp_stream *stream = new_stream(loop, mp_address_is_unix(address), options, handler, owner);
    if (!stream || !start_passage(stream, deadline_ns, on_connect_due)) {
        free(stream);
        return NULL;
    }
    stream->passage->address = *address;
    stream->state = CONNECTING;
    enter_loop(stream);
    int result = loop->transport->connect(loop, address, options);
    if (result >= 0) {
        stream->fd = result;
        result = add_to_loop(stream);
    }
    if (result < 0) break_stream(stream, MANTIS_CONNECT_FAILED, -result);
    return stream;
}

mp_stream *mp_stream_adopt(mp_loop *loop, int fd, bool is_unix, const mp_stream_options *options) {
    static const mp_stream_handler nobody;
    mp_stream *stream = new_stream(loop, is_unix, options, &nobody, NULL);
    if (stream) stream->fd = fd;
    return stream;
}

/* ---- moving ---- */

static void arrive(mp_post *post, mp_loop *loop) {
    mp_stream *stream = mp_container_of(post, mp_stream, in.post);
    stream->state = OPEN;
    enter_loop(stream);
    loop->counts.held_bytes += held_bytes(stream);
    bool is_due = stream->silent != 0;
    stream->silent = 0;
    if (is_due) expect_answer(stream);
    int result = add_to_loop(stream);
    if (result < 0) break_stream(stream, MANTIS_IO, -result);
    mark(stream, stream->kept ? MP_EVENT_AGAIN : 0);
    tell_open(stream);
}

static void depart(mp_stream *stream, mp_loop *to) {
    mp_loop *loop = stream->loop;
    mp_stream_write_gathered(loop);
    if (stream->state != LOOSE) loop->transport->remove(loop, stream->fd);
    loop->counts.held_bytes -= held_bytes(stream);
    leave_loop(stream);
    stream->loop = to;
    stream->in.post = (mp_post){.run = arrive};
    mp_loop_post(to, &stream->in.post);
}

void mp_stream_detach(mp_stream *stream, mp_loop *to, const mp_stream_handler *handler,
                      void *owner) {
    mp_assert(stream->state == LOOSE || stream->state == OPEN);
    mp_stream_set_handler(stream, handler, owner);
    if (stream->loop->running == stream) {
        stream->loop->running = NULL;
        stream->loop->running_to = to;
    } else depart(stream, to);
}

void mp_stream_set_handler(mp_stream *stream, const mp_stream_handler *handler, void *owner) {
    stream->handler = handler;
    stream->owner = owner;
}

/* ---- going ---- */

static void on_close_due(mp_timer *timer, mp_loop *loop) {
    (void)loop;
    finish_closing(mp_container_of(timer, passage, deadline)->stream);
}

/* It is over; its owner is told in the stream's turn. */
static void close_now(mp_stream *stream) {
    if (!stream->handler->on_closed || stream->state == LOOSE) {
        die(stream);
        return;
    }
    close_socket(stream);
    stream->state = CLOSING;
    mark(stream, MP_EVENT_CLOSED);
}

void mp_stream_close(mp_stream *stream, int64_t deadline_ns) {
    if (!stream) return;
    mp_loop *loop = stream->loop;
    leave_turn(stream);
    mp_stream_write_gathered(loop);
    drop_passage(stream);
    drop_kept(stream);
    bool is_over_already = stream->broken_status || (stream->is_ended && !stream->backlog);
    if (stream->state != OPEN || is_over_already ||
        !start_passage(stream, deadline_ns, on_close_due)) {
        close_now(stream);
        return;
    }
    stream->state = CLOSING;
    if (!stream->backlog) loop->transport->shut(loop, stream->fd);
    mark(stream, 0);
}

void mp_stream_abort(mp_stream *stream) {
    if (!stream) return;
    leave_turn(stream);
    forget_gathered(stream);
    die(stream);
}

void mp_stream_finish_all(mp_loop *loop) {
    while (!mp_list_is_empty(&loop->streams)) {
        mp_stream *stream = mp_container_of(loop->streams.head, mp_stream, in.node);
        mp_assert(stream->state == CLOSING);
        finish_closing(stream);
    }
    mp_stream_free_dead(loop);
}

/* ---- what is known ---- */

int mp_stream_fd(const mp_stream *stream) { return stream->fd; }
mp_loop *mp_stream_loop(const mp_stream *stream) { return stream->loop; }
bool mp_stream_is_unix(const mp_stream *stream) { return stream->is_unix; }
bool mp_stream_is_paused(const mp_stream *stream) { return stream->is_paused; }
bool mp_stream_is_full(const mp_stream *stream) { return stream->is_full; }
size_t mp_stream_backlog(const mp_stream *stream) { return stream->backlog_bytes; }
uint64_t mp_stream_received(const mp_stream *stream) { return stream->received; }
uint64_t mp_stream_sent(const mp_stream *stream) { return stream->sent; }

bool mp_stream_local(const mp_stream *stream, mp_address *out) {
    return stream->loop->transport->name(stream->loop, stream->fd, false, out);
}

bool mp_stream_remote(const mp_stream *stream, mp_address *out) {
    return stream->loop->transport->name(stream->loop, stream->fd, true, out);
}

bool mp_stream_peer(const mp_stream *stream, uint32_t *out_uid, uint32_t *out_pid) {
    return stream->is_unix &&
           stream->loop->transport->peer(stream->loop, stream->fd, out_uid, out_pid);
}
