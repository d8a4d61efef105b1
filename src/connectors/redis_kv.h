/* Key-value operations on a connection of Redis. */
#ifndef MP_CONNECTORS_REDIS_KV_H
#define MP_CONNECTORS_REDIS_KV_H

#include <mantis/store.h>

extern const mantis_kv mp_redis_kv;

#endif
