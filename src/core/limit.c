/* Tokens of shared limits, and fairness between the pools that share them. */
#include "core/limit.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "core/pool.h"

#include <stdlib.h>

#define SIBLINGS_SAMPLED 8 /* how many members are looked at for an idle connection */

struct mantis_limit {
    char *name;          /* const */
    _Atomic int64_t max; /* any thread */
    _Atomic uint32_t in_use;
    mp_lock lock;
    struct {
        mp_list members; /* by link->member */
        mp_list wanting; /* by link->want, the first come first */
    } locked;
};

static mp_limit_link *member_of(mp_node *node)
{
    return mp_container_of(node, mp_limit_link, member);
}

/* ---- opening and changing ---- */

static mantis_status check_max(int64_t max, mantis_error *error)
{
    if (max == MANTIS_UNLIMITED || (max > 0 && max <= INT32_MAX)) return MANTIS_OK;
    return mp_error_set(error, MANTIS_INVALID,
                        "a limit of %lld: it must be 1 to %d, or -1 for unlimited", (long long)max,
                        INT32_MAX);
}

mantis_status mantis_limit_open(mantis_limit **out, const char *name, int64_t max,
                                mantis_error *error)
{
    mantis_status status = check_max(max, error);
    if (status != MANTIS_OK) return status;
    mantis_limit *limit = calloc(1, sizeof *limit);
    char *copy = mp_bytes_copy_string(name ? name : "limit");
    if (!limit || !copy) {
        free(limit);
        free(copy);
        return mp_error_set(error, MANTIS_NOMEM, "no memory for a limit");
    }
    limit->name = copy;
    mp_store_relaxed(&limit->max, max);
    *out = limit;
    return MANTIS_OK;
}

mantis_status mantis_limit_close(mantis_limit **limit)
{
    if (!limit || !*limit) return MANTIS_OK;
    mp_lock_acquire(&(*limit)->lock);
    bool is_named = !mp_list_is_empty(&(*limit)->locked.members);
    mp_lock_release(&(*limit)->lock);
    if (is_named) return MANTIS_BUSY;
    free((*limit)->name);
    free(*limit);
    *limit = NULL;
    return MANTIS_OK;
}

uint32_t mantis_limit_in_use(const mantis_limit *limit)
{
    return mp_load_relaxed(&limit->in_use);
}

const char *mp_limit_name(const mantis_limit *limit)
{
    return limit->name;
}

/* ---- tokens: all under the limit's lock ---- */

static bool has_room(const mantis_limit *limit)
{
    int64_t max = mp_load_relaxed(&limit->max);
    return max < 0 || mp_load_relaxed(&limit->in_use) < max;
}

static void add_in_use_locked(mantis_limit *limit, int32_t change)
{
    uint32_t in_use = mp_load_relaxed(&limit->in_use);
    mp_assert(change > 0 || in_use > 0); /* C10 */
    mp_store_relaxed(&limit->in_use, in_use + (uint32_t)change);
}

static void unqueue_locked(mp_limit_link *link)
{
    if (!link->is_wanting) return;
    link->is_wanting = false;
    mp_list_remove(&link->limit->locked.wanting, &link->want);
}

/* One token for this pool; with the first refusal it queues, and everybody else's releases look. */
static bool take(mp_limit_link *link, bool may_queue, bool *began_to_want)
{
    mantis_limit *limit = link->limit;
    mp_lock_acquire(&limit->lock);
    mp_node *head = limit->locked.wanting.head;
    bool is_first = head == NULL || head == &link->want;
    bool takes = link->has_token || (has_room(limit) && is_first);
    if (takes && !link->has_token) add_in_use_locked(limit, 1);
    if (takes) {
        link->has_token = false;
        unqueue_locked(link);
    } else if (may_queue && !link->is_wanting) {
        *began_to_want = head == NULL;
        link->is_wanting = true;
        mp_list_push(&limit->locked.wanting, &link->want);
    }
    mp_lock_release(&limit->lock);
    return takes;
}

static void give(mp_limit_link *link)
{
    mp_lock_acquire(&link->limit->lock);
    add_in_use_locked(link->limit, -1);
    mp_lock_release(&link->limit->lock);
}

/* Have the releases of all members of a limit come by the slow path. */
static void alert_members(mantis_limit *limit)
{
    mp_lock_acquire(&limit->lock);
    for (mp_node *node = limit->locked.members.head; node; node = node->next)
        mp_or_seq_cst(&member_of(node)->pool->attention, MP_ATTENTION_LIMIT);
    mp_lock_release(&limit->lock);
}

/* Give back a token that is only reserved. True if there was one. */
static bool unreserve(mp_limit_link *link)
{
    mp_lock_acquire(&link->limit->lock);
    bool had = link->has_token;
    if (had) add_in_use_locked(link->limit, -1);
    link->has_token = false;
    mp_lock_release(&link->limit->lock);
    return had;
}

bool mp_limit_take_all(mp_limit_link *links, uint32_t count, bool may_queue)
{
    for (uint32_t i = 0; i < count; i++) {
        bool began_to_want = false;
        if (take(&links[i], may_queue, &began_to_want)) continue;
        if (began_to_want) alert_members(links[i].limit);
        for (uint32_t j = 0; j < i; j++) give(&links[j]);
        for (uint32_t j = i + 1; j < count; j++) unreserve(&links[j]);
        return false;
    }
    return true;
}

void mp_limit_give_all(mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) give(&links[i]);
}

bool mp_limit_withdraw(mp_limit_link *links, uint32_t count)
{
    bool came_back = false;
    for (uint32_t i = 0; i < count; i++) {
        if (unreserve(&links[i])) came_back = true;
        mp_lock_acquire(&links[i].limit->lock);
        unqueue_locked(&links[i]);
        mp_lock_release(&links[i].limit->lock);
    }
    return came_back;
}

bool mp_limit_is_wanted(mp_limit_link *links, uint32_t count)
{
    bool is_wanted = false;
    for (uint32_t i = 0; i < count && !is_wanted; i++) {
        mp_lock_acquire(&links[i].limit->lock);
        is_wanted = !mp_list_is_empty(&links[i].limit->locked.wanting);
        mp_lock_release(&links[i].limit->lock);
    }
    return is_wanted;
}

static bool is_over(const mantis_limit *limit)
{
    int64_t max = mp_load_relaxed(&limit->max);
    return max >= 0 && mp_load_relaxed(&limit->in_use) > max;
}

bool mp_limit_is_over(const mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (is_over(links[i].limit)) return true;
    return false;
}

const mantis_limit *mp_limit_full(const mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!has_room(links[i].limit)) return links[i].limit;
    return NULL;
}

/* ---- membership ---- */

void mp_limit_join(mp_limit_link *link, mantis_limit *limit, mantis_pool *pool)
{
    *link = (mp_limit_link){.limit = limit, .pool = pool};
    mp_lock_acquire(&limit->lock);
    mp_list_push(&limit->locked.members, &link->member);
    if (!mp_list_is_empty(&limit->locked.wanting))
        mp_or_seq_cst(&pool->attention, MP_ATTENTION_LIMIT);
    mp_lock_release(&limit->lock);
}

void mp_limit_leave(mp_limit_link *link)
{
    mp_lock_acquire(&link->limit->lock);
    mp_assert(!link->is_wanting && !link->has_token); /* withdrawn when the pool was closed */
    mp_list_remove(&link->limit->locked.members, &link->member);
    mp_lock_release(&link->limit->lock);
}

/* ---- what goes to other pools: never under a pool's lock ---- */

/* A pool that this thread has entered, so that its memory stays. */
typedef struct guest {
    mantis_pool *pool;
    uint32_t id;
} guest;

static guest enter_locked(mantis_pool *pool)
{
    mp_add_seq_cst(&pool->inside, 1);
    return (guest){.pool = pool, .id = mp_load_seq_cst(&pool->id)};
}

/* The pool at the head of the queue, a token reserved for it; pool NULL if there is none. */
static guest reserve_next(mantis_limit *limit)
{
    guest next = {0};
    mp_lock_acquire(&limit->lock);
    mp_node *node = limit->locked.wanting.head;
    if (node && has_room(limit)) {
        mp_limit_link *link = mp_container_of(node, mp_limit_link, want);
        unqueue_locked(link);
        link->has_token = true;
        add_in_use_locked(limit, 1);
        next = enter_locked(link->pool);
    }
    mp_lock_release(&limit->lock);
    return next;
}

static void pass_on_one(mantis_limit *limit)
{
    for (;;) {
        guest next = reserve_next(limit);
        if (!next.pool) return;
        mp_todo todo = {0};
        mp_lock_acquire(&next.pool->lock);
        mp_supply_locked(next.pool, mp_pool_now(next.pool), &todo);
        mp_pool_unlock(next.pool, &todo);
        mp_pool_leave(next.pool);
    }
}

void mp_limit_pass_on(mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) pass_on_one(links[i].limit);
}

/* Some members other than except, in turn. Returns their number. */
static uint32_t sample(mantis_limit *limit, const mantis_pool *except, guest *out)
{
    uint32_t count = 0;
    mp_lock_acquire(&limit->lock);
    mp_node *last = limit->locked.members.tail;
    for (mp_node *node = NULL; node != last && count < SIBLINGS_SAMPLED;) {
        node = mp_list_pop(&limit->locked.members);
        mp_list_push(&limit->locked.members, node);
        mantis_pool *pool = member_of(node)->pool;
        if (pool != except && mp_load_relaxed(&pool->total) > 0) out[count++] = enter_locked(pool);
    }
    mp_lock_release(&limit->lock);
    return count;
}

/* The slot of a pool that has been idle for longest, or NULL. Under the pool's lock. */
static mp_slot *oldest_idle_locked(guest of)
{
    mp_slot *oldest = NULL;
    if (mp_load_relaxed(&of.pool->id) != of.id || of.pool->is_closed) return NULL;
    MP_SLOTS_EACH(&of.pool->slots, slot)
    {
        if (mp_slot_state(mp_load_seq_cst(&slot->word)) != MP_SLOT_FREE) continue;
        if (!oldest || slot->seen_ns < oldest->seen_ns) oldest = slot;
    }
    return oldest;
}

/* Close the connection of a pool that has been idle for longest. False: none is idle. */
static bool close_oldest(guest of)
{
    mp_todo todo = {0};
    mp_lock_acquire(&of.pool->lock);
    mp_slot *slot = oldest_idle_locked(of);
    bool closes = slot && mp_grant_hold_locked(slot);
    if (closes) mp_supply_close_locked(of.pool, slot, MANTIS_CLOSE_LIMIT, false, &todo);
    mp_pool_unlock(of.pool, &todo);
    return closes;
}

/* Close one idle connection of a member. False: none of those looked at has any. */
static bool evict_one(mantis_limit *limit, const mantis_pool *except)
{
    guest members[SIBLINGS_SAMPLED];
    uint32_t count = sample(limit, except, members), best = 0;
    int64_t oldest_ns = MP_NEVER_NS;
    for (uint32_t i = 0; i < count; i++) {
        mp_lock_acquire(&members[i].pool->lock);
        mp_slot *slot = oldest_idle_locked(members[i]);
        if (slot && slot->seen_ns < oldest_ns) {
            oldest_ns = slot->seen_ns;
            best = i;
        }
        mp_lock_release(&members[i].pool->lock);
    }
    bool evicted = oldest_ns != MP_NEVER_NS && close_oldest(members[best]);
    for (uint32_t i = 0; i < count; i++) mp_pool_leave(members[i].pool);
    return evicted;
}

void mp_limit_evict_sibling(mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!has_room(links[i].limit)) evict_one(links[i].limit, links[i].pool);
}

mantis_status mantis_limit_resize(mantis_limit *limit, int64_t max, mantis_error *error)
{
    mantis_status status = check_max(max, error);
    if (status != MANTIS_OK) return status;
    mp_store_seq_cst(&limit->max, max);
    if (is_over(limit)) alert_members(limit);
    while (is_over(limit) && evict_one(limit, NULL)) {}
    pass_on_one(limit);
    return MANTIS_OK;
}

/* The member with the most connections, if that is fair to ask; pool NULL if not. */
static guest richest(mp_limit_link *link)
{
    guest chosen = {0};
    uint32_t mine = mp_load_relaxed(&link->pool->total), most = mine ? mine + 1 : 0;
    mp_lock_acquire(&link->limit->lock);
    mantis_pool *found = NULL;
    for (mp_node *node = link->limit->locked.members.head; node && link->is_wanting;
         node = node->next) {
        mantis_pool *pool = member_of(node)->pool;
        uint32_t total = mp_load_relaxed(&pool->total);
        if (pool == link->pool || total <= most) continue;
        most = total;
        found = pool;
    }
    if (found) chosen = enter_locked(found);
    mp_lock_release(&link->limit->lock);
    return chosen;
}

void mp_limit_charge(mp_limit_link *links, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        guest debtor = richest(&links[i]);
        if (!debtor.pool) continue;
        mp_lock_acquire(&debtor.pool->lock);
        if (mp_load_relaxed(&debtor.pool->id) == debtor.id && !debtor.pool->is_closed) {
            debtor.pool->debt = 1;
            mp_or_seq_cst(&debtor.pool->attention, MP_ATTENTION_LIMIT);
        }
        mp_lock_release(&debtor.pool->lock);
        mp_pool_leave(debtor.pool);
    }
}
