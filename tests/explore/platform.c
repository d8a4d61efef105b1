/* What the core takes from the system, made of coroutines: parking, the clock, thread ids and
 * assertions. Linked instead of src/base/assert.c and src/base/thread.c; the clock and eventfd by
 * the linker's --wrap. */
#include "fixture.h"

#include "base/assert.h"
#include "base/park.h"
#include "base/thread.h"

#include <errno.h>
#include <sys/eventfd.h>

int64_t __wrap_mp_clock_now_ns(void);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd_read(int fd, eventfd_t *out);
int __wrap_eventfd_write(int fd, eventfd_t add);
int __wrap_close(int fd);

bool mp_park_wait(mp_word *word, uint32_t expected, int64_t deadline_ns) {
    if (mp_load_seq_cst(word) != expected) return true;
    return ex_sleep((const volatile void *)word, deadline_ns);
}

void mp_park_wake_one(mp_word *word) { ex_wake((const volatile void *)word, false); }

void mp_park_wake_all(mp_word *word) { ex_wake((const volatile void *)word, true); }

void mp_explore_step(void) {
    ex_step(NULL, EX_UNKNOWN);
    ex_drain_stores();
}

int64_t __wrap_mp_clock_now_ns(void) { return ex_now_ns(); }

uint32_t mp_thread_id(void) { return 1000 + ex_self(); }

bool mp_thread_start(const char *name, void (*run)(void *arg), void *arg) {
    (void)run;
    (void)arg;
    ex_fail("the core started a thread, %s: scenarios must not need one", name);
}

void mp_assert_failed(const char *condition, const char *file, int line) {
    ex_fail("assertion %s does not hold at %s:%d", condition, file, line);
}

/* ---- eventfd: a counter, and who sleeps on it ---- */

#define FDS_FIRST 100000
#define FDS_MAX 4

static struct {
    bool is_open;
    uint64_t count;
} fds[FDS_MAX];

int __wrap_eventfd(unsigned count, int flags) {
    (void)flags;
    for (int i = 0; i < FDS_MAX; i++) {
        if (fds[i].is_open) continue;
        fds[i].is_open = true;
        fds[i].count = count;
        return FDS_FIRST + i;
    }
    ex_fail("more than %d descriptors", FDS_MAX);
}

static uint64_t *count_of(int fd) {
    if (fd < FDS_FIRST || fd >= FDS_FIRST + FDS_MAX || !fds[fd - FDS_FIRST].is_open)
        ex_fail("descriptor %d is not an open eventfd", fd);
    return &fds[fd - FDS_FIRST].count;
}

int __wrap_eventfd_read(int fd, eventfd_t *out) {
    uint64_t *count = count_of(fd);
    ex_step(count, EX_WRITE);
    ex_drain_stores();
    if (*count == 0) {
        errno = EAGAIN;
        return -1;
    }
    *out = *count;
    *count = 0;
    return 0;
}

int __wrap_eventfd_write(int fd, eventfd_t add) {
    uint64_t *count = count_of(fd);
    ex_drain_stores();
    ex_step(count, EX_WRITE);
    *count += add;
    ex_wake(count, true);
    return 0;
}

int __wrap_close(int fd) {
    count_of(fd);
    fds[fd - FDS_FIRST].is_open = false;
    return 0;
}

void fx_wait_readable(int fd, int64_t deadline_ns) {
    uint64_t *count = count_of(fd);
    ex_step(count, EX_READ);
    if (*count == 0 && !fx.is_over) ex_sleep(count, deadline_ns);
}

void fx_end_waits(void) {
    uint64_t *count = count_of(mantis_mailbox_fd(fx.mailbox));
    fx.is_over = true;
    ex_wake(count, true);
}
