/* The pairing heap. */
#include "base/heap.h"

#include "base/assert.h"

#include <stddef.h>

/* Make the later of two roots the first child of the earlier. Either may be NULL. */
static mp_heap_node *join(mp_heap_node *a, mp_heap_node *b) {
    if (!a) return b;
    if (!b) return a;
    if (b->due_ns < a->due_ns) {
        mp_heap_node *earlier = b;
        b = a;
        a = earlier;
    }
    b->next = a->child;
    if (a->child) a->child->prev = b;
    b->prev = a;
    a->child = b;
    a->next = a->prev = NULL;
    return a;
}

/* Join siblings: pairs from left to right, then the pairs from right to left. */
static mp_heap_node *join_siblings(mp_heap_node *first) {
    mp_heap_node *pairs = NULL;
    while (first) {
        mp_heap_node *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) b->next = b->prev = NULL;
        mp_heap_node *pair = join(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    mp_heap_node *root = NULL;
    while (pairs) {
        mp_heap_node *next = pairs->next;
        pairs->next = NULL;
        root = join(root, pairs);
        pairs = next;
    }
    return root;
}

void mp_heap_push(mp_heap *heap, mp_heap_node *node, int64_t due_ns) {
    mp_assert(!node->is_in);
    *node = (mp_heap_node){.due_ns = due_ns, .is_in = true};
    heap->root = join(heap->root, node);
}

void mp_heap_remove(mp_heap *heap, mp_heap_node *node) {
    if (!node->is_in) return;
    mp_heap_node *children = join_siblings(node->child);
    if (node == heap->root) {
        heap->root = children;
    } else {
        if (node->prev->child == node) node->prev->child = node->next;
        else node->prev->next = node->next;
        if (node->next) node->next->prev = node->prev;
        heap->root = join(heap->root, children);
    }
    *node = (mp_heap_node){0};
}
