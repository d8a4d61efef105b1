/* Memory for pools and chunks, the list of open pools, and homes. */
#include "core/registry.h"

#include "base/assert.h"
#include "core/mailbox.h"
#include "core/pool.h"

#include <stdlib.h>
#include <string.h>

_Atomic(mp_slot *) mp_slot_groups[MP_SLOT_GROUPS];

static struct {
    mp_lock lock;
    mp_lock homes_lock;
    struct {
        uint32_t last_id;
        uint32_t
            next_group;  /* of mp_slot_groups; 0 stays empty, so that a zeroed handle has none */
        mp_list pools;   /* open ones, by registered */
        mp_list resting; /* closed ones, by registered, the oldest first */
        uint32_t resting_count;
        mp_chunk *chunks[MP_CHUNKS_MAX]; /* unused ones by size */
        mantis_mailbox *homes[MP_HOMES]; /* under homes_lock */
    } locked;
} registry = {.locked = {.next_group = 1}};

void mp_registry_lock(void)
{
    mp_lock_acquire(&registry.lock);
}

void mp_registry_unlock(void)
{
    mp_lock_release(&registry.lock);
}

void mp_registry_lock_homes(void)
{
    mp_lock_acquire(&registry.homes_lock);
}

void mp_registry_unlock_homes(void)
{
    mp_lock_release(&registry.homes_lock);
}

void mp_registry_forget_homes(void)
{
    memset(registry.locked.homes, 0, sizeof registry.locked.homes);
}

/* ---- pools ---- */

static mantis_pool *pool_of(mp_node *node)
{
    return mp_container_of(node, mantis_pool, registered);
}

/* A header that has rested and that no thread is inside of, or NULL. */
static mantis_pool *reuse_locked(void)
{
    if (registry.locked.resting_count <= MP_POOLS_RESTING) return NULL;
    mantis_pool *pool = pool_of(registry.locked.resting.head);
    if (mp_load_seq_cst(&pool->inside) != 0) return NULL;
    mp_list_remove(&registry.locked.resting, &pool->registered);
    registry.locked.resting_count--;
    return pool;
}

struct mantis_pool *mp_registry_take_pool(void)
{
    mp_lock_acquire(&registry.lock);
    mantis_pool *pool = reuse_locked();
    if (!pool) {
        pool = aligned_alloc(MP_CACHE_LINE, sizeof *pool);
        if (pool) memset(pool, 0, sizeof *pool);
    }
    if (pool) {
        if (++registry.locked.last_id == 0) registry.locked.last_id = 1;
        mp_list_push(&registry.locked.pools, &pool->registered);
        mp_store_seq_cst(&pool->id, registry.locked.last_id);
    }
    mp_lock_release(&registry.lock);
    return pool;
}

void mp_registry_give_pool(struct mantis_pool *pool)
{
    mp_lock_acquire(&registry.lock);
    mp_list_remove(&registry.locked.pools, &pool->registered);
    mp_list_push(&registry.locked.resting, &pool->registered);
    registry.locked.resting_count++;
    mp_lock_release(&registry.lock);
}

void mp_registry_each(void (*visit)(struct mantis_pool *pool))
{
    for (mp_node *node = registry.locked.pools.head; node; node = node->next) visit(pool_of(node));
}

/* ---- chunks ---- */

/* New memory for a chunk; its groups are published by publish_locked(). */
static mp_chunk *make_chunk(uint32_t slots)
{
    size_t words = (slots + 63) / 64;
    size_t size = sizeof(mp_chunk) + words * sizeof(uint64_t);
    size = (size + MP_CACHE_LINE - 1) / MP_CACHE_LINE * MP_CACHE_LINE;
    mp_chunk *chunk = aligned_alloc(MP_CACHE_LINE, size);
    mp_slot *memory = aligned_alloc(_Alignof(mp_slot), slots * sizeof *memory);
    if (!chunk || !memory) {
        free(chunk);
        free(memory);
        return NULL;
    }
    memset(chunk, 0, size);
    memset(memory, 0, slots * sizeof *memory);
    chunk->slots = memory;
    chunk->count = slots;
    return chunk;
}

static mp_chunk *add_chunk_locked(uint32_t slots)
{
    uint32_t first = registry.locked.next_group, groups = slots / MP_SLOT_GROUP;
    if (first + groups > MP_SLOT_GROUPS) return NULL;
    mp_chunk *chunk = make_chunk(slots);
    if (!chunk) return NULL;
    for (uint32_t i = 0; i < slots; i++) {
        mp_slot *slot = &chunk->slots[i];
        slot->index = first * MP_SLOT_GROUP + i;
        slot->bit = (uint8_t)(i % 64);
        slot->bits = &chunk->bits[i / 64];
    }
    registry.locked.next_group = first + groups;
    return chunk;
}

mp_chunk *mp_registry_take_chunk(uint32_t order, struct mantis_pool *pool, uint32_t pool_id)
{
    mp_lock_acquire(&registry.lock);
    mp_chunk *chunk = registry.locked.chunks[order];
    if (chunk) registry.locked.chunks[order] = chunk->next;
    else chunk = add_chunk_locked((uint32_t)MP_CHUNK_FIRST << order);
    mp_lock_release(&registry.lock);
    if (!chunk) return NULL;
    for (uint32_t i = 0; i < chunk->count; i++) {
        mp_slot *slot = &chunk->slots[i];
        mp_assert(mp_slot_state(mp_load_relaxed(&slot->word)) == MP_SLOT_EMPTY); /* C1 */
        mp_store_relaxed(&slot->pool, pool);
        mp_store_relaxed(&slot->pool_id, pool_id);
        /* release: pairs with the acquire in mp_slot_at() */
        if (i % MP_SLOT_GROUP == 0)
            mp_store_release(&mp_slot_groups[slot->index / MP_SLOT_GROUP], slot);
    }
    return chunk;
}

void mp_registry_give_chunk(mp_chunk *chunk, uint32_t order)
{
    for (uint32_t i = 0; i < chunk->count; i++) mp_store_relaxed(&chunk->slots[i].pool_id, 0);
    mp_lock_acquire(&registry.lock);
    chunk->next = registry.locked.chunks[order];
    registry.locked.chunks[order] = chunk;
    mp_lock_release(&registry.lock);
}

/* ---- homes ---- */

bool mp_registry_set_home(uint32_t home, mantis_mailbox *mailbox)
{
    mp_lock_acquire(&registry.homes_lock);
    bool is_set = !mailbox || !registry.locked.homes[home];
    if (is_set) registry.locked.homes[home] = mailbox;
    mp_lock_release(&registry.homes_lock);
    return is_set;
}

bool mp_registry_post_op(uint32_t home, mp_slot *slot)
{
    mp_lock_acquire(&registry.homes_lock);
    mantis_mailbox *mailbox = registry.locked.homes[home];
    if (mailbox) mp_mailbox_post_op(mailbox, slot);
    mp_lock_release(&registry.homes_lock);
    return mailbox != NULL;
}
