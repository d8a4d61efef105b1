/* Where the owner of requests reads their outcomes, on its own thread. A grant calls nobody: it
 * puts the waiter here, and wakes the owner only if it sleeps. */
#ifndef MP_CORE_MAILBOX_H
#define MP_CORE_MAILBOX_H

#include "base/heap.h"
#include "base/list.h"
#include "base/park.h"
#include "core/slots.h"
#include "core/waitq.h"

#include <mantis/pool.h>
#include <stdbool.h>

#define MP_HOMES 256

/* A blocking owner's word. */
enum { MP_MAIL_NONE = 0, MP_MAIL_PARKED = 1, MP_MAIL_POSTED = 2 };

struct mantis_mailbox {
    /* set at open, then const */
    int fd; /* eventfd; -1: the owner blocks on word */
    uint32_t home;
    /* owner only */
    mp_heap deadlines;
    /* any thread, atomic */
    mp_word word;                 /* of a blocking owner */
    _Atomic uint32_t outstanding; /* requests and watches that are not yet the owner's again */
    /* under lock */
    mp_lock lock;
    bool armed;     /* the owner may sleep: write the descriptor */
    mp_list posted; /* waiters with their outcome */
    mp_tasks ops;   /* operations to run at this home */
};

/* Put a waiter with its outcome in. Under the pool's lock (C5). Returns the word to wake with
 * mp_park_wake_one() once that lock is released, or NULL. */
mp_word *mp_mailbox_post(mantis_mailbox *mailbox, mp_waiter *waiter);

/* Take a waiter out before it was drained. Under the pool's lock. */
void mp_mailbox_remove(mantis_mailbox *mailbox, mp_waiter *waiter);

/* Have the owner of a home's mailbox run an operation. False: the home has no mailbox. */
bool mp_mailbox_post_op(uint32_t home, mp_slot *slot);

/* A waiter that was drained or cancelled is its owner's again. */
void mp_mailbox_finish(mantis_waiter *waiter);

/* The lock of the table of homes, for fork; and in the child there are none. */
void mp_mailbox_lock_homes(void);
void mp_mailbox_unlock_homes(void);
void mp_mailbox_forget_homes(void);

/* Sleep until something was posted or the deadline has passed; false: it has. Blocking owner. */
bool mp_mailbox_wait(mantis_mailbox *mailbox, int64_t deadline_ns);

#endif
