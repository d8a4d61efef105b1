/* A few threads for calls that may block: started when there is work, ended when there has been
 * none for 5 s. At most `size` work at a time, and one more for each that has been stuck in a task
 * beyond its due time, so that one that blocks for ever delays no other. */
#ifndef MP_BASE_CREW_H
#define MP_BASE_CREW_H

#include "base/park.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_CREW_STUCK_MAX 60
#define MP_CREW_IDLE_NS INT64_C(5000000000)

/* Something to do, in the caller's memory; a queue of them by next. */
typedef struct mp_task {
    struct mp_task *next;
    int64_t due_ns; /* when it should be over */
} mp_task;

typedef struct mp_tasks {
    mp_task *first, *last;
} mp_tasks;

static inline void mp_tasks_push(mp_tasks *tasks, mp_task *task) {
    task->next = NULL;
    if (tasks->last) tasks->last->next = task;
    else tasks->first = task;
    tasks->last = task;
}

static inline mp_task *mp_tasks_pop(mp_tasks *tasks) /* the first, or NULL */
{
    mp_task *task = tasks->first;
    if (task) tasks->first = task->next;
    if (!tasks->first) tasks->last = NULL;
    return task;
}

/* Zeroed but for the first three it is ready for use. */
typedef struct mp_crew {
    const char *name;           /* of its threads */
    void (*run)(mp_task *task); /* takes the task over */
    uint32_t size;
    mp_word word; /* counts what was pushed; idle threads sleep on it */
    mp_lock lock;
    struct {
        mp_tasks soon, late;
        struct mp_crew_member *working;
        uint32_t queued, threads, idle;
    } locked;
} mp_crew;

/* Queue a task; late ones come after all others. */
void mp_crew_push(mp_crew *crew, mp_task *task, bool is_late);

/* Replace threads that are stuck, if there is work. Cheap: to be called from time to time. */
void mp_crew_tend(mp_crew *crew);

/* In a child process: there are no threads and no tasks. Under the lock. */
void mp_crew_forget(mp_crew *crew);

#endif
