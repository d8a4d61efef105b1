/* What the Go package needs in C beside the library. Three things:
 *
 *   pool   A call carries numbers only, and never waits. The one mailbox of a pool belongs to
 *          whoever holds Go's lock: a thread that frees a connection drains the grant that it
 *          caused, and returns the waiter's number to Go, which wakes the goroutine itself.
 *   hub    What happens on threads of C (a commit is on disk, a connector is asked for something)
 *          is queued for one goroutine. C never calls Go.
 *   kv     Key-value operations, with their detail in memory of their own when they fail.
 *
 * A connection is two words, `place` (slot and pool) and `generation`. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- pool ---- */

typedef struct bridge_pool bridge_pool;

typedef struct bridge_conn {
    uint64_t place;
    uint64_t generation; /* 0: none */
} bridge_conn;

/* The request of a goroutine. It belongs to the goroutine before bridge_wait() and after its
 * outcome, which comes once: from a call that returns its number, or from bridge_withdraw(). */
typedef struct bridge_waiter {
    mantis_waiter waiter; /* status and conn are the outcome */
    const char *tag;      /* for the connection, once it is granted */
    uint32_t number;      /* Go's, not 0 */
    mantis_error error;   /* of bridge_wait() and bridge_explain() */
    /* under the pool's lock */
    struct bridge_waiter *next;
    enum { BRIDGE_IDLE = 0, BRIDGE_ASKED, BRIDGE_READY } state;
} bridge_waiter;

bridge_waiter *bridge_waiter_new(uint32_t number);
void bridge_waiter_free(bridge_waiter *waiter);

/* What a pool is to tell Go about, through the hub. */
enum { BRIDGE_TELL_LEAKS = 1, BRIDGE_TELL_LOG = 2 };

/* Open a pool. number is Go's name for it, in the events of the hub. With a DSN its connector is
 * the embedded store's, without one it is Go's, through the hub. Errors: as mantis_pool_open(). */
mantis_status bridge_pool_open(bridge_pool **out, mantis_pool_config *config, uint32_t number,
                               uint32_t tell, mantis_error *error);

/* Readable when bridge_drain() is to be called. */
int bridge_pool_fd(const bridge_pool *pool);

/* Borrow what is free at once; and give a connection back, when nobody waits. If somebody does
 * nonetheless, bridge_pool_fd() tells. Their arguments are plain numbers, because Go looks at each
 * pointer that it passes. Any thread, without the lock. */
bridge_conn bridge_try_acquire(uintptr_t pool, uintptr_t tag);
void bridge_release(uint64_t place, uint64_t generation);

/* ---- pool: under its lock ----
 *
 * These may give waiters their outcome. They return the number of one in the low half (0: none),
 * and whether there are more, which bridge_next() returns. */
#define BRIDGE_MORE (UINT64_C(1) << 32)

uint64_t bridge_next(bridge_pool *pool);

/* Read the mailbox to its end, so that its descriptor speaks again. */
uint64_t bridge_drain(bridge_pool *pool);

/* Give a connection back while somebody waits, or in another way. */
uint64_t bridge_release_as(bridge_pool *pool, bridge_conn conn, mantis_release how);

/* Queue a request. waiter->error says that it is, or why not: then it has no outcome. */
uint64_t bridge_wait(bridge_pool *pool, bridge_waiter *waiter, int64_t deadline_ns);

/* Take a request back. *is_here: its outcome is in the waiter. Otherwise some other call has
 * returned its number. */
uint64_t bridge_withdraw(bridge_pool *pool, bridge_waiter *waiter, bool *is_here);

/* Complete an operation that the hub had told of. cause NULL: it succeeded. */
uint64_t bridge_complete(bridge_pool *pool, uintptr_t op, uintptr_t native, const char *cause);

/* As mantis_pool_resize(). */
uint64_t bridge_resize(bridge_pool *pool, int64_t conns_min, int64_t conns_max,
                       mantis_status *status, mantis_error *error);

/* After an outcome: fill waiter->error as if it were `status`, and say whether it is for want of
 * opening: that fails, or has not brought one connection yet. */
bool bridge_explain(bridge_pool *pool, bridge_waiter *waiter, mantis_status status);

/* The earliest deadline of those who wait. */
int64_t bridge_due_ns(bridge_pool *pool);

/* As the functions of the same name; CLOSED, or 0, once the pool is closed. */
mantis_status bridge_get_stats(bridge_pool *pool, mantis_pool_stats *stats,
                               mantis_histogram *waits);
size_t bridge_holders(bridge_pool *pool, mantis_holder *out, size_t max);

/* End a pool, once. Hide it; end it, which may take until the deadline, without the lock; and
 * read the last outcomes. */
mantis_pool *bridge_hide(bridge_pool *pool);
uint64_t bridge_finish(bridge_pool *pool);

/* Free the memory of a pool that is finished, and that nothing calls any more. */
void bridge_pool_free(bridge_pool *pool);

/* ---- connections ---- */

/* What the connector's open completed with; 0 if the connection is not borrowed. */
uintptr_t bridge_native(bridge_conn conn);

/* ---- hub ---- */

enum bridge_kind {
    BRIDGE_OPEN = 1, /* operations of Go's connector: op, native, deadline_ns */
    BRIDGE_CHECK,
    BRIDGE_CLOSE,
    BRIDGE_STOP,   /* nothing more comes for this pool's connector */
    BRIDGE_COMMIT, /* number is the commit's */
    BRIDGE_LEAK,   /* held_ns, tag */
    BRIDGE_LOG     /* text: free() it */
};

typedef struct bridge_event {
    uint32_t kind;
    uint32_t number; /* of the pool */
    uintptr_t op, native, tag;
    char *text;
    int64_t time_ns; /* deadline or length */
} bridge_event;

/* Readable when bridge_take() is to be called; -1: the system has no descriptor for it. */
int bridge_hub_fd(void);

/* Take at most max events. When it returns 0 the descriptor speaks again. */
size_t bridge_take(bridge_event *out, size_t max);

/* ---- kv ---- */

/* How a call went; error has the detail, and the caller frees it with free(). It is NULL with OK,
 * and if there was no memory for it. */
typedef struct bridge_outcome {
    mantis_status status;
    mantis_error *error;
} bridge_outcome;

bridge_outcome bridge_set(bridge_conn conn, const void *key, size_t key_size, const void *value,
                          size_t value_size);
bridge_outcome bridge_delete(bridge_conn conn, const void *key, size_t key_size);
bridge_outcome bridge_exists(bridge_conn conn, const void *key, size_t key_size, bool *out);

/* Read the store, though no key. A transaction takes no note of it. */
bridge_outcome bridge_ping(bridge_conn conn);

bridge_outcome bridge_begin(bridge_conn conn, mantis_transaction kind);
bridge_outcome bridge_rollback(bridge_conn conn);

/* What was read: with OK data is valid until bridge_value_free(). */
typedef struct bridge_value {
    bridge_outcome outcome;
    const void *data;
    size_t size;
    uint64_t version;
    int64_t expires_ms;
    void *owner;
    void (*free_owner)(void *owner);
} bridge_value;

bridge_value bridge_get(bridge_conn conn, const void *key, size_t key_size);
void bridge_value_free(void *owner, void (*free_owner)(void *owner));

/* Does a plain write of this connection wait for the disk? Not known if it is not borrowed. As the
 * other operations it is its holder's. */
bool bridge_is_durable(bridge_conn conn, bool *is_known);

/* A write whose end the hub tells of, if it does not end at once. The memory is reused. */
typedef struct bridge_commit {
    mantis_commit commit;
    uint32_t number; /* Go's */
    _Atomic uint32_t progress;
    struct bridge_commit *next; /* in the hub */
    size_t size_max;
    char *memory; /* the writes, and what they point to */
} bridge_commit;

/* One write, in Go's memory. Keys and values are elsewhere, one after the other. */
typedef struct bridge_write {
    uint64_t key_size;
    uint64_t value_size;
    int64_t ttl_ms;
    uint64_t is_delete;
} bridge_write;

typedef enum bridge_submitted {
    BRIDGE_DONE,   /* commit.status and commit.error say how */
    BRIDGE_PENDING /* the hub tells when */
} bridge_submitted;

#define BRIDGE_KEPT_BYTES ((size_t)64 << 10) /* of its memory, for its next use */

bridge_commit *bridge_commit_new(uint32_t number);

/* Give back the memory of one that is done. */
void bridge_commit_trim(bridge_commit *commit);

/* Start the writes: copied, but for the connection's transaction. */
bridge_submitted bridge_submit(bridge_conn conn, bridge_commit *commit, mantis_commit_kind kind,
                               mantis_durability durability, uint64_t expected,
                               const bridge_write *writes, size_t count, const void *bytes,
                               size_t size);

/* A scan by pages. An entry is bridge_entry, its key, its value. */
typedef struct bridge_entry {
    uint64_t key_size;
    uint64_t value_size;
    uint64_t version;
    int64_t expires_ms;
} bridge_entry;

typedef struct bridge_scan {
    mantis_cursor cursor;
    char *bytes; /* entries, one after the other */
    size_t size, size_max, page;
    uint32_t count;
    bool is_out_of_memory;
} bridge_scan;

bridge_scan *bridge_scan_new(size_t page_bytes);
bridge_outcome bridge_scan_page(bridge_conn conn, bridge_scan *scan, const void *prefix,
                                size_t prefix_size);
void bridge_scan_free(bridge_scan *scan);

#endif
