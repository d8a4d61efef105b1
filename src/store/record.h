/* The bytes of a stored value: flags 1, version 8, [expiry 8], then the value itself. Numbers are
 * little-endian. */
#ifndef MP_STORE_RECORD_H
#define MP_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_RECORD_EXPIRES 1u /* in flags: the expiry is there */
#define MP_RECORD_HEAD_MAX 17u

typedef struct mp_record {
    uint64_t version;
    int64_t expires_ms; /* wall clock, milliseconds since 1970; 0: never */
    const void *value;
    size_t value_size;
} mp_record;

/* Write the head of a record, what stands before the value, and return its size. */
size_t mp_record_write_head(unsigned char head[MP_RECORD_HEAD_MAX], uint64_t version,
                            int64_t expires_ms);

/* Take a record apart; the value stays where it is. False: these bytes are no record. */
bool mp_record_read(const void *data, size_t size, mp_record *out);

#endif
