/* GET and PTTL, one right after the other. A server has no one command for both; another client's
 * write that comes in between changes the expiry alone, or makes the key missing. */
#include "connectors/redis_record.h"

#define PTTL_MISSING (-2)
#define PTTL_NEVER (-1)

void mp_redis_record_ask(mp_redis_wire *wire, const void *key, size_t key_size) {
    mp_redis_word value[] = {MP_REDIS_WORD("GET"), {key, key_size}};
    mp_redis_word expiry[] = {MP_REDIS_WORD("PTTL"), {key, key_size}};
    mp_redis_wire_add(wire, value, 2);
    mp_redis_wire_add(wire, expiry, 2);
}

/* What value and expiry say together. Takes *value over, or leaves it to be freed. */
static mantis_status judge(mp_redis_wire *wire, redisReply **value, const redisReply *expiry,
                           mp_redis_record *out, mantis_error *error) {
    mp_redis_record record = {0};
    if ((*value)->type != REDIS_REPLY_STRING && (*value)->type != REDIS_REPLY_NIL)
        return mp_redis_wire_refuse(wire, "GET", *value, error);
    if (expiry->type != REDIS_REPLY_INTEGER)
        return mp_redis_wire_refuse(wire, "PTTL", expiry, error);
    if ((*value)->type == REDIS_REPLY_STRING && expiry->integer != PTTL_MISSING) {
        record.reply = *value;
        *value = NULL;
        if (expiry->integer != PTTL_NEVER) record.expires_ms = mp_clock_wall_ms() + expiry->integer;
    }
    *out = record;
    return MANTIS_OK;
}

mantis_status mp_redis_record_read(mp_redis_wire *wire, mp_redis_record *out, mantis_error *error) {
    redisReply *value = NULL, *expiry = NULL;
    mantis_status status = mp_redis_wire_read(wire, MP_NEVER_NS, &value, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(wire, MP_NEVER_NS, &expiry, error);
    if (status == MANTIS_OK) status = judge(wire, &value, expiry, out, error);
    freeReplyObject(value);
    freeReplyObject(expiry);
    return status;
}
