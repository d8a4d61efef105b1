/* The world of a test: loops, connections, ends that count. */
#include "world.h"

#include "base/clock.h"

#include <stdio.h>

#define HARSH_SEEDS 60

/* ---- ends ---- */

static unsigned char byte_at(uint32_t number, uint64_t position) {
    return (unsigned char)(position * 7 + (position >> 8) * 13 + (position >> 16) + number);
}

static void on_open(mp_stream *stream, void *owner) {
    end *e = owner;
    e->stream = stream;
    e->opened++;
}

static size_t on_bytes(mp_stream *stream, const unsigned char *data, size_t size, void *owner) {
    end *e = owner;
    check(e->stream == stream && !e->ended);
    e->calls++;
    for (size_t i = 0; i < size; i++) check(data[i] == byte_at(e->peer->number, e->got + i));
    if (e->pauses) {
        mp_stream_pause(stream);
        return 0;
    }
    if (e->on_call) e->on_call(e, data, size);
    size_t consumed = size - (e->leaves < size ? e->leaves : size);
    e->got += consumed;
    return consumed;
}

static void on_end(mp_stream *stream, const mantis_error *error, void *owner) {
    end *e = owner;
    check(e->stream == stream || !e->stream);
    check(++e->ended == 1);
    if (error) e->error = *error;
}

static void on_full(mp_stream *stream, void *owner) {
    end *e = owner;
    check(mp_stream_is_full(stream) && e->filled++ == e->drained);
}

static void on_drained(mp_stream *stream, void *owner) {
    end *e = owner;
    check(!mp_stream_is_full(stream) && mp_stream_backlog(stream) == 0);
    check(++e->drained == e->filled);
}

static void on_hangup(mp_stream *stream, bool is_gone, void *owner) {
    (void)stream;
    end *e = owner;
    e->hangups++;
    e->gone += is_gone;
}

static void on_closed(void *owner) {
    end *e = owner;
    check(++e->closed == 1);
}

const mp_stream_handler end_handler = {.on_open = on_open,
                                       .on_bytes = on_bytes,
                                       .on_end = on_end,
                                       .on_full = on_full,
                                       .on_drained = on_drained,
                                       .on_hangup = on_hangup,
                                       .on_closed = on_closed};

void end_send(end *e, size_t size) {
    unsigned char *bytes = malloc(size);
    check(bytes);
    for (size_t i = 0; i < size; i++) bytes[i] = byte_at(e->number, e->sent + i);
    mp_stream_send(e->stream, bytes, size);
    memset(bytes, 0xee, size); /* it is ours again */
    free(bytes);
    e->sent += size;
}

void end_abort(end *e) {
    mp_stream_abort(e->stream);
    e->stream = NULL;
}

/* ---- the world ---- */

static void on_accept(mp_stream *stream, void *tag, void *arg) {
    (void)tag;
    ((world *)arg)->accepted = stream;
}

static void open_kernel(world *w, world_kind kind, const mp_loop_config *config) {
    for (int i = 0; i < LOOPS; i++) check(mp_loop_open(&w->loops[i], config, NULL) == MANTIS_OK);
    mp_listen_handler handler = {.on_accept = on_accept, .on_full = on_accept, .arg = w};
    mp_listen_config listener = {0};
    if (kind == OVER_TCP) check(mp_address_parse(&listener.address, "127.0.0.1", 0));
    else check(mp_address_set_path(&listener.address, "net-test.socket"));
    mp_listener *added = NULL;
    check(mp_listen_open(&w->listen, w->loops[0], &handler, NULL) == MANTIS_OK);
    check(mp_listen_add(w->listen, &listener, &added, NULL) == MANTIS_OK);
    w->address = *mp_listen_address(added);
}

void world_open_config(world *w, world_kind kind, uint64_t seed, const mp_loop_config *config) {
    *w = (world){.kind = kind};
    if (kind == OVER_TCP || kind == OVER_FILES) {
        const char *directory = getenv("TMPDIR");
        check(!directory || chdir(directory) == 0);
        open_kernel(w, kind, config);
        return;
    }
    mp_sim_config harsh = {.delay_max_ns = 3 * MS,
                           .split = 60,
                           .refuse = 10,
                           .stray = 10,
                           .buffer_bytes = 1000 + (uint32_t)(seed * 7919 % 100000)};
    if (kind == OVER_SIM) harsh = (mp_sim_config){0};
    harsh.seed = seed;
    check(mp_sim_open(&w->sim, &harsh, SECOND, NULL) == MANTIS_OK);
    for (int i = 0; i < LOOPS; i++)
        check(mp_sim_open_loop(w->sim, &w->loops[i], config, NULL) == MANTIS_OK);
    if (kind == OVER_HARSH_SIM && seed % 2) check(mp_address_set_path(&w->address, "/simulated"));
    else check(mp_address_parse(&w->address, "10.1.2.3", 5432));
    mp_sim_listen(w->sim, &w->address, on_accept, w);
}

void world_open(world *w, world_kind kind, uint64_t seed) {
    world_open_config(w, kind, seed, NULL);
}

void world_close(world *w) {
    mp_listen_close(&w->listen);
    for (int i = 0; i < LOOPS; i++) mp_loop_close(&w->loops[i]);
    mp_sim_close(&w->sim);
}

int64_t world_now_ns(const world *w) { return w->sim ? mp_sim_now_ns(w->sim) : mp_clock_now_ns(); }

bool world_step(world *w) {
    if (w->sim) return mp_sim_run(w->sim, MP_NEVER_NS);
    for (int i = 0; i < LOOPS; i++) mp_loop_turn(w->loops[i], mp_clock_now_ns() + MS / 4);
    return true;
}

void world_run_for(world *w, int64_t ns) {
    int64_t end_ns = world_now_ns(w) + ns;
    if (w->sim) {
        while (mp_sim_run(w->sim, end_ns)) {}
        return;
    }
    while (world_now_ns(w) < end_ns) (void)world_step(w);
}

void world_connect(world *w, end *a, end *b) {
    a->world = b->world = w;
    a->number = 1;
    b->number = 2;
    a->peer = b;
    b->peer = a;
    w->accepted = NULL;
    a->stream = mp_stream_connect(w->loops[0], &w->address, NULL, world_now_ns(w) + 10 * SECOND,
                                  &end_handler, a);
    check(a->stream);
    world_until(w, a->opened && w->accepted);
    mp_stream_detach(w->accepted, w->loops[1], &end_handler, b);
    world_until(w, b->opened);
}

void world_each(world_kind kind, void (*body)(world *w)) {
    uint64_t seeds = kind != OVER_HARSH_SIM ? 1 : tap_is_long() ? HARSH_SEEDS * 10 : HARSH_SEEDS;
    const char *only = getenv("MANTIS_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (only ? 1 : seeds); seed++) {
        if (kind == OVER_HARSH_SIM) printf("# seed %" PRIu64 "\r", seed);
        world w;
        world_open(&w, kind, seed);
        body(&w);
        world_close(&w);
    }
    if (kind == OVER_HARSH_SIM) printf("\n");
}
