/* An intrusive doubly linked list with head and tail. A zeroed list is empty; a zeroed node is in
 * none. No thread-safety of its own. */
#ifndef MP_BASE_LIST_H
#define MP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mp_node {
    struct mp_node *next, *prev;
} mp_node;

typedef struct mp_list {
    mp_node *head, *tail;
} mp_list;

/* The struct that holds this node. */
#define mp_container_of(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline bool mp_list_is_empty(const mp_list *list) { return list->head == NULL; }

static inline void mp_list_push(mp_list *list, mp_node *node) /* at the tail */
{
    node->next = NULL;
    node->prev = list->tail;
    if (list->tail) list->tail->next = node;
    else list->head = node;
    list->tail = node;
}

static inline void mp_list_remove(mp_list *list, mp_node *node) {
    if (node->prev) node->prev->next = node->next;
    else list->head = node->next;
    if (node->next) node->next->prev = node->prev;
    else list->tail = node->prev;
    node->next = node->prev = NULL;
}

static inline mp_node *mp_list_pop(mp_list *list) /* from the head, or NULL */
{
    mp_node *node = list->head;
    if (node) mp_list_remove(list, node);
    return node;
}

#endif
