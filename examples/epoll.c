/* A pool in an event loop of one's own: one thread, epoll, and no call that waits for a connection.
 *
 *     cc epoll.c $(pkg-config --cflags --libs mantispool-store) -o epoll && ./epoll
 *
 * Six requests want one of two connections, each for 20 ms. The sixth has a deadline of 30 ms and
 * is too late. The loop sleeps until its mailbox has something, a connection has been used long
 * enough, or a deadline passes. */
#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define REQUESTS 6
#define WORK_NS (20 * INT64_C(1000000))

/* A request of the program holds the pool's waiter: there is nothing to allocate. */
struct request {
    mantis_waiter waiter;
    int number;
    int64_t until_ns; /* 0: it has no connection */
};

struct loop {
    int fd;
    mantis_pool *pool;
    mantis_mailbox *mailbox;
    struct request requests[REQUESTS];
    int served, late, left;
};

/* The outcome of a request: exactly one comes for each. */
static void on_outcome(struct loop *loop, mantis_waiter *waiter) {
    struct request *request = waiter->arg;
    if (waiter->status == MANTIS_OK) {
        printf("request %d: connection after %lld ms\n", request->number,
               (long long)(waiter->waited_ns / 1000000));
        request->until_ns = mantis_now_ns() + WORK_NS;
        return;
    }
    mantis_error error = {0};
    mantis_waiter_explain(waiter, loop->pool, &error);
    printf("request %d: %s\n", request->number, error.text);
    loop->late++;
    loop->left--;
}

static void finish_work(struct loop *loop) {
    for (int i = 0; i < REQUESTS; i++) {
        struct request *request = &loop->requests[i];
        if (!request->until_ns || request->until_ns > mantis_now_ns()) continue;
        request->until_ns = 0;
        mantis_conn_release(&request->waiter.conn); /* may put a grant into our own mailbox */
        loop->served++;
        loop->left--;
    }
}

/* Milliseconds until something is due, rounded up. */
static int timeout_ms(const struct loop *loop) {
    int64_t due_ns = mantis_mailbox_due_ns(loop->mailbox);
    for (int i = 0; i < REQUESTS; i++) {
        int64_t until_ns = loop->requests[i].until_ns;
        if (until_ns && until_ns < due_ns) due_ns = until_ns;
    }
    if (due_ns == MANTIS_DEADLINE_NONE) return -1;
    int64_t left_ns = due_ns - mantis_now_ns();
    return left_ns <= 0 ? 0 : (int)((left_ns + 999999) / 1000000);
}

/* Draining until nothing comes arms the descriptor: only then may the loop sleep. */
static void drain(struct loop *loop) {
    mantis_waiter *come[8];
    size_t count;
    while ((count = mantis_mailbox_drain(loop->mailbox, come, 8)) > 0)
        for (size_t i = 0; i < count; i++) on_outcome(loop, come[i]);
}

static void run(struct loop *loop) {
    drain(loop);
    while (loop->left > 0) {
        struct epoll_event event;
        epoll_wait(loop->fd, &event, 1, timeout_ms(loop));
        finish_work(loop);
        drain(loop);
    }
}

static mantis_status send_requests(struct loop *loop, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    for (int i = 0; i < REQUESTS && status == MANTIS_OK; i++) {
        struct request *request = &loop->requests[i];
        request->number = i + 1;
        request->waiter = (mantis_waiter){.mailbox = loop->mailbox, .arg = request};
        int64_t deadline_ns = mantis_deadline_ms(i + 1 < REQUESTS ? 5000 : 30);
        status = mantis_pool_acquire_async(loop->pool, deadline_ns, &request->waiter, error);
        if (status == MANTIS_OK) loop->left++;
    }
    return status;
}

int main(int argc, char **argv) {
    mantis_pool_config config = {
        .connector = &mantis_embedded,
        .dsn = argc > 1 ? argv[1] : "mantis::memory:",
        .conns_min = 2,
        .conns_max = 2,
    };
    struct loop loop = {.fd = epoll_create1(EPOLL_CLOEXEC)};
    mantis_error error = {0};
    if (mantis_pool_open(&loop.pool, &config, &error) != MANTIS_OK ||
        mantis_pool_wait_warm(loop.pool, 0, mantis_deadline_ms(5000), &error) != MANTIS_OK ||
        mantis_mailbox_open(&loop.mailbox, 0, &error) != MANTIS_OK) {
        fprintf(stderr, "epoll: %s\n", error.text);
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(loop.fd, EPOLL_CTL_ADD, mantis_mailbox_fd(loop.mailbox), &event);

    if (send_requests(&loop, &error) != MANTIS_OK) fprintf(stderr, "epoll: %s\n", error.text);
    run(&loop);

    printf("%d served, %d too late\n", loop.served, loop.late);
    mantis_mailbox_close(&loop.mailbox);
    mantis_pool_close(&loop.pool, mantis_deadline_ms(5000));
    close(loop.fd);
    return loop.served == REQUESTS - 1 && loop.late == 1 ? 0 : 1;
}
