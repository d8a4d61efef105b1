/* A pool of Redis connections, and one borrowed of it. */
#ifndef MP_TESTS_REDIS_FIXTURE_H
#define MP_TESTS_REDIS_FIXTURE_H

#include "lib/tap.h"

#include <hiredis/hiredis.h>
#include <mantis/pool.h>
#include <mantis/redis.h>
#include <mantis/store.h>
#include <time.h>

#define LONG_MS 30000 /* a guard against hanging */

/* Does it succeed? Says the error if not. */
#define check_ok(call, error)                                                                      \
    ((call) == MANTIS_OK ? (void)0                                                                 \
                         : tap_fail(__FILE__, __LINE__, "%s is OK: %s", #call, (error).text))

__attribute__((unused)) static void sleep_ms(long ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Quick to try again, and with no check but those a test asks for. */
__attribute__((unused)) static mantis_pool_config redis_config(const char *dsn, int64_t conns_min,
                                                               int64_t conns_max) {
    return (mantis_pool_config){.connector = &mantis_redis,
                                .dsn = dsn,
                                .name = "test",
                                .conns_min = conns_min,
                                .conns_max = conns_max,
                                .backoff_min_ms = 50,
                                .backoff_max_ms = 500,
                                .check_interval_ms = MANTIS_UNLIMITED};
}

__attribute__((unused)) static mantis_pool *open_pool(const mantis_pool_config *config) {
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    check_ok(mantis_pool_open(&pool, config, &error), error);
    return pool;
}

__attribute__((unused)) static mantis_conn borrow(mantis_pool *pool) {
    mantis_conn conn = {0};
    mantis_error error = {0};
    check_ok(mantis_pool_acquire(pool, mantis_deadline_ms(LONG_MS), &conn, &error), error);
    return conn;
}

__attribute__((unused)) static void close_pool(mantis_pool **pool) {
    check_equal(mantis_pool_close(pool, mantis_deadline_ms(LONG_MS)), MANTIS_OK);
}

__attribute__((unused)) static redisContext *native_of(mantis_conn conn) {
    void *native = NULL;
    check_equal(mantis_conn_native(conn, &native, NULL), MANTIS_OK);
    return native;
}

/* Run a command and answer its number, or a status, a string or an error as text in a static
 * buffer through *text. */
__attribute__((unused)) static long long command(mantis_conn conn, const char **text,
                                                 const char *words) {
    static char copy[256];
    redisReply *reply = redisCommand(native_of(conn), words);
    if (!reply) tap_fail(__FILE__, __LINE__, "%s: %s", words, native_of(conn)->errstr);
    (void)snprintf(copy, sizeof copy, "%s", reply->str ? reply->str : "(none)");
    long long number = reply->integer;
    if (text) *text = copy;
    freeReplyObject(reply);
    return number;
}

/* The number that the server gave the connection. */
__attribute__((unused)) static long long id_of(mantis_conn conn) {
    long long id = command(conn, NULL, "CLIENT ID");
    check(id > 0); /* another answer has no number */
    return id;
}

#endif
