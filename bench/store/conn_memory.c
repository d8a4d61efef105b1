/* What a connection on the embedded store takes: many are borrowed at once, after one. Prints one
 * line of JSON. */
#include <malloc.h>
#include <mantis/pool.h>
#include <mantis/store.h>
#include <stdio.h>

#define CONNS 1000

int main(void) {
    static mantis_conn conns[CONNS + 1];
    mantis_pool *pool = NULL;
    mantis_error error = {0};
    mantis_pool_config config = {
        .connector = &mantis_embedded, .dsn = "mantis::memory:", .conns_max = CONNS + 1};
    struct mallinfo2 before = {0};
    mantis_status status = mantis_pool_open(&pool, &config, &error);
    for (int i = 0; i <= CONNS && status == MANTIS_OK; i++) {
        if (i == 1) before = mallinfo2();
        status = mantis_pool_acquire(pool, mantis_deadline_ms(60000), &conns[i], &error);
        if (status == MANTIS_OK) status = mantis_conn_set(conns[i], "key", 3, "value", 5, &error);
    }
    struct mallinfo2 after = mallinfo2();
    if (status != MANTIS_OK) fprintf(stderr, "conn_memory: %s\n", error.text);
    else
        printf("{\"embedded_conn_bytes\": %zu}\n",
               (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / CONNS);
    for (int i = 0; i <= CONNS; i++) mantis_conn_release(&conns[i]);
    mantis_pool_close(&pool, mantis_deadline_ms(5000));
    return status != MANTIS_OK;
}
