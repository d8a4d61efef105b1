/* A pool for goroutines: calls that never wait, and a mailbox that is whoever's holds the lock. */
#include "inside.h"

#include <stdatomic.h>
#include <stdlib.h>

#define DRAIN_MAX 32

struct bridge_pool {
    /* any thread, atomic */
    _Atomic(mantis_pool *) pool; /* NULL: closed */
    _Atomic uint64_t tried;      /* tries that found nothing, and go on to wait */
    /* under Go's lock */
    mantis_mailbox *mailbox; /* NULL: closed */
    bridge_waiter *first_ready, *last_ready;
};

/* The thread that borrows says nothing about who holds it: goroutines wander. */
static void label(mantis_conn conn, const char *tag) {
    mantis_conn_detach(conn);
    if (tag) mantis_conn_tag(conn, tag);
}

/* ---- without the lock ---- */

bridge_conn bridge_try_acquire(uintptr_t pool, uintptr_t tag) {
    bridge_pool *bridge = (bridge_pool *)pool;
    mantis_conn conn = {0};
    /* A pool that is closed from here on lends nothing: this call began before. */
    mantis_pool *open = bridge->pool;
    mantis_status status = open ? mantis_pool_try_acquire(open, &conn, NULL) : MANTIS_CLOSED;
    if (status == MANTIS_OK) label(conn, (const char *)tag);
    else if (status == MANTIS_EXHAUSTED || status == MANTIS_PAUSED) bridge->tried++;
    return (bridge_conn){(uint64_t)conn.slot << 32 | conn.pool, conn.generation};
}

void bridge_release(uint64_t place, uint64_t generation) {
    mantis_conn conn = bridge_handle((bridge_conn){place, generation});
    mantis_conn_release(&conn);
}

uintptr_t bridge_native(bridge_conn conn) {
    void *native = NULL;
    mantis_conn_native(bridge_handle(conn), &native, NULL);
    return (uintptr_t)native;
}

/* ---- the mailbox ---- */

/* A request has its outcome. */
static void settle(bridge_waiter *waiter) {
    waiter->state = BRIDGE_IDLE;
    if (waiter->waiter.status == MANTIS_OK) label(waiter->waiter.conn, waiter->tag);
}

static void push_ready(bridge_pool *bridge, bridge_waiter *waiter) {
    settle(waiter);
    waiter->state = BRIDGE_READY;
    waiter->next = NULL;
    if (bridge->last_ready) bridge->last_ready->next = waiter;
    else bridge->first_ready = waiter;
    bridge->last_ready = waiter;
}

static void remove_ready(bridge_pool *bridge, bridge_waiter *waiter) {
    bridge_waiter **at = &bridge->first_ready, *before = NULL;
    for (; *at != waiter; at = &before->next) before = *at;
    *at = waiter->next;
    if (bridge->last_ready == waiter) bridge->last_ready = before;
    waiter->state = BRIDGE_IDLE;
}

uint64_t bridge_next(bridge_pool *bridge) {
    bridge_waiter *waiter = bridge->first_ready;
    if (!waiter) return 0;
    remove_ready(bridge, waiter);
    return waiter->number | (bridge->first_ready ? BRIDGE_MORE : 0);
}

/* to_end: until it is empty and the descriptor speaks again. Without it, what comes meanwhile from
 * the keeper and the like has made the descriptor readable. */
static void drain(bridge_pool *bridge, bool to_end) {
    mantis_waiter *out[DRAIN_MAX];
    size_t count = bridge->mailbox ? DRAIN_MAX : 0;
    while (count > 0) {
        count = mantis_mailbox_drain(bridge->mailbox, out, DRAIN_MAX);
        for (size_t i = 0; i < count; i++) push_ready(bridge, (bridge_waiter *)out[i]);
        if (!to_end && count < DRAIN_MAX) return;
    }
}

uint64_t bridge_drain(bridge_pool *bridge) {
    drain(bridge, true);
    return bridge_next(bridge);
}

int64_t bridge_due_ns(bridge_pool *bridge) {
    return bridge->mailbox ? mantis_mailbox_due_ns(bridge->mailbox) : MANTIS_DEADLINE_NONE;
}

int bridge_pool_fd(const bridge_pool *bridge) { return mantis_mailbox_fd(bridge->mailbox); }

/* Be the mailbox's thread, which drains before it goes: so what it posts wakes nobody. Returns the
 * pool, or NULL if it is closed. */
static mantis_pool *enter(bridge_pool *bridge) {
    mantis_thread_drains(bridge->mailbox);
    return bridge->pool;
}

static uint64_t leave(bridge_pool *bridge) {
    drain(bridge, false);
    mantis_thread_drains(NULL);
    return bridge_next(bridge);
}

/* ---- borrowing ---- */

bridge_waiter *bridge_waiter_new(uint32_t number) {
    bridge_waiter *waiter = calloc(1, sizeof *waiter);
    if (waiter) waiter->number = number;
    return waiter;
}

void bridge_waiter_free(bridge_waiter *waiter) { free(waiter); }

uint64_t bridge_wait(bridge_pool *bridge, bridge_waiter *waiter, int64_t deadline_ns) {
    mantis_status status = MANTIS_CLOSED;
    waiter->error = (mantis_error){.status = MANTIS_OK};
    waiter->state = BRIDGE_ASKED;
    mantis_pool *pool = enter(bridge);
    waiter->waiter = (mantis_waiter){.mailbox = bridge->mailbox};
    if (pool)
        status = mantis_pool_acquire_async(pool, deadline_ns, &waiter->waiter, &waiter->error);
    if (status != MANTIS_OK) {
        waiter->state = BRIDGE_IDLE;
        waiter->error.status = status;
    }
    return leave(bridge);
}

uint64_t bridge_release_as(bridge_pool *bridge, bridge_conn conn, mantis_release how) {
    mantis_conn given = bridge_handle(conn);
    enter(bridge);
    mantis_conn_release_as(&given, how);
    return leave(bridge);
}

uint64_t bridge_withdraw(bridge_pool *bridge, bridge_waiter *waiter, bool *is_here) {
    enter(bridge);
    drain(bridge, false); /* ends it with TIMEOUT if its time is up */
    *is_here = waiter->state != BRIDGE_IDLE;
    if (waiter->state == BRIDGE_READY) {
        remove_ready(bridge, waiter);
    } else if (waiter->state == BRIDGE_ASKED) {
        waiter->waiter.status = mantis_waiter_cancel(&waiter->waiter);
        settle(waiter);
    }
    return leave(bridge);
}

bool bridge_explain(bridge_pool *bridge, bridge_waiter *waiter, mantis_status status) {
    mantis_pool_stats stats = {0};
    waiter->waiter.status = status;
    waiter->error = (mantis_error){.status = status};
    mantis_pool *pool = bridge->pool;
    if (!pool) return false;
    mantis_waiter_explain(&waiter->waiter, pool, &waiter->error);
    mantis_pool_get_stats(pool, &stats);
    if (stats.busy >= stats.conns_max) return false; /* all that there may be are in use */
    return stats.failing || stats.total == stats.opening + stats.closing;
}

uint64_t bridge_complete(bridge_pool *bridge, uintptr_t op, uintptr_t native, const char *cause) {
    enter(bridge);
    if (cause) mantis_op_failed((mantis_op *)op, cause);
    else mantis_op_done((mantis_op *)op, (void *)native);
    return leave(bridge);
}

/* ---- the rest: rare calls ---- */

mantis_status bridge_pool_open(bridge_pool **out, mantis_pool_config *config, uint32_t number,
                               uint32_t tell, mantis_error *error) {
    bridge_pool *bridge = calloc(1, sizeof *bridge);
    if (!bridge) return MANTIS_NOMEM;
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

uint64_t bridge_resize(bridge_pool *bridge, int64_t conns_min, int64_t conns_max,
                       mantis_status *status, mantis_error *error) {
    mantis_pool *pool = enter(bridge);
    *status = pool ? mantis_pool_resize(pool, conns_min, conns_max, error) : MANTIS_CLOSED;
    return leave(bridge);
}

mantis_status bridge_get_stats(bridge_pool *bridge, mantis_pool_stats *stats,
                               mantis_histogram *waits) {
    mantis_pool *pool = bridge->pool;
    mantis_status status = pool ? mantis_pool_get_stats(pool, stats) : MANTIS_CLOSED;
    if (status == MANTIS_OK) status = mantis_pool_get_histogram(pool, MANTIS_HISTOGRAM_WAIT, waits);
    if (status != MANTIS_OK) return status;
    uint64_t tried = bridge->tried; /* the pool counts these twice: refused, and then again */
    stats->refused = stats->refused > tried ? stats->refused - tried : 0;
    stats->attempts = stats->attempts > tried ? stats->attempts - tried : 0;
    return MANTIS_OK;
}

size_t bridge_holders(bridge_pool *bridge, mantis_holder *out, size_t max) {
    mantis_pool *pool = bridge->pool;
    return pool ? mantis_pool_holders(pool, out, max) : 0;
}

mantis_pool *bridge_hide(bridge_pool *bridge) { return atomic_exchange(&bridge->pool, NULL); }

uint64_t bridge_finish(bridge_pool *bridge) {
    drain(bridge, true); /* every request has its outcome by now */
    mantis_mailbox_close(&bridge->mailbox);
    return bridge_next(bridge);
}

void bridge_pool_free(bridge_pool *bridge) { free(bridge); }
