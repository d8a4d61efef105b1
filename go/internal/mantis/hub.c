/* Events of C's threads, queued for Go: operations of its connectors, commits, leaks, the log. */
#include "inside.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOG_MAX 1000 /* lines queued; more of them are dropped */

typedef struct node {
    struct node *next;
    bridge_event event;
} node;

static struct {
    pthread_mutex_t lock;
    int fd; /* 0: not open yet */
    /* under lock */
    bool is_quiet; /* Go sleeps: write the descriptor */
    uint32_t lines;
    node *first, *last;
    bridge_commit *first_commit, *last_commit;
} hub = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_quiet = true};

int bridge_hub_fd(void) {
    pthread_mutex_lock(&hub.lock);
    if (hub.fd <= 0) hub.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = hub.fd;
    pthread_mutex_unlock(&hub.lock);
    return fd;
}

/* The descriptor is never read: each write is an edge, and that is what Go's poller waits for. */
static void wake(bool is_quiet) {
    uint64_t one = 1;
    if (is_quiet && write(hub.fd, &one, sizeof one) < 0) { /* full: it is readable all the same */
    }
}

bool bridge_hub_post(const bridge_event *event) {
    node *made = malloc(sizeof *made);
    if (!made) return false;
    *made = (node){.event = *event};
    bool is_line = event->kind == BRIDGE_LOG;
    pthread_mutex_lock(&hub.lock);
    bool is_dropped = is_line && hub.lines == LOG_MAX;
    if (!is_dropped) {
        hub.lines += is_line;
        if (hub.last) hub.last->next = made;
        else hub.first = made;
        hub.last = made;
    }
    bool is_quiet = hub.is_quiet && !is_dropped;
    if (is_quiet) hub.is_quiet = false;
    pthread_mutex_unlock(&hub.lock);
    if (is_dropped) free(made);
    wake(is_quiet);
    return !is_dropped;
}

void bridge_hub_post_commit(bridge_commit *commit) {
    commit->next = NULL;
    pthread_mutex_lock(&hub.lock);
    if (hub.last_commit) hub.last_commit->next = commit;
    else hub.first_commit = commit;
    hub.last_commit = commit;
    bool is_quiet = hub.is_quiet;
    hub.is_quiet = false;
    pthread_mutex_unlock(&hub.lock);
    wake(is_quiet);
}

static bool take_commit_locked(bridge_event *out) {
    bridge_commit *commit = hub.first_commit;
    if (!commit) return false;
    hub.first_commit = commit->next;
    if (!hub.first_commit) hub.last_commit = NULL;
    *out = (bridge_event){.kind = BRIDGE_COMMIT, .number = commit->number};
    return true;
}

static bool take_node_locked(bridge_event *out) {
    node *taken = hub.first;
    if (!taken) return false;
    hub.first = taken->next;
    if (!hub.first) hub.last = NULL;
    hub.lines -= taken->event.kind == BRIDGE_LOG;
    *out = taken->event;
    free(taken);
    return true;
}

size_t bridge_take(bridge_event *out, size_t max) {
    size_t count = 0;
    pthread_mutex_lock(&hub.lock);
    while (count < max && (take_commit_locked(&out[count]) || take_node_locked(&out[count])))
        count++;
    if (count == 0) hub.is_quiet = true;
    pthread_mutex_unlock(&hub.lock);
    return count;
}

/* ---- Go's connector: whatever it is asked for happens in Go ---- */

static bool ask(enum bridge_kind kind, void *place, void *native, mantis_op *op) {
    bridge_event event = {.kind = kind,
                          .number = (uint32_t)(uintptr_t)place,
                          .op = (uintptr_t)op,
                          .native = (uintptr_t)native,
                          .time_ns = op ? mantis_op_deadline(op) : 0};
    return bridge_hub_post(&event);
}

static void go_open(void *place, mantis_op *op) {
    if (!ask(BRIDGE_OPEN, place, NULL, op)) mantis_op_failed(op, "out of memory");
}

static void go_check(void *place, void *native, mantis_op *op) {
    if (!ask(BRIDGE_CHECK, place, native, op)) mantis_op_failed(op, "out of memory");
}

static void go_close(void *place, void *native, mantis_op *op) {
    if (!ask(BRIDGE_CLOSE, place, native, op)) mantis_op_done(op, NULL);
}

static void go_stop(void *place) { ask(BRIDGE_STOP, place, NULL, NULL); }

const mantis_connector bridge_go_connector = {
    .name = "go", .open = go_open, .check = go_check, .close = go_close, .stop = go_stop};

/* ---- hooks ---- */

static void on_leak(void *arg, uint32_t tid, const char *tag, int64_t held_ns) {
    (void)tid;
    bridge_event event = {.kind = BRIDGE_LEAK,
                          .number = (uint32_t)(uintptr_t)arg,
                          .tag = (uintptr_t)tag,
                          .time_ns = held_ns};
    bridge_hub_post(&event);
}

static void on_log(void *arg, mantis_log_level level, const char *text) {
    char *copy = level >= MANTIS_LOG_INFO ? strdup(text) : NULL;
    if (!copy) return;
    bridge_event event = {.kind = BRIDGE_LOG, .number = (uint32_t)(uintptr_t)arg, .text = copy};
    if (!bridge_hub_post(&event)) free(copy);
}

mantis_hooks bridge_hooks(uint32_t number, uint32_t tell) {
    return (mantis_hooks){.on_leak = tell & BRIDGE_TELL_LEAKS ? on_leak : NULL,
                          .on_log = tell & BRIDGE_TELL_LOG ? on_log : NULL,
                          .arg = (void *)(uintptr_t)number};
}
