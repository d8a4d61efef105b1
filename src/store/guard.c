/* The slow side of the guard. */
#include "store/guard.h"

#include "base/clock.h"

#define LOOK_AGAIN_NS (MP_NS_PER_MS / 2)

void mp_guard_add(mp_guard *guard, mp_guard_entry *entry) {
    mp_lock_acquire(&guard->lock);
    mp_list_push(&guard->entries, &entry->node);
    mp_lock_release(&guard->lock);
}

void mp_guard_remove(mp_guard *guard, mp_guard_entry *entry) {
    mp_lock_acquire(&guard->lock);
    mp_list_remove(&guard->entries, &entry->node);
    mp_lock_release(&guard->lock);
}

void mp_guard_acquire_slow(mp_guard *guard, mp_guard_entry *entry) {
    do {
        mp_guard_release(entry);
        while (mp_load_seq_cst(&guard->is_paused)) mp_park_wait(&guard->is_paused, 1, MP_NEVER_NS);
        mp_store_seq_cst(&entry->depth, 1);
    } while (mp_load_seq_cst(&guard->is_paused));
}

static bool is_anybody_inside(mp_guard *guard) {
    bool inside = false;
    mp_lock_acquire(&guard->lock);
    for (mp_node *node = guard->entries.head; node && !inside; node = node->next) {
        mp_guard_entry *entry = mp_container_of(node, mp_guard_entry, node);
        inside = mp_load_seq_cst(&entry->depth) != 0;
    }
    mp_lock_release(&guard->lock);
    return inside;
}

bool mp_guard_pause(mp_guard *guard, int64_t patience_ns) {
    mp_store_seq_cst(&guard->is_paused, 1);
    int64_t until_ns = mp_clock_after(mp_clock_now_ns(), patience_ns);
    mp_word never = 0;
    while (is_anybody_inside(guard)) {
        if (mp_clock_now_ns() >= until_ns) {
            mp_guard_resume(guard);
            return false;
        }
        mp_park_wait(&never, 0, mp_clock_after(mp_clock_now_ns(), LOOK_AGAIN_NS));
    }
    return true;
}

void mp_guard_resume(mp_guard *guard) {
    mp_store_seq_cst(&guard->is_paused, 0);
    mp_park_wake_all(&guard->is_paused);
}
