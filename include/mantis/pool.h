/* A pool of connections: open it, borrow a connection, give it back.
 *
 * Every function may be called from any thread unless it says otherwise. Times are absolute
 * monotonic nanoseconds (CLOCK_MONOTONIC) where a name ends in _ns, and lengths where it ends in
 * _ms. An `error` argument may always be NULL. Results are untouched on failure.
 *
 * Try, and acquire and release while a connection is free and nobody waits, are lock-free, allocate
 * nothing and make no system call (a thread's very first call asks the kernel for its thread id).
 * Everything else may take a lock for a short, bounded time. No lock is ever held while a
 * connector, a hook or the log is called. */
#ifndef MANTIS_POOL_H
#define MANTIS_POOL_H

#include <mantis/connector.h>
#include <mantis/histogram.h>
#include <mantis/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- deadlines ---- */

/* A deadline is a moment, never a length: a small number such as 250 lies in the past, and
 * mantis_deadline_ms(250) is what was meant. 0 is MANTIS_DEADLINE_DEFAULT and not "do not wait":
 * mantis_pool_close(&pool, 0) may wait for acquire_timeout_ms. */
#define MANTIS_DEADLINE_DEFAULT INT64_C(0) /* the pool's acquire_timeout_ms from now */
#define MANTIS_DEADLINE_NONE INT64_MAX     /* wait without an end */
#define MANTIS_UNLIMITED (-1)              /* in a config: no limit, or never */

/* The clock that deadlines are on: CLOCK_MONOTONIC in nanoseconds. */
MANTIS_API int64_t mantis_now_ns(void);

/* The deadline that lies this many milliseconds from now; a negative number is now. */
MANTIS_API int64_t mantis_deadline_ms(int64_t milliseconds);

/* ---- the pool and its configuration ---- */

typedef struct mantis_pool mantis_pool;
typedef struct mantis_limit mantis_limit;
typedef struct mantis_mailbox mantis_mailbox;

/* A borrowed connection: a value, free to copy. After its release every copy is STALE, for ever:
 * the generation is never used again. A zeroed one is empty. */
typedef struct mantis_conn {
    uint32_t pool;
    uint32_t slot;
    uint64_t generation;
} mantis_conn;

typedef enum mantis_keeper {
    MANTIS_KEEPER_THREAD = 0, /* the library's one keeper thread looks after the pool */
    MANTIS_KEEPER_CALLER = 1  /* the caller does, with mantis_pool_tend() */
} mantis_keeper;

typedef enum mantis_close_reason {
    MANTIS_CLOSE_IDLE = 1, /* idle for too long, or above a lowered maximum */
    MANTIS_CLOSE_LIFETIME, /* it reached its age */
    MANTIS_CLOSE_EVICTED,  /* mantis_pool_evict(), or new parameters */
    MANTIS_CLOSE_BROKEN,   /* released as broken, or is_broken() said so */
    MANTIS_CLOSE_CHECK,    /* its check or its reset failed */
    MANTIS_CLOSE_LIMIT,    /* given up for another pool under a shared limit */
    MANTIS_CLOSE_POOL      /* the pool was closed */
} mantis_close_reason;

typedef enum mantis_log_level {
    MANTIS_LOG_DEBUG = 0,
    MANTIS_LOG_INFO,
    MANTIS_LOG_WARNING,
    MANTIS_LOG_ERROR
} mantis_log_level;

/* Called on the thread where the thing happened, with no lock held: a hook may call the pool, also
 * close it. All may be NULL. The functions and arg must stay valid until the pool's last connection
 * is back, also after a mantis_pool_close() that answered TIMEOUT. */
typedef struct mantis_hooks {
    void (*on_open)(void *arg, void *native, int64_t took_ns);
    void (*on_open_failed)(void *arg, const char *cause);
    void (*on_close)(void *arg, mantis_close_reason reason);
    void (*on_timeout)(void *arg, int64_t waited_ns); /* a request ended with TIMEOUT */
    void (*on_leak)(void *arg, uint32_t tid, const char *tag, int64_t held_ns);
    void (*on_log)(void *arg, mantis_log_level level, const char *text);
    void *arg;
} mantis_hooks;

#define MANTIS_LIMITS_MAX 4

/* Zero means the default and a negative number never or unlimited, except conns_min, where 0 is 0.
 * The settings with their units, defaults and ranges are in docs/configuration.md. Everything is
 * copied by mantis_pool_open() but what a pointer other than a string points to. */
typedef struct mantis_pool_config {
    const mantis_connector *connector; /* required */
    const char *dsn;                   /* for connector->start; NULL is "" */
    void *place;                       /* for connector->start, or the place itself without one */
    const char *name;                  /* for messages; NULL is "pool" */

    /* each is described in docs/configuration.md */
    int64_t conns_min;
    int64_t conns_max;
    int64_t reserve;
    int64_t reserve_after_ms;
    int64_t waiting_max;
    int64_t acquire_timeout_ms;
    int64_t open_timeout_ms;
    int64_t opening_max;
    int64_t backoff_min_ms;
    int64_t backoff_max_ms;
    int64_t idle_timeout_ms;
    int64_t lifetime_ms;
    int64_t lifetime_jitter_percent;
    int64_t check_interval_ms;
    int64_t check_after_idle_ms;
    int64_t leak_after_ms;
    int64_t fail_fast;
    int64_t conn_memory_max;

    mantis_keeper keeper;
    mantis_limit *limits[MANTIS_LIMITS_MAX]; /* unused ones NULL; each outlives the pool */
    mantis_hooks hooks;
    int64_t (*clock)(
        void);     /* NULL: mantis_now_ns; another for simulation, absolute ns, any thread */
    uint64_t seed; /* of the jitter; 0: from the operating system */
} mantis_pool_config;

/* Open a pool. Connections are opened in the background, so OK does not say that the backend is
 * there: see mantis_pool_wait_warm().
 * Owner   the caller, until mantis_pool_close().
 * Blocks  as long as connector->start does.
 * Errors  INVALID NOMEM, and whatever connector->start answers */
MANTIS_API mantis_status mantis_pool_open(mantis_pool **out, const mantis_pool_config *config,
                                          mantis_error *error);

/* Refuse new requests, fail those who wait with CLOSED, close what is idle, and wait for what is
 * borrowed or under way. Clears *pool, also when it answers TIMEOUT: then what is still out is
 * closed as it comes back, and the memory goes with the last of it. An empty *pool is fine.
 * No call on the pool may begin after this one has returned.
 * Threads any; also from a hook.    Blocks until deadline_ns at most (DEFAULT: as for acquire).
 * Errors  TIMEOUT FORKED */
MANTIS_API mantis_status mantis_pool_close(mantis_pool **pool, int64_t deadline_ns);

/* Wait until count connections are open (idle or borrowed), or conns_min of them if count is 0.
 * Opens nothing itself: a count above conns_min is reached only if requests need so many.
 * Blocks  until deadline_ns at most.
 * Errors  TIMEOUT (its text has the last cause) CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_wait_warm(mantis_pool *pool, uint32_t count,
                                               int64_t deadline_ns, mantis_error *error);

/* Wait until no connection is borrowed: after a pause, that the pool is at rest.
 * Blocks  until deadline_ns at most.
 * Errors  TIMEOUT CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_wait_idle(mantis_pool *pool, int64_t deadline_ns,
                                               mantis_error *error);

/* ---- borrowing ---- */

/* Borrow a connection, waiting at most until the deadline.
 * Owner   the caller borrows *out until mantis_conn_release().
 * Blocks  until deadline_ns at most.
 * Errors  TIMEOUT EXHAUSTED CLOSED CONNECT_FAILED PAUSED FORKED INVALID (pool or out is NULL) */
MANTIS_API mantis_status mantis_pool_acquire(mantis_pool *pool, int64_t deadline_ns,
                                             mantis_conn *out, mantis_error *error);

/* Borrow a connection that is open and free right now. Never waits, never overtakes one who waits,
 * and never starts an open: a pool that is only tried needs conns_min of 1 or more.
 * Owner   the caller borrows *out until mantis_conn_release().
 * Errors  EXHAUSTED CLOSED PAUSED FORKED INVALID (pool or out is NULL) */
MANTIS_API mantis_status mantis_pool_try_acquire(mantis_pool *pool, mantis_conn *out,
                                                 mantis_error *error);

/* One request of mantis_pool_acquire_async(), in the caller's memory. The pool uses it from that
 * call until the request's one outcome: drained, or answered by mantis_waiter_cancel(). */
typedef struct mantis_waiter {
    mantis_mailbox *mailbox; /* set before the call: where the outcome goes */
    void *arg;               /* the caller's own */
    mantis_conn conn;        /* with OK */
    mantis_status status;    /* OK TIMEOUT CLOSED CANCELLED CONNECT_FAILED PAUSED */
    uint32_t ahead;          /* how many waited when this one came */
    int64_t waited_ns;       /* how long it waited */
    uint64_t reserved[16];   /* the pool's own */
} mantis_waiter;

/* Ask for a connection without waiting. The outcome comes through the mailbox, exactly once, also
 * when a connection is free at once. A deadline that passes becomes a TIMEOUT in
 * mantis_mailbox_drain().
 * Owner   *waiter belongs to the pool until its outcome, and must stay where it is.
 * Threads the mailbox's own.
 * Errors  EXHAUSTED CLOSED CONNECT_FAILED PAUSED FORKED, INVALID (pool, waiter or its mailbox is
 *         NULL): there will be no outcome. */
MANTIS_API mantis_status mantis_pool_acquire_async(mantis_pool *pool, int64_t deadline_ns,
                                                   mantis_waiter *waiter, mantis_error *error);

/* Withdraw a request. Either way the waiter's memory is the caller's again.
 * Threads the mailbox's own.
 * Errors  CANCELLED: withdrawn. OK: it was granted before, and waiter->conn is borrowed. Or the
 *         outcome that had already come. STALE: it was drained before, or never sent. */
MANTIS_API mantis_status mantis_waiter_cancel(mantis_waiter *waiter);

/* Say in one line why a request ended as it did, as a blocking acquire would have.
 * Threads the mailbox's own, after the outcome and before the pool is closed. */
MANTIS_API void mantis_waiter_explain(const mantis_waiter *waiter, mantis_pool *pool,
                                      mantis_error *error);

/* ---- a borrowed connection ---- */

typedef enum mantis_release {
    MANTIS_RELEASE_CLEAN = 0, /* as it was lent: free, or the next waiter's at once */
    MANTIS_RELEASE_DIRTY,     /* reset it first; without connector->reset it is closed */
    MANTIS_RELEASE_BROKEN,    /* abort it */
    MANTIS_RELEASE_UNUSED     /* clean, and it counts as still idle since before */
} mantis_release;

/* Give a connection back, clean. Clears *conn; an empty one is fine. Never blocks.
 * Errors  STALE: it was released before. CLOSED: the pool was closed meanwhile. FORKED */
MANTIS_API mantis_status mantis_conn_release(mantis_conn *conn);

/* Give a connection back in one of four ways. Clears *conn; an empty one is fine. Never blocks.
 * Errors  as mantis_conn_release() */
MANTIS_API mantis_status mantis_conn_release_as(mantis_conn *conn, mantis_release how);

/* What the connector's open completed with.
 * Owner   the pool; the caller uses it until the release.
 * Errors  STALE CLOSED FORKED */
MANTIS_API mantis_status mantis_conn_native(mantis_conn conn, void **native, mantis_error *error);

/* Name what the connection is borrowed for, for reports: "checkout".
 * Owner   the pointer is kept and not the text: a literal, or what outlives the pool.
 * Threads the holder's.
 * Errors  STALE CLOSED FORKED */
MANTIS_API mantis_status mantis_conn_tag(mantis_conn conn, const char *tag);

/* Say that this thread no longer holds it: for a program that hands a connection to another
 * thread, to be called before it does.
 * Until then a thread that holds every connection of a pool and asks for one more is answered
 * EXHAUSTED at once, since it would wait for itself.
 * Threads the holder's.
 * Errors  STALE CLOSED FORKED */
MANTIS_API mantis_status mantis_conn_detach(mantis_conn conn);

/* Say that the connection must be reset when it comes back: a clean release of it is a dirty one.
 * For a layer between the pool and the borrower that leaves state on a connection.
 * Threads the holder's.
 * Errors  STALE CLOSED FORKED */
MANTIS_API mantis_status mantis_conn_mark_dirty(mantis_conn conn);

/* Have the holder told when its connection is evicted HARD: waiter comes through its mailbox with
 * CANCELLED, waiter->conn being the connection, which is still the holder's to release. A waiter
 * that was not sent is free with the release, which must then be on the mailbox's thread.
 * Owner   *waiter stays where it is until drained or conn is released.
 * Threads the holder's.
 * Errors  STALE CLOSED FORKED INVALID */
MANTIS_API mantis_status mantis_conn_watch(mantis_conn conn, mantis_waiter *waiter);

/* What is known about a borrowed connection. */
typedef struct mantis_conn_info {
    int64_t age_ns;         /* since it was opened */
    uint64_t generation;    /* how often its slot was granted */
    uint32_t home;          /* of the last borrower but this one; 0: none */
    uint32_t moved;         /* 1: home is another than this borrower's */
    uint32_t configuration; /* the number of the parameters it was opened with, from 1 */
    uint32_t reserved;
} mantis_conn_info;

/* Threads the holder's.
 * Errors  STALE CLOSED FORKED */
MANTIS_API mantis_status mantis_conn_get_info(mantis_conn conn, mantis_conn_info *out);

/* ---- changing a pool while it runs ---- */

/* Change the smallest and largest number of connections. Above the new maximum what is idle is
 * closed now, what is borrowed as it comes back.
 * Errors  INVALID CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_resize(mantis_pool *pool, int64_t conns_min, int64_t conns_max,
                                            mantis_error *error);

/* Change one setting by its name: ("idle_timeout_ms", 60000). Values as in the config.
 * Errors  INVALID (no such setting, or out of its range) CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_set(mantis_pool *pool, const char *setting, int64_t value,
                                         mantis_error *error);

/* Connect with other parameters from now on; connections with the old ones are evicted SOFT.
 * Blocks  as long as connector->start does.
 * Errors  NOMEM CLOSED FORKED, and whatever connector->start answers: then nothing has changed */
MANTIS_API mantis_status mantis_pool_set_dsn(mantis_pool *pool, const char *dsn, void *place,
                                             mantis_error *error);

typedef enum mantis_pause { MANTIS_PAUSE_WAIT = 0, MANTIS_PAUSE_FAIL } mantis_pause;

/* Lend nothing until resumed: requests wait (their deadlines run on), or fail with PAUSED, those
 * already waiting too. From the moment it returns no connection is granted.
 * Errors  CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_pause(mantis_pool *pool, mantis_pause how,
                                           mantis_error *error);

/* Lend again, to those who waited first.
 * Errors  CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_resume(mantis_pool *pool, mantis_error *error);

typedef enum mantis_evict { MANTIS_EVICT_SOFT = 0, MANTIS_EVICT_HARD } mantis_evict;

/* Replace every connection: idle ones are closed now, borrowed ones as they come back; HARD also
 * tells their holders (mantis_conn_watch). No connection opened before is lent after it returns.
 * Errors  CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_evict(mantis_pool *pool, mantis_evict how,
                                           mantis_error *error);

/* One pass of the keeper, for a pool with MANTIS_KEEPER_CALLER: call it when *due_ns has come, and
 * sooner if you like. now_ns must be the pool's clock.
 * Threads any, one at a time.
 * Errors  CLOSED FORKED INVALID (the pool has the library's keeper) */
MANTIS_API mantis_status mantis_pool_tend(mantis_pool *pool, int64_t now_ns, int64_t *due_ns);

/* ---- mailboxes: where outcomes are read ---- */

/* Open a mailbox. home is the number, from 1 to 255, of the thread that owns it, for those who want
 * connections to stay with a thread: a home has one mailbox at a time, and its own thread must call
 * mantis_thread_home(). 0: no home.
 * A thread with a home must not block in acquire, wait or close without having drained: what it
 * waits for may be in its own mailbox. A child process must not use a mailbox of its parent.
 * Owner   the caller, until mantis_mailbox_close(). One thread owns it.
 * Errors  INVALID NOMEM IO (no descriptor) */
MANTIS_API mantis_status mantis_mailbox_open(mantis_mailbox **out, uint32_t home,
                                             mantis_error *error);

/* Close it. No request or watch may be outstanding on it. An empty one is fine.
 * Errors  BUSY: something is still outstanding, and it stays open. */
MANTIS_API mantis_status mantis_mailbox_close(mantis_mailbox **mailbox);

/* The descriptor to poll for reading. It becomes readable when something has come since a
 * mantis_mailbox_drain() that returned 0; draining reads it. */
MANTIS_API int mantis_mailbox_fd(const mantis_mailbox *mailbox);

/* Take what has come, oldest first: fills out with at most max waiters, whose outcome is then in
 * their status, conn and waited_ns, and returns their number. Also runs the operations of
 * connections whose home this is, and ends requests whose deadline is past. When it returns 0 the
 * descriptor is armed.
 * Threads the mailbox's own. */
MANTIS_API size_t mantis_mailbox_drain(mantis_mailbox *mailbox, mantis_waiter **out, size_t max);

/* The earliest deadline among the requests of this mailbox, for the loop's timeout;
 * MANTIS_DEADLINE_NONE if there is none.
 * Threads the mailbox's own. */
MANTIS_API int64_t mantis_mailbox_due_ns(const mantis_mailbox *mailbox);

/* Say which home the calling thread is: its requests and releases are that home's. 0: none.
 * Errors  INVALID */
MANTIS_API mantis_status mantis_thread_home(uint32_t home);

/* Say that the calling thread drains this mailbox before it sleeps: what its own calls post there
 * does not make the descriptor readable. NULL: none, as before. It saves the system calls of waking
 * oneself: a release often grants to a waiter of the same thread.
 * Owner   the mailbox must not be closed while a thread says so. */
MANTIS_API void mantis_thread_drains(mantis_mailbox *mailbox);

/* ---- limits that several pools share ---- */

/* Open a limit: at most max connections in all pools that name it together. A child process must
 * not use a limit of its parent.
 * Owner   the caller, until mantis_limit_close().
 * Errors  INVALID NOMEM */
MANTIS_API mantis_status mantis_limit_open(mantis_limit **out, const char *name, int64_t max,
                                           mantis_error *error);

/* Change it. Above a lowered limit connections go as they come back.
 * Errors  INVALID */
MANTIS_API mantis_status mantis_limit_resize(mantis_limit *limit, int64_t max, mantis_error *error);

/* How many connections count against it now. */
MANTIS_API uint32_t mantis_limit_in_use(const mantis_limit *limit);

/* Close it. An empty one is fine.
 * Errors  BUSY: a pool still names it, and it stays open. */
MANTIS_API mantis_status mantis_limit_close(mantis_limit **limit);

/* ---- figures ---- */

/* What a pool did since it was opened, and how it stands. Taken in one pass: each slot is read
 * once, total is the sum of the states, and
 * attempts = granted + timed_out + cancelled + refused + failed + waiting. Each figure is described
 * in docs/figures.md. */
typedef struct mantis_pool_stats {
    /* how it stands */
    uint32_t total, idle, busy, opening, checking, resetting, closing;
    uint32_t waiting;
    uint32_t conns_min, conns_max;
    int64_t oldest_wait_ns;       /* of who waits now; 0: nobody */
    bool paused, closed, failing; /* failing: the last open failed */
    /* requests, by outcome */
    uint64_t attempts, granted, timed_out, cancelled, refused, failed;
    uint64_t waited;     /* grants that had to wait */
    uint64_t handed_off; /* grants straight from a release or an open */
    int64_t wait_sum_ns; /* of all finished requests */
    /* connections */
    uint64_t opened, open_failed, closed_conns;
    uint64_t closed_idle, closed_lifetime, closed_evicted, closed_broken, closed_check,
        closed_limit, closed_pool;
    uint64_t checked, check_failed, was_reset, leaked;
    uint64_t moved;   /* grants that took a connection from another home */
    int64_t since_ns; /* when the pool was opened, or the earlier of two subtracted snapshots */
    int64_t now_ns;
} mantis_pool_stats;

/* Read the figures. Never blocks anybody, but may wait shortly for the pool's lock.
 * Errors  CLOSED FORKED */
MANTIS_API mantis_status mantis_pool_get_stats(mantis_pool *pool, mantis_pool_stats *out);

/* What happened between two snapshots: now's standing, and the differences of the counters. */
MANTIS_API mantis_pool_stats mantis_stats_since(const mantis_pool_stats *now,
                                                const mantis_pool_stats *previous);

/* The mean wait of all finished requests, in nanoseconds: wait_sum_ns / finished. */
MANTIS_API int64_t mantis_stats_wait_mean_ns(const mantis_pool_stats *stats);

typedef enum mantis_pool_histogram {
    MANTIS_HISTOGRAM_WAIT = 0, /* how long grants that had to wait did wait */
    MANTIS_HISTOGRAM_USE       /* how long connections were held: one grant in 64, sampled */
} mantis_pool_histogram;

/* Copy a histogram.
 * Errors  CLOSED FORKED INVALID */
MANTIS_API mantis_status mantis_pool_get_histogram(mantis_pool *pool, mantis_pool_histogram which,
                                                   mantis_histogram *out);

/* One borrowed connection, for reports. */
typedef struct mantis_holder {
    mantis_conn conn; /* whose it is: do not release it */
    uint32_t tid;     /* the thread that borrowed it; 0: not known, or detached */
    uint32_t home;
    int64_t
        held_ns; /* at least this long: dated by the keeper, at most one pass (1 s) too little */
    const char *tag; /* or NULL */
} mantis_holder;

/* Fill out with at most max holders, longest first, and return how many there are in all.
 * 0 also if the pool is closed or the parent's. */
MANTIS_API size_t mantis_pool_holders(mantis_pool *pool, mantis_holder *out, size_t max);

/* Say in one line how the pool stands: who waits, how long, and for what. */
MANTIS_API void mantis_pool_explain(mantis_pool *pool, char *out, size_t size);

/* The name it was opened with.
 * Owner   the pool's. */
MANTIS_API const char *mantis_pool_name(const mantis_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
