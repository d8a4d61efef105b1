/* `redis://` DSNs as connections of a pool. Its operations block, each until its own deadline at
 * most, so they run on the library's threads; interrupt ends one sooner. */
#include <mantis/redis.h>

#include "base/error.h"
#include "connectors/redis_kv.h"
#include "connectors/redis_socket.h"
#include "connectors/redis_wire.h"

#include <stdlib.h>
#include <unistd.h>

/* What the connections of one pool share. */
typedef struct place {
    mp_redis_dsn dsn;     /* set at start, then const */
    mp_redis_works works; /* any thread, under its lock */
    mp_lock lock;
    mp_redis_wire *wires; /* all that are open; under lock */
} place;

static mantis_status start(void **out, const char *dsn, void *config_place, mantis_error *error) {
    (void)config_place;
    place *made = calloc(1, sizeof *made);
    if (!made) return mp_error_set(error, MANTIS_NOMEM, "redis: out of memory");
    mantis_status status = mp_redis_dsn_parse(dsn, &made->dsn, error);
    if (status == MANTIS_OK) *out = made;
    else free(made);
    return status;
}

static void stop(void *opened) {
    place *made = opened;
    if (!made) return;
    mp_redis_dsn_finish(&made->dsn);
    free(made);
}

/* Why an operation failed, for borrowers to read. */
static void complete_failed(const place *made, mantis_op *op, bool was_interrupted,
                            mantis_error *error) {
    if (was_interrupted)
        (void)mp_error_set(error, MANTIS_CONNECT_FAILED, "%s did not answer in time",
                           made->dsn.label);
    error->status = MANTIS_CONNECT_FAILED;
    (void)mantis_op_failed_with(op, error);
}

/* A connection that is logged in, or NULL. */
static mp_redis_wire *open_wire(place *made, mp_redis_work *work, int64_t deadline_ns,
                                mantis_error *error) {
    int fd = -1;
    if (mp_redis_socket_open(&made->dsn, work, deadline_ns, &fd, error) != MANTIS_OK) return NULL;
    mp_redis_wire *wire = mp_redis_wire_open(fd, &made->dsn);
    if (!wire) (void)mp_error_set(error, MANTIS_NOMEM, "out of memory for a connection");
    else if (mp_redis_wire_greet(wire, MP_REDIS_OPEN, deadline_ns, error) == MANTIS_OK) return wire;
    (void)mp_redis_work_set(work, -1);
    if (wire) mp_redis_wire_close(wire);
    else (void)close(fd);
    return NULL;
}

static void add_wire(place *made, mp_redis_wire *wire) {
    mp_lock_acquire(&made->lock);
    wire->next = made->wires;
    made->wires = wire;
    mp_lock_release(&made->lock);
}

/* The connection behind a context, out of the list: the context itself may not know it any more,
 * see mp_redis_wire_of(). */
static mp_redis_wire *remove_wire(place *made, const redisContext *context) {
    mp_lock_acquire(&made->lock);
    mp_redis_wire **at = &made->wires;
    while ((*at)->context != context) at = &(*at)->next;
    mp_redis_wire *wire = *at;
    *at = wire->next;
    mp_lock_release(&made->lock);
    return wire;
}

static void open_connection(void *opened, mantis_op *op) {
    place *made = opened;
    mp_redis_work work;
    mantis_error error = {0};
    mp_redis_work_begin(&work, &made->works, op, -1);
    mp_redis_wire *wire = open_wire(made, &work, mantis_op_deadline(op), &error);
    bool was_interrupted = mp_redis_work_end(&work);
    if (wire && !was_interrupted) {
        add_wire(made, wire);
        (void)mantis_op_done(op, wire->context);
        return;
    }
    if (wire) mp_redis_wire_close(wire); /* it opened, and then its socket was shut down */
    complete_failed(made, op, was_interrupted, &error);
}

static void greet(place *made, redisContext *context, mp_redis_greeting greeting, mantis_op *op) {
    mp_redis_work work;
    mantis_error error = {0};
    mp_redis_work_begin(&work, &made->works, op, context->fd);
    mantis_status status = mp_redis_wire_greet(mp_redis_wire_of(context), greeting,
                                               mantis_op_deadline(op), &error);
    bool was_interrupted = mp_redis_work_end(&work);
    if (status == MANTIS_OK && !was_interrupted) (void)mantis_op_done(op, NULL);
    else complete_failed(made, op, was_interrupted, &error);
}

static void check(void *opened, void *native, mantis_op *op) {
    greet(opened, native, MP_REDIS_CHECK, op);
}

static void reset(void *opened, void *native, mantis_op *op) {
    redisContext *context = native;
    const place *made = opened;
    mp_redis_socket_set_timeout(context->fd, &made->dsn);
    greet(opened, native, MP_REDIS_RESET, op);
}

static void close_connection(void *opened, void *native, mantis_op *op) {
    mp_redis_wire_close(remove_wire(opened, native));
    (void)mantis_op_done(op, NULL);
}

static void interrupt(void *opened, mantis_op *op) {
    place *made = opened;
    (void)mp_redis_works_interrupt(&made->works, op);
}

static bool is_broken(void *opened, void *native) {
    (void)opened;
    return mp_redis_wire_is_broken(native);
}

/* No abort: a close has no goodbye and never blocks. */
const mantis_connector mantis_redis = {.name = "redis",
                                       .blocks = true,
                                       .start = start,
                                       .stop = stop,
                                       .open = open_connection,
                                       .check = check,
                                       .reset = reset,
                                       .close = close_connection,
                                       .interrupt = interrupt,
                                       .is_broken = is_broken,
                                       .kv = &mp_redis_kv};
