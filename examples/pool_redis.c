/* A pool of Redis connections: borrow one, use it with hiredis, give it back.
 *
 *     cc pool_redis.c $(pkg-config --cflags --libs mantispool-redis hiredis) -o redis && ./redis
 *
 * The server is redis://localhost, or the DSN that is given. */
#include <hiredis/hiredis.h>
#include <mantis/pool.h>
#include <mantis/redis.h>
#include <stdio.h>

/* How often this was called, counted by the server; -1 if it did not answer. */
static long long count_visit(mantis_conn conn) {
    void *native = NULL;
    if (mantis_conn_native(conn, &native, NULL) != MANTIS_OK) return -1;
    redisReply *reply = redisCommand(native, "INCR %s", "visits");
    long long visits = reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    return visits;
}

int main(int argc, char **argv) {
    mantis_pool_config config = {.connector = &mantis_redis, .dsn = "redis://localhost"};
    if (argc > 1) config.dsn = argv[1];
    mantis_pool *pool = NULL;
    mantis_conn conn = {0};
    mantis_error error = {0};
    long long visits = -1;

    /* Without a server the error has the cause: "cannot connect to localhost:6379: …". */
    if (mantis_pool_open(&pool, &config, &error) != MANTIS_OK ||
        mantis_pool_acquire(pool, mantis_deadline_ms(1000), &conn, &error) != MANTIS_OK)
        fprintf(stderr, "pool_redis: %s\n", error.text);
    else visits = count_visit(conn);
    if (visits >= 0) printf("visit %lld\n", visits);

    mantis_conn_release(&conn); /* one that has failed is not lent again */
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return visits >= 0 ? 0 : 1;
}
