/* Two loops and connections between them, on the kernel's sockets or the simulated network, so that
 * one test body runs on both. Single-threaded: the loops take turns. */
#ifndef MP_TESTS_NET_WORLD_H
#define MP_TESTS_NET_WORLD_H

#include "lib/tap.h"
#include "net/listen.h"
#include "net/sim.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define LOOPS 2

typedef enum world_kind { OVER_TCP, OVER_FILES, OVER_SIM, OVER_HARSH_SIM } world_kind;

typedef struct world {
    world_kind kind;
    mp_loop *loops[LOOPS];
    mp_sim *sim; /* NULL: the kernel */
    mp_listen *listen;
    mp_address address;  /* where it listens */
    mp_stream *accepted; /* the newest */
} world;

/* One end of a connection: it sends numbered bytes, and checks that it gets them in order. */
typedef struct end {
    mp_stream *stream;
    world *world;
    uint32_t number; /* of its sequence: both ends of a pair send their own */
    struct end *peer;
    uint64_t got, sent; /* bytes */
    size_t leaves;      /* on_bytes leaves this many, while the stream goes on */
    bool pauses;        /* in on_bytes, before it consumes anything */
    uint32_t opened, calls, ended, filled, drained, hangups, gone, closed;
    mantis_error error;                                                       /* of on_end */
    void (*on_call)(struct end *end, const unsigned char *data, size_t size); /* in on_bytes */
} end;

extern const mp_stream_handler end_handler;

void world_open(world *w, world_kind kind, uint64_t seed);
void world_open_config(world *w, world_kind kind, uint64_t seed, const mp_loop_config *config);
void world_close(world *w); /* closes what is open */

/* A connection: a connects on loop 0, b is accepted on loop 1. */
void world_connect(world *w, end *a, end *b);

/* Let the loops run for a moment. False: nothing will happen any more (simulated only). */
bool world_step(world *w);

/* Let time pass. */
void world_run_for(world *w, int64_t ns);
int64_t world_now_ns(const world *w);

/* Until the condition holds, at most 20 s. */
#define world_until(w, condition)                                                                  \
    do {                                                                                           \
        int64_t end_ns_ = world_now_ns(w) + 20 * SECOND;                                           \
        while (!(condition)) check(world_step(w) && world_now_ns(w) < end_ns_);                    \
    } while (0)

/* Send the next bytes of the end's sequence, in one call. */
void end_send(end *end, size_t size);

/* Close without ado. */
void end_abort(end *end);

/* A test body that runs over each kind of connection; over the harsh simulator with many seeds. */
void world_each(world_kind kind, void (*body)(world *w));
#define EACH(name)                                                                                 \
    static void name(world *w);                                                                    \
    TEST(name##_over_tcp) { world_each(OVER_TCP, name); }                                          \
    TEST(name##_over_socket_files) { world_each(OVER_FILES, name); }                               \
    TEST(name##_over_the_simulated_network) { world_each(OVER_SIM, name); }                        \
    TEST(name##_over_a_harsh_network) { world_each(OVER_HARSH_SIM, name); }                        \
    static void name(world *w)

#endif
