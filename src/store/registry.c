/* The one list of open stores. */
#include "store/registry.h"

#include "base/park.h"

#include <pthread.h>

static struct {
    mp_lock lock;
    mp_list entries; /* under lock */
} registry;

_Atomic uint32_t mp_registry_fork_count;

/* The child has none of the threads that could hold the lock, and none of the stores. */
static void forget_parent(void) {
    mp_add_relaxed(&mp_registry_fork_count, 1);
    registry.lock = (mp_lock){0};
    registry.entries = (mp_list){0};
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_parent); }

void mp_registry_acquire(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    mp_lock_acquire(&registry.lock);
}

void mp_registry_release(void) { mp_lock_release(&registry.lock); }

mp_registry_entry *mp_registry_find(mp_directory_id id) {
    for (mp_node *node = registry.entries.head; node; node = node->next) {
        mp_registry_entry *entry = mp_container_of(node, mp_registry_entry, node);
        if (entry->id.device == id.device && entry->id.inode == id.inode) return entry;
    }
    return NULL;
}

void mp_registry_add(mp_registry_entry *entry) { mp_list_push(&registry.entries, &entry->node); }

void mp_registry_remove(mp_registry_entry *entry) {
    mp_list_remove(&registry.entries, &entry->node);
}
