/* Futex calls, and the lock made of them. */
#include "base/park.h"

#include "base/assert.h"
#include "base/clock.h"

#ifdef MP_EXPLORE
/* tests/explore has its own of these three, in which threads are coroutines. */
#else
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

bool mp_park_wait(mp_word *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec until = mp_clock_timespec(deadline_ns);
    /* FUTEX_WAIT_BITSET is the wait with an absolute deadline: futex(2). */
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                      deadline_ns == MP_NEVER_NS ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return !(rc < 0 && errno == ETIMEDOUT);
}

static void wake(mp_word *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}

void mp_park_wake_one(mp_word *word) { wake(word, 1); }

void mp_park_wake_all(mp_word *word) { wake(word, INT_MAX); }
#endif

bool mp_lock_try_acquire(mp_lock *lock) {
    uint32_t free_word = 0;
    /* acquire: pairs with the release in mp_lock_release() */
    return mp_cas_acquire(&lock->word, &free_word, 1);
}

void mp_lock_acquire(mp_lock *lock) {
    if (mp_lock_try_acquire(lock)) return;
    while (mp_swap_acquire(&lock->word, 2) != 0) mp_park_wait(&lock->word, 2, MP_NEVER_NS);
}

void mp_lock_release(mp_lock *lock) {
    /* release: pairs with the acquires above */
    uint32_t was = mp_swap_release(&lock->word, 0);
    mp_assert(was != 0); /* it was held */
    if (was == 2) mp_park_wake_one(&lock->word);
}
