/* An intrusive pairing heap: the earliest due time first, no allocation, any number of members.
 * (M. Fredman, R. Sedgewick, D. Sleator, R. Tarjan, "The Pairing Heap", Algorithmica 1, 1986:
 * push O(1), pop and remove O(log n) amortised.) No thread-safety of its own. */
#ifndef MP_BASE_HEAP_H
#define MP_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mp_heap_node {
    struct mp_heap_node *child, *next, *prev; /* prev: the older sibling, or the parent */
    int64_t due_ns;
    bool is_in;
} mp_heap_node;

typedef struct mp_heap {
    mp_heap_node *root; /* NULL: empty */
} mp_heap;

/* The node with the smallest due_ns, or NULL. It stays in. */
static inline mp_heap_node *mp_heap_first(const mp_heap *heap) { return heap->root; }

/* Add a node that is in no heap. */
void mp_heap_push(mp_heap *heap, mp_heap_node *node, int64_t due_ns);

/* Take a node out; one that is in no heap is fine. */
void mp_heap_remove(mp_heap *heap, mp_heap_node *node);

#endif
