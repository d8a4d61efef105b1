/* Run a server for a script: prints its port, and ends with its own standard input. */
#include "redis/server.h"

#include "lib/tap.h"

int main(int count, char **words) {
    server redis;
    server_start(&redis, count > 1 ? words[1] : NULL, count > 2 ? words[2] : NULL, NULL);
    printf("%d\n", redis.port);
    fflush(stdout);
    while (getchar() != EOF) continue;
    server_finish(&redis);
    return 0;
}
