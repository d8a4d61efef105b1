/* What a stream promises, over every kind of connection. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>

static void send_randomly(end *e, uint64_t *state, uint64_t total) {
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    uint64_t size = 1 + (*state >> 40) % 20000;
    if (e->sent + size > total) size = total - e->sent;
    if (size && !mp_stream_is_full(e->stream)) end_send(e, (size_t)size);
}

EACH(every_byte_arrives_in_order_both_ways) {
    end a = {.leaves = 3}, b = {.leaves = 5000};
    world_connect(w, &a, &b);
    uint64_t total = 400000, state = 1;
    while (a.got + 5000 < total || b.got + 5000 < total) {
        send_randomly(&a, &state, total);
        send_randomly(&b, &state, total);
        check(world_step(w));
        if (a.sent == total) b.leaves = 0;
        if (b.sent == total) a.leaves = 0;
    }
    end_abort(&a);
    end_abort(&b);
}

EACH(the_end_is_told_once_and_after_all_bytes) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    end_send(&a, 50000);
    mp_stream_close(a.stream, world_now_ns(w) + 20 * SECOND);
    world_run_for(w, 20 * MS);
    check(b.got == 0 && !b.ended);
    mp_stream_resume(b.stream);
    world_until(w, b.ended);
    check_equal(b.got, 50000);
    check(b.error.status == MANTIS_OK);
    check(!a.closed);
    end_abort(&b);
    world_until(w, a.closed);
    check(!a.ended);
}

EACH(the_last_words_reach_a_peer_that_goes_on_sending) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    for (int i = 0; i < 30; i++) end_send(&a, 1000);
    (void)world_step(w);
    end_send(&b, 100);
    mp_stream_close(b.stream, world_now_ns(w) + 20 * SECOND);
    for (int i = 0; i < 30; i++) {
        end_send(&a, 1000);
        (void)world_step(w);
    }
    world_until(w, a.ended);
    check(a.error.status == MANTIS_OK);
    check_equal(a.got, 100);
    end_abort(&a);
    world_until(w, b.closed);
}

EACH(a_goodbye_ends_at_its_deadline) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    end_send(&a, 8 << 20); /* more than the kernel takes */
    int64_t begun_ns = world_now_ns(w);
    mp_stream_close(a.stream, begun_ns + 50 * MS);
    world_until(w, a.closed);
    check(world_now_ns(w) >= begun_ns + 50 * MS);
    check_equal(mp_loop_get_counts(w->loops[0])->held_bytes, 0);
    end_abort(&b);
}

EACH(a_peer_that_does_not_read_fills_the_stream_and_all_arrives_when_it_does) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    while (!a.filled) {
        end_send(&a, 10000);
        check(world_step(w));
        check(a.sent < 64 << 20);
    }
    check(mp_stream_backlog(a.stream) >= MP_STREAM_FULL && a.drained == 0);
    mp_stream_resume(b.stream);
    world_until(w, a.drained == 1);
    world_until(w, b.got == a.sent);
    check_equal(mp_loop_get_counts(w->loops[0])->held_bytes, 0);
    end_abort(&a);
    end_abort(&b);
}

EACH(one_direction_stands_still_and_the_other_flows) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    while (!a.filled) {
        end_send(&a, 100000);
        check(world_step(w));
    }
    for (int i = 0; i < 100; i++) {
        end_send(&b, 5000);
        world_until(w, a.got == b.sent);
    }
    check(a.filled == 1 && a.drained == 0 && b.got == 0);
    end_abort(&a);
    end_abort(&b);
}

EACH(what_is_kept_comes_again_when_reading_goes_on) {
    end a = {0}, b = {.pauses = true};
    world_connect(w, &a, &b);
    end_send(&a, 60000);
    world_until(w, b.calls == 1);
    world_run_for(w, 10 * MS);
    check(b.calls == 1 && b.got == 0);
    b.pauses = false;
    mp_stream_resume(b.stream);
    world_until(w, b.got == 60000);
    check_equal(mp_loop_get_counts(w->loops[1])->held_bytes, 0);
    end_abort(&a);
    end_abort(&b);
}

EACH(what_is_left_comes_again_in_front_of_the_next_bytes) {
    end a = {0}, b = {.leaves = 700};
    world_connect(w, &a, &b);
    end_send(&a, 700);
    world_until(w, b.calls && mp_stream_received(b.stream) == 700);
    check(b.got == 0 && mp_loop_get_counts(w->loops[1])->held_bytes >= 700);
    b.leaves = 0;
    end_send(&a, 1);
    world_until(w, b.got == 701);
    check_equal(mp_loop_get_counts(w->loops[1])->held_bytes, 0);
    end_abort(&a);
    end_abort(&b);
}

EACH(a_stream_moves_with_what_it_keeps_and_what_waits_in_it) {
    end a = {0}, b = {.pauses = true};
    world_connect(w, &a, &b);
    end_send(&a, 60000);
    world_until(w, b.calls == 1);
    mp_stream_pause(a.stream);
    while (!b.filled) {
        end_send(&b, 100000);
        check(world_step(w));
    }
    b.pauses = false;
    mp_stream_resume(b.stream);
    mp_stream_detach(b.stream, w->loops[0], &end_handler, &b);
    world_until(w, b.opened == 2);
    check_equal(mp_loop_get_counts(w->loops[1])->held_bytes, 0);
    check_equal(mp_loop_get_counts(w->loops[1])->streams, 0);
    check(mp_stream_loop(b.stream) == w->loops[0]);
    world_until(w, b.got == a.sent);
    mp_stream_resume(a.stream);
    world_until(w, a.got == b.sent && b.drained == 1);
    end_abort(&a);
    end_abort(&b);
}

EACH(a_stream_that_moves_all_the_time_loses_nothing) {
    end a = {0}, b = {.leaves = 9};
    world_connect(w, &a, &b);
    uint64_t state = 7, total = 300000;
    uint32_t moves = 0, rests = 0;
    while (a.got < b.sent || b.got + 9 < a.sent || a.sent < total || b.sent < total) {
        send_randomly(&a, &state, total);
        if (b.opened == moves + 1) { /* it is where it was sent to */
            send_randomly(&b, &state, total);
            if (++rests % 3 == 0)
                mp_stream_detach(b.stream, w->loops[++moves % 2], &end_handler, &b);
        }
        check(world_step(w));
    }
    check(moves > 3);
    world_until(w, b.opened == moves + 1);
    end_abort(&a);
    end_abort(&b);
}

static void detach_now(end *e, const unsigned char *data, size_t size) {
    (void)data, (void)size;
    e->on_call = NULL;
    mp_stream_detach(e->stream, e->world->loops[0], &end_handler, e);
}

EACH(a_stream_may_be_detached_in_its_own_on_bytes) {
    end a = {0}, b = {.leaves = 10, .on_call = detach_now};
    world_connect(w, &a, &b);
    end_send(&a, 30000);
    world_until(w, b.opened == 2);
    b.leaves = 0;
    end_send(&a, 30000);
    world_until(w, b.got == 60000);
    end_abort(&a);
    end_abort(&b);
}

static void abort_both(end *e, const unsigned char *data, size_t size) {
    (void)data, (void)size;
    end_abort(e);
    e->on_call = NULL;
}

EACH(a_stream_may_be_aborted_in_its_own_on_bytes) {
    end a = {0}, b = {.leaves = 10, .on_call = abort_both};
    world_connect(w, &a, &b);
    end_send(&a, 30000);
    world_until(w, !b.stream);
    world_until(w, a.ended);
    check(b.calls == 1 && !b.ended && !b.closed);
    check_equal(mp_loop_get_counts(w->loops[1])->held_bytes, 0);
    check_equal(mp_loop_get_counts(w->loops[1])->streams, 0);
    end_abort(&a);
}

static void close_now(end *e, const unsigned char *data, size_t size) {
    (void)data, (void)size;
    e->on_call = NULL;
    end_send(e, 30);
    mp_stream_close(e->stream, world_now_ns(e->world) + 20 * SECOND);
    end_send(e->peer, 100); /* another stream, meanwhile */
}

EACH(a_stream_may_be_closed_in_its_own_on_bytes) {
    end a = {0}, b = {.on_call = close_now};
    world_connect(w, &a, &b);
    end_send(&a, 30);
    world_until(w, a.ended);
    check_equal(a.got, 30);
    end_abort(&a);
    world_until(w, b.closed);
    check(b.calls == 1);
}

EACH(a_paused_stream_is_told_that_the_peer_has_closed) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    end_send(&a, 10);
    mp_stream_close(a.stream, world_now_ns(w) + 30 * SECOND);
    world_until(w, b.hangups == 1);
    check(b.gone == 0 && b.ended == 0 && b.got == 0);
    mp_stream_resume(b.stream);
    world_until(w, b.ended);
    check(b.got == 10 && b.hangups == 1);
    end_abort(&b);
    world_until(w, a.closed);
}

EACH(a_paused_stream_is_told_that_the_peer_is_gone) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(a.stream);
    mp_stream_pause(b.stream);
    end_send(&b, 10); /* not read: closing is a reset */
    world_run_for(w, 10 * MS);
    end_abort(&a);
    world_until(w, b.hangups);
    for (int i = 0; i < 100 && !b.gone; i++) {
        end_send(&b, 10);
        (void)world_step(w);
    }
    check(b.gone == 1 && b.ended == 0);
    mp_stream_resume(b.stream);
    world_until(w, b.ended);
    check(b.error.status == MANTIS_IO && b.error.os_errno);
    check_contains(b.error.text, "the connection is lost");
    end_abort(&b);
}

EACH(bytes_before_a_failure_are_delivered) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    end_send(&a, 900);
    world_until(w, mp_stream_sent(a.stream) == 900);
    end_abort(&a); /* nothing unread: an end in good order, but nobody is there */
    world_run_for(w, 50 * MS);
    for (int i = 0; i < 20; i++) {
        end_send(&b, 100); /* which fails at last */
        world_run_for(w, MS);
    }
    check(!b.ended && b.gone == 1);
    mp_stream_resume(b.stream);
    world_until(w, b.ended);
    check_equal(b.got, 900);
    check(b.error.status == MANTIS_IO);
    end_abort(&b);
}

EACH(a_half_closed_peer_still_gets_its_answers) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    end_send(&a, 10);
    mp_stream_close(a.stream, world_now_ns(w) + 30 * SECOND); /* reads on, and throws away */
    world_until(w, b.ended);
    for (int i = 0; i < 20; i++) {
        end_send(&b, 50000);
        world_run_for(w, MS);
    }
    world_until(w, mp_stream_sent(b.stream) == b.sent);
    check(!b.hangups && b.error.status == MANTIS_OK);
    end_abort(&b);
    world_until(w, a.closed);
}

/* Each kind has an address where nobody listens. */
EACH(a_refused_connect_says_who_refused_it) {
    mp_address nobody = w->address;
    if (mp_address_is_unix(&nobody)) check(mp_address_set_path(&nobody, "nobody.socket"));
    else mp_address_set_port(&nobody, w->kind == OVER_TCP ? 1 : 5433);
    end a = {.world = w};
    a.stream = mp_stream_connect(w->loops[0], &nobody, NULL, world_now_ns(w) + 10 * SECOND,
                                 &end_handler, &a);
    end_send(&a, 1000);
    check(!a.ended);
    world_until(w, a.ended);
    char text[MP_ADDRESS_TEXT_MAX];
    check(a.opened == 0 && a.error.status == MANTIS_CONNECT_FAILED && a.error.os_errno);
    check_contains(a.error.text, "cannot connect to ");
    check_contains(a.error.text, mp_address_format(&nobody, text));
    end_abort(&a);
    check_equal(mp_loop_get_counts(w->loops[0])->held_bytes, 0);
}

EACH(what_was_sent_before_the_connect_was_done_is_sent_then) {
    end a = {.number = 1, .world = w}, b = {.number = 2, .world = w};
    a.peer = &b;
    b.peer = &a;
    a.stream = mp_stream_connect(w->loops[0], &w->address, NULL, world_now_ns(w) + 10 * SECOND,
                                 &end_handler, &a);
    end_send(&a, 100000);
    world_until(w, w->accepted);
    mp_stream_detach(w->accepted, w->loops[1], &end_handler, &b);
    world_until(w, b.got == 100000);
    check(a.opened == 1);
    end_abort(&a);
    end_abort(&b);
}

EACH(a_connect_can_be_given_up) {
    end a = {.world = w};
    a.stream = mp_stream_connect(w->loops[0], &w->address, NULL, world_now_ns(w) + 10 * SECOND,
                                 &end_handler, &a);
    end_abort(&a);
    w->accepted = NULL;
    world_run_for(w, 20 * MS);
    mp_stream_abort(w->accepted);
    check(a.opened == 0 && a.ended == 0);
}

static void answer_in_pieces(end *e, const unsigned char *data, size_t size) {
    (void)data, (void)size;
    for (int i = 0; i < 5; i++) end_send(e, 10);
}

EACH(what_is_sent_in_one_call_goes_out_in_one_write) {
    end a = {0}, b = {.on_call = answer_in_pieces};
    world_connect(w, &a, &b);
    uint64_t before = mp_loop_get_counts(w->loops[1])->writes;
    end_send(&a, 1);
    world_until(w, a.got == 50);
    if (w->kind != OVER_HARSH_SIM) /* which takes writes in part */
        check_equal(mp_loop_get_counts(w->loops[1])->writes - before, 1);
    end_abort(&a);
    end_abort(&b);
}

/* Sends what it was given to the other, between bytes of its own: all three ways in one write. */
static unsigned char echoed[64];
static void echo_between(end *e, const unsigned char *data, size_t size) {
    char head[3] = "<<";
    struct iovec pieces[] = {{head, 2}, {(void *)(uintptr_t)data, size}, {head + 1, 1}};
    check(size == 4);
    mp_stream_sendv(e->stream, pieces, 3);
    memset(head, 'x', sizeof head);
}

static size_t collect(mp_stream *stream, const unsigned char *data, size_t size, void *owner) {
    (void)stream;
    end *e = owner;
    memcpy(echoed + e->got, data, size);
    e->got += size;
    return size;
}

EACH(given_bytes_and_others_are_sent_in_order) {
    end a = {0}, b = {.on_call = echo_between};
    if (w->kind == OVER_HARSH_SIM) return; /* the four bytes must come together */
    world_connect(w, &a, &b);
    static const mp_stream_handler collecting = {.on_bytes = collect, .on_end = NULL};
    mp_stream_set_handler(a.stream, &collecting, &a);
    end_send(&a, 4);
    world_until(w, a.got == 7);
    unsigned char expected[4];
    memcpy(expected, echoed + 2, 4);
    check(memcmp(echoed, "<<", 2) == 0 && echoed[6] == '<');
    for (int i = 0; i < 4; i++) check(expected[i] == (unsigned char)(i * 7 + 1));
    end_abort(&a);
    end_abort(&b);
}

EACH(a_stream_at_rest_owns_no_buffer) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    for (int i = 0; i < 20; i++) {
        end_send(&a, 3000);
        end_send(&b, 3000);
        world_until(w, b.got == a.sent && a.got == b.sent);
    }
    for (int i = 0; i < LOOPS; i++) check_equal(mp_loop_get_counts(w->loops[i])->held_bytes, 0);
    end_abort(&a);
    end_abort(&b);
}

EACH(a_flood_keeps_nobody_waiting) {
    end flood = {0}, sink = {0}, a = {0}, b = {0};
    world_connect(w, &flood, &sink);
    world_connect(w, &a, &b);
    for (int i = 0; i < 50; i++) {
        while (!mp_stream_is_full(flood.stream)) {
            end_send(&flood, 1 << 20);
            check(world_step(w));
        }
        uint64_t before = sink.got;
        end_send(&a, 10);
        world_until(w, b.got == a.sent);
        check(sink.got - before < 4 << 20);
    }
    end_abort(&flood);
    end_abort(&sink);
    end_abort(&a);
    end_abort(&b);
}

static void hold_too_much(world_kind kind) {
    world w;
    mp_loop_config config = {.held_bytes_max = 200000};
    world_open_config(&w, kind, 1, &config);
    end a = {0}, b = {0};
    world_connect(&w, &a, &b);
    mp_stream_pause(b.stream);
    for (int i = 0; !a.filled; i++) {
        end_send(&a, 50000);
        check(world_step(&w) && i < 1000);
    }
    end_send(&b, 10); /* the other direction flows */
    world_until(&w, a.got == 10);
    for (int i = 0; !a.ended; i++) {
        end_send(&a, 150000);
        check(world_step(&w) && i < 1000);
    }
    check(a.error.status == MANTIS_NOMEM);
    check_equal(mp_loop_get_counts(w.loops[0])->held_bytes, 0);
    end_abort(&a);
    mp_stream_resume(b.stream);
    world_until(&w, b.ended);
    end_abort(&b);
    world_close(&w);
}

TEST(a_stream_that_would_hold_more_than_its_loop_may_ends_over_tcp) { hold_too_much(OVER_TCP); }
TEST(a_stream_that_would_hold_more_than_its_loop_may_ends_over_the_simulated_network) {
    hold_too_much(OVER_SIM);
}

EACH(a_closed_loop_cuts_goodbyes_short) {
    end a = {0}, b = {0};
    world_connect(w, &a, &b);
    mp_stream_pause(b.stream);
    mp_stream_close(a.stream, MP_NEVER_NS);
    world_run_for(w, 5 * MS);
    check(!a.closed);
    end_abort(&b);
    mp_listen_close(&w->listen);
    mp_loop_close(&w->loops[0]);
    check(a.closed);
}

TEST(a_connect_that_nobody_answers_ends_at_its_deadline) {
    world w;
    world_open(&w, OVER_SIM, 1);
    end a = {.world = &w};
    a.stream = mp_stream_connect(w.loops[0], &w.address, NULL, world_now_ns(&w) + 3 * SECOND,
                                 &end_handler, &a);
    mp_sim_strike(a.stream, MP_SIM_SILENT, 0);
    int64_t begun_ns = world_now_ns(&w);
    world_until(&w, a.ended);
    check_equal(world_now_ns(&w) - begun_ns, 3 * SECOND);
    check(a.error.status == MANTIS_TIMEOUT);
    check_contains(a.error.text, "cannot connect to 10.1.2.3:5432");
    end_abort(&a);
    world_close(&w);
}

TEST(a_peer_that_fell_silent_is_noticed_within_15_s_whether_idle_or_not) {
    for (int idle = 0; idle < 2; idle++) {
        world w;
        world_open(&w, OVER_SIM, 1);
        end a = {0}, b = {0};
        world_connect(&w, &a, &b);
        mp_sim_strike(b.stream, MP_SIM_SILENT, 0);
        if (!idle) end_send(&a, 100);
        int64_t begun_ns = world_now_ns(&w);
        world_until(&w, a.ended);
        check(world_now_ns(&w) - begun_ns <= 15 * SECOND);
        check(a.error.os_errno == ETIMEDOUT);
        end_abort(&a);
        end_abort(&b);
        world_close(&w);
    }
}

TEST(a_peer_that_does_not_read_is_not_taken_for_dead) {
    world w;
    world_open(&w, OVER_SIM, 1);
    end a = {0}, b = {0};
    world_connect(&w, &a, &b);
    mp_stream_pause(b.stream);
    end_send(&a, 300000);
    world_run_for(&w, 60 * SECOND);
    check(!a.ended);
    mp_stream_resume(b.stream);
    world_until(&w, b.got == 300000);
    end_abort(&a);
    end_abort(&b);
    world_close(&w);
}

TAP_MAIN
