/* The thread that does things when they are due. */
#include "base/ticker.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/thread.h"

static void wake(mp_ticker *ticker) {
    mp_add_relaxed(&ticker->word, 1);
    mp_park_wake_one(&ticker->word);
}

/* Do what is due first. The lock is released meanwhile. */
static void run_locked(mp_ticker *ticker, mp_tick *tick) {
    mp_heap_remove(&ticker->locked.due, &tick->due);
    tick->is_claimed = true;
    tick->poked_ns = MP_NEVER_NS;
    ticker->hold(tick);
    mp_lock_release(&ticker->lock);
    int64_t due_ns = ticker->run(tick);
    mp_lock_acquire(&ticker->lock);
    tick->is_claimed = false;
    if (tick->poked_ns < due_ns) due_ns = tick->poked_ns;
    if (tick->is_added) mp_heap_push(&ticker->locked.due, &tick->due, due_ns);
    mp_lock_release(&ticker->lock);
    ticker->release(tick);
    mp_lock_acquire(&ticker->lock);
}

/* Sleep until something may be due. False: there has been nothing for long. */
static bool wait_locked(mp_ticker *ticker, int64_t until_ns) {
    uint32_t seen = mp_load_relaxed(&ticker->word);
    mp_lock_release(&ticker->lock);
    bool was_woken = mp_park_wait(&ticker->word, seen, until_ns);
    mp_lock_acquire(&ticker->lock);
    return was_woken || ticker->locked.due.root;
}

static void run_thread(void *arg) {
    mp_ticker *ticker = arg;
    mp_lock_acquire(&ticker->lock);
    for (;;) {
        mp_heap_node *first = mp_heap_first(&ticker->locked.due);
        int64_t now_ns = mp_clock_now_ns();
        if (first && first->due_ns <= now_ns)
            run_locked(ticker, mp_container_of(first, mp_tick, due));
        else if (!wait_locked(ticker, first ? first->due_ns : now_ns + MP_TICKER_IDLE_NS)) break;
    }
    ticker->locked.has_thread = false;
    mp_lock_release(&ticker->lock);
}

bool mp_ticker_add(mp_ticker *ticker, mp_tick *tick) {
    mp_lock_acquire(&ticker->lock);
    if (!ticker->locked.has_thread)
        ticker->locked.has_thread = mp_thread_start(ticker->name, run_thread, ticker);
    tick->is_added = ticker->locked.has_thread;
    if (tick->is_added) mp_heap_push(&ticker->locked.due, &tick->due, mp_clock_now_ns());
    bool is_added = tick->is_added;
    mp_lock_release(&ticker->lock);
    wake(ticker);
    return is_added;
}

void mp_ticker_remove(mp_ticker *ticker, mp_tick *tick) {
    mp_lock_acquire(&ticker->lock);
    tick->is_added = false;
    mp_heap_remove(&ticker->locked.due, &tick->due);
    mp_lock_release(&ticker->lock);
}

void mp_ticker_poke(mp_ticker *ticker, mp_tick *tick, int64_t due_ns) {
    mp_lock_acquire(&ticker->lock);
    if (tick->is_claimed && due_ns < tick->poked_ns) tick->poked_ns = due_ns;
    bool is_earlier = tick->due.is_in && due_ns < tick->due.due_ns;
    if (is_earlier) {
        mp_heap_remove(&ticker->locked.due, &tick->due);
        mp_heap_push(&ticker->locked.due, &tick->due, due_ns);
    }
    bool wakes = is_earlier && ticker->locked.due.root == &tick->due;
    mp_lock_release(&ticker->lock);
    if (wakes) wake(ticker);
}

bool mp_ticker_claim(mp_ticker *ticker, mp_tick *tick) {
    mp_lock_acquire(&ticker->lock);
    bool is_mine = !tick->is_added && !tick->is_claimed;
    if (is_mine) tick->is_claimed = true;
    mp_lock_release(&ticker->lock);
    return is_mine;
}

void mp_ticker_unclaim(mp_ticker *ticker, mp_tick *tick) {
    mp_lock_acquire(&ticker->lock);
    tick->is_claimed = false;
    mp_lock_release(&ticker->lock);
}

void mp_ticker_forget(mp_ticker *ticker) {
    ticker->locked.due = (mp_heap){0};
    ticker->locked.has_thread = false;
}
