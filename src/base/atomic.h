/* Atomics whose memory order is in their name, and nothing else: no stand-alone fences, because
 * ThreadSanitizer reports false races on them (gcc 12 and clang 14, measured).
 *
 * With MP_EXPLORE every operation is a point where the explorer of tests/explore may switch to
 * another thread, so the same sources run under every interleaving. */
#ifndef MP_BASE_ATOMIC_H
#define MP_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MP_CACHE_LINE 64

/* A handle of 16 bytes is written and read as two words: core/conn.c. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first half of a word comes first");

#ifdef MP_EXPLORE
void mp_explore_step(void); /* tests/explore: choose who runs next */
#define MP_STEP() mp_explore_step()
#else
#define MP_STEP() ((void)0)
#endif

#ifdef MP_LABELS
void mp_label(const char *name); /* tests/race: stop a thread here */
#define MP_LABEL(name) mp_label(name)
#else
#define MP_LABEL(name) ((void)0)
#endif

#define mp_load_relaxed(object) (MP_STEP(), atomic_load_explicit((object), memory_order_relaxed))
#define mp_load_acquire(object) (MP_STEP(), atomic_load_explicit((object), memory_order_acquire))
#define mp_load_seq_cst(object) (MP_STEP(), atomic_load_explicit((object), memory_order_seq_cst))

#define mp_store_relaxed(object, value)                                                            \
    (MP_STEP(), atomic_store_explicit((object), (value), memory_order_relaxed))
#define mp_store_release(object, value)                                                            \
    (MP_STEP(), atomic_store_explicit((object), (value), memory_order_release))
#define mp_store_seq_cst(object, value)                                                            \
    (MP_STEP(), atomic_store_explicit((object), (value), memory_order_seq_cst))

#define mp_add_relaxed(object, value)                                                              \
    (MP_STEP(), atomic_fetch_add_explicit((object), (value), memory_order_relaxed))
#define mp_add_seq_cst(object, value)                                                              \
    (MP_STEP(), atomic_fetch_add_explicit((object), (value), memory_order_seq_cst))
#define mp_sub_seq_cst(object, value)                                                              \
    (MP_STEP(), atomic_fetch_sub_explicit((object), (value), memory_order_seq_cst))
#define mp_or_seq_cst(object, value)                                                               \
    (MP_STEP(), atomic_fetch_or_explicit((object), (value), memory_order_seq_cst))
#define mp_and_seq_cst(object, value)                                                              \
    (MP_STEP(), atomic_fetch_and_explicit((object), (value), memory_order_seq_cst))
#define mp_swap_acquire(object, value)                                                             \
    (MP_STEP(), atomic_exchange_explicit((object), (value), memory_order_acquire))
#define mp_swap_seq_cst(object, value)                                                             \
    (MP_STEP(), atomic_exchange_explicit((object), (value), memory_order_seq_cst))
#define mp_swap_release(object, value)                                                             \
    (MP_STEP(), atomic_exchange_explicit((object), (value), memory_order_release))

/* Compare and swap, strong: *expected holds what was found when it answers false. A failure only
 * reads, with relaxed order. */
#define mp_cas_acquire(object, expected, desired)                                                  \
    (MP_STEP(), atomic_compare_exchange_strong_explicit(                                           \
                    (object), (expected), (desired), memory_order_acquire, memory_order_relaxed))
#define mp_cas_seq_cst(object, expected, desired)                                                  \
    (MP_STEP(), atomic_compare_exchange_strong_explicit(                                           \
                    (object), (expected), (desired), memory_order_seq_cst, memory_order_relaxed))

#define mp_likely(condition) __builtin_expect(!!(condition), 1)
#define mp_unlikely(condition) __builtin_expect(!!(condition), 0)

#endif
