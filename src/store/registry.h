/* The stores of this process by directory, so that all its pools on one directory share one; and
 * how often the process forked, so that a child leaves its parent's stores alone. */
#ifndef MP_STORE_REGISTRY_H
#define MP_STORE_REGISTRY_H

#include "base/atomic.h"
#include "base/list.h"
#include "store/directory.h"

#include <stdint.h>

typedef struct mp_registry_entry {
    mp_node node;
    mp_directory_id id;
    uint32_t users; /* pools that have it open */
    uint32_t born;  /* mp_registry_forks() at its open */
} mp_registry_entry;

extern _Atomic uint32_t mp_registry_fork_count;

/* How many forks lie between the first process and this one. */
static inline uint32_t mp_registry_forks(void) { return mp_load_relaxed(&mp_registry_fork_count); }

/* One opens or closes at a time; the other functions are called between these two. */
void mp_registry_acquire(void);
void mp_registry_release(void);

/* The store of this process on that directory, or NULL. */
mp_registry_entry *mp_registry_find(mp_directory_id id);
void mp_registry_add(mp_registry_entry *entry);
void mp_registry_remove(mp_registry_entry *entry);

#endif
