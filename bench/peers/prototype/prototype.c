/* The bare prototype: the smallest pool that could do the job, as a floor for what a pair costs.
 *
 * A state word on a cache line of its own for each slot; the thread's last slot first; then a
 * bitmap, kept as a lazy hint; a count of waiters, and a queue in which a release hands its slot to
 * the oldest one. No statistics, no handles, no deadlines, no life of a connection. It stands here
 * for its cost alone: the library's own core is not made of it. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BENCH_PEER "prototype"
#define BENCH_VERSION "1"

typedef uint32_t bench_conn;

enum { SLOTS_MAX = 1024, WORDS_MAX = SLOTS_MAX / 64, NO_SLOT = UINT16_MAX };
enum { SLOT_FREE = 0, SLOT_BUSY = 1 };

typedef struct slot {
    _Alignas(64) _Atomic uint32_t state;
} slot;

typedef struct waiter {
    struct waiter *next;
    uint32_t granted; /* the slot, once word is 1 */
    _Atomic uint32_t word;
} waiter;

static slot slots[SLOTS_MAX];
static uint32_t words;
static _Alignas(64) _Atomic uint64_t free_bits[WORDS_MAX]; /* may be wrong both ways for a moment */
static _Alignas(64) _Atomic uint32_t waiting; /* read by every pair: a line of its own */
static _Alignas(64) pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static waiter *queue_head, **queue_tail = &queue_head;
static _Thread_local uint32_t last_slot = NO_SLOT;

static inline bool take_slot(uint32_t index) {
    uint32_t expected = SLOT_FREE;
    return atomic_load_explicit(&slots[index].state, memory_order_relaxed) == SLOT_FREE &&
           atomic_compare_exchange_strong(&slots[index].state, &expected, SLOT_BUSY);
}

/* A bit whose slot is busy is cleared, and the slot looked at once more: its release may have seen
 * the bit still set. */
static inline uint32_t take_from_word(uint32_t word) {
    uint64_t bits = atomic_load(&free_bits[word]);
    while (bits != 0) {
        uint64_t bit = bits & -bits;
        uint32_t index = (word << 6) + (uint32_t)__builtin_ctzll(bits);
        if (take_slot(index)) return index;
        atomic_fetch_and(&free_bits[word], ~bit);
        if (take_slot(index)) return index;
        bits &= ~bit;
    }
    return NO_SLOT;
}

static inline uint32_t try_take(void) {
    if (last_slot != NO_SLOT && take_slot(last_slot)) return last_slot;
    uint32_t first = last_slot == NO_SLOT ? 0 : last_slot >> 6;
    for (uint32_t k = 0; k < words; k++) {
        uint32_t index = take_from_word((first + k) % words);
        if (index != NO_SLOT) return index;
    }
    return NO_SLOT;
}

/* seq_cst: the slot is free before the waiters are counted, here and in the reverse order there. */
static inline void put_free(uint32_t index) {
    uint64_t bit = UINT64_C(1) << (index & 63);
    atomic_exchange(&slots[index].state, SLOT_FREE);
    if ((atomic_load(&free_bits[index >> 6]) & bit) == 0)
        atomic_fetch_or(&free_bits[index >> 6], bit);
}

static waiter *pop_waiter(void) {
    pthread_mutex_lock(&queue_lock);
    waiter *oldest = queue_head;
    if (oldest != NULL) {
        queue_head = oldest->next;
        if (queue_head == NULL) queue_tail = &queue_head;
        atomic_fetch_sub(&waiting, 1);
    }
    pthread_mutex_unlock(&queue_lock);
    return oldest;
}

__attribute__((noinline)) static void hand_off(uint32_t index) {
    for (;;) {
        waiter *oldest = pop_waiter();
        if (oldest != NULL) {
            _Atomic uint32_t *word = &oldest->word;
            oldest->granted = index;
            atomic_store_explicit(word, 1, memory_order_release);
            syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
            return;
        }
        put_free(index);
        if (atomic_load(&waiting) == 0 || (index = try_take()) == NO_SLOT) return;
    }
}

__attribute__((noinline)) static uint32_t acquire_slow(void) {
    waiter self = {0};
    pthread_mutex_lock(&queue_lock);
    atomic_fetch_add(&waiting, 1);
    uint32_t index = queue_head == NULL ? try_take() : NO_SLOT;
    if (index != NO_SLOT) {
        atomic_fetch_sub(&waiting, 1);
    } else {
        *queue_tail = &self;
        queue_tail = &self.next;
    }
    pthread_mutex_unlock(&queue_lock);
    if (index != NO_SLOT) return index;
    while (atomic_load_explicit(&self.word, memory_order_acquire) == 0)
        syscall(SYS_futex, &self.word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return self.granted;
}

static inline void bench_acquire(bench_conn *out) {
    if (atomic_load_explicit(&waiting, memory_order_relaxed) == 0) {
        *out = try_take();
        if (__builtin_expect(*out != NO_SLOT, 1)) return;
    }
    *out = acquire_slow();
}

static inline void bench_release(bench_conn *conn) {
    uint32_t index = *conn;
    last_slot = index;
    if (atomic_load_explicit(&waiting, memory_order_relaxed) != 0) {
        hand_off(index);
        return;
    }
    put_free(index);
    if (__builtin_expect(atomic_load(&waiting) == 0, 1)) return;
    index = try_take();
    if (index != NO_SLOT) hand_off(index);
}

static void bench_open(uint32_t conns) {
    words = (conns + 63) / 64;
    for (uint32_t index = conns; index-- > 0;) put_free(index);
}

#include "../../load.h"

int main(int argc, char **argv) { return bench_main_of(argc, argv); }
