/* A pool in a loop of libuv: one thread, and no call that waits for a connection.
 *
 *     cc libuv.c $(pkg-config --cflags --libs mantispool-store libuv) -o libuv && ./libuv
 *
 * Six requests want one of two connections, each for 20 ms. The sixth has a deadline of 30 ms and
 * is too late. A mailbox is a descriptor to the loop: when it becomes readable, what has come is
 * drained. One timer wakes the loop for the earliest deadline. */
#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

#define REQUESTS 6
#define WORK_MS 20

/* A request of the program holds the pool's waiter: there is nothing to allocate. */
struct request {
    mantis_waiter waiter;
    int number;
    uv_timer_t work; /* stands for what is done with the connection */
};

struct program {
    uv_loop_t *loop;
    uv_poll_t mail;
    uv_timer_t due;
    mantis_pool *pool;
    mantis_mailbox *mailbox;
    struct request requests[REQUESTS];
    int served, late, left;
};

static void drain(struct program *program);

/* Nothing is left to wait for: uv_run() returns. */
static void end_program(struct program *program) {
    uv_close((uv_handle_t *)&program->mail, NULL);
    uv_close((uv_handle_t *)&program->due, NULL);
}

static void end_request(struct program *program, struct request *request) {
    uv_close((uv_handle_t *)&request->work, NULL);
    if (--program->left == 0) end_program(program);
}

static void on_work_done(uv_timer_t *timer) {
    struct program *program = timer->loop->data;
    struct request *request = timer->data;
    mantis_conn_release(&request->waiter.conn); /* may put a grant into our own mailbox */
    program->served++;
    end_request(program, request);
    drain(program);
}

/* The outcome of a request: exactly one comes for each. */
static void on_outcome(struct program *program, mantis_waiter *waiter) {
    struct request *request = waiter->arg;
    if (waiter->status == MANTIS_OK) {
        printf("request %d: connection after %lld ms\n", request->number,
               (long long)(waiter->waited_ns / 1000000));
        uv_timer_start(&request->work, on_work_done, WORK_MS, 0);
        return;
    }
    mantis_error error = {0};
    mantis_waiter_explain(waiter, program->pool, &error);
    printf("request %d: %s\n", request->number, error.text);
    program->late++;
    end_request(program, request);
}

static void on_due(uv_timer_t *timer) { drain(timer->loop->data); }

/* Wake the loop when the next deadline passes; draining makes it a TIMEOUT. */
static void set_timer(struct program *program) {
    int64_t due_ns = mantis_mailbox_due_ns(program->mailbox), left_ns = due_ns - mantis_now_ns();
    if (program->left == 0) return;
    if (due_ns == MANTIS_DEADLINE_NONE) {
        uv_timer_stop(&program->due);
        return;
    }
    uint64_t left_ms = left_ns > 0 ? ((uint64_t)left_ns + 999999) / 1000000 : 0;
    uv_timer_start(&program->due, on_due, left_ms, 0);
}

/* Draining until nothing comes arms the descriptor: only then may the loop sleep. */
static void drain(struct program *program) {
    mantis_waiter *come[8];
    size_t count;
    uv_update_time(program->loop); /* timers count from when the loop last looked */
    while ((count = mantis_mailbox_drain(program->mailbox, come, 8)) > 0)
        for (size_t i = 0; i < count; i++) on_outcome(program, come[i]);
    set_timer(program);
}

static void on_mail(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    drain(poll->loop->data);
}

static mantis_status send_requests(struct program *program, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    for (int i = 0; i < REQUESTS && status == MANTIS_OK; i++) {
        struct request *request = &program->requests[i];
        request->number = i + 1;
        request->waiter = (mantis_waiter){.mailbox = program->mailbox, .arg = request};
        int64_t deadline_ns = mantis_deadline_ms(i + 1 < REQUESTS ? 5000 : 30);
        status = mantis_pool_acquire_async(program->pool, deadline_ns, &request->waiter, error);
        if (status != MANTIS_OK) break;
        uv_timer_init(program->loop, &request->work);
        request->work.data = request;
        program->left++;
    }
    return status;
}

static mantis_status open_all(struct program *program, const char *dsn, mantis_error *error) {
    mantis_pool_config config = {
        .connector = &mantis_embedded, .dsn = dsn, .conns_min = 2, .conns_max = 2};
    mantis_status status = mantis_pool_open(&program->pool, &config, error);
    if (status == MANTIS_OK)
        status = mantis_pool_wait_warm(program->pool, 0, mantis_deadline_ms(5000), error);
    if (status == MANTIS_OK) status = mantis_mailbox_open(&program->mailbox, 0, error);
    return status;
}

int main(int argc, char **argv) {
    struct program program = {.loop = uv_default_loop()};
    mantis_error error = {0};
    program.loop->data = &program;
    if (open_all(&program, argc > 1 ? argv[1] : "mantis::memory:", &error) != MANTIS_OK) {
        fprintf(stderr, "libuv: %s\n", error.text);
        return 1;
    }
    uv_timer_init(program.loop, &program.due);
    uv_poll_init(program.loop, &program.mail, mantis_mailbox_fd(program.mailbox));
    uv_poll_start(&program.mail, UV_READABLE, on_mail);

    if (send_requests(&program, &error) != MANTIS_OK) fprintf(stderr, "libuv: %s\n", error.text);
    if (program.left == 0) end_program(&program);
    drain(&program); /* arms the mailbox before the loop sleeps for the first time */
    uv_run(program.loop, UV_RUN_DEFAULT);

    printf("%d served, %d too late\n", program.served, program.late);
    mantis_mailbox_close(&program.mailbox);
    mantis_pool_close(&program.pool, mantis_deadline_ms(5000));
    uv_loop_close(program.loop);
    return program.served == REQUESTS - 1 && program.late == 1 ? 0 : 1;
}
