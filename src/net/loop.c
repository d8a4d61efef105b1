/* The turn of a loop: what is called, and in which order. */
#include "net/loop.h"

#include "base/assert.h"
#include "base/error.h"
#include "net/transport.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is ready ---- */

void mp_loop_mark(mp_loop *loop, mp_ready *ready, int events) {
    ready->events = (uint16_t)(ready->events | events);
    if (ready->is_listed) return;
    ready->is_listed = true;
    mp_list_push(&loop->ready, &ready->node);
}

void mp_loop_unmark(mp_loop *loop, mp_ready *ready) {
    if (!ready->is_listed) return;
    ready->is_listed = false;
    mp_list_remove(&loop->ready, &ready->node);
}

/* After each call of somebody else's: what it sent is written before anything else is read. */
static inline void write_gathered(mp_loop *loop) {
    if (loop->gather.count) mp_stream_write_gathered(loop);
}

static void run_watch(mp_ready *ready, mp_loop *loop) {
    mp_watch *watch = mp_container_of(ready, mp_watch, ready);
    int events = ready->events & watch->wanted;
    ready->events = 0;
    if (events) watch->on_ready(watch, loop, events);
}

/* Each that is ready now, once; who is marked meanwhile has the next turn. */
static void run_ready(mp_loop *loop) {
    mp_ready end = {.is_listed = true};
    mp_list_push(&loop->ready, &end.node);
    for (;;) {
        mp_ready *ready = mp_container_of(mp_list_pop(&loop->ready), mp_ready, node);
        ready->is_listed = false;
        if (ready == &end) return;
        if (ready->is_stream) mp_stream_run(ready, loop);
        else run_watch(ready, loop);
        write_gathered(loop);
    }
}

/* ---- messages ---- */

void mp_loop_post(mp_loop *loop, mp_post *post) {
    post->next = NULL;
    mp_lock_acquire(&loop->lock);
    if (loop->locked.last) loop->locked.last->next = post;
    else loop->locked.first = post;
    loop->locked.last = post;
    if (loop->locked.is_asleep) { /* under the lock: the loop may be closed after it has run */
        loop->locked.is_asleep = false;
        loop->locked.wakes++;
        loop->transport->wake(loop);
    }
    mp_lock_release(&loop->lock);
}

void mp_loop_stop(mp_loop *loop) {
    mp_lock_acquire(&loop->lock);
    loop->locked.is_stopped = true;
    if (loop->locked.is_asleep) loop->transport->wake(loop);
    loop->locked.is_asleep = false;
    mp_lock_release(&loop->lock);
}

/* From here on who posts wakes the loop. False: there is something to do first. */
static bool fall_asleep(mp_loop *loop) {
    mp_lock_acquire(&loop->lock);
    bool may_sleep = !loop->locked.first && !loop->locked.is_stopped;
    loop->locked.is_asleep = may_sleep;
    mp_lock_release(&loop->lock);
    return may_sleep;
}

static mp_post *wake_up(mp_loop *loop) {
    mp_lock_acquire(&loop->lock);
    mp_post *posts = loop->locked.first;
    loop->locked.first = loop->locked.last = NULL;
    loop->locked.is_asleep = false;
    loop->counts.wakes = loop->locked.wakes;
    mp_lock_release(&loop->lock);
    return posts;
}

static void run_posts(mp_loop *loop, mp_post *post) {
    while (post) {
        mp_post *next = post->next; /* it may be gone, or posted again, after its call */
        loop->counts.posts++;
        post->run(post, loop);
        write_gathered(loop);
        post = next;
    }
}

/* ---- times ---- */

/* A time that has come already means the next turn: a timer that sets itself ends no turn. */
void mp_timer_schedule(mp_timer *timer, mp_loop *loop) {
    if (timer->due_ns <= loop->now_ns) timer->due_ns = loop->now_ns + 1;
    mp_heap_remove(&loop->timers, &timer->node);
    if (timer->due_ns != MP_NEVER_NS) mp_heap_push(&loop->timers, &timer->node, timer->due_ns);
}

void mp_timer_stop(mp_timer *timer, mp_loop *loop) {
    mp_heap_remove(&loop->timers, &timer->node);
    timer->due_ns = MP_NEVER_NS;
}

static void run_timers(mp_loop *loop) {
    for (;;) {
        mp_heap_node *node = mp_heap_first(&loop->timers);
        if (!node || node->due_ns > loop->now_ns) return;
        mp_timer *timer = mp_container_of(node, mp_timer, node);
        if (timer->due_ns > loop->now_ns) { /* it was put off since */
            mp_timer_schedule(timer, loop);
            continue;
        }
        mp_timer_stop(timer, loop);
        timer->on_due(timer, loop);
        write_gathered(loop);
    }
}

/* ---- the turn ---- */

void mp_loop_turn(mp_loop *loop, int64_t until_ns) {
    mp_heap_node *first = mp_heap_first(&loop->timers);
    if (first && first->due_ns < until_ns) until_ns = first->due_ns;
    if (!mp_list_is_empty(&loop->ready) || (until_ns > 0 && !fall_asleep(loop))) until_ns = 0;
    loop->counts.turns++;
    loop->counts.sleeps += until_ns > 0;
    loop->now_ns = loop->transport->wait(loop, until_ns);
    mp_post *posts = wake_up(loop);
    run_posts(loop, posts);
    run_timers(loop);
    run_ready(loop);
    if (loop->config.on_turn) loop->config.on_turn(loop, loop->config.arg);
    write_gathered(loop);
    mp_stream_free_dead(loop);
}

void mp_loop_run(mp_loop *loop) {
    for (;;) {
        mp_lock_acquire(&loop->lock);
        bool is_stopped = loop->locked.is_stopped;
        loop->locked.is_stopped = false;
        mp_lock_release(&loop->lock);
        if (is_stopped) return;
        mp_loop_turn(loop, MP_NEVER_NS);
    }
}

int64_t mp_loop_now_ns(const mp_loop *loop) { return loop->now_ns; }

const mp_loop_counts *mp_loop_get_counts(const mp_loop *loop) { return &loop->counts; }

/* ---- watches ---- */

mantis_status mp_watch_set(mp_watch *watch, mp_loop *loop, int events, mantis_error *error) {
    int result = events == watch->wanted ? 0 : loop->transport->watch(loop, watch, events);
    if (result < 0)
        return mp_error_set_os(error, MANTIS_IO, -result, "cannot watch a descriptor: %s",
                               strerror(-result));
    watch->wanted = events;
    if (events == 0) mp_loop_unmark(loop, &watch->ready);
    return MANTIS_OK;
}

/* ---- opening and closing ---- */

mantis_status mp_loop_open_on(mp_loop **out, const mp_transport *transport, void *place,
                              const mp_loop_config *config, mantis_error *error) {
    static const mp_loop_config defaults;
    if (!config) config = &defaults;
    mp_loop *loop = calloc(1, sizeof *loop);
    if (!loop) return mp_error_set(error, MANTIS_NOMEM, "no memory for an event loop");
    loop->transport = transport;
    loop->place = place;
    loop->config = *config;
    if (!loop->config.held_bytes_max) loop->config.held_bytes_max = MP_LOOP_HELD_MAX;
    loop->look.on_due = mp_stream_look;
    *out = loop;
    return MANTIS_OK;
}

void mp_loop_close(mp_loop **loop) {
    if (!loop || !*loop) return;
    mp_loop *closing = *loop;
    *loop = NULL;
    mp_stream_finish_all(closing);
    mp_lock_acquire(&closing->lock); /* a post that has just run may still be waking us */
    mp_assert(!closing->locked.first);
    mp_lock_release(&closing->lock);
    mp_timer_stop(&closing->look, closing);
    mp_assert(!mp_heap_first(&closing->timers));
    closing->transport->finish(closing);
    free(closing);
}
