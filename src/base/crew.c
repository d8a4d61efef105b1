/* Threads for calls that may block. */
#include "base/crew.h"

#include "base/clock.h"
#include "base/thread.h"

/* One thread, while it runs a task. */
typedef struct mp_crew_member {
    struct mp_crew_member *next;
    int64_t due_ns;
} mp_crew_member;

static mp_task *pop_locked(mp_crew *crew) {
    mp_task *task = mp_tasks_pop(&crew->locked.soon);
    if (!task) task = mp_tasks_pop(&crew->locked.late);
    if (task) crew->locked.queued--;
    return task;
}

/* Run a task; the lock is released meanwhile. */
static void run_locked(mp_crew *crew, mp_task *task) {
    mp_crew_member self = {.next = crew->locked.working, .due_ns = task->due_ns};
    crew->locked.working = &self;
    mp_lock_release(&crew->lock);
    crew->run(task);
    mp_lock_acquire(&crew->lock);
    mp_crew_member **at = &crew->locked.working;
    while (*at != &self) at = &(*at)->next;
    *at = self.next;
}

/* Sleep until something was pushed. False: nothing came for long. */
static bool wait_locked(mp_crew *crew) {
    uint32_t seen = mp_load_relaxed(&crew->word);
    crew->locked.idle++;
    mp_lock_release(&crew->lock);
    bool was_woken = mp_park_wait(&crew->word, seen, mp_clock_now_ns() + MP_CREW_IDLE_NS);
    mp_lock_acquire(&crew->lock);
    crew->locked.idle--;
    return was_woken;
}

static void work(void *arg) {
    mp_crew *crew = arg;
    mp_lock_acquire(&crew->lock);
    for (;;) {
        mp_task *task = pop_locked(crew);
        if (task) run_locked(crew, task);
        else if (!wait_locked(crew) && crew->locked.queued == 0) break;
    }
    crew->locked.threads--;
    mp_lock_release(&crew->lock);
}

/* Does the work need one more thread? Counts it as started. */
static bool needs_thread_locked(mp_crew *crew) {
    if (crew->locked.queued <= crew->locked.idle) return false; /* they have been woken for it */
    int64_t now_ns = mp_clock_now_ns();
    uint32_t stuck = 0;
    for (mp_crew_member *one = crew->locked.working; one; one = one->next)
        if (now_ns > one->due_ns && stuck < MP_CREW_STUCK_MAX) stuck++;
    if (crew->locked.threads >= crew->size + stuck) return false;
    crew->locked.threads++;
    return true;
}

void mp_crew_tend(mp_crew *crew) {
    mp_lock_acquire(&crew->lock);
    bool starts = needs_thread_locked(crew);
    mp_lock_release(&crew->lock);
    if (!starts || mp_thread_start(crew->name, work, crew)) return;
    /* No more threads to be had: without any other, this one does some of the work itself. */
    mp_lock_acquire(&crew->lock);
    bool is_alone = --crew->locked.threads == 0;
    mp_task *task = is_alone ? pop_locked(crew) : NULL;
    if (task) run_locked(crew, task);
    mp_lock_release(&crew->lock);
}

void mp_crew_push(mp_crew *crew, mp_task *task, bool is_late) {
    mp_lock_acquire(&crew->lock);
    mp_tasks_push(is_late ? &crew->locked.late : &crew->locked.soon, task);
    crew->locked.queued++;
    mp_add_relaxed(&crew->word, 1);
    bool wakes = crew->locked.idle > 0;
    mp_lock_release(&crew->lock);
    if (wakes) mp_park_wake_one(&crew->word);
    mp_crew_tend(crew);
}

void mp_crew_forget(mp_crew *crew) {
    crew->locked.soon = crew->locked.late = (mp_tasks){0};
    crew->locked.working = NULL;
    crew->locked.queued = crew->locked.threads = crew->locked.idle = 0;
}
