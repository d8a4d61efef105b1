/* Borrowing and giving back: the fast paths, and where they leave for the slow ones. */
#include "base/error.h"
#include "core/pool.h"

#include <string.h>

#define SAMPLE_MASK (MP_SAMPLE_EVERY - UINT64_C(1))
#define DEADLINE_TRY INT64_MIN /* do not wait */

static mantis_status refuse_null(const char *function, const char *what, mantis_error *error) {
    return mp_error_set(error, MANTIS_INVALID, "%s: %s is NULL", function, what);
}

/* ---- taking ---- */

/* Fill in what a holder writes into its slot. The slot is BUSY, by this thread. */
static inline void begin_use(mp_slot *slot, uint64_t generation, mp_hints *hints) {
    hints->lent = slot;
    mp_store_relaxed(&slot->tag, NULL);
    /* release: pairs with the acquire in mp_slot_tid(); a tag that is seen with it is no older */
    mp_store_release(&slot->holder, mp_slot_holder(generation, hints->tid));
}

/* A grant that nobody asked for: the slot has moved to another pool while this thread stood still,
 * or its connection is found broken. Give it back where it belongs. */
static __attribute__((noinline)) void undo(mp_slot *slot, uint64_t word, mantis_release how) {
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mantis_conn conn = {.pool = mp_load_relaxed(&pool->id),
                        .slot = slot->index,
                        .generation = mp_slot_generation(word)};
    mp_lock_acquire(&pool->lock);
    pool->granted_base++;
    mp_lock_release(&pool->lock);
    mantis_conn_release_as(&conn, how);
}

static inline bool is_of(const mp_slot *slot, const mantis_pool *pool, uint32_t id) {
    return mp_load_relaxed(&slot->pool) == pool && mp_load_relaxed(&pool->id) == id;
}

/* A handle is written and read as two words of eight bytes: a load that takes a part of a store, or
 * parts of two, would wait for it, at every release (measured: 1.5 ns). */
static inline void fill(mantis_conn *out, uint32_t id, const mp_slot *slot, uint64_t generation) {
    uint64_t both = (uint64_t)slot->index << 32 | id;
    memcpy(out, &both, sizeof both);
    out->generation = generation;
}

static inline mantis_conn take_out(mantis_conn *from) {
    uint64_t both;
    memcpy(&both, from, sizeof both);
    mantis_conn conn = {
        .pool = (uint32_t)both, .slot = (uint32_t)(both >> 32), .generation = from->generation};
    *from = (mantis_conn){0};
    return conn;
}

/* Take what is free, wherever it is. */
static bool try_all(mantis_pool *pool, uint32_t id, mantis_conn *out) {
    mp_hints *hints = mp_hints_of_thread();
    mp_hints_tid(hints);
    uint64_t word = 0;
    mp_slot *slot = NULL;
    while (!slot) {
        if (mp_load_relaxed(&pool->attention) & MP_ATTENTION_NO_TAKING) return false;
        MP_LABEL("acquire: before the hints");
        slot = mp_slots_take_hint(mp_slots_hints(hints, pool), id, &word);
        if (!slot) slot = mp_slots_take(&pool->slots, MP_SLOT_GRANT, &word);
        MP_LABEL("acquire: after a slot was looked for");
        if (!slot) return false;
        bool is_mine = is_of(slot, pool, id);
        if (is_mine && !mp_supply_is_broken(pool, slot)) break;
        undo(slot, word, is_mine ? MANTIS_RELEASE_BROKEN : MANTIS_RELEASE_UNUSED);
        slot = NULL;
    }
    uint64_t generation = mp_slot_generation(word);
    begin_use(slot, generation, hints);
    if ((generation & SAMPLE_MASK) == 0) mp_store_relaxed(&slot->sample_ns, mp_pool_now(pool));
    if (hints->home != 0) mp_grant_set_home(pool, slot, hints->home);
    MP_LABEL("acquire: before it returns");
    fill(out, id, slot, generation);
    return true;
}

/* Why there is no connection at once, counted and explained. */
static mantis_status refuse(mantis_pool *pool, uint32_t id, mantis_error *error) {
    mantis_status status = mp_pool_enter(pool, id, error);
    if (status != MANTIS_OK) return status;
    mp_add_relaxed(&pool->refused, 1);
    uint32_t attention = mp_load_relaxed(&pool->attention);
    status = attention & MP_ATTENTION_CLOSED   ? MANTIS_CLOSED
             : attention & MP_ATTENTION_PAUSED ? MANTIS_PAUSED
                                               : MANTIS_EXHAUSTED;
    mp_explain_request(pool, status, 0, attention & MP_ATTENTION_WAITERS, error);
    mp_pool_leave(pool);
    return status;
}

/* ---- waiting ---- */

/* Put a request in the queue, and give it what is free. */
static mantis_status enqueue(mantis_pool *pool, int64_t deadline_ns, mantis_waiter *waiter,
                             bool is_blocking) {
    mp_hints *hints = mp_hints_of_thread();
    mp_turn turn = mp_turn_begin(pool);
    if (deadline_ns == MANTIS_DEADLINE_DEFAULT)
        deadline_ns = mp_clock_after(turn.now_ns,
                                     mp_clock_ns_of_ms(pool->settings.acquire_timeout_ms));
    mp_waiter *inner = mp_waiter_of(waiter);
    *inner = (mp_waiter){.pool = pool,
                         .start_ns = turn.now_ns,
                         .deadline_ns = deadline_ns,
                         .home = hints->home,
                         .tid = mp_hints_tid(hints),
                         .is_blocking = is_blocking};
    mantis_status status = mp_grant_enqueue_locked(&turn, inner);
    /* Before anything is called: a hook may drain the outcome already. */
    if (status == MANTIS_OK && !is_blocking && deadline_ns != MANTIS_DEADLINE_NONE)
        mp_heap_push(&waiter->mailbox->deadlines, &inner->heap, deadline_ns);
    mp_turn_end(&turn);
    if (status == MANTIS_OK) mp_grant_serve(pool);
    return status;
}

/* Withdraw a request whatever became of it: the waiter is the owner's when this returns. status is
 * what to end it with if it was still in the queue. */
static mantis_status withdraw(mp_waiter *waiter, mantis_status status) {
    mantis_pool *pool = waiter->pool;
    mantis_waiter *outer = mp_waiter_public(waiter);
    mp_add_seq_cst(&pool->inside, 1);
    mp_turn turn = mp_turn_begin(pool);
    if (mp_load_relaxed(&waiter->state) == MP_WAITER_QUEUED)
        mp_grant_end_locked(&turn, waiter, status);
    if (mp_load_relaxed(&waiter->state) == MP_WAITER_POSTED)
        mp_mailbox_remove(outer->mailbox, waiter);
    turn.wake = NULL; /* that would be this thread */
    mp_turn_end(&turn);
    mp_pool_leave(pool);
    return outer->status;
}

static mantis_status acquire_slow(mantis_pool *pool, uint32_t id, int64_t deadline_ns,
                                  mantis_conn *out, mantis_error *error) {
    mantis_status status = mp_pool_enter(pool, id, error);
    if (status != MANTIS_OK) return status;
    mantis_mailbox mailbox = {.fd = -1}; /* of a thread that blocks */
    mantis_waiter waiter = {.mailbox = &mailbox};
    mp_waiter *inner = mp_waiter_of(&waiter);
    status = enqueue(pool, deadline_ns, &waiter, true);
    mp_op_start_later();
    if (status == MANTIS_OK && mp_mailbox_wait(&mailbox, inner->deadline_ns)) {
        mp_mailbox_remove(&mailbox, inner);
        status = waiter.status;
    } else if (status == MANTIS_OK) status = withdraw(inner, MANTIS_TIMEOUT);
    if (status == MANTIS_OK) *out = waiter.conn;
    else mp_explain_request(pool, status, waiter.waited_ns, waiter.ahead, error);
    mp_pool_leave(pool);
    return status;
}

/* What the shortest path leaves to do: everything but the common case. misplaced: a slot that it
 * took and that is another pool's by now, or NULL. */
static __attribute__((noinline)) mantis_status take_longer(mantis_pool *pool, uint32_t id,
                                                           int64_t deadline_ns, mantis_conn *out,
                                                           mantis_error *error,
                                                           mp_slot *misplaced) {
    if (misplaced) undo(misplaced, mp_load_relaxed(&misplaced->word), MANTIS_RELEASE_UNUSED);
    if (try_all(pool, id, out)) return MANTIS_OK;
    if (deadline_ns == DEADLINE_TRY) return refuse(pool, id, error);
    return acquire_slow(pool, id, deadline_ns, out, error);
}

/* The shortest path: the slot that this thread released last, in two dozen instructions. Whatever
 * is not the common case ends in take_longer(), so that this one saves no registers. */
static inline __attribute__((always_inline)) mantis_status take(mantis_pool *pool,
                                                                int64_t deadline_ns,
                                                                mantis_conn *out,
                                                                mantis_error *error) {
    uint32_t id = mp_load_relaxed(&pool->id);
    mp_hints *hints = mp_hints_of_thread();
    mp_hint_set *set = mp_slots_hints(hints, pool);
    if (mp_unlikely((mp_load_relaxed(&pool->attention) & MP_ATTENTION_NO_TAKING) != 0 ||
                    set->pool_id != id || !set->last || hints->home != 0 || hints->tid == 0 ||
                    pool->is_broken))
        return take_longer(pool, id, deadline_ns, out, error, NULL);
    mp_slot *slot = set->last;
    uint64_t word = mp_load_relaxed(&slot->word), generation = mp_slot_generation(word) + 1;
    MP_LABEL("acquire: before the last slot");
    if (mp_unlikely((generation & SAMPLE_MASK) == 0 || (word & MP_SLOT_LOW_MASK) != MP_SLOT_FREE ||
                    !mp_cas_seq_cst(&slot->word, &word, word + MP_SLOT_GRANT)))
        return take_longer(pool, id, deadline_ns, out, error, NULL);
    MP_LABEL("acquire: after the last slot was taken");
    set->last = NULL;
    if (mp_unlikely(!is_of(slot, pool, id)))
        return take_longer(pool, id, deadline_ns, out, error, slot);
    begin_use(slot, generation, hints);
    fill(out, id, slot, generation);
    return MANTIS_OK;
}

mantis_status mantis_pool_try_acquire(mantis_pool *pool, mantis_conn *out, mantis_error *error) {
    if (mp_unlikely(!pool || !out)) return refuse_null(__func__, pool ? "out" : "pool", error);
    return take(pool, DEADLINE_TRY, out, error);
}

mantis_status mantis_pool_acquire(mantis_pool *pool, int64_t deadline_ns, mantis_conn *out,
                                  mantis_error *error) {
    if (mp_unlikely(!pool || !out)) return refuse_null(__func__, pool ? "out" : "pool", error);
    return take(pool, deadline_ns, out, error);
}

mantis_status mantis_pool_acquire_async(mantis_pool *pool, int64_t deadline_ns,
                                        mantis_waiter *waiter, mantis_error *error) {
    if (!pool) return refuse_null(__func__, "pool", error);
    if (!waiter || !waiter->mailbox) return refuse_null(__func__, "waiter or its mailbox", error);
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    mp_add_seq_cst(&waiter->mailbox->outstanding, 1);
    status = enqueue(pool, deadline_ns, waiter, false);
    if (status != MANTIS_OK) {
        mp_sub_seq_cst(&waiter->mailbox->outstanding, 1);
        mp_explain_request(pool, status, 0, waiter->ahead, error);
    }
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_waiter_cancel(mantis_waiter *waiter) {
    mp_waiter *inner = mp_waiter_of(waiter);
    uint32_t state = mp_load_relaxed(&inner->state);
    if (state == MP_WAITER_IDLE || state == MP_WAITER_WATCHING) return MANTIS_STALE;
    if (mp_load_relaxed(&inner->pool->attention) & MP_ATTENTION_FORKED) return MANTIS_FORKED;
    mantis_status status = withdraw(inner, MANTIS_CANCELLED);
    mp_mailbox_finish(waiter);
    return status;
}

/* ---- giving back ---- */

/* UNUSED: for the keeper it is idle since before. */
static void forget_use(mp_slot *slot) {
    uint64_t generation = mp_slot_generation(mp_load_relaxed(&slot->word));
    if (slot->seen_word == mp_slot_word(generation, MP_SLOT_BUSY))
        slot->seen_ns = slot->check_at_ns;
    else if (slot->seen_word != mp_slot_word(generation - 1, MP_SLOT_FREE)) return;
    slot->seen_word = mp_slot_word(generation, MP_SLOT_FREE);
}

static void unwatch(mp_slot *slot) {
    mp_waiter *watch = slot->u.list.watch;
    slot->u.list.watch = NULL;
    if (!watch) return;
    mp_store_relaxed(&watch->state, MP_WAITER_IDLE);
    mp_sub_seq_cst(&mp_waiter_public(watch)->mailbox->outstanding, 1);
}

static void release_locked(mp_turn *turn, mp_slot *slot, mantis_release how) {
    unwatch(slot);
    if (how == MANTIS_RELEASE_UNUSED) forget_use(slot);
    if (how == MANTIS_RELEASE_BROKEN) mp_supply_close_locked(turn, slot, MANTIS_CLOSE_BROKEN, true);
    else if (how == MANTIS_RELEASE_DIRTY) mp_supply_reset_locked(turn, slot);
    else mp_grant_settle_locked(turn, slot);
    mp_supply_locked(turn);
    mp_turn_changed_locked(turn);
}

/* Take the slot from its holder, into the caller's hands. One of several copies of a handle
 * wins. */
static bool take_back(mp_slot *slot, uint64_t generation) {
    uint64_t mine = mp_slot_word(generation, MP_SLOT_BUSY), word = mine;
    while (!mp_cas_seq_cst(&slot->word, &word, mp_slot_word(generation, MP_SLOT_CHECKING)))
        if ((word & ~MP_SLOT_RETIRE) != mine) return false; /* C2 */
    return true;
}

/* Leave the length of a use that was sampled in the slot, for the keeper. */
static void end_sample(mantis_pool *pool, mp_slot *slot) {
    int64_t began_ns = mp_load_relaxed(&slot->sample_ns);
    if (began_ns > 0) mp_store_relaxed(&slot->sample_ns, began_ns - mp_pool_now(pool) - 1);
}

static __attribute__((noinline)) mantis_status release_slow(mantis_conn conn, mantis_release how) {
    if (conn.pool == 0) return MANTIS_OK; /* never filled */
    mp_slot *slot = mp_slot_at(conn.slot);
    if (!slot) return MANTIS_STALE;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mantis_status status = mp_pool_enter(pool, conn.pool, NULL);
    if (status != MANTIS_OK) return status;
    bool is_mine = take_back(slot, conn.generation);
    if (is_mine && slot->is_dirty && how != MANTIS_RELEASE_BROKEN) how = MANTIS_RELEASE_DIRTY;
    bool is_reset = how == MANTIS_RELEASE_DIRTY; /* which finds out by itself what is broken */
    if (is_mine && !is_reset && mp_supply_is_broken(pool, slot)) how = MANTIS_RELEASE_BROKEN;
    if (is_mine) end_sample(pool, slot);
    mp_turn turn = mp_turn_begin(pool);
    if (is_mine) release_locked(&turn, slot, how);
    status = pool->is_closed ? MANTIS_CLOSED : is_mine ? MANTIS_OK : MANTIS_STALE;
    mp_turn_end(&turn);
    mp_pool_leave(pool);
    return status;
}

/* Free the slot; false if the handle is stale or the slot is to be looked at first. */
static inline bool free_slot(mp_slot *slot, mantis_conn conn) {
    uint64_t busy = mp_slot_word(conn.generation, MP_SLOT_BUSY);
    MP_LABEL("release: before the slot is freed");
    /* C8: frees before it looks at attention; pairs with mp_grant_enqueue_locked() */
    if (mp_unlikely(!mp_cas_seq_cst(&slot->word, &busy, busy - MP_SLOT_BUSY + MP_SLOT_FREE)))
        return false;
    MP_LABEL("release: after the slot was freed");
    mp_slot_set_bit(slot);
    MP_LABEL("release: before attention is read again");
    return true;
}

/* The slot is free: somebody began to wait meanwhile, or it is not the only one to remember. */
static __attribute__((noinline)) mantis_status end_release(mantis_pool *pool, mantis_conn conn,
                                                           mp_slot *slot) {
    if (mp_load_seq_cst(&pool->attention) != 0) mp_grant_serve_id(pool, conn.pool);
    mp_slots_push_hint(mp_slots_hints(mp_hints_of_thread(), pool), conn.pool, slot);
    return MANTIS_OK;
}

/* Free a slot whose use was sampled. */
static __attribute__((noinline)) mantis_status release_sampled(mantis_conn conn) {
    mp_slot *slot = mp_slot_at(conn.slot);
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    if (mp_load_relaxed(&slot->word) == mp_slot_word(conn.generation, MP_SLOT_BUSY))
        end_sample(pool, slot);
    if (!free_slot(slot, conn)) return release_slow(conn, MANTIS_RELEASE_CLEAN);
    return end_release(pool, conn, slot);
}

mantis_status mantis_conn_release(mantis_conn *conn) {
    if (mp_unlikely(!conn)) return MANTIS_OK;
    mantis_conn given = take_out(conn);
    mp_slot *slot = mp_hints_of_thread()->lent;
    if (mp_unlikely(!slot || slot->index != given.slot)) slot = mp_slot_at(given.slot);
    if (mp_unlikely(!slot)) return release_slow(given, MANTIS_RELEASE_CLEAN);
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    MP_LABEL("release: before attention is read");
    if (mp_unlikely(mp_load_relaxed(&pool->attention) != 0))
        return release_slow(given, MANTIS_RELEASE_CLEAN);
    if (mp_unlikely((given.generation & SAMPLE_MASK) == 0)) return release_sampled(given);
    if (mp_unlikely(!free_slot(slot, given))) return release_slow(given, MANTIS_RELEASE_CLEAN);
    mp_hint_set *set = mp_slots_hints(mp_hints_of_thread(), pool);
    if (mp_unlikely(mp_load_seq_cst(&pool->attention) != 0 || set->pool_id != given.pool ||
                    set->last))
        return end_release(pool, given, slot);
    set->last = slot;
    return MANTIS_OK;
}

mantis_status mantis_conn_release_as(mantis_conn *conn, mantis_release how) {
    if (how == MANTIS_RELEASE_CLEAN) return mantis_conn_release(conn);
    if (!conn) return MANTIS_OK;
    return release_slow(take_out(conn), how);
}

/* ---- looking at what is borrowed ---- */

static __attribute__((noinline)) mantis_status explain_stale(mantis_conn conn, mp_slot *slot,
                                                             mantis_error *error) {
    mantis_status status = MANTIS_OK;
    if (slot) status = mp_pool_enter(mp_load_relaxed(&slot->pool), conn.pool, error);
    if (status != MANTIS_OK) return status;
    if (slot) mp_pool_leave(mp_load_relaxed(&slot->pool));
    return mp_error_set(error, MANTIS_STALE,
                        conn.pool == 0 ? "the handle is empty: nothing was acquired into it"
                                       : "the handle is stale: its connection was released");
}

/* The slot that a handle stands for. Errors: STALE CLOSED FORKED. */
static inline mantis_status find(mantis_conn conn, mp_slot **out, mantis_error *error) {
    mp_slot *slot = mp_slot_at(conn.slot);
    if (mp_unlikely(!slot || (mp_load_acquire(&slot->word) & ~MP_SLOT_RETIRE) !=
                                 mp_slot_word(conn.generation, MP_SLOT_BUSY)))
        return explain_stale(conn, slot, error);
    const mantis_pool *pool = mp_load_relaxed(&slot->pool);
    if (mp_unlikely(mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED))
        return explain_stale(conn, slot, error);
    *out = slot;
    return MANTIS_OK;
}

mantis_status mantis_conn_native(mantis_conn conn, void **native, mantis_error *error) {
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, error);
    if (status == MANTIS_OK) *native = mp_load_relaxed(&slot->native);
    return status;
}

mantis_status mp_conn_resolve(mantis_conn conn, mp_conn_view *view, mantis_error *error) {
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    *view = (mp_conn_view){.pool = pool,
                           .slot = slot,
                           .connector = pool->connector,
                           .native = mp_load_relaxed(&slot->native),
                           .memory_max_bytes = mp_load_relaxed(&pool->memory_max_bytes)};
    return MANTIS_OK;
}

mantis_status mantis_conn_tag(mantis_conn conn, const char *tag) {
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status == MANTIS_OK) mp_store_relaxed(&slot->tag, tag);
    return status;
}

mantis_status mantis_conn_detach(mantis_conn conn) {
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status == MANTIS_OK) mp_store_release(&slot->holder, mp_slot_holder(conn.generation, 0));
    return status;
}

mantis_status mantis_conn_mark_dirty(mantis_conn conn) {
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status != MANTIS_OK) return status;
    mp_lock *lock = &mp_load_relaxed(&slot->pool)->lock;
    mp_lock_acquire(lock);
    mp_grant_mark_busy(slot); /* C3 */
    slot->is_dirty = true;
    mp_lock_release(lock);
    return MANTIS_OK;
}

mantis_status mantis_conn_watch(mantis_conn conn, mantis_waiter *waiter) {
    mp_slot *slot = NULL;
    mantis_status status = waiter && waiter->mailbox ? find(conn, &slot, NULL) : MANTIS_INVALID;
    if (status != MANTIS_OK) return status;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mp_waiter *inner = mp_waiter_of(waiter);
    *inner = (mp_waiter){.pool = pool, .state = MP_WAITER_WATCHING};
    waiter->conn = conn;
    waiter->status = MANTIS_CANCELLED;
    mp_lock_acquire(&pool->lock);
    mp_grant_mark_busy(slot); /* C3: its release must look, from here on */
    unwatch(slot);
    slot->u.list.watch = inner;
    mp_add_seq_cst(&waiter->mailbox->outstanding, 1);
    mp_lock_release(&pool->lock);
    return MANTIS_OK;
}

mantis_status mantis_thread_home(uint32_t home) {
    if (home >= MP_HOMES) return MANTIS_INVALID;
    mp_hints_of_thread()->home = home;
    return MANTIS_OK;
}
