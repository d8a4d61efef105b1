/* Operations under way. There are never more than the library has opener threads, so the list is
 * searched from its start. */
#include "connectors/redis_work.h"

#include <stddef.h>
#include <sys/socket.h>

void mp_redis_work_begin(mp_redis_work *work, mp_redis_works *works, const mantis_op *op, int fd) {
    *work = (mp_redis_work){.works = works, .op = op, .fd = fd};
    mp_lock_acquire(&works->lock);
    work->next = works->first;
    works->first = work;
    mp_lock_release(&works->lock);
}

bool mp_redis_work_set(mp_redis_work *work, int fd) {
    mp_lock_acquire(&work->works->lock);
    work->fd = fd;
    bool goes_on = !work->is_interrupted;
    mp_lock_release(&work->works->lock);
    return goes_on;
}

bool mp_redis_work_end(mp_redis_work *work) {
    mp_lock_acquire(&work->works->lock);
    mp_redis_work **at = &work->works->first;
    while (*at != work) at = &(*at)->next;
    *at = work->next;
    mp_lock_release(&work->works->lock);
    return work->is_interrupted;
}

bool mp_redis_works_interrupt(mp_redis_works *works, const mantis_op *op) {
    mp_lock_acquire(&works->lock);
    mp_redis_work *work = works->first;
    while (work && work->op != op) work = work->next;
    if (work) {
        work->is_interrupted = true;
        if (work->fd >= 0) (void)shutdown(work->fd, SHUT_RDWR); /* under the lock: it is open */
    }
    mp_lock_release(&works->lock);
    return work != NULL;
}
