/* Threads for connectors that block. */
#include "core/opener.h"

#include "base/clock.h"
#include "base/park.h"
#include "base/thread.h"
#include "core/op.h"

/* A queue of operations by slot->next. */
typedef struct op_queue {
    mp_slot *first, *last;
} op_queue;

/* One thread, while it runs an operation. */
typedef struct opener {
    struct opener *next;
    int64_t due_ns; /* when the operation should be over */
} opener;

static struct {
    mp_lock lock;
    mp_word word; /* counts what was pushed; idle threads sleep on it */
    struct {
        op_queue soon, late; /* late: closes */
        opener *running;
        uint32_t threads, idle;
    } locked;
} openers;

void mp_opener_lock(void)
{
    mp_lock_acquire(&openers.lock);
}

void mp_opener_unlock(void)
{
    mp_lock_release(&openers.lock);
}

void mp_opener_forget(void)
{
    openers.locked.soon = openers.locked.late = (op_queue){0};
    openers.locked.running = NULL;
    openers.locked.threads = openers.locked.idle = 0;
}

static void push_locked(op_queue *queue, mp_slot *slot)
{
    slot->next = NULL;
    if (queue->last) queue->last->next = slot;
    else queue->first = slot;
    queue->last = slot;
}

static mp_slot *pop_locked(op_queue *queue)
{
    mp_slot *slot = queue->first;
    if (!slot) return NULL;
    queue->first = slot->next;
    if (!queue->first) queue->last = NULL;
    return slot;
}

static void remove_running_locked(opener *self)
{
    opener **at = &openers.locked.running;
    while (*at != self) at = &(*at)->next;
    *at = self->next;
}

static bool has_work_locked(void)
{
    return openers.locked.soon.first || openers.locked.late.first;
}

/* Sleep until something was pushed. False: nothing came for long. */
static bool wait_locked(void)
{
    uint32_t seen = mp_load_relaxed(&openers.word);
    openers.locked.idle++;
    mp_lock_release(&openers.lock);
    bool was_woken = mp_park_wait(&openers.word, seen, mp_clock_now_ns() + MP_OPENER_IDLE_NS);
    mp_lock_acquire(&openers.lock);
    openers.locked.idle--;
    return was_woken;
}

static void run_opener(void *arg)
{
    (void)arg;
    opener self = {0};
    mp_lock_acquire(&openers.lock);
    for (;;) {
        mp_slot *slot = pop_locked(&openers.locked.soon);
        if (!slot) slot = pop_locked(&openers.locked.late);
        if (slot) {
            self = (opener){.next = openers.locked.running, .due_ns = slot->u.op_due_ns};
            openers.locked.running = &self;
            mp_lock_release(&openers.lock);
            mp_op_run(slot);
            mp_lock_acquire(&openers.lock);
            remove_running_locked(&self);
        } else if (!wait_locked() && !has_work_locked()) {
            break;
        }
    }
    openers.locked.threads--;
    mp_lock_release(&openers.lock);
}

/* Does the work need one more thread? Counts it as started. */
static bool needs_thread_locked(void)
{
    if (!has_work_locked() || openers.locked.idle > 0) return false;
    int64_t now_ns = mp_clock_now_ns();
    uint32_t stuck = 0;
    for (opener *one = openers.locked.running; one; one = one->next)
        if (now_ns > one->due_ns) stuck++;
    if (stuck > MP_OPENERS_STUCK_MAX) stuck = MP_OPENERS_STUCK_MAX;
    if (openers.locked.threads >= MP_OPENERS + stuck) return false;
    openers.locked.threads++;
    return true;
}

void mp_opener_tend(void)
{
    mp_lock_acquire(&openers.lock);
    bool starts = needs_thread_locked();
    mp_lock_release(&openers.lock);
    if (!starts || mp_thread_start("mantis-open", run_opener, NULL)) return;
    /* No more threads to be had: this one does the work there is, once. */
    mp_lock_acquire(&openers.lock);
    openers.locked.threads--;
    mp_slot *slot = openers.locked.threads == 0 ? pop_locked(&openers.locked.soon) : NULL;
    if (!slot && openers.locked.threads == 0) slot = pop_locked(&openers.locked.late);
    mp_lock_release(&openers.lock);
    if (slot) mp_op_run(slot);
}

void mp_opener_push(mp_slot *slot)
{
    enum mp_op_kind kind = (enum mp_op_kind)mp_load_relaxed(&slot->op);
    bool is_late = kind == MP_OP_CLOSE || kind == MP_OP_ABORT;
    mp_lock_acquire(&openers.lock);
    push_locked(is_late ? &openers.locked.late : &openers.locked.soon, slot);
    mp_add_relaxed(&openers.word, 1);
    bool wakes = openers.locked.idle > 0;
    mp_lock_release(&openers.lock);
    if (wakes) mp_park_wake_one(&openers.word);
    mp_opener_tend();
}
