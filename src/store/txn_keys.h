/* The keys that a transaction knows something about, in the order of their bytes: a skip list
 * (W. Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees", 1990). Nothing is taken
 * out of it before its end, so an entry stays where it is. */
#ifndef MP_STORE_TXN_KEYS_H
#define MP_STORE_TXN_KEYS_H

#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_TXN_KEYS_HEIGHT_MAX 16u

/* Bytes that a transaction will write. */
typedef struct mp_txn_value {
    struct mp_txn_value *next; /* of those that are to be freed */
    size_t size;
    unsigned char bytes[];
} mp_txn_value;

typedef struct mp_txn_key {
    size_t size;
    bool is_read, is_written;
    uint32_t height;
    uint64_t version;           /* that was read */
    mp_txn_value *value;        /* to be written; NULL: the key is deleted */
    int64_t expires_ms;         /* of value */
    struct mp_txn_key *nexts[]; /* height of them, and behind them the key's bytes */
} mp_txn_key;

/* Zeroed it is empty. */
typedef struct mp_txn_keys {
    mp_txn_key *firsts[MP_TXN_KEYS_HEIGHT_MAX];
    size_t count;
    mp_random random;
} mp_txn_keys;

static inline const void *mp_txn_key_bytes(const mp_txn_key *key) {
    return &key->nexts[key->height];
}

static inline mp_txn_key *mp_txn_key_next(const mp_txn_key *key) { return key->nexts[0]; }

/* As memcmp() of the bytes; of two that begin alike the shorter comes first. */
int mp_txn_keys_compare(const void *left, size_t left_size, const void *right, size_t right_size);

/* The first entry at or behind these bytes, or NULL. */
mp_txn_key *mp_txn_keys_seek(mp_txn_keys *keys, const void *bytes, size_t size);

/* The entry of a key, or NULL. */
mp_txn_key *mp_txn_keys_find(mp_txn_keys *keys, const void *bytes, size_t size);

/* The entry of a key, a new one if there is none. NULL: memory is out. */
mp_txn_key *mp_txn_keys_add(mp_txn_keys *keys, const void *bytes, size_t size);

/* Free all entries, with their values. */
void mp_txn_keys_finish(mp_txn_keys *keys);

#endif
