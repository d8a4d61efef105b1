/* Stands before src/base/atomic.h in the include path: the same operations, each of them a step of
 * the explorer that knows its object, and stores that other threads may see late. An operation that
 * is not listed here is a step on an unknown object. */
#ifndef MP_EXPLORE_BASE_ATOMIC_H
#define MP_EXPLORE_BASE_ATOMIC_H

#include_next "base/atomic.h"

#include <stddef.h>

void ex_step(const volatile void *object, int kind);
void ex_store(volatile void *object, size_t size, uint64_t value);
bool ex_load(const volatile void *object, uint64_t *value);
void ex_drain_stores(void);

#undef mp_load_relaxed
#undef mp_load_acquire
#undef mp_load_seq_cst
#undef mp_store_relaxed
#undef mp_store_release
#undef mp_store_seq_cst
#undef mp_add_relaxed
#undef mp_add_seq_cst
#undef mp_sub_seq_cst
#undef mp_or_seq_cst
#undef mp_and_seq_cst
#undef mp_swap_acquire
#undef mp_swap_release
#undef mp_swap_seq_cst
#undef mp_cas_acquire
#undef mp_cas_seq_cst

#define EX_OBJECT(object) ((const volatile void *)(object))
#define EX_CHANGE(object) (ex_step(EX_OBJECT(object), 1), ex_drain_stores())

/* A thread sees its own stores at once, also while they are on their way. */
#define EX_LOAD(object)                                                                            \
    (__extension__({                                                                               \
        ex_step(EX_OBJECT(object), 0);                                                             \
        __typeof__(atomic_load(object)) ex_value = atomic_load(object);                            \
        uint64_t ex_own;                                                                           \
        if (ex_load(EX_OBJECT(object), &ex_own)) ex_value = (__typeof__(ex_value))ex_own;          \
        ex_value;                                                                                  \
    }))

#define EX_STORE(object, value)                                                                    \
    (__extension__({                                                                               \
        __typeof__(atomic_load(object)) ex_new = (value);                                          \
        ex_step(EX_OBJECT(object), 1);                                                             \
        ex_store((volatile void *)(object), sizeof *(object), (uint64_t)ex_new);                   \
        (void)0;                                                                                   \
    }))

#define mp_load_relaxed(object) EX_LOAD(object)
#define mp_load_acquire(object) EX_LOAD(object)
#define mp_load_seq_cst(object) EX_LOAD(object)
#define mp_store_relaxed(object, value) EX_STORE((object), (value))
#define mp_store_release(object, value) EX_STORE((object), (value))
#define mp_store_seq_cst(object, value) (EX_CHANGE(object), atomic_store((object), (value)))

#define mp_add_relaxed(object, value) (EX_CHANGE(object), atomic_fetch_add((object), (value)))
#define mp_add_seq_cst(object, value) (EX_CHANGE(object), atomic_fetch_add((object), (value)))
#define mp_sub_seq_cst(object, value) (EX_CHANGE(object), atomic_fetch_sub((object), (value)))
#define mp_or_seq_cst(object, value) (EX_CHANGE(object), atomic_fetch_or((object), (value)))
#define mp_and_seq_cst(object, value) (EX_CHANGE(object), atomic_fetch_and((object), (value)))
#define mp_swap_acquire(object, value) (EX_CHANGE(object), atomic_exchange((object), (value)))
#define mp_swap_release(object, value) (EX_CHANGE(object), atomic_exchange((object), (value)))
#define mp_swap_seq_cst(object, value) (EX_CHANGE(object), atomic_exchange((object), (value)))
#define mp_cas_acquire(object, expected, desired)                                                  \
    (EX_CHANGE(object), atomic_compare_exchange_strong((object), (expected), (desired)))
#define mp_cas_seq_cst(object, expected, desired)                                                  \
    (EX_CHANGE(object), atomic_compare_exchange_strong((object), (expected), (desired)))

#endif
