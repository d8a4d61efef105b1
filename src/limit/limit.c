/* Tokens of shared limits, and fairness between the members that share them. */
#include "limit/limit.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/park.h"

#include <stdlib.h>

#define SIBLINGS_SAMPLED 8 /* how many members are looked at for an idle connection */

struct mantis_limit {
    char *name; /* const */
    /* written under lock, read by any thread */
    _Atomic int64_t max;
    _Atomic int64_t in_use;
    _Atomic int64_t leaving; /* of those in use */
    mp_lock lock;
    struct {
        mp_list members; /* by link->member */
        mp_list wanting; /* by link->want, the first come first */
    } locked;
};

/* ---- opening and closing ---- */

static mantis_status check_max(int64_t max, mantis_error *error) {
    if (max == MANTIS_UNLIMITED || (max > 0 && max <= INT32_MAX)) return MANTIS_OK;
    return mp_error_set(error, MANTIS_INVALID,
                        "a limit of %lld: it must be 1 to %d, or -1 for unlimited", (long long)max,
                        INT32_MAX);
}

mantis_status mantis_limit_open(mantis_limit **out, const char *name, int64_t max,
                                mantis_error *error) {
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

mantis_status mantis_limit_close(mantis_limit **limit) {
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

uint32_t mantis_limit_in_use(const mantis_limit *limit) {
    return (uint32_t)mp_load_relaxed(&limit->in_use);
}

/* ---- one token of one limit ---- */

static bool has_room(const mantis_limit *limit) {
    int64_t max = mp_load_relaxed(&limit->max);
    return max < 0 || mp_load_relaxed(&limit->in_use) < max;
}

static bool is_over(const mantis_limit *limit) {
    int64_t max = mp_load_relaxed(&limit->max);
    return max >= 0 && mp_load_relaxed(&limit->in_use) - mp_load_relaxed(&limit->leaving) > max;
}

static void add_locked(_Atomic int64_t *count, int64_t change) {
    int64_t sum = mp_load_relaxed(count) + change;
    mp_assert(sum >= 0); /* each token comes back once */
    mp_store_relaxed(count, sum);
}

static void unqueue_locked(mp_limit_link *link) {
    if (link->is_wanting) mp_list_remove(&link->limit->locked.wanting, &link->want);
    link->is_wanting = false;
}

static mp_limit_link *link_of(mp_node *node) { return mp_container_of(node, mp_limit_link, node); }

/* Have all members look at their limits when a connection comes back. */
static void alert_locked(mantis_limit *limit) {
    for (mp_node *node = limit->locked.members.head; node; node = node->next)
        link_of(node)->of->calls->alert(link_of(node)->of);
}

static bool take(mp_limit_link *link, bool may_queue) {
    mantis_limit *limit = link->limit;
    mp_lock_acquire(&limit->lock);
    mp_node *head = limit->locked.wanting.head;
    bool is_first = head == NULL || head == &link->want;
    bool takes = link->has_token || (has_room(limit) && is_first);
    if (takes) {
        if (!link->has_token) add_locked(&limit->in_use, 1);
        link->has_token = false;
        unqueue_locked(link);
    } else if (may_queue && !link->is_wanting) {
        link->is_wanting = true;
        mp_list_push(&limit->locked.wanting, &link->want);
        if (!head) alert_locked(limit);
    }
    mp_lock_release(&limit->lock);
    return takes;
}

static void give(mp_limit_link *link, bool was_leaving) {
    mp_lock_acquire(&link->limit->lock);
    add_locked(&link->limit->in_use, -1);
    if (was_leaving) add_locked(&link->limit->leaving, -1);
    mp_lock_release(&link->limit->lock);
}

/* Give back a token that is only reserved. True if there was one. */
static bool unreserve(mp_limit_link *link, bool unqueues) {
    mp_lock_acquire(&link->limit->lock);
    bool had = link->has_token;
    if (had) add_locked(&link->limit->in_use, -1);
    link->has_token = false;
    if (unqueues) unqueue_locked(link);
    mp_lock_release(&link->limit->lock);
    return had;
}

/* ---- all limits of a pool ---- */

bool mp_limit_take_all(mp_limit_link *links, uint32_t count, bool may_queue) {
    for (uint32_t i = 0; i < count; i++) {
        if (take(&links[i], may_queue)) continue;
        for (uint32_t j = 0; j < i; j++) give(&links[j], false);
        for (uint32_t j = i + 1; j < count; j++) unreserve(&links[j], false);
        return false;
    }
    return true;
}

void mp_limit_give_all(mp_limit_link *links, uint32_t count, bool was_leaving) {
    for (uint32_t i = 0; i < count; i++) give(&links[i], was_leaving);
}

void mp_limit_note_leaving(mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        mp_lock_acquire(&links[i].limit->lock);
        add_locked(&links[i].limit->leaving, 1);
        mp_lock_release(&links[i].limit->lock);
    }
}

bool mp_limit_withdraw(mp_limit_link *links, uint32_t count) {
    bool came_back = false;
    for (uint32_t i = 0; i < count; i++)
        if (unreserve(&links[i], true)) came_back = true;
    return came_back;
}

bool mp_limit_is_wanted(mp_limit_link *links, uint32_t count) {
    bool is_wanted = false;
    for (uint32_t i = 0; i < count && !is_wanted; i++) {
        mp_lock_acquire(&links[i].limit->lock);
        is_wanted = !mp_list_is_empty(&links[i].limit->locked.wanting);
        mp_lock_release(&links[i].limit->lock);
    }
    return is_wanted;
}

bool mp_limit_is_over(const mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (is_over(links[i].limit)) return true;
    return false;
}

const char *mp_limit_full(const mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!has_room(links[i].limit)) return links[i].limit->name;
    return NULL;
}

bool mp_limit_is_repeated(mantis_limit *const *limits, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (limits[i] && limits[i] == limits[j]) return true;
    return false;
}

void mp_limit_join(mp_limit_link *link, mantis_limit *limit, mp_member *member) {
    *link = (mp_limit_link){.limit = limit, .of = member};
    mp_lock_acquire(&limit->lock);
    mp_list_push(&limit->locked.members, &link->node);
    if (!mp_list_is_empty(&limit->locked.wanting)) member->calls->alert(member);
    mp_lock_release(&limit->lock);
}

void mp_limit_leave_all(mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        mp_lock_acquire(&links[i].limit->lock);
        mp_assert(!links[i].is_wanting && !links[i].has_token); /* withdrawn by the close */
        mp_list_remove(&links[i].limit->locked.members, &links[i].node);
        mp_lock_release(&links[i].limit->lock);
    }
}

/* ---- what concerns other members: not under a member's lock ---- */

/* A member that this thread has entered, so that its memory stays. */
typedef struct guest {
    mp_member *member;
    uint32_t who;
} guest;

static guest enter_locked(mp_member *member) {
    return (guest){.member = member, .who = member->calls->enter(member)};
}

static void leave(guest from) { from.member->calls->leave(from.member); }

/* The member at the head of the queue, a token reserved for it; member NULL if there is none. */
static guest reserve_next(mantis_limit *limit) {
    guest next = {0};
    mp_lock_acquire(&limit->lock);
    mp_node *node = limit->locked.wanting.head;
    if (node && has_room(limit)) {
        mp_limit_link *link = mp_container_of(node, mp_limit_link, want);
        unqueue_locked(link);
        link->has_token = true;
        add_locked(&limit->in_use, 1);
        next = enter_locked(link->of);
    }
    mp_lock_release(&limit->lock);
    return next;
}

static void pass_on(mantis_limit *limit) {
    for (guest next; (next = reserve_next(limit)).member; leave(next))
        next.member->calls->begin(next.member);
}

void mp_limit_pass_on(mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) pass_on(links[i].limit);
}

/* Some members with connections, other than except, in turn. Returns their number. */
static uint32_t sample(mantis_limit *limit, const mp_member *except, guest *out) {
    uint32_t count = 0;
    mp_lock_acquire(&limit->lock);
    mp_node *last = limit->locked.members.tail;
    for (mp_node *node = NULL; node != last && count < SIBLINGS_SAMPLED;) {
        node = mp_list_pop(&limit->locked.members);
        mp_list_push(&limit->locked.members, node);
        mp_member *member = link_of(node)->of;
        if (member != except && mp_load_relaxed(member->total) > 0)
            out[count++] = enter_locked(member);
    }
    mp_lock_release(&limit->lock);
    return count;
}

/* Close the longest idle connection of some members. False: none of them has any. */
static bool evict_one(mantis_limit *limit, const mp_member *except) {
    guest guests[SIBLINGS_SAMPLED], best = {0};
    uint32_t count = sample(limit, except, guests);
    int64_t oldest_ns = INT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        int64_t since_ns = guests[i].member->calls->idle_since(guests[i].member, guests[i].who);
        if (since_ns >= oldest_ns) continue;
        oldest_ns = since_ns;
        best = guests[i];
    }
    bool evicted = best.member && best.member->calls->close_idle(best.member, best.who);
    for (uint32_t i = 0; i < count; i++) leave(guests[i]);
    return evicted;
}

void mp_limit_evict_sibling(mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!has_room(links[i].limit)) evict_one(links[i].limit, links[i].of);
}

mantis_status mantis_limit_resize(mantis_limit *limit, int64_t max, mantis_error *error) {
    mantis_status status = check_max(max, error);
    if (status != MANTIS_OK) return status;
    mp_lock_acquire(&limit->lock);
    mp_store_seq_cst(&limit->max, max);
    if (is_over(limit)) alert_locked(limit);
    mp_lock_release(&limit->lock);
    while (is_over(limit) && evict_one(limit, NULL)) {}
    pass_on(limit);
    return MANTIS_OK;
}

/* The member with the most connections, if it is fair to ask it: member NULL if not. */
static guest find_richest(mp_limit_link *asking) {
    uint32_t mine = mp_load_relaxed(asking->of->total), most = mine ? mine + 1 : 0;
    guest richest = {0};
    mp_lock_acquire(&asking->limit->lock);
    mp_node *node = asking->is_wanting ? asking->limit->locked.members.head : NULL;
    for (; node; node = node->next) {
        mp_member *member = link_of(node)->of;
        uint32_t total = mp_load_relaxed(member->total);
        if (member == asking->of || total <= most) continue;
        most = total;
        richest.member = member;
    }
    if (richest.member) richest = enter_locked(richest.member);
    mp_lock_release(&asking->limit->lock);
    return richest;
}

void mp_limit_charge(mp_limit_link *links, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        guest debtor = find_richest(&links[i]);
        if (!debtor.member) continue;
        debtor.member->calls->owe(debtor.member, debtor.who);
        leave(debtor);
    }
}
