/* What a loop promises: messages, times, watches, and streams that move between threads. */
#include "world.h"

#include "base/clock.h"
#include "base/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static mp_loop *open_loop(void) {
    mp_loop *loop = NULL;
    check(mp_loop_open(&loop, NULL, NULL) == MANTIS_OK);
    return loop;
}

/* ---- times ---- */

typedef struct alarm_clock {
    mp_timer timer;
    int rings;
    int64_t again_ns; /* set itself so much later, in on_due; -1: not */
    int order;
} alarm_clock;

static int ring_count;

static void on_ring(mp_timer *timer, mp_loop *loop) {
    alarm_clock *a = mp_container_of(timer, alarm_clock, timer);
    check(mp_loop_now_ns(loop) >= timer->due_ns || timer->due_ns == MP_NEVER_NS);
    a->rings++;
    a->order = ++ring_count;
    if (a->again_ns >= 0) mp_timer_set(timer, loop, mp_loop_now_ns(loop) + a->again_ns);
}

#define ALARM                                                                                      \
    { .timer.on_due = on_ring, .again_ns = -1 }

TEST(timers_ring_in_the_order_of_their_times) {
    mp_loop *loop = open_loop();
    alarm_clock a = ALARM, b = ALARM, c = ALARM, never = ALARM;
    int64_t now_ns = mp_loop_now_ns(loop);
    mp_timer_set(&c.timer, loop, now_ns + 3 * MS);
    mp_timer_set(&a.timer, loop, now_ns + 1 * MS);
    mp_timer_set(&b.timer, loop, now_ns + 2 * MS);
    mp_timer_set(&never.timer, loop, MP_NEVER_NS);
    while (!c.rings) mp_loop_turn(loop, MP_NEVER_NS);
    check(a.order == 1 && b.order == 2 && c.order == 3 && !never.rings);
    check(mp_loop_now_ns(loop) >= now_ns + 3 * MS);
    mp_loop_close(&loop);
}

TEST(a_timer_that_is_put_off_rings_once_and_late) {
    mp_loop *loop = open_loop();
    alarm_clock a = ALARM, last = ALARM;
    int64_t begun_ns = mp_loop_now_ns(loop);
    mp_timer_set(&last.timer, loop, begun_ns + 30 * MS);
    for (int i = 1; i <= 20; i++) {
        mp_timer_set(&a.timer, loop, begun_ns + i * MS);
        mp_loop_turn(loop, 0);
    }
    check(a.rings <= 1); /* if this machine is slow */
    a.rings = 0;
    mp_timer_set(&a.timer, loop, mp_loop_now_ns(loop) + 5 * MS);
    mp_timer_set(&a.timer, loop, MP_NEVER_NS);
    while (!last.rings) mp_loop_turn(loop, MP_NEVER_NS);
    check(a.rings == 0);
    mp_timer_stop(&a.timer, loop);
    mp_loop_close(&loop);
}

TEST(a_timer_that_sets_itself_to_now_ends_no_turn) {
    mp_loop *loop = open_loop();
    alarm_clock a = {.timer.on_due = on_ring, .again_ns = 0};
    mp_timer_set(&a.timer, loop, 0);
    for (int i = 1; i <= 10; i++) {
        mp_loop_turn(loop, mp_clock_now_ns() + SECOND);
        check(a.rings == i);
    }
    mp_timer_stop(&a.timer, loop);
    mp_loop_turn(loop, 0);
    check(a.rings == 10);
    mp_loop_close(&loop);
}

/* ---- messages ---- */

typedef struct letter {
    mp_post post;
    int number;
} letter;

static int last_number;

static void read_letter(mp_post *post, mp_loop *loop) {
    (void)loop;
    letter *l = mp_container_of(post, letter, post);
    check(l->number == ++last_number);
}

static void read_and_stop(mp_post *post, mp_loop *loop) {
    (void)post;
    mp_loop_stop(loop);
}

TEST(posts_run_in_order_and_one_from_within_runs_in_the_next_turn) {
    mp_loop *loop = open_loop();
    letter letters[100];
    for (int i = 0; i < 100; i++) {
        letters[i] = (letter){.post.run = read_letter, .number = i + 1};
        mp_loop_post(loop, &letters[i].post);
    }
    mp_loop_turn(loop, MP_NEVER_NS);
    check(last_number == 100);
    check_equal(mp_loop_get_counts(loop)->wakes, 0); /* it never slept */
    mp_loop_close(&loop);
}

TEST(a_loop_that_was_stopped_before_it_ran_returns_at_once) {
    mp_loop *loop = open_loop();
    mp_loop_stop(loop);
    mp_loop_run(loop);
    mp_post post = {.run = read_and_stop};
    mp_loop_post(loop, &post);
    mp_loop_run(loop);
    mp_loop_close(&loop);
}

static void *run_loop(void *arg) {
    mp_loop_run(arg);
    return NULL;
}

#define SENDERS 3
#define LETTERS 20000

static _Atomic uint64_t letters_read;

static void count_letter(mp_post *post, mp_loop *loop) {
    (void)loop;
    atomic_fetch_add(&letters_read, 1);
    free(post);
}

static void *send_letters(void *arg) {
    for (int i = 0; i < LETTERS; i++) {
        mp_post *post = calloc(1, sizeof *post);
        check(post);
        post->run = count_letter;
        mp_loop_post(arg, post);
        if (i % 64 == 0) sched_yield();
    }
    return NULL;
}

TEST(posts_of_many_threads_all_run_and_each_sleep_is_ended_by_one_wake_at_most) {
    mp_loop *loop = open_loop();
    pthread_t runner, senders[SENDERS];
    check(pthread_create(&runner, NULL, run_loop, loop) == 0);
    for (int i = 0; i < SENDERS; i++)
        check(pthread_create(&senders[i], NULL, send_letters, loop) == 0);
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i], NULL);
    mp_post last = {.run = read_and_stop};
    mp_loop_post(loop, &last);
    pthread_join(runner, NULL);
    check_equal(letters_read, SENDERS * LETTERS);
    const mp_loop_counts *counts = mp_loop_get_counts(loop);
    check_equal(counts->posts, SENDERS * LETTERS + 1);
    check(counts->wakes <= counts->sleeps);
    printf("# %" PRIu64 " posts, %" PRIu64 " sleeps, %" PRIu64 " wakes\n", counts->posts,
           counts->sleeps, counts->wakes);
    mp_loop_close(&loop);
}

/* One letter goes to and fro, so each side sleeps again and again: a lost wake-up hangs. */
typedef struct ball {
    mp_post post;
    mp_loop *sides[2];
    int hits, hits_max;
} ball;

static void hit(mp_post *post, mp_loop *loop) {
    ball *b = mp_container_of(post, ball, post);
    mp_loop *other = b->sides[loop == b->sides[0]];
    if (++b->hits < b->hits_max) {
        mp_loop_post(other, &b->post);
        return;
    }
    mp_loop_stop(other);
    mp_loop_stop(loop);
}

TEST(no_wake_up_is_lost_between_two_loops) {
    ball b = {.post.run = hit, .hits_max = 20000};
    pthread_t runners[2];
    for (int i = 0; i < 2; i++) b.sides[i] = open_loop();
    mp_loop_post(b.sides[0], &b.post);
    for (int i = 0; i < 2; i++) check(pthread_create(&runners[i], NULL, run_loop, b.sides[i]) == 0);
    for (int i = 0; i < 2; i++) pthread_join(runners[i], NULL);
    check(b.hits == b.hits_max);
    for (int i = 0; i < 2; i++) mp_loop_close(&b.sides[i]);
}

/* ---- watches ---- */

static int watch_calls;

static void on_ready(mp_watch *watch, mp_loop *loop, int events) {
    check(events == MP_WATCH_READ);
    uint64_t value;
    if (++watch_calls < 3) return; /* it stays ready until it is read */
    check(read(watch->fd, &value, sizeof value) == sizeof value);
    check(mp_watch_set(watch, loop, 0, NULL) == MANTIS_OK);
}

TEST(a_watch_is_called_in_every_turn_in_which_it_is_ready) {
    mp_loop *loop = open_loop();
    mp_watch watch = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .on_ready = on_ready};
    check(mp_watch_set(&watch, loop, MP_WATCH_READ, NULL) == MANTIS_OK);
    mp_loop_turn(loop, 0);
    check(watch_calls == 0);
    uint64_t one = 1;
    check(write(watch.fd, &one, sizeof one) == sizeof one);
    for (int i = 1; i <= 3; i++) {
        mp_loop_turn(loop, MP_NEVER_NS);
        check(watch_calls == i);
    }
    check(write(watch.fd, &one, sizeof one) == sizeof one);
    mp_loop_turn(loop, 0);
    check(watch_calls == 3);
    close(watch.fd);
    mp_loop_close(&loop);
}

TEST(a_descriptor_that_cannot_be_watched_is_said) {
    mp_loop *loop = open_loop();
    mp_watch watch = {.fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .on_ready = on_ready};
    mantis_error error = {0};
    check(mp_watch_set(&watch, loop, MP_WATCH_READ, &error) == MANTIS_IO);
    check_contains(error.text, "cannot watch a descriptor");
    check(error.os_errno != 0);
    close(watch.fd);
    mp_loop_close(&loop);
}

/* ---- the end of a turn ---- */

static mp_stream *turn_stream;
static int turns;

static void on_turn(mp_loop *loop, void *arg) {
    check(arg == &turns);
    turns++;
    if (turn_stream && mp_stream_loop(turn_stream) == loop) mp_stream_send(turn_stream, "x", 1);
}

static size_t ignore_bytes(mp_stream *stream, const unsigned char *data, size_t size, void *owner) {
    (void)stream, (void)data, (void)owner;
    return size;
}

static void ignore_end(mp_stream *stream, const mantis_error *error, void *owner) {
    (void)stream, (void)error, (void)owner;
}

static void take_stream(mp_stream *stream, void *owner) { *(mp_stream **)owner = stream; }

static const mp_stream_handler taking = {
    .on_open = take_stream, .on_bytes = ignore_bytes, .on_end = ignore_end};

TEST(what_is_sent_at_the_end_of_a_turn_goes_out_in_it) {
    world w;
    mp_loop_config config = {.on_turn = on_turn, .arg = &turns};
    world_open_config(&w, OVER_TCP, 0, &config);
    mp_stream *a = mp_stream_connect(w.loops[0], &w.address, NULL, MP_NEVER_NS, &taking,
                                     &turn_stream);
    check(a);
    world_until(&w, turn_stream && w.accepted);
    uint64_t sent = mp_stream_sent(a);
    mp_loop_turn(w.loops[0], 0);
    check_equal(mp_stream_sent(a), sent + 1);
    check(turns > 1);
    mp_stream_abort(a);
    turn_stream = NULL;
    mp_stream_abort(w.accepted);
    world_close(&w);
}

/* ---- streams and threads ---- */

/* Every call of on_bytes echoes, and sends the stream to the other thread. */
typedef struct wanderer {
    mp_loop *loops[2];
    _Atomic int moves;
    _Atomic bool has_ended;
} wanderer;

static const mp_stream_handler wandering;

static size_t echo_and_move(mp_stream *stream, const unsigned char *data, size_t size,
                            void *owner) {
    wanderer *w = owner;
    mp_stream_send(stream, data, size / 2 + 1);
    mp_stream_detach(stream, w->loops[mp_stream_loop(stream) == w->loops[0]], &wandering, w);
    atomic_fetch_add(&w->moves, 1);
    return size / 2 + 1; /* the rest moves along */
}

static void on_wanderer_end(mp_stream *stream, const mantis_error *error, void *owner) {
    wanderer *w = owner;
    check(!error);
    mp_stream_close(stream, 0);
    for (int i = 0; i < 2; i++) mp_loop_stop(w->loops[i]);
    atomic_store(&w->has_ended, true);
}

static const mp_stream_handler wandering = {.on_bytes = echo_and_move, .on_end = on_wanderer_end};

static void accept_wanderer(mp_stream *stream, void *tag, void *arg) {
    (void)tag;
    wanderer *w = arg;
    mp_stream_detach(stream, w->loops[1], &wandering, w);
}

static void *send_numbers(void *arg) {
    int fd = *(int *)arg;
    unsigned char bytes[997];
    for (int round = 0; round < 300; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)((size_t)round * sizeof bytes + i);
        check(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes);
    }
    check(shutdown(fd, SHUT_WR) == 0);
    return NULL;
}

TEST(a_stream_that_wanders_between_threads_echoes_every_byte) {
    wanderer w = {.loops = {open_loop(), open_loop()}};
    mp_listen_handler handler = {
        .on_accept = accept_wanderer, .on_full = accept_wanderer, .arg = &w};
    mp_listen_config config = {0};
    mp_listen *acceptor = NULL;
    mp_listener *listener = NULL;
    check(mp_address_parse(&config.address, "127.0.0.1", 0));
    check(mp_listen_open(&acceptor, w.loops[0], &handler, NULL) == MANTIS_OK);
    check(mp_listen_add(acceptor, &config, &listener, NULL) == MANTIS_OK);
    mp_address address = *mp_listen_address(listener);
    pthread_t runners[2], sender;
    for (int i = 0; i < 2; i++) check(pthread_create(&runners[i], NULL, run_loop, w.loops[i]) == 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connect(fd, &address.u.any, address.size) == 0);
    check(pthread_create(&sender, NULL, send_numbers, &fd) == 0);
    uint64_t got = 0;
    for (;;) {
        unsigned char bytes[4096];
        ssize_t count = recv(fd, bytes, sizeof bytes, 0);
        check(count >= 0);
        if (count == 0) break;
        for (ssize_t i = 0; i < count; i++) check(bytes[i] == (unsigned char)got++);
    }
    check_equal(got, 300 * 997);
    pthread_join(sender, NULL);
    for (int i = 0; i < 2; i++) pthread_join(runners[i], NULL);
    check(atomic_load(&w.has_ended) && atomic_load(&w.moves) > 10);
    printf("# %d moves\n", atomic_load(&w.moves));
    close(fd);
    mp_listen_close(&acceptor);
    for (int i = 0; i < 2; i++) mp_loop_close(&w.loops[i]);
}

TAP_MAIN
