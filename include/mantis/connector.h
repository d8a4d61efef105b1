/* How to open, check, reset and close one kind of connection. The pool knows nothing else about
 * it, and a connector knows nothing about the pool.
 *
 * An operation is started by the pool and completes by exactly one call, mantis_op_done() or
 * mantis_op_failed(): at once, or later, from any thread. The pool holds no lock while it calls a
 * connector. Until an operation has completed, nothing else happens to its connection, and the
 * connection counts against every limit. */
#ifndef MANTIS_CONNECTOR_H
#define MANTIS_CONNECTOR_H

#include <mantis/status.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mantis_op mantis_op;
struct mantis_kv; /* mantis/store.h: key-value operations on a connection */

/* A kind of connection. All members but open and close may be left zero. The struct and what it
 * points to must outlive every pool that uses it. `place` is what start() gave: the parsed DSN,
 * the shared engine. `native` is what open completed with; the pool never looks inside. */
typedef struct mantis_connector {
    const char *name; /* for messages: "postgres" */

    /* true: the calls below may block, and run on the library's opener threads (at most four at
     * once a process). false: they return at once, and run on the thread that found the need for
     * them or, for a connection with a home, on its home's thread in
     * mantis_mailbox_drain(). */
    bool blocks;

    /* Once a pool and set of parameters: read the DSN, open what is shared. May block; runs on the
     * caller's thread in mantis_pool_open() and mantis_pool_set_dsn(). Without it, place is
     * config.place or, if that is NULL, the pool's copy of the DSN. */
    mantis_status (*start)(void **place, const char *dsn, void *config_place, mantis_error *error);
    /* After the last operation of the place has completed. Must not block for long. */
    void (*stop)(void *place);

    void (*open)(void *place, mantis_op *op);                /* done with the new connection */
    void (*check)(void *place, void *native, mantis_op *op); /* failed: it is closed */
    void (*reset)(void *place, void *native, mantis_op *op); /* failed: it is closed */
    void (*close)(void *place, void *native, mantis_op *op); /* must complete as done, in the end */

    /* Close a broken connection: as close, but with no goodbye, and it must not block. Without it
     * such a connection goes through close. */
    void (*abort)(void *place, void *native, mantis_op *op);

    /* Have an operation that is past its time complete soon, as failed if need be. Called from any
     * thread; must not block; may complete the operation itself. It may come when the operation has
     * just completed, and even when the connection's next one has begun, which then fails and loses
     * nothing. So a connector keeps the operations under way under a lock of its own, forgets one
     * before it completes it, and does nothing here for one that it does not find. Without it an
     * operation past its time is waited for. */
    void (*interrupt)(void *place, mantis_op *op);

    /* Is it known already to be of no use? Called before a grant on the borrower's thread, so it
     * must be instant: no system call if it can be helped. Not called at a dirty release: there the
     * reset finds out. */
    bool (*is_broken)(void *place, void *native);

    const struct mantis_kv *kv; /* for mantis_conn_set() and its like; NULL: they say UNSUPPORTED */
} mantis_connector;

/* The operation succeeded. native is the new connection for an open, and ignored otherwise.
 * Owner   the pool takes over native, and op is spent.
 * Threads any; also from within the call that started the operation.
 * Errors  STALE: the operation was completed before. That is noticed until the connection's next
 *         operation begins: two threads that may both complete one have to settle it first. */
MANTIS_API mantis_status mantis_op_done(mantis_op *op, void *native);

/* The operation failed. cause is copied and becomes the cause in the borrower's error; the caller
 * keeps whatever it had opened, and closes it. op is spent.
 * Threads any; also from within the call that started the operation.
 * Errors  STALE: the operation was completed before. */
MANTIS_API mantis_status mantis_op_failed(mantis_op *op, const char *cause);

/* As mantis_op_failed(), with errno and SQLSTATE beside the text.
 * Owner   *error stays the caller's.    Threads any.
 * Errors  STALE: the operation was completed before. */
MANTIS_API mantis_status mantis_op_failed_with(mantis_op *op, const mantis_error *error);

/* When the operation should be over, in absolute monotonic nanoseconds: set your connect timeout
 * from it. Past it the pool calls interrupt, if there is one.
 * Threads any, until op completes. */
MANTIS_API int64_t mantis_op_deadline(const mantis_op *op);

#ifdef __cplusplus
}
#endif
#endif
