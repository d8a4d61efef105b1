/* SCAN for the keys, then their values, a window of keys at a time. While on_entry runs, nothing is
 * under way on the connection. */
#include "connectors/redis_scan.h"

#include "base/bytes.h"
#include "base/error.h"
#include "connectors/redis_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_KEYS 1000u /* that the server looks at for one page */
#define PAGE_KEYS_MIN 10u
#define WINDOW_MAX 64u
#define WINDOW_BYTES ((size_t)256 << 10) /* of values: a window with more is halved */

static mantis_status refuse_memory(mantis_error *error) {
    return mp_error_set(error, MANTIS_NOMEM, "out of memory for a scan");
}

/* ---- keys that were found ---- */

static bool push_key(mp_redis_scan *scan, const char *key, size_t size) {
    size_t wanted = scan->keys_size + 4 + size;
    if (wanted > scan->keys_room) {
        size_t room = wanted * 2;
        char *grown = realloc(scan->keys, room);
        if (!grown) return false;
        scan->keys = grown;
        scan->keys_room = room;
    }
    uint32_t size32 = (uint32_t)size; /* a key of Redis has at most 512 MiB */
    memcpy(scan->keys + scan->keys_size, &size32, 4);
    memcpy(scan->keys + scan->keys_size + 4, key, size);
    scan->keys_size = wanted;
    return true;
}

/* The key that begins at *at, which moves behind it. */
static mp_redis_word next_key(const mp_redis_scan *scan, size_t *at) {
    uint32_t size = 0;
    memcpy(&size, scan->keys + *at, 4);
    mp_redis_word key = {scan->keys + *at + 4, size};
    *at += 4 + size;
    return key;
}

static bool has_prefix(const mp_redis_scan *scan, mp_redis_word key) {
    return key.size >= scan->prefix_size &&
           (scan->prefix_size == 0 || memcmp(key.data, scan->prefix, scan->prefix_size) == 0);
}

/* ---- pages of keys ---- */

/* The prefix as a pattern that means these bytes and then anything. */
static char *make_pattern(const mp_redis_scan *scan, size_t *size) {
    char *pattern = malloc(scan->prefix_size * 2 + 1), *out = pattern;
    if (!pattern) return NULL;
    const char *prefix = scan->prefix;
    for (size_t i = 0; i < scan->prefix_size; i++) {
        if (strchr("*?[]\\", prefix[i]) && prefix[i]) *out++ = '\\';
        *out++ = prefix[i];
    }
    *out++ = '*';
    *size = (size_t)(out - pattern);
    return pattern;
}

static mantis_status ask_page(mp_redis_scan *scan, mantis_error *error) {
    uint32_t count = PAGE_KEYS;
    if (scan->limit && scan->prefix_size == 0 && scan->limit - scan->seen < count)
        count = scan->limit - scan->seen;
    if (count < PAGE_KEYS_MIN) count = PAGE_KEYS_MIN;
    char place[24], looked_at[16];
    int place_size = snprintf(place, sizeof place, "%llu", (unsigned long long)scan->place);
    int count_size = snprintf(looked_at, sizeof looked_at, "%u", count);
    size_t pattern_size = 0;
    char *pattern = make_pattern(scan, &pattern_size);
    if (!pattern) return refuse_memory(error);
    mp_redis_word words[] = {MP_REDIS_WORD("SCAN"),  {place, (size_t)place_size},
                             MP_REDIS_WORD("COUNT"), {looked_at, (size_t)count_size},
                             MP_REDIS_WORD("TYPE"),  MP_REDIS_WORD("string"),
                             MP_REDIS_WORD("MATCH"), {pattern, pattern_size}};
    mp_redis_wire_add(scan->wire, words, sizeof words / sizeof words[0]);
    free(pattern);
    return mp_redis_wire_send(scan->wire, MP_NEVER_NS, error);
}

/* Take the keys out of the answer: a place to go on from, and a list. */
static mantis_status take_page(mp_redis_scan *scan, const redisReply *reply, mantis_error *error) {
    bool is_page = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                   reply->element[0]->type == REDIS_REPLY_STRING &&
                   reply->element[1]->type == REDIS_REPLY_ARRAY;
    if (!is_page) return mp_redis_wire_refuse(scan->wire, "SCAN", reply, error);
    const redisReply *keys = reply->element[1];
    scan->keys_at = scan->keys_size = 0;
    for (size_t i = 0; i < keys->elements; i++)
        if (!push_key(scan, keys->element[i]->str, keys->element[i]->len))
            return refuse_memory(error);
    scan->place = strtoull(reply->element[0]->str, NULL, 10);
    scan->is_last = scan->place == 0;
    return MANTIS_OK;
}

static mantis_status read_page(mp_redis_scan *scan, mantis_error *error) {
    redisReply *reply = NULL;
    mantis_status status = ask_page(scan, error);
    if (status == MANTIS_OK) status = mp_redis_wire_read(scan->wire, MP_NEVER_NS, &reply, error);
    if (status == MANTIS_OK) status = take_page(scan, reply, error);
    freeReplyObject(reply);
    return status;
}

/* ---- their values ---- */

/* Keys that are visited together. */
typedef struct window {
    mp_redis_word keys[WINDOW_MAX];
    mp_redis_record records[WINDOW_MAX];
    size_t behind[WINDOW_MAX]; /* where the keys go on after each */
    uint32_t count;
} window;

static void ask_window(mp_redis_scan *scan, window *out) {
    uint32_t most = scan->limit ? scan->limit - scan->seen : WINDOW_MAX;
    if (most > scan->window) most = scan->window;
    for (size_t at = scan->keys_at; out->count < most && at < scan->keys_size;) {
        mp_redis_word key = next_key(scan, &at);
        if (!has_prefix(scan, key)) continue; /* left over from another prefix */
        mp_redis_record_ask(scan->wire, key.data, key.size);
        out->keys[out->count] = key;
        out->behind[out->count++] = at;
    }
    if (out->count == 0) scan->keys_at = scan->keys_size;
}

/* Reads all that was asked for. A key that holds no string any more is as good as missing. */
static mantis_status read_window(mp_redis_scan *scan, window *all, mantis_error *error) {
    size_t bytes = 0;
    mantis_error why = {0};
    mantis_status status = mp_redis_wire_send(scan->wire, MP_NEVER_NS, error);
    if (status != MANTIS_OK) return status; /* also for want of memory: no answer will come */
    for (uint32_t i = 0; i < all->count && !scan->wire->context->err; i++) {
        mantis_status one = mp_redis_record_read(scan->wire, &all->records[i], &why);
        if (one != MANTIS_OK && one != MANTIS_INVALID && status == MANTIS_OK) {
            status = one;
            if (error) *error = why;
        }
        if (all->records[i].reply) bytes += all->records[i].reply->len;
    }
    if (bytes > WINDOW_BYTES && scan->window > 1) scan->window /= 2;
    else if (bytes < WINDOW_BYTES / 2 && scan->window < WINDOW_MAX) scan->window *= 2;
    return status;
}

static void show_window(mp_redis_scan *scan, const window *all) {
    for (uint32_t i = 0; i < all->count && !scan->is_stopped; i++) {
        const mp_redis_record *record = &all->records[i];
        scan->keys_at = all->behind[i];
        if (!record->reply) continue; /* deleted since its key was found */
        mantis_entry entry = {.key = all->keys[i].data,
                              .key_size = all->keys[i].size,
                              .value = record->reply->str,
                              .value_size = record->reply->len,
                              .expires_ms = record->expires_ms};
        scan->seen++;
        scan->is_stopped = !scan->on_entry(&entry, scan->arg) || scan->seen == scan->limit;
    }
}

static mantis_status visit_window(mp_redis_scan *scan, mantis_error *error) {
    window all = {.count = 0};
    ask_window(scan, &all);
    if (all.count == 0) return MANTIS_OK;
    mantis_status status = read_window(scan, &all, error);
    if (status == MANTIS_OK) show_window(scan, &all);
    for (uint32_t i = 0; i < all.count; i++) freeReplyObject(all.records[i].reply);
    return status;
}

/* ---- the cursor ---- */

/* A kind, is_last, place, and the keys that are left. */
#define CURSOR_KIND 'R'
#define CURSOR_HEAD 10

/* Are these whole keys? A cursor of another connector may look like ours. */
static bool are_keys(const char *data, size_t size) {
    for (uint32_t key_size = 0; size >= 4; data += 4 + key_size, size -= 4 + key_size) {
        memcpy(&key_size, data, 4);
        if (size - 4 < key_size) return false;
    }
    return size == 0;
}

static mantis_status load_cursor(mp_redis_scan *scan, const mantis_cursor *cursor,
                                 mantis_error *error) {
    const char *data = cursor->key;
    if (!data) return MANTIS_OK;
    if (cursor->key_size < CURSOR_HEAD || data[0] != CURSOR_KIND ||
        !are_keys(data + CURSOR_HEAD, cursor->key_size - CURSOR_HEAD))
        return mp_error_set(error, MANTIS_INVALID,
                            "scan: the cursor is not one of redis; begin with a zeroed one");
    scan->is_last = data[1] != 0;
    scan->place = mp_bytes_get_u64((const unsigned char *)data + 2);
    scan->keys_size = scan->keys_room = cursor->key_size - CURSOR_HEAD;
    if (scan->keys_size == 0) return MANTIS_OK;
    scan->keys = malloc(scan->keys_size);
    if (!scan->keys) return refuse_memory(error);
    memcpy(scan->keys, data + CURSOR_HEAD, scan->keys_size);
    return MANTIS_OK;
}

static mantis_status save_cursor(const mp_redis_scan *scan, mantis_cursor *cursor,
                                 mantis_error *error) {
    size_t left = scan->keys_size - scan->keys_at;
    unsigned char *data = malloc(CURSOR_HEAD + left);
    if (!data) return refuse_memory(error);
    data[0] = CURSOR_KIND;
    data[1] = scan->is_last;
    mp_bytes_put_u64(data + 2, scan->place);
    if (left) memcpy(data + CURSOR_HEAD, scan->keys + scan->keys_at, left);
    free(cursor->key);
    *cursor = (mantis_cursor){
        .key = data, .key_size = CURSOR_HEAD + left, .at_end = scan->is_last && left == 0};
    return MANTIS_OK;
}

/* ---- the run ---- */

static mantis_status run(mp_redis_scan *scan, mantis_error *error) {
    mantis_status status = MANTIS_OK;
    while (status == MANTIS_OK && !scan->is_stopped) {
        if (scan->keys_at < scan->keys_size) status = visit_window(scan, error);
        else if (scan->is_last) break;
        else status = read_page(scan, error);
    }
    return status;
}

mantis_status mp_redis_scan_run(mp_redis_scan *scan, mantis_cursor *cursor, mantis_error *error) {
    scan->window = 8;
    mantis_status status = cursor ? load_cursor(scan, cursor, error) : MANTIS_OK;
    if (status == MANTIS_OK) status = run(scan, error);
    if (status == MANTIS_OK && cursor) status = save_cursor(scan, cursor, error);
    free(scan->keys);
    return status;
}
