/* Whose turn it is. */
#include "core/waitq.h"

static mp_waiter *waiter_of(mp_node *node) {
    return node ? mp_container_of(node, mp_waiter, node) : NULL;
}

void mp_waitq_push(mp_waitq *queue, mp_waiter *waiter) {
    mp_list_push(&queue->list, &waiter->node);
    queue->count++;
}

void mp_waitq_remove(mp_waitq *queue, mp_waiter *waiter) {
    mp_list_remove(&queue->list, &waiter->node);
    queue->count--;
}

mp_waiter *mp_waitq_first(const mp_waitq *queue) { return waiter_of(queue->list.head); }

static bool may_be_passed(const mp_waiter *waiter, int64_t now_ns) {
    return waiter->passed == 0 ||
           (waiter->passed < MP_PASSED_MAX && now_ns - waiter->passed_ns < MP_PASSED_NS);
}

/* The first of this home within the window, if all before it may be passed over. */
static mp_waiter *find_home(const mp_waitq *queue, uint32_t home, int64_t now_ns) {
    mp_node *node = queue->list.head;
    for (int i = 0; i < MP_HOME_WINDOW && node; i++, node = node->next) {
        mp_waiter *waiter = waiter_of(node);
        if (waiter->home == home) return waiter;
        if (!may_be_passed(waiter, now_ns)) return NULL;
    }
    return NULL;
}

mp_waiter *mp_waitq_choose(mp_waitq *queue, uint32_t home, int64_t now_ns) {
    mp_waiter *first = mp_waitq_first(queue);
    if (!first || home == 0 || first->home == home) return first;
    mp_waiter *chosen = find_home(queue, home, now_ns);
    if (!chosen) return first;
    for (mp_node *node = &first->node; node != &chosen->node; node = node->next) {
        mp_waiter *passed = waiter_of(node);
        if (passed->passed++ == 0) passed->passed_ns = now_ns;
    }
    return chosen;
}
