/* Peers on real TCP that fall silent, and one that merely does not read. A silent peer is made
 * with a filter on its socket that drops whatever comes in, so nothing is acknowledged.
 *
 * All run at once, for 18 s; with the long tests the one that does not read is given 65 s. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

#define PEERS 4
#define NOTICED_NS (15 * SECOND)

enum { IDLE, WITH_DATA, NOT_READING, AT_REST };

static end ours[PEERS];
static int theirs[PEERS];
static int64_t ended_ns[PEERS];

static void drop_everything(int fd) {
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &nothing};
    check(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

static void connect_peer(world *w, int i, const mp_address *address) {
    ours[i] = (end){.world = w, .number = (uint32_t)i, .peer = &ours[i]};
    theirs[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    w->accepted = NULL;
    check(connect(theirs[i], &address->u.any, address->size) == 0);
    world_until(w, w->accepted);
    mp_stream_detach(w->accepted, w->loops[1], &end_handler, &ours[i]);
    world_until(w, ours[i].opened);
}

TEST(silent_peers_are_noticed_within_15_s_and_one_that_does_not_read_lives) {
    world w;
    world_open(&w, OVER_TCP, 0);
    for (int i = 0; i < PEERS; i++) connect_peer(&w, i, &w.address);
    int64_t begun_ns = mp_clock_now_ns();
    drop_everything(theirs[IDLE]);
    drop_everything(theirs[WITH_DATA]);
    end_send(&ours[WITH_DATA], 1000);
    while (!ours[NOT_READING].filled) {
        end_send(&ours[NOT_READING], 100000);
        (void)world_step(&w);
    }
    uint64_t sent = ours[NOT_READING].sent;
    int64_t live_ns = (tap_is_long() ? 65 : 18) * SECOND;
    while (mp_clock_now_ns() < begun_ns + live_ns) {
        for (int i = 0; i < LOOPS; i++) mp_loop_turn(w.loops[i], mp_clock_now_ns() + 50 * MS);
        for (int i = 0; i < PEERS; i++)
            if (ours[i].ended && !ended_ns[i]) ended_ns[i] = mp_clock_now_ns() - begun_ns;
    }
    printf("# noticed: idle after %.1f s, with data unacknowledged after %.1f s\n",
           (double)ended_ns[IDLE] / 1e9, (double)ended_ns[WITH_DATA] / 1e9);
    check(ended_ns[IDLE] && ended_ns[IDLE] < NOTICED_NS);
    check(ended_ns[WITH_DATA] && ended_ns[WITH_DATA] < NOTICED_NS);
    check(ours[IDLE].error.os_errno == ETIMEDOUT && ours[WITH_DATA].error.os_errno == ETIMEDOUT);
    check_equal(mp_loop_get_counts(w.loops[1])->unanswered, 1);
    check(!ours[NOT_READING].ended && !ours[AT_REST].ended);
    uint64_t read_bytes = 0;
    while (read_bytes < sent) { /* and all that was sent is there */
        static unsigned char bytes[1 << 20];
        ssize_t size = recv(theirs[NOT_READING], bytes, sizeof bytes, MSG_DONTWAIT);
        check(size > 0 || errno == EAGAIN);
        if (size > 0) read_bytes += (uint64_t)size;
        (void)world_step(&w);
    }
    for (int i = 0; i < PEERS; i++) {
        end_abort(&ours[i]);
        close(theirs[i]);
    }
    world_close(&w);
}

TAP_MAIN
