/* Redis connections in a pool: opening, checking, resetting, giving up. */
#include "redis/fixture.h"
#include "redis/server.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

static server redis;
static mantis_error error;

/* A pool that should be refused connections: the cause in the text of a borrower. */
static const char *cause_of(const char *dsn) {
    mantis_pool_config config = redis_config(dsn, 0, 1);
    config.fail_fast = 1;
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(LONG_MS), &conn, &error),
                MANTIS_CONNECT_FAILED);
    close_pool(&pool);
    return error.text;
}

/* ---- opening ---- */

TEST(a_connection_is_as_the_dsn_asks_for) {
    server_start(&redis, NULL);
    server_tell(&redis, "ACL SETUSER m%%e on >p@ss/%%w ~* &* +@all");
    char dsn[256];
    const char *text = NULL;
    (void)snprintf(dsn, sizeof dsn,
                   "redis://m%%25e:p%%40ss%%2F%%25w@localhost:%d/3?name=web-1&role=primary",
                   redis.port);
    mantis_pool_config config = redis_config(dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    (void)command(conn, &text, "ACL WHOAMI");
    check_contains(text, "m%e");
    (void)command(conn, &text, "CLIENT GETNAME");
    check_contains(text, "web-1");
    check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
    server_tell(&redis, "SELECT 3");
    redisReply *reply = server_ask(&redis, "EXISTS key");
    check_equal(reply->integer, 1);
    freeReplyObject(reply);
    mantis_conn_release(&conn);
    close_pool(&pool);

    (void)snprintf(dsn, sizeof dsn, "redis+unix://%s?db=3", redis.socket);
    config = redis_config(dsn, 1, 1);
    pool = open_pool(&config);
    conn = borrow(pool);
    check_equal(command(conn, NULL, "EXISTS key"), 1);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

TEST(each_refusal_has_its_cause_in_the_borrowers_error) {
    char dsn[256];
    server_start(&redis, NULL);
    server_tell(&redis, "CONFIG SET requirepass right");
    check_contains(cause_of(redis.dsn), "NOAUTH");
    (void)snprintf(dsn, sizeof dsn, "redis://:wrong@127.0.0.1:%d", redis.port);
    check_contains(cause_of(dsn), "answered AUTH with: WRONGPASS");
    check(!strstr(error.text, "wrong@") && !strstr(error.text, ":wrong"));
    (void)snprintf(dsn, sizeof dsn, "redis://nobody:right@127.0.0.1:%d", redis.port);
    check_contains(cause_of(dsn), "WRONGPASS");
    (void)snprintf(dsn, sizeof dsn, "redis://:right@127.0.0.1:%d/99", redis.port);
    check_contains(cause_of(dsn), "answered SELECT with: ERR DB index is out of range");
    (void)snprintf(dsn, sizeof dsn, "redis://:right@127.0.0.1:%d?name=a%%20b", redis.port);
    check_contains(cause_of(dsn), "answered CLIENT with: ERR Client names cannot contain spaces");
    server_kill(&redis);
    check_contains(cause_of(redis.dsn), "Connection refused");
    check_contains(error.text, "127.0.0.1:");
    (void)snprintf(dsn, sizeof dsn, "redis+unix://%s", redis.socket);
    check_contains(cause_of(dsn), "Connection refused");
    check_contains(cause_of("redis+unix:///no/such.sock"), "No such file or directory");
    check_contains(cause_of("redis://no-such-host.invalid"), "cannot resolve the host");
    server_finish(&redis);
}

TEST(a_server_that_does_not_know_auth_does_not_make_the_password_known) {
    server_start(&redis, "--rename-command", "AUTH", "LOGIN", NULL);
    char dsn[128];
    (void)snprintf(dsn, sizeof dsn, "redis://me:topsecret@127.0.0.1:%d", redis.port);
    mantis_pool_config config = redis_config(dsn, 0, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(2000), &conn, &error), MANTIS_TIMEOUT);
    check_contains(error.text, "answered AUTH with: ERR unknown command");
    check(!strstr(error.text, "secret"));
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_server_that_is_loading_says_so) {
    server_start(&redis, "--key-load-delay", "1000", "--loading-process-events-interval-bytes",
                 "1024", NULL);
    for (int i = 0; i < 2000; i++) server_tell(&redis, "SET key:%d %d", i, i);
    server_tell(&redis, "SAVE");
    server_kill(&redis);
    server_restart(&redis);
    check_contains(cause_of(redis.dsn), "LOADING");
    server_finish(&redis);
}

TEST(a_wrong_dsn_is_refused_when_the_pool_is_opened) {
    mantis_pool_config config = redis_config("redis://h:x", 0, 1);
    mantis_pool *pool = NULL;
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_INVALID);
    check_contains(error.text, "port");
    config.dsn = "rediss://h";
    check_equal(mantis_pool_open(&pool, &config, &error), MANTIS_UNSUPPORTED);
    check(!pool);
}

/* ---- reset ---- */

/* Do what leaves traces on a connection, release it dirty, and borrow it again. */
static mantis_conn borrow_reset(mantis_pool *pool, const char *const *commands) {
    mantis_conn conn = borrow(pool);
    long long first = id_of(conn);
    for (; *commands; commands++) (void)command(conn, NULL, *commands);
    check_equal(mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY), MANTIS_OK);
    conn = borrow(pool);
    check_equal(id_of(conn), first); /* the same connection, and it answers in step */
    return conn;
}

TEST(a_reset_undoes_what_a_borrower_left) {
    static const char *const multi[] = {"SELECT 5", "CLIENT SETNAME other", "MULTI", "SET key x",
                                        NULL};
    static const char *const watch[] = {"WATCH key", "READONLY", NULL};
    const char *text = NULL;
    server_start(&redis, NULL);
    server_tell(&redis, "ACL SETUSER me on >pw ~* &* +@all");
    server_tell(&redis, "ACL SETUSER other on >pw ~* &* +@all");
    char dsn[128];
    (void)snprintf(dsn, sizeof dsn, "redis://me:pw@127.0.0.1:%d/2?name=mine", redis.port);
    mantis_pool_config config = redis_config(dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);

    mantis_conn conn = borrow_reset(pool, multi);
    (void)command(conn, &text, "CLIENT GETNAME");
    check_contains(text, "mine");
    check_ok(mantis_conn_set(conn, "where", 5, "2", 1, &error), error);
    server_tell(&redis, "SELECT 2");
    redisReply *reply = server_ask(&redis, "EXISTS where key");
    check_equal(reply->integer, 1); /* in database 2, and the MULTI was discarded */
    freeReplyObject(reply);
    mantis_conn_release(&conn);

    conn = borrow_reset(pool, watch);
    server_tell(&redis, "SET key theirs");
    mantis_write writes[] = {{"a", 1, "v", 1, 0}, {"b", 1, "v", 1, 0}};
    check_ok(mantis_conn_batch(conn, writes, 2, MANTIS_DURABLE_DEFAULT, &error), error);

    (void)command(conn, &text, "AUTH other pw");
    struct timeval limit = {.tv_sec = 77};
    (void)redisSetTimeout(native_of(conn), limit);
    mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY);
    conn = borrow(pool);
    (void)command(conn, &text, "ACL WHOAMI");
    check_contains(text, "me");
    socklen_t size = sizeof limit;
    check(getsockopt(native_of(conn)->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &size) == 0);
    check_equal(limit.tv_sec, 5);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_reset_ends_a_subscription_and_throws_its_messages_away) {
    static const char *const subscribe[] = {"SUBSCRIBE news", NULL};
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    long long first = id_of(conn);
    (void)command(conn, NULL, subscribe[0]);
    for (int i = 0; i < 100; i++) server_tell(&redis, "PUBLISH news item-%d", i);
    mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY);
    conn = borrow(pool);
    check_equal(id_of(conn), first);
    server_tell(&redis, "PUBLISH news late");
    check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_reset_throws_replies_away_that_nobody_read) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    long long first = id_of(conn);
    int is_done = 0;
    for (int i = 0; i < 10; i++)
        (void)redisAppendCommand(native_of(conn), i == 5 ? "NONSENSE" : "ECHO left-%d", i);
    while (!is_done) check_equal(redisBufferWrite(native_of(conn), &is_done), REDIS_OK);
    mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY);
    conn = borrow(pool);
    check_equal(id_of(conn), first);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

TEST(commands_that_were_never_sent_cost_the_connection) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    for (int dirty = 0; dirty < 2; dirty++) {
        mantis_conn conn = borrow(pool);
        long long first = id_of(conn);
        (void)redisAppendCommand(native_of(conn), "SET stray %d", 1);
        mantis_conn_release_as(&conn, dirty ? MANTIS_RELEASE_DIRTY : MANTIS_RELEASE_CLEAN);
        conn = borrow(pool);
        check(id_of(conn) != first);
        check_equal(command(conn, NULL, "EXISTS stray"), 0);
        mantis_conn_release(&conn);
    }
    close_pool(&pool);
    server_finish(&redis);
}

TEST(replies_that_nobody_read_cost_the_connection_when_it_is_released_clean) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    long long first = id_of(conn);
    (void)redisAppendCommand(native_of(conn), "ECHO first");
    (void)redisAppendCommand(native_of(conn), "ECHO second");
    int is_done = 0, arrived = 0;
    while (!is_done) check_equal(redisBufferWrite(native_of(conn), &is_done), REDIS_OK);
    while (arrived < 23) check_equal(ioctl(native_of(conn)->fd, FIONREAD, &arrived), 0);
    redisReply *reply = NULL;
    check_equal(redisGetReply(native_of(conn), (void **)&reply), REDIS_OK);
    freeReplyObject(reply); /* and the second is in the context */
    mantis_conn_release(&conn);
    conn = borrow(pool);
    check(id_of(conn) != first);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

/* hiredis then makes another reader, and with that the context is not ours any more. */
TEST(a_context_that_its_borrower_reconnects_is_closed) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    for (int dirty = 0; dirty < 2; dirty++) {
        mantis_conn conn = borrow(pool);
        mantis_value value = {0};
        bool is_there = false;
        (void)redisReconnect(native_of(conn));
        check_equal(mantis_conn_set(conn, "key", 3, "v", 1, &error), MANTIS_IO);
        check_contains(error.text, "reconnected");
        check_equal(mantis_conn_get(conn, "key", 3, &value, &error), MANTIS_IO);
        check_equal(mantis_conn_exists(conn, "key", 3, &is_there, &error), MANTIS_IO);
        mantis_conn_release_as(&conn, dirty ? MANTIS_RELEASE_DIRTY : MANTIS_RELEASE_CLEAN);
        conn = borrow(pool);
        check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
        mantis_conn_release(&conn);
    }
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_server_without_reset_costs_the_connection_and_no_more) {
    server_start(&redis, "--rename-command", "RESET", "NO_SUCH", NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    long long first = id_of(conn);
    (void)command(conn, NULL, "SELECT 5");
    mantis_conn_release_as(&conn, MANTIS_RELEASE_DIRTY);
    conn = borrow(pool);
    check(id_of(conn) != first);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- killed connections ---- */

TEST(a_connection_that_was_killed_while_idle_is_not_lent_again) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    for (int i = 0; i < 20; i++) {
        mantis_conn conn = borrow(pool);
        long long first = id_of(conn);
        mantis_conn_release(&conn);
        server_tell(&redis, "CLIENT KILL ID %lld", first);
        conn = borrow(pool);
        check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
        check(id_of(conn) != first);
        mantis_conn_release(&conn);
    }
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_connection_that_was_killed_while_borrowed_is_not_lent_again) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = borrow(pool);
    server_tell(&redis, "CLIENT KILL ID %lld", id_of(conn));
    check_equal(mantis_conn_set(conn, "key", 3, "v", 1, &error), MANTIS_IO);
    mantis_conn_release(&conn);
    conn = borrow(pool);
    check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
    mantis_conn_release(&conn);
    mantis_pool_stats stats;
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    check_equal(stats.closed_broken, 1);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- checks ---- */

static long long wait_for_checks(mantis_pool *pool, uint64_t failed) {
    mantis_pool_stats stats = {0};
    for (int i = 0; i < 10000 && (stats.checked == 0 || stats.check_failed < failed); i++) {
        sleep_ms(5);
        check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    }
    return (long long)stats.check_failed;
}

TEST(a_check_finds_a_connection_that_its_borrower_left_in_multi) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 1, 1);
    config.check_interval_ms = 100;
    mantis_pool *pool = open_pool(&config);
    check_equal(mantis_pool_wait_warm(pool, 1, mantis_deadline_ms(LONG_MS), &error), MANTIS_OK);
    check_equal(wait_for_checks(pool, 0), 0);
    mantis_conn conn = borrow(pool);
    (void)command(conn, NULL, "MULTI");
    mantis_conn_release(&conn);
    check_equal(wait_for_checks(pool, 1), 1);
    conn = borrow(pool);
    check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

TEST(a_check_of_a_frozen_server_ends_in_time) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 2, 2);
    config.check_interval_ms = 100;
    config.open_timeout_ms = 200;
    mantis_pool *pool = open_pool(&config);
    check_equal(mantis_pool_wait_warm(pool, 2, mantis_deadline_ms(LONG_MS), &error), MANTIS_OK);
    server_freeze(&redis);
    check(wait_for_checks(pool, 2) >= 2);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(700), &conn, &error), MANTIS_TIMEOUT);
    check_contains(error.text, "did not answer in time");
    server_thaw(&redis);
    conn = borrow(pool);
    check_ok(mantis_conn_set(conn, "key", 3, "v", 1, &error), error);
    mantis_conn_release(&conn);
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- servers that are none ---- */

/* How an open at such a server ends: by its own deadline. */
static void check_deadline(fake_kind kind) {
    static fake_server fake;
    fake_server_start(&fake, kind);
    mantis_pool_config config = redis_config(fake.dsn, 0, 4);
    config.open_timeout_ms = 150;
    mantis_pool *pool = open_pool(&config);
    mantis_conn conn = {0};
    check_equal(mantis_pool_acquire(pool, mantis_deadline_ms(2000), &conn, &error), MANTIS_TIMEOUT);
    check_contains(error.text, "did not answer in time");
    mantis_pool_stats stats;
    check_equal(mantis_pool_get_stats(pool, &stats), MANTIS_OK);
    check(stats.open_failed >= 1 && stats.opened == 0);
    close_pool(&pool); /* OK: no opener is left inside */
    for (int i = 0; fake.ended < fake.accepted && i < LONG_MS; i++) sleep_ms(1); /* its threads */
    check_equal(fake.accepted, fake.ended);
}

TEST(an_open_at_a_server_that_never_answers_ends_at_its_deadline) { check_deadline(FAKE_SILENT); }

TEST(an_open_at_a_server_that_trickles_ends_at_its_deadline) { check_deadline(FAKE_TRICKLE); }

/* Long before its deadline an open is told to give up, since the pool is closed. */
TEST(an_open_under_way_is_interrupted) {
    static fake_server fake;
    fake_server_start(&fake, FAKE_SILENT);
    mantis_pool_config config = redis_config(fake.dsn, 3, 4);
    config.open_timeout_ms = 3600000;
    mantis_pool *pool = open_pool(&config);
    while (fake.accepted < 1) sleep_ms(1);
    (void)mantis_pool_close(&pool, mantis_deadline_ms(50)); /* TIMEOUT: it is still under way */
    for (int i = 0; fake.ended < fake.accepted; i++) {
        check(i < LONG_MS);
        sleep_ms(1);
    }
}

/* Interrupts come at any moment of operations that end at the same time; none may be lost, none may
 * hurt another. For the sanitizers. */
TEST(interrupts_race_with_completions) {
    server_start(&redis, NULL);
    mantis_pool_config config = redis_config(redis.dsn, 8, 8);
    config.open_timeout_ms = 2; /* much like the time that the keeper takes to notice */
    config.check_interval_ms = 1;
    config.backoff_min_ms = config.backoff_max_ms = 1;
    mantis_pool *pool = open_pool(&config);
    for (int i = 0; i < 300; i++) {
        mantis_conn conn = {0};
        if (mantis_pool_acquire(pool, mantis_deadline_ms(LONG_MS), &conn, &error) != MANTIS_OK)
            tap_fail(__FILE__, __LINE__, "%s", error.text);
        if (i % 10 == 0) server_freeze(&redis);
        mantis_conn_release_as(&conn, i % 2 ? MANTIS_RELEASE_DIRTY : MANTIS_RELEASE_BROKEN);
        sleep_ms(i % 3);
        if (i % 10 == 0) server_thaw(&redis);
    }
    close_pool(&pool);
    server_finish(&redis);
}

/* ---- the tests' own servers ---- */

TEST(a_server_of_a_test_dies_with_it) {
    int ends[2], port = 0;
    check(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        server_start(&redis, NULL);
        check(write(ends[1], &redis.port, sizeof redis.port) == sizeof redis.port);
        pause();
    }
    close(ends[1]);
    if (read(ends[0], &port, sizeof port) != sizeof port) tap_skip("no server was started");
    check(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    for (int i = 0; i < LONG_MS; i++) {
        redisContext *context = redisConnect("127.0.0.1", port);
        bool is_gone = context->err != 0;
        redisFree(context);
        if (is_gone) return;
        sleep_ms(1);
    }
    tap_fail(__FILE__, __LINE__, "the server is gone");
}

TAP_MAIN
