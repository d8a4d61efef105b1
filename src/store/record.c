/* Records as bytes. */
#include "store/record.h"

#include "base/bytes.h"

size_t mp_record_write_head(unsigned char head[MP_RECORD_HEAD_MAX], uint64_t version,
                            int64_t expires_ms) {
    head[0] = expires_ms ? MP_RECORD_EXPIRES : 0;
    mp_bytes_put_u64(head + 1, version);
    if (!expires_ms) return 9;
    mp_bytes_put_u64(head + 9, (uint64_t)expires_ms);
    return MP_RECORD_HEAD_MAX;
}

bool mp_record_read(const void *data, size_t size, mp_record *out) {
    const unsigned char *bytes = data;
    if (size < 9 || (bytes[0] & ~MP_RECORD_EXPIRES) != 0) return false;
    size_t head = bytes[0] & MP_RECORD_EXPIRES ? MP_RECORD_HEAD_MAX : 9;
    if (size < head) return false;
    out->version = mp_bytes_get_u64(bytes + 1);
    out->expires_ms = head == 9 ? 0 : (int64_t)mp_bytes_get_u64(bytes + 9);
    if (head != 9 && out->expires_ms <= 0) return false;
    out->value = bytes + head;
    out->value_size = size - head;
    return true;
}
