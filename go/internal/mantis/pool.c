/* A pool for goroutines: calls that never wait, and a mailbox that is whoever's holds the lock. */
#include "inside.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_MAX 32

struct bridge_pool {
    /* any thread, atomic */
    _Atomic(mantis_pool *) pool; /* NULL: closed */
    _Atomic uint32_t waiting;    /* requests without an outcome; changed under lock */
    _Atomic uint64_t tried;      /* tries that found nothing, and went on to wait */
    /* under lock */
    pthread_mutex_t lock;
    mantis_mailbox *mailbox; /* NULL: closed */
    bridge_waiter *first_ready, *last_ready;
};

static bridge_conn words_of(mantis_conn conn) {
    return (bridge_conn){(uint64_t)conn.slot << 32 | conn.pool, conn.generation};
}

/* The thread that borrows says nothing about who holds it: goroutines wander. */
static void label(mantis_conn conn, const char *tag) {
    mantis_conn_detach(conn);
    if (tag) mantis_conn_tag(conn, tag);
}

/* ---- the mailbox, under lock ---- */

/* A request has its outcome. */
static void settle_locked(bridge_pool *bridge, bridge_waiter *waiter) {
    waiter->state = BRIDGE_IDLE;
    bridge->waiting--;
    if (waiter->waiter.status == MANTIS_OK) label(waiter->waiter.conn, waiter->tag);
}

static void push_ready_locked(bridge_pool *bridge, bridge_waiter *waiter) {
    settle_locked(bridge, waiter);
    waiter->state = BRIDGE_READY;
    waiter->next = NULL;
    if (bridge->last_ready) bridge->last_ready->next = waiter;
    else bridge->first_ready = waiter;
    bridge->last_ready = waiter;
}

static void remove_ready_locked(bridge_pool *bridge, bridge_waiter *waiter) {
    bridge_waiter **at = &bridge->first_ready, *before = NULL;
    for (; *at != waiter; at = &before->next) before = *at;
    *at = waiter->next;
    if (bridge->last_ready == waiter) bridge->last_ready = before;
    waiter->state = BRIDGE_IDLE;
}

/* The next one for Go, and whether there are more. */
static uint64_t pop_ready_locked(bridge_pool *bridge) {
    bridge_waiter *waiter = bridge->first_ready;
    if (!waiter) return 0;
    remove_ready_locked(bridge, waiter);
    return waiter->number | (bridge->first_ready ? BRIDGE_MORE : 0);
}

/* to_end: until it is empty and the descriptor speaks again. Without it what other threads post
 * meanwhile is theirs to drain. */
static void drain_locked(bridge_pool *bridge, bool to_end) {
    mantis_waiter *out[DRAIN_MAX];
    size_t count = bridge->mailbox ? DRAIN_MAX : 0;
    while (count > 0) {
        count = mantis_mailbox_drain(bridge->mailbox, out, DRAIN_MAX);
        for (size_t i = 0; i < count; i++) push_ready_locked(bridge, (bridge_waiter *)out[i]);
        if (!to_end && count < DRAIN_MAX) return;
    }
}

static uint64_t drain(bridge_pool *bridge, bool to_end) {
    pthread_mutex_lock(&bridge->lock);
    drain_locked(bridge, to_end);
    uint64_t ready = pop_ready_locked(bridge);
    pthread_mutex_unlock(&bridge->lock);
    return ready;
}

uint64_t bridge_drain(bridge_pool *bridge) { return drain(bridge, true); }

uint64_t bridge_next(bridge_pool *bridge) {
    pthread_mutex_lock(&bridge->lock);
    uint64_t ready = pop_ready_locked(bridge);
    pthread_mutex_unlock(&bridge->lock);
    return ready;
}

int64_t bridge_due_ns(bridge_pool *bridge) {
    pthread_mutex_lock(&bridge->lock);
    int64_t due_ns = bridge->mailbox ? mantis_mailbox_due_ns(bridge->mailbox)
                                     : MANTIS_DEADLINE_NONE;
    pthread_mutex_unlock(&bridge->lock);
    return due_ns;
}

int bridge_pool_fd(const bridge_pool *bridge) { return mantis_mailbox_fd(bridge->mailbox); }

/* ---- a pool's life ---- */

mantis_status bridge_pool_open(bridge_pool **out, mantis_pool_config *config, uint32_t number,
                               uint32_t tell, mantis_error *error) {
    bridge_pool *bridge = calloc(1, sizeof *bridge);
    if (!bridge) return MANTIS_NOMEM;
    pthread_mutex_init(&bridge->lock, NULL);
    config->hooks = bridge_hooks(number, tell);
    config->connector = config->dsn ? &mantis_embedded : &bridge_go_connector;
    config->place = config->dsn ? NULL : (void *)(uintptr_t)number;
    mantis_pool *pool = NULL;
    mantis_status status = mantis_mailbox_open(&bridge->mailbox, 0, error);
    if (status == MANTIS_OK) status = mantis_pool_open(&pool, config, error);
    if (status == MANTIS_OK) {
        bridge->pool = pool;
        *out = bridge;
        return MANTIS_OK;
    }
    mantis_mailbox_close(&bridge->mailbox);
    bridge_pool_free(bridge);
    return status;
}

mantis_status bridge_pool_close(bridge_pool *bridge, int64_t deadline_ns) {
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    bridge->pool = NULL;
    pthread_mutex_unlock(&bridge->lock);
    mantis_status status = mantis_pool_close(&pool, deadline_ns);
    pthread_mutex_lock(&bridge->lock);
    drain_locked(bridge, true); /* every request has its outcome by now */
    mantis_mailbox_close(&bridge->mailbox);
    pthread_mutex_unlock(&bridge->lock);
    return status;
}

void bridge_pool_free(bridge_pool *bridge) {
    pthread_mutex_destroy(&bridge->lock);
    free(bridge);
}

bridge_waiter *bridge_waiter_new(uint32_t number) {
    bridge_waiter *waiter = calloc(1, sizeof *waiter);
    if (waiter) waiter->number = number;
    return waiter;
}

void bridge_waiter_free(bridge_waiter *waiter) { free(waiter); }

/* ---- borrowing ---- */

bridge_conn bridge_try_acquire(uintptr_t pool, uintptr_t tag) {
    bridge_pool *bridge = (bridge_pool *)pool;
    mantis_conn conn = {0};
    /* A pool that is closed from here on lends nothing: this call began before. */
    mantis_pool *open = bridge->pool;
    if (!open || bridge->waiting > 0) return words_of(conn);
    mantis_status status = mantis_pool_try_acquire(open, &conn, NULL);
    if (status == MANTIS_OK) label(conn, (const char *)tag);
    else if (status == MANTIS_EXHAUSTED || status == MANTIS_PAUSED) bridge->tried++;
    return words_of(conn);
}

uint64_t bridge_release_as(bridge_pool *bridge, bridge_conn conn, mantis_release how) {
    mantis_conn given = bridge_handle(conn);
    mantis_conn_release_as(&given, how);
    return bridge->waiting > 0 ? drain(bridge, false) : 0;
}

uint64_t bridge_release(uintptr_t pool, uint64_t place, uint64_t generation) {
    bridge_pool *bridge = (bridge_pool *)pool;
    bridge_conn conn = {place, generation};
    if (bridge->waiting > 0) return bridge_release_as(bridge, conn, MANTIS_RELEASE_CLEAN);
    mantis_conn given = bridge_handle(conn);
    mantis_conn_release(&given);
    return 0;
}

mantis_status bridge_wait(bridge_pool *bridge, bridge_waiter *waiter, int64_t deadline_ns,
                          uint64_t *ready) {
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    mantis_status status = MANTIS_CLOSED;
    if (pool) {
        waiter->waiter = (mantis_waiter){.mailbox = bridge->mailbox};
        waiter->state = BRIDGE_ASKED;
        bridge->waiting++;
        status = mantis_pool_acquire_async(pool, deadline_ns, &waiter->waiter, &waiter->error);
        if (status != MANTIS_OK) bridge->waiting--;
        drain_locked(bridge, false);
    } else {
        waiter->error = (mantis_error){.status = status, .text = "the pool is closed"};
    }
    *ready = pop_ready_locked(bridge);
    pthread_mutex_unlock(&bridge->lock);
    return status;
}

bool bridge_withdraw(bridge_pool *bridge, bridge_waiter *waiter, uint64_t *ready) {
    pthread_mutex_lock(&bridge->lock);
    drain_locked(bridge, false); /* ends it with TIMEOUT if its time is up */
    bool is_here = waiter->state != BRIDGE_IDLE;
    if (waiter->state == BRIDGE_READY) {
        remove_ready_locked(bridge, waiter);
    } else if (waiter->state == BRIDGE_ASKED) {
        waiter->waiter.status = mantis_waiter_cancel(&waiter->waiter);
        settle_locked(bridge, waiter);
    }
    *ready = pop_ready_locked(bridge);
    pthread_mutex_unlock(&bridge->lock);
    return is_here;
}

bool bridge_explain(bridge_pool *bridge, bridge_waiter *waiter, mantis_status status) {
    mantis_pool_stats stats = {0};
    waiter->waiter.status = status;
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    waiter->error = (mantis_error){.status = status, .text = "the pool is closed"};
    if (pool) {
        mantis_waiter_explain(&waiter->waiter, pool, &waiter->error);
        mantis_pool_get_stats(pool, &stats);
    }
    pthread_mutex_unlock(&bridge->lock);
    return stats.failing;
}

/* ---- the rest: rare calls ---- */

mantis_status bridge_resize(bridge_pool *bridge, int64_t conns_min, int64_t conns_max,
                            mantis_error *error, uint64_t *ready) {
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    mantis_status status = MANTIS_CLOSED;
    if (pool) status = mantis_pool_resize(pool, conns_min, conns_max, error);
    drain_locked(bridge, false);
    *ready = pop_ready_locked(bridge);
    pthread_mutex_unlock(&bridge->lock);
    return status;
}

mantis_status bridge_get_stats(bridge_pool *bridge, mantis_pool_stats *stats,
                               mantis_histogram *waits) {
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    mantis_status status = pool ? mantis_pool_get_stats(pool, stats) : MANTIS_CLOSED;
    if (status == MANTIS_OK) status = mantis_pool_get_histogram(pool, MANTIS_HISTOGRAM_WAIT, waits);
    pthread_mutex_unlock(&bridge->lock);
    if (status != MANTIS_OK) return status;
    uint64_t tried = bridge->tried; /* the pool counts them twice */
    stats->refused = stats->refused > tried ? stats->refused - tried : 0;
    stats->attempts = stats->attempts > tried ? stats->attempts - tried : 0;
    return MANTIS_OK;
}

size_t bridge_holders(bridge_pool *bridge, mantis_holder *out, size_t max) {
    pthread_mutex_lock(&bridge->lock);
    mantis_pool *pool = bridge->pool;
    size_t count = pool ? mantis_pool_holders(pool, out, max) : 0;
    pthread_mutex_unlock(&bridge->lock);
    return count;
}

uintptr_t bridge_native(bridge_conn conn) {
    void *native = NULL;
    mantis_conn_native(bridge_handle(conn), &native, NULL);
    return (uintptr_t)native;
}

uint64_t bridge_complete(bridge_pool *bridge, uintptr_t op, uintptr_t native, const char *cause) {
    if (cause) mantis_op_failed((mantis_op *)op, cause);
    else mantis_op_done((mantis_op *)op, (void *)native);
    return bridge->waiting > 0 ? drain(bridge, false) : 0;
}
