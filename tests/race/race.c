/* Ownership under stress: eight threads on three connections borrow in all three ways while others
 * resize, evict, pause, set and read. Each connection holds a word that says whose it is.
 *
 *     race [--threads=8] [--slots=3] [--ops=10000000] [--seed=1] [TEST NAME…] */
#include "owner.h"

#include "base/random.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define THREADS_MAX 64

static struct {
    uint64_t threads, slots, ops, seed;
} options = {.threads = 8, .slots = 3, .ops = 0, .seed = 1};

/* What one thread saw, by outcome. */
typedef struct tally {
    uint64_t attempts, granted, timed_out, cancelled, others, stale;
} tally;

typedef struct worker {
    pthread_t thread;
    uint32_t tid;
    uint64_t ops;
    mp_random random;
    mantis_mailbox *mailbox;
    tally tally;
    mantis_waiter waiters[2];
    uint32_t asked; /* bit per waiter */
} worker;

/* Its operations run on the library's opener threads. */
static const mantis_connector blocking_connector = OWNER_CONNECTOR(true);

static const mantis_connector *connector = &owner_connector;
static mantis_pool *pool;
static backend places;
static _Atomic bool over;

static uint64_t below(worker *w, uint64_t limit) { return mp_random_below(&w->random, limit); }

static void count_outcome(worker *w, mantis_status status) {
    switch (status) {
    case MANTIS_OK: w->tally.granted++; break;
    case MANTIS_TIMEOUT: w->tally.timed_out++; break;
    case MANTIS_CANCELLED: w->tally.cancelled++; break;
    case MANTIS_EXHAUSTED:
    case MANTIS_PAUSED: w->tally.others++; break;
    default: check_equal(status, MANTIS_OK);
    }
}

static mantis_release how_to_release(worker *w) {
    uint64_t dice = below(w, 2048);
    if (dice < 2) return MANTIS_RELEASE_BROKEN;
    if (dice < 8) return MANTIS_RELEASE_DIRTY;
    if (dice < 40) return MANTIS_RELEASE_UNUSED;
    return MANTIS_RELEASE_CLEAN;
}

static void use_and_release(worker *w, mantis_conn *conn) {
    native *n = own(*conn, w->tid);
    if (below(w, 64) == 0) sched_yield();
    mantis_conn copy = *conn;
    disown(n, w->tid);
    check_equal(mantis_conn_release_as(conn, how_to_release(w)), MANTIS_OK);
    if (below(w, 32) != 0) return;
    w->tally.stale++;
    check_equal(mantis_conn_release(&copy), MANTIS_STALE);
}

static void do_try(worker *w) {
    mantis_conn conn = {0};
    w->tally.attempts++;
    mantis_status status = mantis_pool_try_acquire(pool, &conn, NULL);
    count_outcome(w, status);
    if (status == MANTIS_OK) use_and_release(w, &conn);
    else if (below(w, 4) == 0) sched_yield();
}

static int64_t random_deadline(worker *w) {
    if (below(w, 4) == 0) return MANTIS_DEADLINE_NONE;
    return mantis_now_ns() + (int64_t)below(w, 300000);
}

static void do_acquire(worker *w) {
    mantis_conn conn = {0};
    w->tally.attempts++;
    mantis_status status = mantis_pool_acquire(pool, random_deadline(w), &conn, NULL);
    count_outcome(w, status);
    if (status == MANTIS_OK) use_and_release(w, &conn);
}

/* ---- asynchronous requests: at most two at a time, drained or cancelled ---- */

static void on_outcome(worker *w, mantis_waiter *waiter) {
    uint32_t bit = waiter == &w->waiters[0] ? 1u : 2u;
    check(w->asked & bit); /* S5: exactly one outcome */
    w->asked &= ~bit;
    count_outcome(w, waiter->status);
    if (waiter->status == MANTIS_OK) use_and_release(w, &waiter->conn);
}

static void ask(worker *w, uint32_t index) {
    mantis_waiter *waiter = &w->waiters[index];
    *waiter = (mantis_waiter){.mailbox = w->mailbox};
    w->tally.attempts++;
    mantis_status status = mantis_pool_acquire_async(pool, random_deadline(w), waiter, NULL);
    if (status == MANTIS_OK) w->asked |= 1u << index;
    else count_outcome(w, status);
}

static void cancel(worker *w, uint32_t index) {
    mantis_waiter *waiter = &w->waiters[index];
    mantis_status status = mantis_waiter_cancel(waiter);
    check(status != MANTIS_STALE);
    waiter->status = status;
    on_outcome(w, waiter);
    if (below(w, 16) == 0) check_equal(mantis_waiter_cancel(waiter), MANTIS_STALE);
}

static void drain(worker *w) {
    mantis_waiter *out[2];
    size_t count = mantis_mailbox_drain(w->mailbox, out, 2);
    for (size_t i = 0; i < count; i++) on_outcome(w, out[i]);
}

static void do_async(worker *w) {
    uint32_t index = (uint32_t)below(w, 2);
    if (!(w->asked & (1u << index))) ask(w, index);
    else if (below(w, 3) == 0) cancel(w, index);
    drain(w);
}

/* A thread that blocks must not sit on what its mailbox was granted. */
static void settle(worker *w) {
    for (uint32_t i = 0; i < 2; i++)
        if (w->asked & (1u << i)) cancel(w, i);
}

static void *work(void *arg) {
    worker *w = arg;
    check_equal(mantis_mailbox_open(&w->mailbox, 0, NULL), MANTIS_OK);
    while (w->tally.attempts < w->ops) {
        uint64_t dice = below(w, 100);
        if (dice < 70) {
            do_try(w);
        } else if (dice < 84) {
            settle(w);
            do_acquire(w);
        } else {
            do_async(w);
        }
    }
    settle(w);
    check_equal(mantis_mailbox_close(&w->mailbox), MANTIS_OK);
    return NULL;
}

/* ---- those who change and read the pool meanwhile ---- */

static void sleep_us(uint64_t us) {
    nanosleep(&(struct timespec){.tv_nsec = (long)(us * 1000)}, NULL);
}

static void meddle(mp_random *random) {
    uint64_t slots = options.slots;
    switch (mp_random_below(random, 8)) {
    case 0:
    case 1:
        check_equal(
            mantis_pool_resize(pool, 0, (int64_t)(1 + mp_random_below(random, slots)), NULL),
            MANTIS_OK);
        break;
    case 2: check_equal(mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL), MANTIS_OK); break;
    case 3: check_equal(mantis_pool_evict(pool, MANTIS_EVICT_HARD, NULL), MANTIS_OK); break;
    case 4:
    case 5:
        check_equal(
            mantis_pool_pause(
                pool, mp_random_below(random, 2) ? MANTIS_PAUSE_WAIT : MANTIS_PAUSE_FAIL, NULL),
            MANTIS_OK);
        sleep_us(mp_random_below(random, 200));
        check_equal(mantis_pool_resume(pool, NULL), MANTIS_OK);
        break;
    default:
        check_equal(
            mantis_pool_set(pool, "check_after_idle_ms", mp_random_below(random, 2) ? 1 : -1, NULL),
            MANTIS_OK);
    }
    check_equal(mantis_pool_resize(pool, 0, (int64_t)slots, NULL), MANTIS_OK);
}

static void *change(void *arg) {
    (void)arg;
    mp_random random;
    mp_random_start(&random, options.seed * 7919 + 1);
    while (!atomic_load(&over)) {
        meddle(&random);
        sleep_us(100 + mp_random_below(&random, 1500));
    }
    return NULL;
}

static void *read_figures(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        mantis_pool_stats s;
        mantis_holder holders[4];
        char line[256];
        check_equal(mantis_pool_get_stats(pool, &s), MANTIS_OK);
        check_equal(s.total, s.idle + s.busy + s.opening + s.checking + s.resetting + s.closing);
        check(s.total <= options.slots); /* S2 */
        check_equal(s.attempts, s.granted + s.timed_out + s.cancelled + s.refused + s.failed +
                                    s.waiting); /* M1 */
        check(mantis_pool_holders(pool, holders, 4) <= options.slots);
        mantis_pool_explain(pool, line, sizeof line);
        sleep_us(300);
    }
    return NULL;
}

/* ---- afterwards ---- */

static void check_figures(const worker *workers) {
    tally sum = {0};
    for (uint64_t i = 0; i < options.threads; i++) {
        sum.attempts += workers[i].tally.attempts;
        sum.granted += workers[i].tally.granted;
        sum.timed_out += workers[i].tally.timed_out;
        sum.cancelled += workers[i].tally.cancelled;
        sum.others += workers[i].tally.others;
        sum.stale += workers[i].tally.stale;
    }
    mantis_pool_stats s;
    check_equal(mantis_pool_get_stats(pool, &s), MANTIS_OK);
    printf("# %" PRIu64 " attempts: %" PRIu64 " granted, %" PRIu64 " timed out, %" PRIu64
           " cancelled, %" PRIu64 " refused; %" PRIu64 " stale releases, %" PRIu64 " opens\n",
           sum.attempts, sum.granted, sum.timed_out, sum.cancelled, sum.others, sum.stale,
           atomic_load(&places.opens));
    check_equal(s.attempts, sum.attempts); /* M1 */
    check_equal(s.granted, sum.granted);
    check_equal(s.timed_out, sum.timed_out);
    check_equal(s.cancelled, sum.cancelled);
    check_equal(s.refused + s.failed, sum.others);
    check_equal(s.waiting, 0);
    check_equal(s.busy, 0);
    check_equal(s.opened + s.open_failed, atomic_load(&places.opens));
    check_equal(s.open_failed, atomic_load(&places.failures));
}

/* S3: exactly as many as there are slots, and every handle is accounted for. */
static void check_slots(void) {
    mantis_conn conns[THREADS_MAX] = {{0}}, more = {0};
    mantis_pool_stats s;
    for (uint64_t i = 0; i < options.slots; i++)
        check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(5000), &conns[i], NULL),
                    MANTIS_OK);
    check_equal(mantis_pool_try_acquire(pool, &more, NULL), MANTIS_EXHAUSTED);
    check_equal(mantis_pool_get_stats(pool, &s), MANTIS_OK);
    check_equal(s.total, options.slots);
    check_equal(atomic_load(&places.open), s.total);
    for (uint64_t i = 0; i < options.slots; i++)
        check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
    for (uint64_t i = 0; i < options.slots; i++)
        check_equal(mantis_pool_try_acquire(pool, &conns[i], NULL), MANTIS_OK);
    check_equal(mantis_pool_try_acquire(pool, &more, NULL), MANTIS_EXHAUSTED);
    for (uint64_t i = 0; i < options.slots; i++)
        check_equal(mantis_conn_release(&conns[i]), MANTIS_OK);
}

static void open_pool(void) {
    mantis_pool_config config = {.connector = connector,
                                 .place = &places,
                                 .name = "race",
                                 .conns_max = (int64_t)options.slots,
                                 .backoff_min_ms = 1,
                                 .backoff_max_ms = 2,
                                 .seed = options.seed};
    check_equal(mantis_pool_open(&pool, &config, NULL), MANTIS_OK);
}

static void close_pool(void) {
    check_equal(mantis_pool_close(&pool, mantis_deadline_ms(5000)), MANTIS_OK);
    check_equal(atomic_load(&places.open), 0);
}

static void run_workers(uint64_t ops, bool with_changes) {
    static worker workers[THREADS_MAX];
    pthread_t changer, reader;
    atomic_store(&over, false);
    if (with_changes) {
        check_equal(pthread_create(&changer, NULL, change, NULL), 0);
        check_equal(pthread_create(&reader, NULL, read_figures, NULL), 0);
    }
    for (uint64_t i = 0; i < options.threads; i++) {
        worker *w = &workers[i];
        *w = (worker){.tid = (uint32_t)i + 1, .ops = ops / options.threads};
        mp_random_start(&w->random, options.seed * 1000 + i + 1);
        check_equal(pthread_create(&w->thread, NULL, work, w), 0);
    }
    for (uint64_t i = 0; i < options.threads; i++) pthread_join(workers[i].thread, NULL);
    atomic_store(&over, true);
    if (with_changes) {
        pthread_join(changer, NULL);
        pthread_join(reader, NULL);
    }
    check_figures(workers);
}

static uint64_t operations(uint64_t normal) { return options.ops ? options.ops : scaled(normal); }

static void run_and_say(uint64_t ops, bool with_changes) {
    int64_t from_ns = mantis_now_ns();
    open_pool();
    run_workers(ops, with_changes);
    double took_s = (double)(mantis_now_ns() - from_ns) / 1e9;
    printf("# seed %" PRIu64 ", %.0f operations a second\n", options.seed, (double)ops / took_s);
    check_slots();
    close_pool();
}

TEST(s1_s3_l1_m1_eight_threads_share_three_connections) {
    run_and_say(operations(6000000), false);
    check(atomic_load(&places.open_max_seen) <= (int64_t)options.slots); /* S2 */
}

TEST(s1_s2_s3_m1_m3_borrowing_while_everything_changes) {
    atomic_store(&places.fail_one_in, 16);
    run_and_say(operations(4000000), true);
    check(atomic_load(&places.open_max_seen) <= (int64_t)options.slots); /* S2 */
}

TEST(s1_s2_s3_m1_borrowing_while_openers_open_and_everything_changes) {
    connector = &blocking_connector;
    atomic_store(&places.fail_one_in, 16);
    run_and_say(operations(1000000), true);
    check(atomic_load(&places.open_max_seen) <= (int64_t)options.slots); /* S2 */
}

/* ---- close while it is used ---- */

static void *use_until_closed(void *arg) {
    worker *w = arg;
    for (;;) {
        mantis_conn conn = {0};
        mantis_status status = below(w, 2)
                                   ? mantis_pool_try_acquire(pool, &conn, NULL)
                                   : mantis_pool_acquire(pool, random_deadline(w), &conn, NULL);
        if (status == MANTIS_CLOSED) return NULL;
        if (status != MANTIS_OK) {
            check(status == MANTIS_EXHAUSTED || status == MANTIS_TIMEOUT ||
                  status == MANTIS_PAUSED);
            continue;
        }
        if (below(w, 16) == 0) sched_yield();
        status = mantis_conn_release_as(&conn, how_to_release(w));
        check(status == MANTIS_OK || status == MANTIS_CLOSED);
    }
}

static void *ask_until_closed(void *arg) {
    worker *w = arg;
    check_equal(mantis_mailbox_open(&w->mailbox, 0, NULL), MANTIS_OK);
    for (mantis_status status = MANTIS_OK; status != MANTIS_CLOSED;) {
        mantis_waiter *waiter = &w->waiters[0], *out[1];
        *waiter = (mantis_waiter){.mailbox = w->mailbox};
        status = mantis_pool_acquire_async(pool, MANTIS_DEADLINE_NONE, waiter, NULL);
        if (status != MANTIS_OK) break;
        while (mantis_mailbox_drain(w->mailbox, out, 1) == 0 && below(w, 4) != 0) sched_yield();
        status = mantis_waiter_cancel(waiter);
        if (status == MANTIS_STALE) status = waiter->status;
        check(status == MANTIS_OK || status == MANTIS_CANCELLED || status == MANTIS_CLOSED);
        if (status != MANTIS_OK) continue;
        status = mantis_conn_release(&waiter->conn);
        check(status == MANTIS_OK || status == MANTIS_CLOSED);
    }
    check_equal(mantis_mailbox_close(&w->mailbox), MANTIS_OK);
    return NULL;
}

static void *change_until_closed(void *arg) {
    worker *w = arg;
    mantis_status status = MANTIS_OK;
    while (status != MANTIS_CLOSED) {
        mantis_pool_stats s;
        switch (below(w, 5)) {
        case 0: status = mantis_pool_resize(pool, 0, 1 + (int64_t)below(w, 3), NULL); break;
        case 1: status = mantis_pool_evict(pool, MANTIS_EVICT_SOFT, NULL); break;
        case 2:
            status = mantis_pool_pause(pool, MANTIS_PAUSE_WAIT, NULL);
            if (status == MANTIS_OK) status = mantis_pool_resume(pool, NULL);
            break;
        default: status = mantis_pool_get_stats(pool, &s);
        }
        check(status == MANTIS_OK || status == MANTIS_CLOSED);
        sleep_us(20);
    }
    return NULL;
}

/* Everything that was opened is closed, at the latest when the last borrower has let go. */
static void close_once(mp_random *random) {
    static worker workers[5];
    void *(*const jobs[5])(void *) = {use_until_closed, use_until_closed, use_until_closed,
                                      ask_until_closed, change_until_closed};
    connector = mp_random_below(random, 2) ? &owner_connector : &blocking_connector;
    open_pool();
    for (int i = 0; i < 5; i++) {
        workers[i] = (worker){.tid = (uint32_t)i + 1};
        mp_random_start(&workers[i].random, mp_random_next(random));
        check_equal(pthread_create(&workers[i].thread, NULL, jobs[i], &workers[i]), 0);
    }
    sleep_us(mp_random_below(random, 400));
    mantis_pool *closing = pool;
    bool waits = mp_random_below(random, 2);
    int64_t deadline_ns = waits ? MANTIS_DEADLINE_NONE : mantis_now_ns() + 20000;
    mantis_status status = mantis_pool_close(&closing, deadline_ns);
    check(status == MANTIS_OK || (status == MANTIS_TIMEOUT && !waits));
    check(closing == NULL);
    for (int i = 0; i < 5; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < 5000 && atomic_load(&places.open) != 0; i++) sleep_us(1000);
    check_equal(atomic_load(&places.open), 0);
}

TEST(s7_s3_pools_close_while_they_are_used) {
    mp_random random;
    mp_random_start(&random, options.seed);
    uint64_t rounds = options.ops ? options.ops : scaled(1500);
    for (uint64_t i = 0; i < rounds; i++) close_once(&random);
    printf("# %" PRIu64 " pools, %" PRIu64 " connections\n", rounds, atomic_load(&places.opens));
}

/* ---- options ---- */

static bool read_option(const char *word, const char *name, uint64_t *value) {
    size_t length = strlen(name);
    if (strncmp(word, name, length) != 0 || word[length] != '=') return false;
    *value = strtoull(word + length + 1, NULL, 10);
    return true;
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        if (words[i][0] != '-' || strcmp(words[i], "--no-fork") == 0) continue;
        if (read_option(words[i], "--threads", &options.threads) ||
            read_option(words[i], "--slots", &options.slots) ||
            read_option(words[i], "--ops", &options.ops) ||
            read_option(words[i], "--seed", &options.seed))
            continue;
        fprintf(stderr, "usage: race [--threads=N] [--slots=N] [--ops=N] [--seed=N] [NAME…]\n");
        return 2;
    }
    if (options.threads < 1 || options.threads > THREADS_MAX || options.slots < 1 ||
        options.slots > THREADS_MAX)
        return 2;
    return tap_main(count, words);
}
