/* One connection to a Redis server: commands out, replies in, on a context of hiredis. hiredis
 * reads and parses; what is written goes out here, since hiredis would let SIGPIPE end a program
 * whose server has gone. */
#ifndef MP_CONNECTORS_REDIS_WIRE_H
#define MP_CONNECTORS_REDIS_WIRE_H

#include "base/clock.h"
#include "connectors/redis_dsn.h"

#include <hiredis/hiredis.h>
#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>

/* The borrower sees the context alone; the way back here is the privdata of its reader. */
typedef struct mp_redis_wire {
    /* set at open, then const */
    redisContext *context;
    const mp_redis_dsn *dsn; /* of the place */
    /* holder only: the request being put together */
    char *request;
    size_t request_size, request_room;
    bool is_out_of_memory;
    struct mp_redis_wire *next; /* for who opened it */
} mp_redis_wire;

/* One word of a command. */
typedef struct mp_redis_word {
    const void *data;
    size_t size;
} mp_redis_word;

#define MP_REDIS_WORD(literal)                                                                     \
    (mp_redis_word) { literal, sizeof literal - 1 }

/* A connection on a connected socket, which is its own then. NULL: no memory.
 * Owner   the caller, until mp_redis_wire_close(). */
mp_redis_wire *mp_redis_wire_open(int fd, const mp_redis_dsn *dsn);

/* Close it without a goodbye. Never blocks. */
void mp_redis_wire_close(mp_redis_wire *wire);

/* The connection behind a context. NULL: its borrower has called redisReconnect(), and it is of no
 * use any more. */
static inline mp_redis_wire *mp_redis_wire_of(const redisContext *context) {
    return context->reader ? (mp_redis_wire *)context->reader->privdata : NULL;
}

/* Has it failed, has the server closed it, or is it out of step? One system call. */
bool mp_redis_wire_is_broken(const redisContext *context);

/* Can it be used, as far as is known? wire may be NULL.
 * Errors  IO */
mantis_status mp_redis_wire_check(const mp_redis_wire *wire, mantis_error *error);

/* Let no one use it again. */
void mp_redis_wire_fail(mp_redis_wire *wire, const char *why);

/* Add a command to the request. If memory is out, mp_redis_wire_send() says so. */
void mp_redis_wire_add(mp_redis_wire *wire, const mp_redis_word *words, size_t count);

/* Send the request, and empty it. With MP_NEVER_NS for the deadline timeout_ms of the DSN is the
 * limit of each silence.
 * Errors  IO NOMEM */
mantis_status mp_redis_wire_send(mp_redis_wire *wire, int64_t deadline_ns, mantis_error *error);

/* Read the next reply, which may also be an error that the server answered.
 * Owner   the caller frees *out with freeReplyObject().
 * Errors  IO NOMEM: the connection is broken now */
mantis_status mp_redis_wire_read(mp_redis_wire *wire, int64_t deadline_ns, redisReply **out,
                                 mantis_error *error);

/* The status, and the text, of a reply that is not what the command asked for.
 * Errors  INVALID FULL IO UNSUPPORTED, as the server says */
mantis_status mp_redis_wire_refuse(mp_redis_wire *wire, const char *command,
                                   const redisReply *reply, mantis_error *error);

typedef enum mp_redis_greeting {
    MP_REDIS_OPEN,  /* log in, choose the database */
    MP_REDIS_CHECK, /* is it there, and the primary if that is asked for? */
    MP_REDIS_RESET  /* forget what the borrower did, then as for open */
} mp_redis_greeting;

/* Bring the connection into the state that the DSN asks for, in one round trip.
 * Errors  IO NOMEM CONNECT_FAILED (the server refuses; the text has its answer) */
mantis_status mp_redis_wire_greet(mp_redis_wire *wire, mp_redis_greeting greeting,
                                  int64_t deadline_ns, mantis_error *error);

#endif
