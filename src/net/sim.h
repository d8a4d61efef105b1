/* A network in memory under the same loop and streams: one thread, a clock of its own, everything
 * decided by a seed. Sessions run on it unchanged.
 *
 * Bytes are split anywhere, late by a random time, in order on each connection and in any order
 * between them; writes are taken in part or refused; readiness comes edge-triggered and also for
 * nothing. Connections die after any byte, by an end or by a reset, or fall silent and swallow what
 * is sent. The same seed and the same calls give the same run. */
#ifndef MP_NET_SIM_H
#define MP_NET_SIM_H

#include "net/stream.h"

typedef struct mp_sim mp_sim;

/* How unkind it is. Zeroed: bytes arrive at once and whole. Percents are of calls. */
typedef struct mp_sim_config {
    uint64_t seed;         /* 0: one from the system, see mp_sim_seed() */
    int64_t delay_max_ns;  /* of bytes, ends and connects on the way */
    uint32_t split;        /* % of reads and writes that are cut short, anywhere */
    uint32_t refuse;       /* % of writes that are refused */
    uint32_t stray;        /* % of turns with an event for nothing */
    uint32_t buffer_bytes; /* of one direction of a connection; 0: 64 KiB */
} mp_sim_config;

/* Open a network whose clock begins at start_ns.
 * Owner   the caller, until mp_sim_close(), after its loops.
 * Errors  NOMEM */
mantis_status mp_sim_open(mp_sim **out, const mp_sim_config *config, int64_t start_ns,
                          mantis_error *error);
void mp_sim_close(mp_sim **sim);

/* A loop on this network. There may be several, as many workers as there would be threads.
 * Errors  NOMEM */
mantis_status mp_sim_open_loop(mp_sim *sim, mp_loop **out, const mp_loop_config *config,
                               mantis_error *error);

/* Turn one of the loops that has something to do, chosen at random; if none has, let the clock go
 * on to the next event or timer. False: nothing will happen any more before until_ns, and the clock
 * stands there. */
bool mp_sim_run(mp_sim *sim, int64_t until_ns);

int64_t mp_sim_now_ns(const mp_sim *sim);
uint64_t mp_sim_seed(const mp_sim *sim);
uint64_t mp_sim_random(mp_sim *sim, uint64_t below); /* from the same sequence */

/* Have connects to this address accepted: the other end comes as a stream without a loop, as
 * mp_listen does. Without it they are refused. A NULL on_accept ends it. */
void mp_sim_listen(mp_sim *sim, const mp_address *address,
                   void (*on_accept)(mp_stream *stream, void *tag, void *arg), void *arg);

/* What can happen to a connection. Each strikes when `after` more bytes have been sent by this end
 * to the other; bytes before it arrive. */
enum {
    MP_SIM_END,   /* this end says its last word */
    MP_SIM_RESET, /* both ends fail */
    MP_SIM_SILENT /* nothing arrives any more either way: half-open */
};
void mp_sim_strike(mp_stream *stream, int what, uint64_t after);

#endif
