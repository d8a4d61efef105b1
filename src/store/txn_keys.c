/* A skip list of keys. */
#include "store/txn_keys.h"

#include <stdlib.h>
#include <string.h>

int mp_txn_keys_compare(const void *left, size_t left_size, const void *right, size_t right_size) {
    size_t both = left_size < right_size ? left_size : right_size;
    int order = both > 0 ? memcmp(left, right, both) : 0;
    return order != 0 ? order : (left_size > right_size) - (left_size < right_size);
}

/* The entry at or behind these bytes; before, if not NULL, becomes the place of the link to it on
 * each level. */
static mp_txn_key *seek(mp_txn_keys *keys, const void *bytes, size_t size,
                        mp_txn_key **before[MP_TXN_KEYS_HEIGHT_MAX]) {
    mp_txn_key **links = keys->firsts;
    for (uint32_t level = MP_TXN_KEYS_HEIGHT_MAX; level-- > 0;) {
        while (links[level] && mp_txn_keys_compare(mp_txn_key_bytes(links[level]),
                                                   links[level]->size, bytes, size) < 0)
            links = links[level]->nexts;
        if (before) before[level] = &links[level];
    }
    return links[0];
}

static bool is_equal(const mp_txn_key *key, const void *bytes, size_t size) {
    return key && key->size == size && memcmp(mp_txn_key_bytes(key), bytes, size) == 0;
}

mp_txn_key *mp_txn_keys_seek(mp_txn_keys *keys, const void *bytes, size_t size) {
    return seek(keys, bytes, size, NULL);
}

mp_txn_key *mp_txn_keys_find(mp_txn_keys *keys, const void *bytes, size_t size) {
    mp_txn_key *found = seek(keys, bytes, size, NULL);
    return is_equal(found, bytes, size) ? found : NULL;
}

/* Every fourth entry is one level higher. */
static uint32_t choose_height(mp_txn_keys *keys) {
    if (keys->random.state == 0) mp_random_start(&keys->random, 1);
    uint32_t height = 1;
    for (uint64_t bits = mp_random_next(&keys->random); (bits & 3) == 0; bits >>= 2)
        if (++height == MP_TXN_KEYS_HEIGHT_MAX) break;
    return height;
}

mp_txn_key *mp_txn_keys_add(mp_txn_keys *keys, const void *bytes, size_t size) {
    mp_txn_key **before[MP_TXN_KEYS_HEIGHT_MAX];
    mp_txn_key *found = seek(keys, bytes, size, before);
    if (is_equal(found, bytes, size)) return found;
    uint32_t height = choose_height(keys);
    mp_txn_key *key = malloc(sizeof *key + height * sizeof key->nexts[0] + size);
    if (!key) return NULL;
    *key = (mp_txn_key){.size = size, .height = height};
    memcpy(&key->nexts[height], bytes, size);
    for (uint32_t level = 0; level < height; level++) {
        key->nexts[level] = *before[level];
        *before[level] = key;
    }
    keys->count++;
    return key;
}

void mp_txn_keys_finish(mp_txn_keys *keys) {
    for (mp_txn_key *key = keys->firsts[0]; key;) {
        mp_txn_key *next = mp_txn_key_next(key);
        free(key->value);
        free(key);
        key = next;
    }
    *keys = (mp_txn_keys){0};
}
