/* One key's value and expiry, read together. */
#ifndef MP_CONNECTORS_REDIS_RECORD_H
#define MP_CONNECTORS_REDIS_RECORD_H

#include "connectors/redis_wire.h"

#include <mantis/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_redis_record {
    redisReply *reply;  /* has the value; NULL: there is no such key */
    int64_t expires_ms; /* wall-clock time; 0: never */
} mp_redis_record;

/* Add the commands that ask for it to the request. */
void mp_redis_record_ask(mp_redis_wire *wire, const void *key, size_t key_size);

/* Read what the server answers to them.
 * Owner   the caller frees out->reply with freeReplyObject().
 * Errors  IO NOMEM UNSUPPORTED, INVALID: the key holds no string */
mantis_status mp_redis_record_read(mp_redis_wire *wire, mp_redis_record *out, mantis_error *error);

#endif
