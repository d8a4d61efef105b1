/* A network in memory as a transport. A wire has two ends; what one end writes is under way until
 * an event lets some or all of it arrive at the other, where it is read from. */
#include "net/sim.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"
#include "net/transport.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)64 << 10)
#define WATCHES_MAX 16                  /* of one loop */
#define KEEPALIVE_NS (14 * MP_NS_PER_S) /* until an idle end finds that the other is silent */
#define EVERYTHING (MP_EVENT_READ | MP_EVENT_WRITE | MP_EVENT_LAST | MP_EVENT_GONE)

/* One end, with what it wrote and the other has not read. */
typedef struct end {
    bool is_open, is_connecting, is_silent, is_refused, hears_write;
    bool is_last, last_arrived; /* nothing is written behind these bytes */
    int last_errno;             /* with which they end there; 0: in good order */
    int error;                  /* its own: what a read says when all is read; -1: was said */
    int events;                 /* for the next wait of its loop */
    struct place *place;        /* its loop; NULL: none */
    mp_ready *ready;
    unsigned char *bytes;
    size_t arrived, size;            /* of bytes: the first of them are there */
    uint64_t written, lost;          /* lost: into the silence */
    uint64_t strikes_at;             /* when so much is written */
    int strike;                      /* MP_SIM_*; -1: none */
    mp_heap_node arrival, keepalive; /* in the network's */
} end;

typedef struct wire {
    end ends[2]; /* the first one has connected */
    bool is_unix;
    mp_address client, server;
} wire;

/* A loop on the network. */
typedef struct place {
    mp_sim *sim;
    mp_loop *loop;
    mp_watch *watches[WATCHES_MAX];
    struct place *next;
} place;

typedef struct service {
    mp_address address;
    void (*on_accept)(mp_stream *stream, void *tag, void *arg);
    void *arg;
    struct service *next;
} service;

struct mp_sim {
    mp_sim_config config;
    mp_random random;
    int64_t now_ns;
    mp_heap arrivals, keepalives;
    wire **wires; /* the ends of the first have the descriptors 0 and 1, and so on; NULL: free */
    size_t wires_size;
    place *places;
    service *services;
};

static mp_sim *sim_of(const mp_loop *loop) { return ((place *)loop->place)->sim; }
static wire *wire_of(const mp_loop *loop, int fd) { return sim_of(loop)->wires[fd / 2]; }
static end *end_of(const mp_loop *loop, int fd) { return &wire_of(loop, fd)->ends[fd % 2]; }
static end *other_of(const mp_loop *loop, int fd) { return end_of(loop, fd ^ 1); }

static bool is_hit(mp_sim *sim, uint32_t percent) {
    return percent && mp_random_below(&sim->random, 100) < percent;
}

/* ---- wires ---- */

static void init_end(mp_sim *sim, end *e) {
    e->strike = -1;
    e->bytes = malloc(sim->config.buffer_bytes);
    mp_assert(e->bytes); /* this is for tests: they have memory */
}

/* The descriptor of the first end of a new wire. */
static int new_wire(mp_sim *sim) {
    size_t at = 0;
    while (at < sim->wires_size && sim->wires[at]) at++;
    if (at == sim->wires_size) {
        size_t size = at ? at * 2 : 16;
        sim->wires = realloc(sim->wires, size * sizeof *sim->wires);
        mp_assert(sim->wires);
        memset(sim->wires + at, 0, (size - at) * sizeof *sim->wires);
        sim->wires_size = size;
    }
    wire *w = sim->wires[at] = calloc(1, sizeof *w);
    mp_assert(w);
    for (int i = 0; i < 2; i++) init_end(sim, &w->ends[i]);
    return (int)at * 2;
}

static void free_wire(mp_sim *sim, int fd) {
    wire *w = sim->wires[fd / 2];
    for (int i = 0; i < 2; i++) {
        mp_heap_remove(&sim->arrivals, &w->ends[i].arrival);
        mp_heap_remove(&sim->keepalives, &w->ends[i].keepalive);
        free(w->ends[i].bytes);
    }
    free(w);
    sim->wires[fd / 2] = NULL;
}

/* What is under way from this end, or its connect, comes nearer. */
static void send_off(mp_sim *sim, end *e) {
    if (e->arrival.is_in) return;
    uint64_t max_ns = (uint64_t)sim->config.delay_max_ns;
    int64_t delay_ns = max_ns ? (int64_t)mp_random_below(&sim->random, max_ns) : 0;
    mp_heap_push(&sim->arrivals, &e->arrival, sim->now_ns + delay_ns);
}

static void fail_end(end *e, int os_errno) {
    if (e->error) return;
    e->error = os_errno;
    e->events |= EVERYTHING;
}

static void strike_now(mp_sim *sim, end *e, end *other) {
    int what = e->strike;
    e->strike = -1;
    if (e->is_silent) return;
    if (what == MP_SIM_SILENT) {
        e->is_silent = other->is_silent = true;
        mp_heap_push(&sim->keepalives, &e->keepalive, sim->now_ns + KEEPALIVE_NS);
        mp_heap_push(&sim->keepalives, &other->keepalive, sim->now_ns + KEEPALIVE_NS);
        return;
    }
    if (what == MP_SIM_RESET) e->last_errno = ECONNRESET;
    e->is_last = true;
    fail_end(e, ECONNRESET);
    send_off(sim, e);
}

/* ---- what arrives ---- */

static void arrive_connect(mp_sim *sim, int fd) {
    wire *w = sim->wires[fd / 2];
    end *client = &w->ends[0], *server = &w->ends[1];
    service *found = sim->services;
    while (found && (found->address.size != w->server.size ||
                     memcmp(&found->address.u, &w->server.u, w->server.size) != 0))
        found = found->next;
    client->is_connecting = false;
    if (!found || !found->on_accept) {
        fail_end(client, ECONNREFUSED);
        return;
    }
    client->events |= MP_EVENT_WRITE;
    server->is_open = true;
    static const mp_stream_options options;
    mp_stream *stream = mp_stream_adopt(client->place->loop, fd + 1, w->is_unix, &options);
    mp_assert(stream);
    found->on_accept(stream, NULL, found->arg);
}

/* Some of what is under way is there; the rest comes later. */
static void arrive_bytes(mp_sim *sim, end *e, end *other) {
    if (!other->is_open || other->error) { /* nobody is there */
        bool is_answered = e->size > 0;
        e->size = e->arrived = 0;
        if (is_answered) fail_end(e, ECONNRESET);
        return;
    }
    size_t left = e->size - e->arrived, count = left;
    if (left > 1 && is_hit(sim, sim->config.split))
        count = 1 + (size_t)mp_random_below(&sim->random, left - 1);
    e->arrived += count;
    if (count) other->events |= MP_EVENT_READ;
    if (e->arrived < e->size) {
        send_off(sim, e);
    } else if (e->is_last && !e->last_arrived) {
        e->last_arrived = true;
        other->events |= MP_EVENT_READ | MP_EVENT_LAST | (other->is_last ? MP_EVENT_GONE : 0);
        if (e->last_errno) fail_end(other, e->last_errno);
    }
}

/* The wire of which this is an end: its first descriptor. */
static int find_wire(const mp_sim *sim, const end *e) {
    size_t at = 0;
    while (!sim->wires[at] || (e != &sim->wires[at]->ends[0] && e != &sim->wires[at]->ends[1]))
        at++;
    return (int)at * 2;
}

static void run_arrivals(mp_sim *sim) {
    mp_heap_node *node;
    while ((node = mp_heap_first(&sim->arrivals)) && node->due_ns <= sim->now_ns) {
        end *e = mp_container_of(node, end, arrival);
        mp_heap_remove(&sim->arrivals, node);
        int fd = find_wire(sim, e);
        wire *w = sim->wires[fd / 2];
        if (e->is_silent) continue;
        if (e->is_connecting) arrive_connect(sim, fd);
        else arrive_bytes(sim, e, e == &w->ends[0] ? &w->ends[1] : &w->ends[0]);
    }
    while ((node = mp_heap_first(&sim->keepalives)) && node->due_ns <= sim->now_ns) {
        end *e = mp_container_of(node, end, keepalive);
        mp_heap_remove(&sim->keepalives, node);
        if (!e->lost) fail_end(e, ETIMEDOUT); /* else there is something unanswered */
    }
}

/* ---- the transport: waiting ---- */

/* In any order: bytes of different wires overtake each other. */
static void mark_ends(place *at) {
    mp_sim *sim = at->sim;
    size_t count = sim->wires_size * 2;
    size_t first = count ? (size_t)mp_random_below(&sim->random, count) : 0;
    bool is_stray = is_hit(sim, sim->config.stray);
    for (size_t i = 0; i < count; i++) {
        size_t fd = (first + i) % count;
        wire *w = sim->wires[fd / 2];
        end *e = w ? &w->ends[fd % 2] : NULL;
        if (!e || e->place != at) continue;
        if (is_stray && !e->is_connecting) e->events |= MP_EVENT_READ | MP_EVENT_WRITE;
        is_stray = false;
        if (!e->hears_write) e->events &= ~MP_EVENT_WRITE;
        if (e->events) mp_loop_mark(at->loop, e->ready, e->events);
        e->events = 0;
    }
}

/* Watches are on real descriptors. */
static bool poll_watches(place *at, bool marks) {
    bool is_any = false;
    for (int i = 0; i < WATCHES_MAX; i++) {
        mp_watch *watch = at->watches[i];
        if (!watch) continue;
        struct pollfd one = {.fd = watch->fd};
        if (watch->wanted & MP_WATCH_READ) one.events |= POLLIN;
        if (watch->wanted & MP_WATCH_WRITE) one.events |= POLLOUT;
        if (poll(&one, 1, 0) <= 0) continue;
        is_any = true;
        if (marks) mp_loop_mark(at->loop, &watch->ready, watch->wanted);
    }
    return is_any;
}

static int64_t sim_wait(mp_loop *loop, int64_t until_ns) {
    (void)until_ns; /* mp_sim_run() lets the clock go on */
    mark_ends(loop->place);
    (void)poll_watches(loop->place, true);
    return sim_of(loop)->now_ns;
}

static void sim_wake(mp_loop *loop) { (void)loop; }

static void sim_finish(mp_loop *loop) {
    place *at = loop->place, **link = &at->sim->places;
    while (*link != at) link = &(*link)->next;
    *link = at->next;
    free(at);
}

static int sim_watch(mp_loop *loop, mp_watch *watch, int events) {
    place *at = loop->place;
    const mp_watch *sought = watch->wanted ? watch : NULL;
    for (int i = 0; i < WATCHES_MAX; i++) {
        if (at->watches[i] != sought) continue;
        at->watches[i] = events ? watch : NULL;
        return 0;
    }
    return -ENOSPC;
}

static int sim_add(mp_loop *loop, int fd, mp_ready *ready, bool hears_write) {
    end *e = end_of(loop, fd), *other = other_of(loop, fd);
    e->place = loop->place;
    e->ready = ready;
    e->hears_write = hears_write;
    if (e->is_connecting) return 0;
    e->events |= MP_EVENT_WRITE;
    if (other->arrived) e->events |= MP_EVENT_READ;
    if (other->last_arrived) e->events |= MP_EVENT_READ | MP_EVENT_LAST;
    if (e->error) e->events |= EVERYTHING;
    return 0;
}

static void sim_hear_write(mp_loop *loop, int fd, mp_ready *ready, bool hears_write) {
    (void)ready;
    end *e = end_of(loop, fd);
    e->hears_write = hears_write;
    if (!e->is_connecting && e->size < sim_of(loop)->config.buffer_bytes)
        e->events |= MP_EVENT_WRITE;
}

static void sim_remove(mp_loop *loop, int fd) {
    end_of(loop, fd)->place = NULL;
    end_of(loop, fd)->events = 0;
}

/* ---- the transport: one end ---- */

static int sim_connect(mp_loop *loop, const mp_address *address, const mp_stream_options *options) {
    (void)options;
    mp_sim *sim = sim_of(loop);
    int fd = new_wire(sim);
    wire *w = wire_of(loop, fd);
    w->is_unix = mp_address_is_unix(address);
    w->server = *address;
    (void)mp_address_parse(&w->client, "127.0.0.1", 32768 + (uint32_t)fd);
    w->ends[0].is_open = w->ends[0].is_connecting = true;
    send_off(sim, &w->ends[0]);
    return fd;
}

static int sim_connect_result(mp_loop *loop, int fd) { return end_of(loop, fd)->error; }

static ssize_t sim_read(mp_loop *loop, int fd, void *buffer, size_t size) {
    end *e = end_of(loop, fd), *other = other_of(loop, fd);
    size_t count = other->arrived < size ? other->arrived : size;
    if (count) {
        memcpy(buffer, other->bytes, count);
        memmove(other->bytes, other->bytes + count, other->size - count);
        other->size -= count;
        other->arrived -= count;
        if (other->is_refused) other->events |= MP_EVENT_WRITE;
        other->is_refused = false;
        return (ssize_t)count;
    }
    int os_errno = e->error;
    if (os_errno) e->error = -1; /* said once; behind it is the end */
    if (os_errno > 0) return -os_errno;
    return os_errno < 0 || other->last_arrived ? 0 : -EAGAIN;
}

/* How much of it is taken now? If not all, an event says when there is room again. */
static size_t room_for(mp_sim *sim, end *e, size_t wanted) {
    size_t room = sim->config.buffer_bytes - e->size;
    if (e->strike >= 0 && e->strikes_at - e->written < room)
        room = (size_t)(e->strikes_at - e->written);
    size_t count = wanted < room ? wanted : room;
    if (count > 1 && is_hit(sim, sim->config.split))
        count = 1 + (size_t)mp_random_below(&sim->random, count);
    if (is_hit(sim, sim->config.refuse)) count = 0;
    if (count < wanted) e->is_refused = true;
    if (count < wanted && count < room) e->events |= MP_EVENT_WRITE;
    return count;
}

static ssize_t sim_write(mp_loop *loop, int fd, const struct iovec *pieces, uint32_t count) {
    mp_sim *sim = sim_of(loop);
    end *e = end_of(loop, fd), *other = other_of(loop, fd);
    if (e->error || e->is_last) return -EPIPE;
    size_t wanted = 0, taken = 0;
    for (uint32_t i = 0; i < count; i++) wanted += pieces[i].iov_len;
    size_t room = room_for(sim, e, wanted);
    for (uint32_t i = 0; i < count && taken < room; i++) {
        size_t part = pieces[i].iov_len < room - taken ? pieces[i].iov_len : room - taken;
        memcpy(e->bytes + e->size, pieces[i].iov_base, part);
        e->size += part;
        taken += part;
    }
    e->written += taken;
    if (e->is_silent) e->lost += taken;
    else if (taken) send_off(sim, e);
    if (e->strike >= 0 && e->written == e->strikes_at) strike_now(sim, e, other);
    return taken ? (ssize_t)taken : -EAGAIN;
}

static void sim_shut(mp_loop *loop, int fd) {
    end *e = end_of(loop, fd);
    if (e->is_last) return;
    e->is_last = true;
    if (other_of(loop, fd)->last_arrived) e->events |= MP_EVENT_GONE;
    send_off(sim_of(loop), e);
}

static void sim_close(mp_loop *loop, int fd) {
    mp_sim *sim = sim_of(loop);
    end *e = end_of(loop, fd), *other = other_of(loop, fd);
    e->is_open = false;
    e->place = NULL;
    e->events = 0;
    if (!other->is_open) {
        free_wire(sim, fd);
        return;
    }
    if (other->size) e->last_errno = ECONNRESET; /* what was never read makes it a reset */
    e->is_last = true;
    send_off(sim, e);
}

static mp_answer sim_answer(mp_loop *loop, int fd, int64_t silent_ns) {
    (void)silent_ns;
    const end *e = end_of(loop, fd);
    if (e->is_silent && e->lost) return MP_ANSWER_MISSING;
    return e->size ? MP_ANSWER_DUE : MP_ANSWERED; /* as if its window were closed */
}

static bool sim_name(mp_loop *loop, int fd, bool is_remote, mp_address *out) {
    const wire *w = wire_of(loop, fd);
    *out = (fd % 2 == 0) == is_remote ? w->server : w->client;
    return true;
}

static bool sim_peer(mp_loop *loop, int fd, uint32_t *out_uid, uint32_t *out_pid) {
    (void)loop, (void)fd;
    *out_uid = getuid();
    *out_pid = (uint32_t)getpid();
    return true;
}

static const mp_transport sim_transport = {.wait = sim_wait,
                                           .wake = sim_wake,
                                           .finish = sim_finish,
                                           .add = sim_add,
                                           .hear_write = sim_hear_write,
                                           .remove = sim_remove,
                                           .watch = sim_watch,
                                           .connect = sim_connect,
                                           .connect_result = sim_connect_result,
                                           .read = sim_read,
                                           .write = sim_write,
                                           .shut = sim_shut,
                                           .close = sim_close,
                                           .answer = sim_answer,
                                           .name = sim_name,
                                           .peer = sim_peer};

/* ---- the network ---- */

mantis_status mp_sim_open(mp_sim **out, const mp_sim_config *config, int64_t start_ns,
                          mantis_error *error) {
    mp_sim *sim = calloc(1, sizeof *sim);
    if (!sim) return mp_error_set(error, MANTIS_NOMEM, "no memory for a network");
    sim->config = *config;
    if (!sim->config.buffer_bytes) sim->config.buffer_bytes = BUFFER_BYTES;
    mp_random_start(&sim->random, config->seed);
    sim->config.seed = sim->random.state;
    sim->now_ns = start_ns;
    *out = sim;
    return MANTIS_OK;
}

void mp_sim_close(mp_sim **sim) {
    if (!sim || !*sim) return;
    mp_sim *closing = *sim;
    *sim = NULL;
    mp_assert(!closing->places);
    for (size_t i = 0; i < closing->wires_size; i++)
        if (closing->wires[i]) free_wire(closing, (int)i * 2);
    while (closing->services) {
        service *first = closing->services;
        closing->services = first->next;
        free(first);
    }
    free(closing->wires);
    free(closing);
}

mantis_status mp_sim_open_loop(mp_sim *sim, mp_loop **out, const mp_loop_config *config,
                               mantis_error *error) {
    place *at = calloc(1, sizeof *at);
    if (!at) return mp_error_set(error, MANTIS_NOMEM, "no memory for an event loop");
    mantis_status status = mp_loop_open_on(out, &sim_transport, at, config, error);
    if (status != MANTIS_OK) {
        free(at);
        return status;
    }
    *at = (place){.sim = sim, .loop = *out, .next = sim->places};
    (*out)->now_ns = sim->now_ns;
    sim->places = at;
    return MANTIS_OK;
}

void mp_sim_listen(mp_sim *sim, const mp_address *address,
                   void (*on_accept)(mp_stream *stream, void *tag, void *arg), void *arg) {
    service *added = calloc(1, sizeof *added);
    mp_assert(added);
    *added = (service){*address, on_accept, arg, sim->services}; /* hides an older one */
    sim->services = added;
}

int64_t mp_sim_now_ns(const mp_sim *sim) { return sim->now_ns; }
uint64_t mp_sim_seed(const mp_sim *sim) { return sim->config.seed; }

uint64_t mp_sim_random(mp_sim *sim, uint64_t below) { return mp_random_below(&sim->random, below); }

void mp_sim_strike(mp_stream *stream, int what, uint64_t after) {
    mp_loop *loop = mp_stream_loop(stream);
    end *e = end_of(loop, mp_stream_fd(stream));
    e->strike = what;
    e->strikes_at = e->written + after;
    if (after == 0) strike_now(sim_of(loop), e, other_of(loop, mp_stream_fd(stream)));
}

static int64_t due_of(const mp_heap *heap) {
    const mp_heap_node *first = mp_heap_first(heap);
    return first ? first->due_ns : MP_NEVER_NS;
}

/* When has this loop something to do? */
static int64_t due_of_loop(place *at) {
    const mp_sim *sim = at->sim;
    mp_loop *loop = at->loop;
    if (!mp_list_is_empty(&loop->ready) || loop->locked.first || loop->gather.count ||
        poll_watches(at, false))
        return sim->now_ns;
    for (size_t i = 0; i < sim->wires_size * 2; i++) {
        const wire *w = sim->wires[i / 2];
        if (w && w->ends[i % 2].place == at && w->ends[i % 2].events) return sim->now_ns;
    }
    return due_of(&loop->timers);
}

bool mp_sim_run(mp_sim *sim, int64_t until_ns) {
    run_arrivals(sim);
    int64_t next_ns = due_of(&sim->arrivals);
    if (due_of(&sim->keepalives) < next_ns) next_ns = due_of(&sim->keepalives);
    place *chosen = NULL;
    uint64_t count = 0;
    for (place *at = sim->places; at; at = at->next) {
        int64_t due_ns = due_of_loop(at);
        if (due_ns < next_ns) next_ns = due_ns;
        if (due_ns <= sim->now_ns && mp_random_below(&sim->random, ++count) == 0) chosen = at;
    }
    if (chosen) {
        mp_loop_turn(chosen->loop, 0);
        return true;
    }
    bool is_over = next_ns > until_ns || next_ns == MP_NEVER_NS;
    if (!is_over) sim->now_ns = next_ns;
    else if (until_ns != MP_NEVER_NS) sim->now_ns = until_ns;
    return !is_over;
}
