/* Borrowing and giving back: the fast paths, and where they leave for the slow ones. */
#include "base/assert.h"
#include "core/pool.h"
#include "core/registry.h"

#define SAMPLE_MASK UINT64_C(63) /* one grant in 64 has its use timed */

/* ---- taking ---- */

/* Fill in what a holder writes into its slot. The slot is BUSY, by this thread. */
static inline void begin_use(mantis_pool *pool, mp_slot *slot, uint64_t generation, mp_hints *hints)
{
    mp_store_relaxed(&slot->tid, hints->tid);
    mp_store_relaxed(&slot->tag, NULL);
    if (mp_unlikely((generation & SAMPLE_MASK) == 0))
        mp_store_relaxed(&slot->sample_ns, mp_pool_now(pool));
    if (mp_unlikely(hints->home != 0)) mp_conn_set_home(pool, slot, hints->home);
}

void mp_conn_set_home(mantis_pool *pool, mp_slot *slot, uint32_t home)
{
    uint8_t before = mp_load_relaxed(&slot->home);
    mp_store_relaxed(&slot->was_home, before);
    mp_store_relaxed(&slot->home, (uint8_t)home);
    if (before != 0 && before != home) mp_add_relaxed(&pool->moved, 1);
}

/* A slot was taken that has moved to another pool while this thread stood still: it is that pool's
 * grant, which nobody asked for. Give it back there. */
static __attribute__((noinline)) void give_back_elsewhere(mp_slot *slot, uint64_t word)
{
    mantis_conn conn = {.pool = mp_load_relaxed(&slot->pool_id),
                        .slot = slot->index,
                        .generation = mp_slot_generation(word)};
    mantis_pool *other = mp_load_relaxed(&slot->pool);
    mp_lock_acquire(&other->lock);
    other->granted_base++;
    mp_lock_release(&other->lock);
    mantis_conn_release_as(&conn, MANTIS_RELEASE_UNUSED);
}

/* A connection was found broken as it was about to be lent: the next one, please. */
static __attribute__((noinline)) void discard(mantis_pool *pool, mp_slot *slot, uint64_t word)
{
    mantis_conn conn = {.pool = mp_load_relaxed(&pool->id),
                        .slot = slot->index,
                        .generation = mp_slot_generation(word)};
    mp_lock_acquire(&pool->lock);
    pool->granted_base++; /* a grant that never was */
    mp_lock_release(&pool->lock);
    mantis_conn_release_as(&conn, MANTIS_RELEASE_BROKEN);
}

/* Is it of no use, as far as its connector can tell at once? By who holds the slot. */
static inline bool is_broken(mantis_pool *pool, mp_slot *slot)
{
    if (mp_likely(!pool->is_broken)) return false;
    return pool->is_broken(mp_supply_place(pool, slot)->place, mp_load_relaxed(&slot->native));
}

/* Take a free slot for a grant, unless somebody waits; NULL if there is none. */
static mp_slot *take_free(mantis_pool *pool, uint32_t id, mp_hints *hints, uint64_t *word)
{
    while (!(mp_load_relaxed(&pool->attention) & MP_ATTENTION_NO_TAKING)) {
        MP_LABEL("acquire: before the hints");
        mp_slot *slot = mp_slots_take_hint(hints, id, word);
        if (!slot) slot = mp_slots_take(&pool->slots, MP_SLOT_GRANT, word);
        MP_LABEL("acquire: after a slot was looked for");
        if (!slot) return NULL;
        if (mp_unlikely(mp_load_relaxed(&slot->pool_id) != id)) give_back_elsewhere(slot, *word);
        else if (mp_unlikely(is_broken(pool, slot))) discard(pool, slot, *word);
        else return slot;
    }
    return NULL;
}

/* Take what is free, wherever it is. */
static __attribute__((noinline)) bool try_all(mantis_pool *pool, uint32_t id, mantis_conn *out)
{
    mp_hints *hints = mp_hints_of_thread();
    if (mp_unlikely(hints->tid == 0)) mp_hints_tid(hints);
    uint64_t word;
    mp_slot *slot = take_free(pool, id, hints, &word);
    if (!slot) return false;
    uint64_t generation = mp_slot_generation(word);
    begin_use(pool, slot, generation, hints);
    MP_LABEL("acquire: before it returns");
    *out = (mantis_conn){.pool = id, .slot = slot->index, .generation = generation};
    return true;
}

/* Give back, unused, what the shortest path took but may not lend as it is; then try all. */
static __attribute__((noinline)) bool try_again(mantis_pool *pool, uint32_t id, mp_slot *slot,
                                                uint64_t word, mantis_conn *out)
{
    mp_hints *hints = mp_hints_of_thread();
    if (mp_load_relaxed(&slot->pool_id) != id) {
        give_back_elsewhere(slot, word);
        return try_all(pool, id, out);
    }
    if (is_broken(pool, slot)) {
        discard(pool, slot, word);
        return try_all(pool, id, out);
    }
    begin_use(pool, slot, mp_slot_generation(word), hints);
    *out = (mantis_conn){.pool = id, .slot = slot->index, .generation = mp_slot_generation(word)};
    return true;
}

/* The shortest path: the slot that this thread released last, in two dozen instructions. What is
 * not the common case goes on in a function of its own, so that this one saves no registers. */
static inline __attribute__((always_inline)) bool try_fast(mantis_pool *pool, uint32_t id,
                                                           mantis_conn *out)
{
    mp_hints *hints = mp_hints_of_thread();
    mp_hint_set *set = &hints->sets[id % MP_HINT_SETS];
    if (mp_load_relaxed(&pool->attention) & MP_ATTENTION_NO_TAKING) return false;
    if (mp_unlikely(set->pool_id != id || set->count == 0)) return try_all(pool, id, out);
    mp_slot *slot = mp_slot_at_known(set->slots[set->count - 1]);
    uint64_t word;
    MP_LABEL("acquire: before the last slot");
    if (mp_unlikely(!mp_slot_try_take(slot, MP_SLOT_GRANT, &word))) return try_all(pool, id, out);
    MP_LABEL("acquire: after the last slot was taken");
    set->count--;
    uint64_t generation = mp_slot_generation(word);
    if (mp_unlikely((generation & SAMPLE_MASK) == 0 || hints->home != 0 || pool->is_broken ||
                    mp_load_relaxed(&slot->pool_id) != id))
        return try_again(pool, id, slot, word, out);
    mp_store_relaxed(&slot->tid, hints->tid);
    mp_store_relaxed(&slot->tag, NULL);
    *out = (mantis_conn){.pool = id, .slot = slot->index, .generation = generation};
    return true;
}

/* Why there is no connection at once, counted and explained. */
static __attribute__((noinline)) mantis_status refuse(mantis_pool *pool, uint32_t id,
                                                      mantis_error *error)
{
    mantis_status status = mp_pool_enter(pool, id, error);
    if (status != MANTIS_OK) return status;
    mp_add_relaxed(&pool->refused, 1);
    uint32_t attention = mp_load_relaxed(&pool->attention);
    status = MANTIS_EXHAUSTED;
    if (attention & MP_ATTENTION_STOPPED) status = mp_pool_why_stopped(pool);
    mp_explain_request(pool, status, 0, attention & MP_ATTENTION_WAITERS, error);
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_pool_try_acquire(mantis_pool *pool, mantis_conn *out, mantis_error *error)
{
    if (mp_unlikely(!pool || !out))
        return mp_error_set(error, MANTIS_INVALID, "mantis_pool_try_acquire: %s is NULL",
                            pool ? "out" : "pool");
    uint32_t id = mp_load_relaxed(&pool->id);
    if (mp_likely(try_fast(pool, id, out))) return MANTIS_OK;
    return refuse(pool, id, error);
}

/* ---- waiting ---- */

/* Put a request in the queue, and give it what is free. */
static mantis_status enqueue(mantis_pool *pool, int64_t deadline_ns, mantis_waiter *waiter,
                             bool is_blocking)
{
    mp_hints *hints = mp_hints_of_thread();
    mp_waiter *inner = mp_waiter_of(waiter);
    int64_t now_ns = mp_pool_now(pool);
    *inner = (mp_waiter){.pool = pool, .start_ns = now_ns, .home = hints->home};
    inner->tid = mp_hints_tid(hints);
    inner->is_blocking = is_blocking;
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    if (deadline_ns == MANTIS_DEADLINE_DEFAULT)
        deadline_ns = mp_clock_after(now_ns, mp_clock_ns_of_ms(pool->settings.acquire_timeout_ms));
    inner->deadline_ns = deadline_ns;
    mantis_status status = mp_grant_enqueue_locked(pool, inner);
    mp_pool_unlock(pool, &todo);
    if (status == MANTIS_OK) mp_grant_serve(pool);
    return status;
}

/* Withdraw a request whatever became of it: the waiter is the owner's when this returns. status is
 * what to end it with if it was still in the queue. */
static mantis_status withdraw(mp_waiter *waiter, mantis_status status)
{
    mantis_pool *pool = waiter->pool;
    mantis_waiter *outer = mp_waiter_public(waiter);
    mp_todo todo = {0};
    mp_add_seq_cst(&pool->inside, 1);
    mp_lock_acquire(&pool->lock);
    if (waiter->state == MP_WAITER_QUEUED)
        mp_grant_end_locked(pool, waiter, status, mp_pool_now(pool), &todo);
    if (waiter->state == MP_WAITER_POSTED) mp_mailbox_remove(outer->mailbox, waiter);
    todo.wake = NULL; /* that would be this thread */
    mp_pool_unlock(pool, &todo);
    mp_pool_leave(pool);
    return outer->status;
}

static __attribute__((noinline)) mantis_status acquire_slow(mantis_pool *pool, uint32_t id,
                                                            int64_t deadline_ns, mantis_conn *out,
                                                            mantis_error *error)
{
    mantis_status status = mp_pool_enter(pool, id, error);
    if (status != MANTIS_OK) return status;
    mantis_mailbox mailbox;
    mp_mailbox_init_blocking(&mailbox);
    mantis_waiter waiter = {.mailbox = &mailbox};
    status = enqueue(pool, deadline_ns, &waiter, true);
    if (status == MANTIS_OK) {
        mp_waiter *inner = mp_waiter_of(&waiter);
        if (mp_mailbox_wait(&mailbox, inner->deadline_ns)) {
            mp_mailbox_remove(&mailbox, inner);
            status = waiter.status;
        } else {
            status = withdraw(inner, MANTIS_TIMEOUT);
        }
    }
    if (status == MANTIS_OK) *out = waiter.conn;
    else mp_explain_request(pool, status, waiter.waited_ns, waiter.ahead, error);
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_pool_acquire(mantis_pool *pool, int64_t deadline_ns, mantis_conn *out,
                                  mantis_error *error)
{
    if (mp_unlikely(!pool || !out))
        return mp_error_set(error, MANTIS_INVALID, "mantis_pool_acquire: %s is NULL",
                            pool ? "out" : "pool");
    uint32_t id = mp_load_relaxed(&pool->id);
    if (mp_likely(try_fast(pool, id, out))) return MANTIS_OK;
    return acquire_slow(pool, id, deadline_ns, out, error);
}

mantis_status mantis_pool_acquire_async(mantis_pool *pool, int64_t deadline_ns,
                                        mantis_waiter *waiter, mantis_error *error)
{
    if (!pool || !waiter || !waiter->mailbox)
        return mp_error_set(error, MANTIS_INVALID, "mantis_pool_acquire_async: %s is NULL",
                            !pool     ? "pool"
                            : !waiter ? "waiter"
                                      : "waiter->mailbox");
    mantis_status status = mp_pool_enter(pool, mp_load_relaxed(&pool->id), error);
    if (status != MANTIS_OK) return status;
    mp_add_seq_cst(&waiter->mailbox->outstanding, 1);
    status = enqueue(pool, deadline_ns, waiter, false);
    mp_waiter *inner = mp_waiter_of(waiter);
    if (status != MANTIS_OK) {
        mp_sub_seq_cst(&waiter->mailbox->outstanding, 1);
        mp_explain_request(pool, status, 0, waiter->ahead, error);
    } else if (inner->deadline_ns != MANTIS_DEADLINE_NONE) {
        mp_heap_push(&waiter->mailbox->deadlines, &inner->heap, inner->deadline_ns);
    }
    mp_pool_leave(pool);
    return status;
}

mantis_status mantis_waiter_cancel(mantis_waiter *waiter)
{
    mp_waiter *inner = mp_waiter_of(waiter);
    if (!inner->pool || inner->state == MP_WAITER_IDLE) return MANTIS_STALE;
    if (inner->state == MP_WAITER_WATCHING) return MANTIS_STALE;
    mantis_status status = withdraw(inner, MANTIS_CANCELLED);
    mp_waiter_finish(waiter);
    return status;
}

void mp_pool_expire(mp_waiter *waiter)
{
    mantis_pool *pool = waiter->pool;
    mp_todo todo = {0};
    mp_add_seq_cst(&pool->inside, 1);
    mp_lock_acquire(&pool->lock);
    if (waiter->state == MP_WAITER_QUEUED)
        mp_grant_end_locked(pool, waiter, MANTIS_TIMEOUT, mp_pool_now(pool), &todo);
    mp_pool_unlock(pool, &todo);
    mp_pool_leave(pool);
}

/* ---- giving back ---- */

/* UNUSED: for the keeper it is idle since before. */
static void forget_use(mp_slot *slot, uint64_t generation)
{
    uint64_t free_before = mp_slot_word(generation - 1, MP_SLOT_FREE);
    if (slot->seen_word == mp_slot_word(generation, MP_SLOT_BUSY))
        slot->seen_ns = slot->check_at_ns;
    else if (slot->seen_word != free_before) return;
    slot->seen_word = mp_slot_word(generation, MP_SLOT_FREE);
}

static void unwatch(mp_slot *slot)
{
    mp_waiter *watch = slot->u.watch;
    slot->u.watch = NULL;
    if (!watch) return;
    watch->state = MP_WAITER_IDLE;
    mp_sub_seq_cst(&mp_waiter_public(watch)->mailbox->outstanding, 1);
}

static void release_locked(mantis_pool *pool, mp_slot *slot, mantis_release how, mp_todo *todo)
{
    int64_t now_ns = mp_pool_now(pool);
    unwatch(slot);
    if (how == MANTIS_RELEASE_UNUSED)
        forget_use(slot, mp_slot_generation(mp_load_relaxed(&slot->word)));
    if (how == MANTIS_RELEASE_BROKEN)
        mp_supply_close_locked(pool, slot, MANTIS_CLOSE_BROKEN, true, todo);
    else if (how == MANTIS_RELEASE_DIRTY) mp_supply_reset_locked(pool, slot, now_ns, todo);
    else mp_grant_settle_locked(pool, slot, now_ns, todo);
    mp_supply_locked(pool, now_ns, todo);
    mp_pool_changed_locked(pool, todo);
}

/* Take the slot from its holder, into the caller's hands. One of several copies of a handle wins. */
static bool take_busy(mp_slot *slot, uint64_t mine)
{
    uint64_t word = mine, held = (mine & ~MP_SLOT_LOW_MASK) | MP_SLOT_CHECKING;
    while (!mp_cas_seq_cst(&slot->word, &word, held))
        if ((word & ~MP_SLOT_RETIRE) != mine) return false; /* C2 */
    return true;
}

static __attribute__((noinline)) mantis_status release_slow(mantis_conn conn, mantis_release how)
{
    if (conn.pool == 0) return MANTIS_OK; /* never filled */
    mp_slot *slot = mp_slot_at(conn.slot);
    if (!slot) return MANTIS_STALE;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mantis_status status = mp_pool_enter(pool, conn.pool, NULL);
    if (status != MANTIS_OK) return status;
    uint64_t mine = mp_slot_word(conn.generation, MP_SLOT_BUSY);
    bool is_mine = (mp_load_acquire(&slot->word) & ~MP_SLOT_RETIRE) == mine;
    if (is_mine && how != MANTIS_RELEASE_BROKEN && is_broken(pool, slot))
        how = MANTIS_RELEASE_BROKEN;
    mp_todo todo = {0};
    mp_lock_acquire(&pool->lock);
    if (take_busy(slot, mine)) release_locked(pool, slot, how, &todo);
    else status = MANTIS_STALE;
    if (pool->is_closed) status = MANTIS_CLOSED;
    mp_pool_unlock(pool, &todo);
    mp_pool_leave(pool);
    return status;
}

/* Leave the length of a sampled use in the slot, for the keeper. By the holder. */
static void end_sample(mantis_pool *pool, mp_slot *slot)
{
    int64_t began_ns = mp_load_relaxed(&slot->sample_ns);
    if (began_ns > 0) mp_store_relaxed(&slot->sample_ns, began_ns - mp_pool_now(pool) - 1);
}

/* Free the slot; false if the handle is stale or the slot moves under the lock alone. */
static inline __attribute__((always_inline)) bool free_slot(mp_slot *slot, mantis_conn conn)
{
    uint64_t busy = mp_slot_word(conn.generation, MP_SLOT_BUSY);
    MP_LABEL("release: before the slot is freed");
    /* C8: frees before it looks at attention; pairs with mp_grant_enqueue_locked() */
    if (mp_unlikely(!mp_cas_seq_cst(&slot->word, &busy, busy - MP_SLOT_BUSY + MP_SLOT_FREE)))
        return false;
    MP_LABEL("release: after the slot was freed");
    mp_slot_set_bit(slot);
    mp_slots_push_hint(mp_hints_of_thread(), conn.pool, conn.slot);
    MP_LABEL("release: before attention is read again");
    return true;
}

static __attribute__((noinline)) mantis_status release_sampled(mantis_conn conn)
{
    mp_slot *slot = mp_slot_at(conn.slot);
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    if (mp_load_relaxed(&slot->word) == mp_slot_word(conn.generation, MP_SLOT_BUSY))
        end_sample(pool, slot);
    if (!free_slot(slot, conn)) return release_slow(conn, MANTIS_RELEASE_CLEAN);
    if (mp_load_seq_cst(&pool->attention) != 0) mp_grant_serve_id(pool, conn.pool);
    return MANTIS_OK;
}

static __attribute__((noinline)) mantis_status serve_after(mantis_pool *pool, uint32_t id)
{
    mp_grant_serve_id(pool, id);
    return MANTIS_OK;
}

mantis_status mantis_conn_release(mantis_conn *conn)
{
    if (mp_unlikely(!conn)) return MANTIS_OK;
    mantis_conn given = *conn;
    *conn = (mantis_conn){0};
    mp_slot *slot = mp_slot_at(given.slot);
    if (mp_unlikely(!slot)) return release_slow(given, MANTIS_RELEASE_CLEAN);
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    MP_LABEL("release: before attention is read");
    if (mp_unlikely(mp_load_relaxed(&pool->attention) != 0))
        return release_slow(given, MANTIS_RELEASE_CLEAN);
    if (mp_unlikely((given.generation & SAMPLE_MASK) == 0)) return release_sampled(given);
    if (mp_unlikely(!free_slot(slot, given))) return release_slow(given, MANTIS_RELEASE_CLEAN);
    if (mp_unlikely(mp_load_seq_cst(&pool->attention) != 0)) return serve_after(pool, given.pool);
    return MANTIS_OK;
}

mantis_status mantis_conn_release_as(mantis_conn *conn, mantis_release how)
{
    if (how == MANTIS_RELEASE_CLEAN) return mantis_conn_release(conn);
    if (!conn) return MANTIS_OK;
    mantis_conn given = *conn;
    *conn = (mantis_conn){0};
    return release_slow(given, how);
}

/* ---- looking at what is borrowed ---- */

/* The slot that a handle stands for. Errors: STALE CLOSED FORKED INVALID. */
static inline mantis_status find(mantis_conn conn, mp_slot **out, mantis_error *error)
{
    mp_slot *slot = mp_slot_at(conn.slot);
    if (mp_likely(slot)) {
        uint64_t word = mp_load_acquire(&slot->word) & ~MP_SLOT_RETIRE;
        mantis_pool *pool = mp_load_relaxed(&slot->pool);
        if (mp_likely(word == mp_slot_word(conn.generation, MP_SLOT_BUSY) &&
                      !(mp_load_relaxed(&pool->attention) & MP_ATTENTION_FORKED))) {
            *out = slot;
            return MANTIS_OK;
        }
        mantis_status status = mp_pool_enter(pool, conn.pool, error);
        if (status != MANTIS_OK) return status;
        mp_pool_leave(pool);
    }
    return mp_error_set(error, MANTIS_STALE,
                        conn.pool == 0 ? "the handle is empty: nothing was acquired into it"
                                       : "the handle is stale: its connection was released");
}

mantis_status mantis_conn_native(mantis_conn conn, void **native, mantis_error *error)
{
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, error);
    if (status == MANTIS_OK) *native = mp_load_relaxed(&slot->native);
    return status;
}

mantis_status mp_conn_resolve(mantis_conn conn, mp_conn_view *view, mantis_error *error)
{
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, error);
    if (mp_unlikely(status != MANTIS_OK)) return status;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    *view = (mp_conn_view){.connector = pool->connector,
                           .native = mp_load_relaxed(&slot->native),
                           .memory_max_bytes = mp_load_relaxed(&pool->memory_max_bytes)};
    return MANTIS_OK;
}

mantis_status mantis_conn_tag(mantis_conn conn, const char *tag)
{
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status == MANTIS_OK) mp_store_relaxed(&slot->tag, tag);
    return status;
}

mantis_status mantis_conn_detach(mantis_conn conn)
{
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status == MANTIS_OK) mp_store_relaxed(&slot->tid, 0);
    return status;
}

mantis_status mantis_conn_watch(mantis_conn conn, mantis_waiter *waiter)
{
    if (!waiter || !waiter->mailbox) return MANTIS_INVALID;
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status != MANTIS_OK) return status;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    mp_waiter *inner = mp_waiter_of(waiter);
    *inner = (mp_waiter){.pool = pool, .state = MP_WAITER_WATCHING};
    waiter->conn = conn;
    waiter->status = MANTIS_CANCELLED;
    uint64_t mine = mp_slot_word(conn.generation, MP_SLOT_BUSY), word = mine;
    mp_lock_acquire(&pool->lock);
    /* C3: its release must come by the slow path from here on */
    if (mp_cas_seq_cst(&slot->word, &word, mine | MP_SLOT_RETIRE) ||
        word == (mine | MP_SLOT_RETIRE)) {
        unwatch(slot);
        slot->u.watch = inner;
        mp_add_seq_cst(&waiter->mailbox->outstanding, 1);
    } else {
        status = MANTIS_STALE;
    }
    mp_lock_release(&pool->lock);
    return status;
}

mantis_status mantis_conn_get_info(mantis_conn conn, mantis_conn_info *out)
{
    mp_slot *slot = NULL;
    mantis_status status = find(conn, &slot, NULL);
    if (status != MANTIS_OK) return status;
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    uint32_t was = mp_load_relaxed(&slot->was_home), home = mp_load_relaxed(&slot->home);
    mp_lock_acquire(&pool->lock);
    *out = (mantis_conn_info){.age_ns = mp_pool_now(pool) - slot->born_ns,
                              .generation = conn.generation,
                              .home = was,
                              .moved = was != 0 && was != home,
                              .configuration = mp_supply_place(pool, slot)->number};
    mp_lock_release(&pool->lock);
    return MANTIS_OK;
}

mantis_status mantis_thread_home(uint32_t home)
{
    if (home >= MP_HOMES) return MANTIS_INVALID;
    mp_hints_of_thread()->home = home;
    return MANTIS_OK;
}
