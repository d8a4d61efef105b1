/* Reads and writes as commands of Redis. Every reply that was asked for is read before one is
 * judged, so that the connection stays in step whatever the server answers. */
#include "connectors/redis_kv.h"

#include "base/error.h"
#include "connectors/redis_record.h"
#include "connectors/redis_scan.h"
#include "connectors/redis_wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- writes ---- */

static mp_redis_word word_of(const void *data, size_t size) { return (mp_redis_word){data, size}; }

static const char *add_write(mp_redis_wire *wire, const mantis_write *write) {
    mp_redis_word words[5] = {MP_REDIS_WORD("SET"), word_of(write->key, write->key_size)};
    if (!write->value) {
        words[0] = MP_REDIS_WORD("DEL");
        mp_redis_wire_add(wire, words, 2);
        return "DEL";
    }
    char ttl[24];
    int size = snprintf(ttl, sizeof ttl, "%" PRId64, write->ttl_ms);
    words[2] = word_of(write->value, write->value_size);
    words[3] = MP_REDIS_WORD("PX");
    words[4] = word_of(ttl, (size_t)size);
    mp_redis_wire_add(wire, words, write->ttl_ms ? 5 : 3);
    return "SET";
}

/* The server has acknowledged a write: OK for a SET, a number for a DEL. */
static bool is_written(const redisReply *reply) {
    return reply->type == REDIS_REPLY_INTEGER ||
           (reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0);
}

/* A broken connection says nothing about a write that was under way on it. */
static mantis_status doubt(mantis_status status, mantis_error *error) {
    static const char note[] = "; the write may or may not be done";
    size_t length = error ? strlen(error->text) : sizeof error->text;
    if (status != MANTIS_OK && length + sizeof note <= sizeof error->text)
        memcpy(error->text + length, note, sizeof note);
    return status;
}

static mantis_status write_one(mp_redis_wire *wire, const mantis_write *write,
                               mantis_error *error) {
    redisReply *reply = NULL;
    const char *command = add_write(wire, write);
    mantis_status status = mp_redis_wire_send(wire, MP_NEVER_NS, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(wire, MP_NEVER_NS, &reply, error);
    if (status != MANTIS_OK) return doubt(status, error);
    if (!is_written(reply)) status = mp_redis_wire_refuse(wire, command, reply, error);
    freeReplyObject(reply);
    return status;
}

/* Read one reply of a batch. *refusal keeps the first error among those that are only queued. */
static mantis_status read_queued(mp_redis_wire *wire, redisReply **refusal, mantis_error *error) {
    redisReply *reply = NULL;
    mantis_status status = mp_redis_wire_read(wire, MP_NEVER_NS, &reply, error);
    if (status != MANTIS_OK) return status;
    if (reply->type == REDIS_REPLY_ERROR && !*refusal) *refusal = reply;
    else freeReplyObject(reply);
    return MANTIS_OK;
}

/* Without MULTI the writes would be applied one by one: none is sent before it was taken. */
static mantis_status begin_batch(mp_redis_wire *wire, mantis_error *error) {
    redisReply *reply = NULL;
    mp_redis_wire_add(wire, &MP_REDIS_WORD("MULTI"), 1);
    mantis_status status = mp_redis_wire_send(wire, MP_NEVER_NS, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(wire, MP_NEVER_NS, &reply, error);
    if (status == MANTIS_OK && !is_written(reply))
        status = mp_redis_wire_refuse(wire, "MULTI", reply, error);
    freeReplyObject(reply);
    return status;
}

/* Nothing was applied, for the reason in refusal or in the reply of EXEC; or all was. */
static mantis_status judge_batch(mp_redis_wire *wire, const redisReply *refusal,
                                 const redisReply *reply, mantis_error *error) {
    if (refusal) return mp_redis_wire_refuse(wire, "a write of the batch", refusal, error);
    if (reply->type == REDIS_REPLY_NIL)
        return mp_error_set(error, MANTIS_CONFLICT,
                            "a key that this connection watches was changed; nothing was written");
    if (reply->type != REDIS_REPLY_ARRAY) return mp_redis_wire_refuse(wire, "EXEC", reply, error);
    for (size_t i = 0; i < reply->elements; i++)
        if (!is_written(reply->element[i]))
            return mp_redis_wire_refuse(wire, "a write of the batch", reply->element[i], error);
    return MANTIS_OK;
}

static mantis_status write_batch(mp_redis_wire *wire, const mantis_write *writes, size_t count,
                                 mantis_error *error) {
    redisReply *refusal = NULL, *reply = NULL;
    mantis_status status = begin_batch(wire, error);
    if (status != MANTIS_OK) return status;
    for (size_t i = 0; i < count; i++) (void)add_write(wire, &writes[i]);
    mp_redis_wire_add(wire, &MP_REDIS_WORD("EXEC"), 1);
    status = mp_redis_wire_send(wire, MP_NEVER_NS, error);
    for (size_t i = 0; i < count && status == MANTIS_OK; i++)
        status = read_queued(wire, &refusal, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(wire, MP_NEVER_NS, &reply, error);
    if (status == MANTIS_OK && reply->type == REDIS_REPLY_ERROR &&
        strncmp(reply->str, "EXECABORT", 9) != 0)
        mp_redis_wire_fail(wire, reply->str); /* it is still in MULTI */
    if (status == MANTIS_OK) status = judge_batch(wire, refusal, reply, error);
    else status = doubt(status, error);
    freeReplyObject(refusal);
    freeReplyObject(reply);
    return status;
}

static mantis_status kv_write(void *native, const mantis_write *writes, size_t count,
                              mantis_durability durability, mantis_error *error) {
    mp_redis_wire *wire = mp_redis_wire_of(native);
    if (durability == MANTIS_DURABLE_SYNCED)
        return mp_error_set(error, MANTIS_UNSUPPORTED,
                            "redis: a server does not say whether a write is on disk; use "
                            "MANTIS_DURABLE_DEFAULT, and set the server's appendfsync");
    mantis_status status = mp_redis_wire_check(wire, error);
    if (status != MANTIS_OK) return status;
    return count == 1 ? write_one(wire, writes, error) : write_batch(wire, writes, count, error);
}

/* ---- reads ---- */

static mantis_status kv_get(void *native, const void *key, size_t key_size, mantis_value *out,
                            mantis_error *error) {
    mp_redis_wire *wire = mp_redis_wire_of(native);
    mp_redis_record record = {0};
    mantis_status status = mp_redis_wire_check(wire, error);
    if (status != MANTIS_OK) return status;
    mp_redis_record_ask(wire, key, key_size);
    status = mp_redis_wire_send(wire, MP_NEVER_NS, error);
    if (status == MANTIS_OK) status = mp_redis_record_read(wire, &record, error);
    if (status != MANTIS_OK) return status;
    if (!record.reply) return mp_error_set(error, MANTIS_NOT_FOUND, "there is no such key");
    *out = (mantis_value){.data = record.reply->str,
                          .size = record.reply->len,
                          .expires_ms = record.expires_ms,
                          .owner = record.reply,
                          .free_owner = freeReplyObject};
    return MANTIS_OK;
}

static mantis_status kv_exists(void *native, const void *key, size_t key_size, bool *out,
                               mantis_error *error) {
    mp_redis_wire *wire = mp_redis_wire_of(native);
    redisReply *reply = NULL;
    mp_redis_word words[] = {MP_REDIS_WORD("EXISTS"), {key, key_size}};
    mantis_status status = mp_redis_wire_check(wire, error);
    if (status != MANTIS_OK) return status;
    mp_redis_wire_add(wire, words, 2);
    status = mp_redis_wire_send(wire, MP_NEVER_NS, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(wire, MP_NEVER_NS, &reply, error);
    if (status != MANTIS_OK) return status;
    if (reply->type == REDIS_REPLY_INTEGER) *out = reply->integer > 0;
    else status = mp_redis_wire_refuse(wire, "EXISTS", reply, error);
    freeReplyObject(reply);
    return status;
}

static mantis_status kv_scan(void *native, const void *prefix, size_t prefix_size, uint32_t limit,
                             mantis_cursor *cursor, mantis_on_entry on_entry, void *arg,
                             mantis_error *error) {
    mp_redis_scan scan = {.wire = mp_redis_wire_of(native),
                          .prefix = prefix,
                          .prefix_size = prefix_size,
                          .limit = limit,
                          .on_entry = on_entry,
                          .arg = arg};
    mantis_status status = mp_redis_wire_check(scan.wire, error);
    return status == MANTIS_OK ? mp_redis_scan_run(&scan, cursor, error) : status;
}

/* No versions, so no compare-and-set; no snapshots, so no transactions. */
const mantis_kv mp_redis_kv = {
    .write = kv_write, .get = kv_get, .exists = kv_exists, .scan = kv_scan};
