/* Memory for pools and chunks, the list of open pools, and what a fork() means for them. */
#include "core/registry.h"

#include "base/arena.h"
#include "base/assert.h"
#include "core/mailbox.h"
#include "core/pool.h"

#include <pthread.h>

_Atomic(mp_slot *) mp_slot_groups[MP_SLOT_GROUPS];

static struct {
    mp_lock lock;
    struct {
        uint32_t last_id;
        uint32_t next_group; /* of mp_slot_groups; 0 stays empty: a zeroed handle has none */
        mp_list pools;       /* open ones, by registered */
        mp_list resting;     /* closed ones, by registered, the oldest first */
        uint32_t resting_count;
        mp_chunk *chunks[MP_CHUNKS_MAX]; /* unused ones by size */
        mp_arena lines, slots, words;    /* cut in whole lines, in slots, in half lines */
    } locked;
} registry = {.locked = {.next_group = 1}};

/* ---- pools ---- */

/* A header that has rested and that no thread is inside of, or NULL. */
static mantis_pool *reuse_locked(void) {
    if (registry.locked.resting_count <= MP_POOLS_RESTING) return NULL;
    mantis_pool *pool = mp_container_of(registry.locked.resting.head, mantis_pool, registered);
    if (mp_load_seq_cst(&pool->inside) != 0) return NULL;
    mp_list_remove(&registry.locked.resting, &pool->registered);
    registry.locked.resting_count--;
    return pool;
}

struct mantis_pool *mp_registry_take_pool(void) {
    mp_lock_acquire(&registry.lock);
    mantis_pool *pool = reuse_locked();
    if (!pool) pool = mp_arena_make(&registry.locked.lines, MP_CACHE_LINE, sizeof *pool);
    if (pool) {
        if (++registry.locked.last_id == 0) registry.locked.last_id = 1;
        mp_list_push(&registry.locked.pools, &pool->registered);
        mp_store_seq_cst(&pool->id, registry.locked.last_id);
    }
    mp_lock_release(&registry.lock);
    return pool;
}

void mp_registry_give_pool(struct mantis_pool *pool) {
    mp_lock_acquire(&registry.lock);
    mp_list_remove(&registry.locked.pools, &pool->registered);
    mp_list_push(&registry.locked.resting, &pool->registered);
    registry.locked.resting_count++;
    mp_lock_release(&registry.lock);
}

/* ---- chunks ---- */

/* A new chunk with indices of its own, published by mp_registry_take_chunk(). */
static mp_chunk *make_chunk_locked(uint32_t slots) {
    uint32_t first = registry.locked.next_group, groups = slots / MP_SLOT_GROUP;
    if (first + groups > MP_SLOT_GROUPS) return NULL;
    mp_slot *memory = mp_arena_make(&registry.locked.slots, _Alignof(mp_slot),
                                    slots * sizeof *memory);
    size_t words = (slots + 63) / 64;
    mp_chunk *chunk = memory ? mp_arena_make(&registry.locked.words, MP_CACHE_LINE / 2,
                                             sizeof *chunk + words * sizeof chunk->bits[0])
                             : NULL;
    if (!chunk) return NULL; /* the slots stay unused: there is no memory anyway */
    chunk->slots = memory;
    chunk->count = slots;
    for (uint32_t i = 0; i < slots; i++) {
        memory[i].index = first * MP_SLOT_GROUP + i;
        memory[i].bit = (uint8_t)(i % 64);
        memory[i].bits = &chunk->bits[i / 64];
    }
    registry.locked.next_group = first + groups;
    return chunk;
}

mp_chunk *mp_registry_take_chunk(uint32_t order, struct mantis_pool *pool) {
    mp_lock_acquire(&registry.lock);
    mp_chunk *chunk = registry.locked.chunks[order];
    if (chunk) registry.locked.chunks[order] = chunk->next;
    else chunk = make_chunk_locked((uint32_t)MP_CHUNK_FIRST << order);
    mp_lock_release(&registry.lock);
    for (uint32_t i = 0; chunk && i < chunk->count; i++) {
        mp_slot *slot = &chunk->slots[i];
        mp_assert(mp_slot_state(mp_load_relaxed(&slot->word)) == MP_SLOT_EMPTY); /* C1 */
        mp_store_relaxed(&slot->pool, pool);
        /* release: pairs with the acquire in mp_slot_at() */
        if (i % MP_SLOT_GROUP == 0)
            mp_store_release(&mp_slot_groups[slot->index / MP_SLOT_GROUP], slot);
    }
    return chunk;
}

void mp_registry_give_chunk(mp_chunk *chunk, uint32_t order) {
    mp_lock_acquire(&registry.lock);
    chunk->next = registry.locked.chunks[order];
    registry.locked.chunks[order] = chunk;
    mp_lock_release(&registry.lock);
}

/* ---- fork ----
 *
 * The child has copies of the parent's sockets and none of its threads. Every pool is marked, so
 * that each call on it or its connections leaves the fast path and answers FORKED; no socket is
 * touched, nothing is closed, and the parent goes on as before. */

/* The locks that the child goes on to use, in the order in which they nest. */
static void before_fork(void) {
    mp_lock_acquire(&registry.lock);
    mp_mailbox_lock_homes();
    mp_lock_acquire(&mp_op_crew.lock);
    mp_lock_acquire(&mp_keeper.lock);
}

static void after_fork(void) {
    mp_lock_release(&mp_keeper.lock);
    mp_lock_release(&mp_op_crew.lock);
    mp_mailbox_unlock_homes();
    mp_lock_release(&registry.lock);
}

static void in_child(void) {
    for (mp_node *node = registry.locked.pools.head; node; node = node->next)
        mp_or_seq_cst(&mp_container_of(node, mantis_pool, registered)->attention,
                      MP_ATTENTION_FORKED);
    mp_crew_forget(&mp_op_crew);
    mp_ticker_forget(&mp_keeper);
    mp_mailbox_forget_homes();
    mp_hints_of_thread()->tid = 0; /* this thread has another id now */
    after_fork();
}

static void watch_fork(void) { pthread_atfork(before_fork, after_fork, in_child); }

void mp_registry_watch_fork(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_fork);
}
