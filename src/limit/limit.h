/* Ceilings that several pools share. A limit knows its members by mp_member alone, not that they
 * are pools.
 *
 * A token is held for each connection, from the start of its opening to the end of its closing. Who
 * finds none queues its member, once; a token that comes back goes to the member at the head,
 * reserved for it. Lock order: a member's lock, then a limit's; with a limit's lock no member is
 * called but for enter and alert, which take none. A member's links stand in one array, in the
 * order in which tokens are taken; every function takes the whole array. */
#ifndef MP_LIMIT_LIMIT_H
#define MP_LIMIT_LIMIT_H

#include "base/atomic.h"
#include "base/list.h"

#include <mantis/pool.h>

/* What a limit asks of its members. All but enter and alert are called without any lock, on a
 * member that was entered. */
typedef struct mp_member mp_member;
typedef struct mp_member_calls {
    uint32_t (*enter)(mp_member *member);         /* its memory stays; returns who it is */
    void (*leave)(mp_member *member);             /* may go now */
    void (*alert)(mp_member *member);             /* its releases are to ask is_wanted, is_over */
    void (*begin)(mp_member *member);             /* a token is reserved: use or withdraw it */
    void (*owe)(mp_member *member, uint32_t who); /* close one connection when it can */
    int64_t (*idle_since)(mp_member *member,
                          uint32_t who);                 /* its oldest idle one; INT64_MAX: none */
    bool (*close_idle)(mp_member *member, uint32_t who); /* close that one; false: none */
} mp_member_calls;

struct mp_member {
    const mp_member_calls *calls;
    _Atomic uint32_t *total; /* how many connections it has */
};

/* A membership in one limit. */
typedef struct mp_limit_link {
    mantis_limit *limit;
    mp_member *of;
    /* under the limit's lock */
    mp_node node;    /* among the limit's members */
    mp_node want;    /* in the queue */
    bool is_wanting; /* is in the queue */
    bool has_token;  /* one is reserved for it */
} mp_limit_link;

/* Does one limit stand twice among count of them, some of which are NULL? */
bool mp_limit_is_repeated(mantis_limit *const *limits, uint32_t count);

/* Join a limit, and leave all. Not under a member's lock. */
void mp_limit_join(mp_limit_link *link, mantis_limit *limit, mp_member *member);
void mp_limit_leave_all(mp_limit_link *links, uint32_t count);

/* ---- under the member's lock ---- */

/* Take one token of each limit, or none. If one has none and may_queue, the member queues there;
 * what had been taken before comes back then, for mp_limit_pass_on(). */
bool mp_limit_take_all(mp_limit_link *links, uint32_t count, bool may_queue);

/* Give one token of each back, of a connection that closed or one that could not be opened: then
 * mp_limit_pass_on(). */
void mp_limit_give_all(mp_limit_link *links, uint32_t count, bool was_leaving);

/* A connection that holds tokens has begun to close. */
void mp_limit_note_leaving(mp_limit_link *links, uint32_t count);

/* Give back what was reserved for a member that has no use for it, and take it out of the queues.
 * True if a token came back: then mp_limit_pass_on(). */
bool mp_limit_withdraw(mp_limit_link *links, uint32_t count);

/* Does any member wait for a token? */
bool mp_limit_is_wanted(mp_limit_link *links, uint32_t count);

/* Is a limit exceeded, since it was lowered, even by what is not on its way out? */
bool mp_limit_is_over(const mp_limit_link *links, uint32_t count);

/* The name of a limit without room, for messages; NULL if all have some. */
const char *mp_limit_full(const mp_limit_link *links, uint32_t count);

/* ---- not under a member's lock ---- */

/* Reserve what is free for the members at the heads of the queues, and let them begin. */
void mp_limit_pass_on(mp_limit_link *links, uint32_t count);

/* A member queues: have an idle connection of another member closed. */
void mp_limit_evict_sibling(mp_limit_link *links, uint32_t count);

/* Its first request has waited for long: let the member with the most connections owe one. */
void mp_limit_charge(mp_limit_link *links, uint32_t count);

#endif
