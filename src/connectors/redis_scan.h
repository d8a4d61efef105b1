/* Visiting keys by a prefix. A server's SCAN gives keys in no order and in pages of no certain
 * size; what a page holds beyond the limit goes with the cursor, so that no key is passed over. */
#ifndef MP_CONNECTORS_REDIS_SCAN_H
#define MP_CONNECTORS_REDIS_SCAN_H

#include "connectors/redis_wire.h"

#include <mantis/store.h>
#include <stdbool.h>

typedef struct mp_redis_scan {
    /* set by the caller; the rest zero */
    mp_redis_wire *wire;
    const void *prefix;
    size_t prefix_size;
    uint32_t limit;
    mantis_on_entry on_entry;
    void *arg;
    /* where it stands */
    char *keys; /* found and not yet visited: their sizes, 4 bytes each, before their bytes */
    size_t keys_size, keys_room, keys_at;
    uint64_t place;  /* of the server's SCAN */
    uint32_t window; /* keys to ask for at once */
    uint32_t seen;
    bool is_last; /* the server has no further page */
    bool is_stopped;
} mp_redis_scan;

/* Run it from where the cursor stands, if there is one, and leave the cursor where it ended.
 * Errors  as mantis_conn_scan() */
mantis_status mp_redis_scan_run(mp_redis_scan *scan, mantis_cursor *cursor, mantis_error *error);

#endif
