/* Posting to and draining of mailboxes. */
#include "core/mailbox.h"

#include "base/assert.h"
#include "base/error.h"
#include "core/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
    mp_lock lock;
    struct {
        mantis_mailbox *of[MP_HOMES];
    } locked;
} homes;

void mp_mailbox_lock_homes(void) { mp_lock_acquire(&homes.lock); }
void mp_mailbox_unlock_homes(void) { mp_lock_release(&homes.lock); }
void mp_mailbox_forget_homes(void) { memset(&homes.locked, 0, sizeof homes.locked); }

/* Make a mailbox, or with NULL none, the one of a home. False: the home has one already. */
static bool set_home(uint32_t home, mantis_mailbox *mailbox) {
    mp_lock_acquire(&homes.lock);
    bool is_set = !mailbox || !homes.locked.of[home];
    if (is_set) homes.locked.of[home] = mailbox;
    mp_lock_release(&homes.lock);
    return is_set;
}

mantis_status mantis_mailbox_open(mantis_mailbox **out, uint32_t home, mantis_error *error) {
    if (home >= MP_HOMES)
        return mp_error_set(error, MANTIS_INVALID, "home is %u: it must be 0 to %d", home,
                            MP_HOMES - 1);
    mantis_mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox) return mp_error_set(error, MANTIS_NOMEM, "no memory for a mailbox");
    *mailbox = (mantis_mailbox){.home = home, .armed = true};
    mailbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mantis_status status = MANTIS_OK;
    if (mailbox->fd < 0)
        status = mp_error_set_os(error, MANTIS_IO, errno, "no descriptor for a mailbox: %s",
                                 strerror(errno));
    else if (home && !set_home(home, mailbox))
        status = mp_error_set(error, MANTIS_INVALID, "home %u has a mailbox already", home);
    if (status == MANTIS_OK) *out = mailbox;
    else if (mailbox->fd >= 0) close(mailbox->fd);
    if (status != MANTIS_OK) free(mailbox);
    return status;
}

mantis_status mantis_mailbox_close(mantis_mailbox **mailbox) {
    if (!mailbox || !*mailbox) return MANTIS_OK;
    mantis_mailbox *m = *mailbox;
    if (mp_load_relaxed(&m->outstanding) != 0) return MANTIS_BUSY;
    if (m->home) set_home(m->home, NULL); /* no operation is added from here on */
    while (mantis_mailbox_drain(m, NULL, 0) > 0) {}
    close(m->fd);
    free(m);
    *mailbox = NULL;
    return MANTIS_OK;
}

void mantis_thread_drains(mantis_mailbox *mailbox) { mp_hints_of_thread()->drains = mailbox; }

int mantis_mailbox_fd(const mantis_mailbox *mailbox) { return mailbox->fd; }

/* Wake the owner if it may sleep. An eventfd is written under the lock, because the owner may
 * close the mailbox as soon as the lock is released. */
static void wake_locked(mantis_mailbox *mailbox) {
    if (!mailbox->armed || mp_hints_of_thread()->drains == mailbox) return;
    mailbox->armed = false;
    (void)eventfd_write(mailbox->fd, 1); /* full is fine too: then it is readable */
}

mp_word *mp_mailbox_post(mantis_mailbox *mailbox, mp_waiter *waiter) {
    mp_word *wake = NULL;
    mp_lock_acquire(&mailbox->lock);
    mp_store_relaxed(&waiter->state, MP_WAITER_POSTED);
    mp_list_push(&mailbox->posted, &waiter->node);
    if (mailbox->fd >= 0) wake_locked(mailbox);
    /* release: pairs with the acquire in mp_mailbox_wait() */
    else if (mp_swap_release(&mailbox->word, MP_MAIL_POSTED) == MP_MAIL_PARKED)
        wake = &mailbox->word;
    mp_lock_release(&mailbox->lock);
    return wake;
}

void mp_mailbox_remove(mantis_mailbox *mailbox, mp_waiter *waiter) {
    mp_lock_acquire(&mailbox->lock);
    mp_assert(mp_load_relaxed(&waiter->state) == MP_WAITER_POSTED); /* C5 */
    mp_list_remove(&mailbox->posted, &waiter->node);
    mp_store_relaxed(&waiter->state, MP_WAITER_IDLE);
    mp_lock_release(&mailbox->lock);
}

bool mp_mailbox_post_op(uint32_t home, mp_slot *slot) {
    mp_lock_acquire(&homes.lock);
    mantis_mailbox *mailbox = homes.locked.of[home];
    if (mailbox) {
        mp_lock_acquire(&mailbox->lock);
        mp_tasks_push(&mailbox->ops, &slot->u.task);
        wake_locked(mailbox);
        mp_lock_release(&mailbox->lock);
    }
    mp_lock_release(&homes.lock);
    return mailbox != NULL;
}

bool mp_mailbox_wait(mantis_mailbox *mailbox, int64_t deadline_ns) {
    uint32_t none = MP_MAIL_NONE;
    mp_cas_acquire(&mailbox->word, &none, MP_MAIL_PARKED);
    /* acquire: pairs with the swap in mp_mailbox_post() */
    while (mp_load_acquire(&mailbox->word) != MP_MAIL_POSTED)
        if (!mp_park_wait(&mailbox->word, MP_MAIL_PARKED, deadline_ns)) return false;
    return true;
}

/* Run the operations of connections whose home this is. */
static void run_ops(mantis_mailbox *mailbox) {
    for (;;) {
        mp_lock_acquire(&mailbox->lock);
        mp_task *task = mp_tasks_pop(&mailbox->ops);
        mp_lock_release(&mailbox->lock);
        if (!task) return;
        mp_op_run(task);
    }
}

/* Move what has come to out; arm the descriptor if there was nothing. */
static size_t take_posted(mantis_mailbox *mailbox, mantis_waiter **out, size_t max) {
    size_t count = 0;
    mp_lock_acquire(&mailbox->lock);
    while (count < max && !mp_list_is_empty(&mailbox->posted)) {
        mp_node *node = mp_list_pop(&mailbox->posted);
        mp_waiter *waiter = mp_container_of(node, mp_waiter, node);
        mp_store_relaxed(&waiter->state, MP_WAITER_IDLE);
        out[count++] = mp_waiter_public(waiter);
    }
    if (count == 0 && mp_list_is_empty(&mailbox->posted) && !mailbox->ops.first &&
        !mailbox->armed) {
        uint64_t ignored;
        (void)eventfd_read(mailbox->fd, &ignored); /* nothing to read is fine */
        mailbox->armed = true;
    }
    mp_lock_release(&mailbox->lock);
    for (size_t i = 0; i < count; i++) mp_mailbox_finish(out[i]);
    return count;
}

/* End the requests whose deadline has passed: on the owner's thread, so no one else needs a timer
 * for them. Those that were granted meanwhile are in the list already. */
static void expire(mantis_mailbox *mailbox) {
    for (;;) {
        mp_heap_node *node = mp_heap_first(&mailbox->deadlines);
        if (!node) return;
        mp_waiter *waiter = mp_container_of(node, mp_waiter, heap);
        if (mp_pool_now(waiter->pool) < node->due_ns) return;
        mp_heap_remove(&mailbox->deadlines, node);
        mp_grant_expire(waiter);
    }
}

size_t mantis_mailbox_drain(mantis_mailbox *mailbox, mantis_waiter **out, size_t max) {
    run_ops(mailbox);
    expire(mailbox);
    return take_posted(mailbox, out, max);
}

int64_t mantis_mailbox_due_ns(const mantis_mailbox *mailbox) {
    mp_heap_node *first = mp_heap_first(&mailbox->deadlines);
    return first ? first->due_ns : MANTIS_DEADLINE_NONE;
}

void mp_mailbox_finish(mantis_waiter *waiter) {
    mp_waiter *inner = mp_waiter_of(waiter);
    mp_heap_remove(&waiter->mailbox->deadlines, &inner->heap);
    mp_sub_seq_cst(&waiter->mailbox->outstanding, 1);
}
