/* What borrowers meet when servers fail: how soon it is over, how often the pool tries, counted at
 * the server, and what each error says. */
#include "redis/fixture.h"
#include "redis/server.h"

#include <pthread.h>
#include <stdatomic.h>

#define BORROWERS 16
#define CONNS 8
#define BACKOFF_MS 500
#define RECOVERY_MS                                                                                \
    (1000 + BACKOFF_MS) /* what a pool may take, and a check where one must notice */

static mantis_error error;

/* A sanitizer makes everything slower. */
static int64_t slack(void) {
    return tap_is_sanitized("address") || tap_is_sanitized("thread") ? 4 : 1;
}

static int64_t now_ms(void) { return mantis_now_ns() / 1000000; }

/* ---- borrowers ---- */

/* Threads that borrow, set a key, release, and note how that went. */
typedef struct crowd {
    mantis_pool *pool;
    pthread_t threads[BORROWERS];
    atomic_bool is_over;
    atomic_uint written, failed, unexplained;
    _Atomic int64_t written_ms;  /* when the last write succeeded */
    _Atomic(const char *) cause; /* what the text of a timeout must contain; "" while all is well */
    _Atomic(char *) strange;     /* a text that does not */
} crowd;

/* Errors of a write or of a borrower that got no connection: the first comes from the server or
 * its socket, the second must have the cause. */
static void note_failure(crowd *all, const mantis_error *why, bool is_write) {
    all->failed++;
    if (is_write ? *why->text != '\0' : strstr(why->text, all->cause) != NULL) return;
    all->unexplained++;
    char *none = NULL, *text = strdup(why->text);
    if (!atomic_compare_exchange_strong(&all->strange, &none, text)) free(text);
}

static void *borrow_and_write(void *arg) {
    crowd *all = arg;
    while (!all->is_over) {
        mantis_conn conn = {0};
        mantis_error why = {0};
        mantis_status status = mantis_pool_acquire(all->pool, mantis_deadline_ms(200), &conn, &why);
        if (status != MANTIS_OK) {
            note_failure(all, &why, false);
            continue;
        }
        status = mantis_conn_set(conn, "key", 3, "value", 5, &why);
        if (status == MANTIS_OK) {
            all->written++;
            all->written_ms = now_ms();
        } else {
            note_failure(all, &why, true);
        }
        (void)mantis_conn_release(&conn);
        sleep_ms(1);
    }
    return NULL;
}

static void crowd_start(crowd *all, mantis_pool *pool) {
    *all = (crowd){.pool = pool, .cause = ""};
    for (int i = 0; i < BORROWERS; i++)
        check_equal(pthread_create(&all->threads[i], NULL, borrow_and_write, all), 0);
}

static void crowd_finish(crowd *all) {
    all->is_over = true;
    for (int i = 0; i < BORROWERS; i++) check_equal(pthread_join(all->threads[i], NULL), 0);
    if (all->unexplained)
        tap_fail(__FILE__, __LINE__, "%u errors name the cause: %s", all->unexplained,
                 all->strange);
}

/* Wait until this many were written after this moment. */
static void wait_written(crowd *all, unsigned more) {
    unsigned wanted = all->written + more;
    for (int64_t until_ms = now_ms() + LONG_MS; all->written < wanted; sleep_ms(2))
        check(now_ms() < until_ms);
}

static mantis_pool *open_crowd_pool(const char *dsn) {
    mantis_pool_config config = redis_config(dsn, CONNS / 2, CONNS);
    config.backoff_max_ms = BACKOFF_MS;
    config.check_interval_ms = 250;
    mantis_pool *pool = open_pool(&config);
    check_ok(mantis_pool_wait_warm(pool, 0, mantis_deadline_ms(LONG_MS), &error), error);
    return pool;
}

static mantis_pool_stats stats_of(mantis_pool *pool) {
    mantis_pool_stats stats;
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    return stats;
}

/* Attempts that one prober makes in this time, at most: pauses of 50, 100, 200, 400, 500, 500 ms …,
 * a quarter shorter if chance will; and as many again as were under way when the server failed. */
static uint64_t attempts_in(int64_t ms) { return CONNS + 5 + (uint64_t)ms / (BACKOFF_MS * 3 / 4); }

/* An open has failed since then: from now on each error has this cause. Then let it be so for some
 * time. */
static void expect_cause(crowd *all, uint64_t failed, const char *cause, long ms) {
    for (int64_t until_ms = now_ms() + LONG_MS; stats_of(all->pool).open_failed <= failed;) {
        check(now_ms() < until_ms);
        sleep_ms(1);
    }
    all->cause = cause;
    sleep_ms(ms);
    check(all->failed > 0);
    all->cause = "";
}

/* How long it took until something was written again. */
static void check_recovery(crowd *all, int64_t back_ms) {
    wait_written(all, 1);
    int64_t took_ms = now_ms() - back_ms;
    printf("# the first write %lld ms after the cause was gone\n", (long long)took_ms);
    check(took_ms <= RECOVERY_MS * slack());
}

/* ---- killed and restarted ---- */

TEST(a_server_that_was_killed_and_restarted_is_found_soon_and_without_a_storm) {
    static server redis;
    static crowd all;
    server_start(&redis, NULL);
    mantis_pool *pool = open_crowd_pool(redis.dsn);
    crowd_start(&all, pool);
    wait_written(&all, 100);
    check(server_info(&redis, "total_connections_received") <= CONNS + 1);

    int64_t killed_ms = now_ms();
    uint64_t failed = stats_of(pool).open_failed;
    server_kill(&redis);
    expect_cause(&all, failed, "cannot connect to 127.0.0.1:", 2000);
    check(stats_of(pool).open_failed - failed <= attempts_in(now_ms() - killed_ms));
    server_restart(&redis);
    check_recovery(&all, now_ms());
    wait_written(&all, 500);
    crowd_finish(&all);
    mantis_pool_stats stats = stats_of(pool);
    printf("# %llu attempts failed, %lld connections reached the new server\n",
           (unsigned long long)stats.open_failed,
           server_info(&redis, "total_connections_received"));
    check(server_info(&redis, "total_connections_received") <= CONNS + 1); /* and the test's own */
    check(stats.total <= CONNS);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- demoted ---- */

static void point(const char *path, const server *at) {
    char next[200];
    (void)snprintf(next, sizeof next, "%.190s.new", path);
    check(symlink(at->socket, next) == 0 && rename(next, path) == 0);
}

static void wait_replica(server *replica) {
    for (int64_t until_ms = now_ms() + LONG_MS;; sleep_ms(20)) {
        redisReply *reply = server_ask(replica, "INFO replication");
        bool is_up = strstr(reply->str, "master_link_status:up") != NULL;
        freeReplyObject(reply);
        if (is_up) return;
        check(now_ms() < until_ms);
    }
}

/* The address leads to a socket through a link, as a name or a virtual address does: after the
 * replica was promoted the link is moved. */
TEST(a_demoted_primary_is_noticed_and_its_successor_taken) {
    static server first, second;
    static crowd all;
    char path[192], dsn[256];
    server_start(&first, "--repl-diskless-sync-delay", "0", NULL);
    server_start(&second, NULL);
    server_tell(&second, "REPLICAOF 127.0.0.1 %d", first.port);
    wait_replica(&second);
    (void)snprintf(path, sizeof path, "%.150s/primary", first.directory);
    (void)snprintf(dsn, sizeof dsn, "redis+unix://%s?role=primary", path);
    point(path, &first);
    mantis_pool *pool = open_crowd_pool(dsn);
    crowd_start(&all, pool);
    wait_written(&all, 100);
    mantis_conn idle = borrow(pool); /* one that writes nothing notices too, by its check */
    check_equal(mantis_conn_release(&idle), MANTIS_OK);

    long long before = server_info(&first, "total_connections_received");
    int64_t demoted_ms = now_ms();
    uint64_t failed = stats_of(pool).open_failed;
    server_tell(&second, "REPLICAOF NO ONE");
    server_tell(&first, "REPLICAOF 127.0.0.1 %d", second.port);
    expect_cause(&all, failed, "it is no primary", 1500); /* nobody has moved the address yet */
    while (stats_of(pool).idle + stats_of(pool).busy > 0) sleep_ms(5); /* none is kept */
    long long tried = server_info(&first, "total_connections_received") - before;
    check(tried <= (long long)attempts_in(now_ms() - demoted_ms));
    point(path, &second);
    check_recovery(&all, now_ms());
    wait_written(&all, 500);
    crowd_finish(&all);
    printf("# %lld connections to the old primary, %lld to the new\n", tried,
           server_info(&second, "total_connections_received"));
    check(server_info(&second, "total_connections_received") <= CONNS + 2); /* test, replication */
    close_pool(&pool);
    (void)unlink(path);
    server_finish(&second);
    server_finish(&first);
}

TEST(a_demoted_primary_that_is_idle_is_noticed_by_its_check) {
    static server redis;
    char dsn[128];
    server_start(&redis, NULL);
    (void)snprintf(dsn, sizeof dsn, "%s?role=primary", redis.dsn);
    mantis_pool *pool = open_crowd_pool(dsn);
    server_tell(&redis, "REPLICAOF 127.0.0.1 1");
    for (int64_t until_ms = now_ms() + LONG_MS; stats_of(pool).total > 0; sleep_ms(5))
        check(now_ms() < until_ms);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(100), &conn, &error), MANTIS_TIMEOUT);
    check_contains(error.text, "it is no primary, as role=primary in the DSN asks for");
    server_tell(&redis, "REPLICAOF NO ONE");
    conn = borrow(pool);
    check_equal(mantis_conn_release(&conn), MANTIS_OK);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- frozen ---- */

TEST(a_frozen_server_fails_borrowers_in_time_and_is_found_when_it_goes_on) {
    static server redis;
    static crowd all;
    char dsn[128];
    server_start(&redis, NULL);
    (void)snprintf(dsn, sizeof dsn, "%s?timeout_ms=300", redis.dsn);
    mantis_pool_config config = redis_config(dsn, CONNS / 2, CONNS);
    config.open_timeout_ms = 300;
    mantis_pool *pool = open_pool(&config);
    crowd_start(&all, pool);
    wait_written(&all, 100);
    server_freeze(&redis);
    sleep_ms(1500);
    unsigned failed = all.failed;
    check(failed > 0);
    server_thaw(&redis);
    wait_written(&all, 500);
    crowd_finish(&all);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- wrong password ---- */

TEST(a_password_that_was_changed_is_the_cause_in_each_error_and_makes_no_storm) {
    static server redis;
    static crowd all;
    char dsn[128];
    server_start(&redis, NULL);
    server_tell(&redis, "CONFIG SET requirepass first");
    (void)snprintf(dsn, sizeof dsn, "redis://:first@127.0.0.1:%d", redis.port);
    mantis_pool *pool = open_crowd_pool(dsn);
    crowd_start(&all, pool);
    wait_written(&all, 100);

    uint64_t failed = stats_of(pool).open_failed;
    server_tell(&redis, "CONFIG SET requirepass second");
    long long before = server_info(&redis, "total_connections_received");
    int64_t changed_ms = now_ms();
    server_tell(&redis, "CLIENT KILL TYPE normal SKIPME yes");
    expect_cause(&all, failed, "WRONGPASS", 2000);
    long long tried = server_info(&redis, "total_connections_received") - before;
    printf("# %lld connections in %lld ms\n", tried, (long long)(now_ms() - changed_ms));
    check(tried <= (long long)attempts_in(now_ms() - changed_ms));
    server_tell(&redis, "CONFIG SET requirepass first");
    check_recovery(&all, now_ms());
    wait_written(&all, 100);
    crowd_finish(&all);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- full ---- */

TEST(a_full_server_is_the_cause_in_each_error_and_is_tried_without_a_storm) {
    static server redis;
    static crowd all;
    redisContext *others[4];
    server_start(&redis, "--maxclients", "5", NULL);
    for (int i = 0; i < 4; i++) {
        others[i] = redisConnect("127.0.0.1", redis.port);
        freeReplyObject(redisCommand(others[i], "PING"));
        check_equal(others[i]->err, 0);
    }
    mantis_pool_config config = redis_config(redis.dsn, 2, CONNS);
    config.backoff_max_ms = BACKOFF_MS;
    mantis_pool *pool = open_pool(&config);
    int64_t began_ms = now_ms();
    crowd_start(&all, pool);
    expect_cause(&all, 0, "ERR max number of clients reached", 2000);
    check_equal(all.written, 0);
    long long refused = server_info(&redis, "rejected_connections");
    printf("# %lld connections were refused in %lld ms\n", refused,
           (long long)(now_ms() - began_ms));
    check(refused <= (long long)attempts_in(now_ms() - began_ms));
    check_equal(server_info(&redis, "total_connections_received"), 5);

    for (int i = 0; i < 4; i++) redisFree(others[i]); /* room for four of the eight */
    check_recovery(&all, now_ms());
    int64_t room_ms = now_ms();
    wait_written(&all, 500);
    sleep_ms(1000);
    crowd_finish(&all);
    check_equal(stats_of(pool).idle, 4);
    refused = server_info(&redis, "rejected_connections") - refused;
    check(refused <= (long long)attempts_in(now_ms() - room_ms));
    close_pool(&pool);
    server_finish(&redis);
}

TAP_MAIN
