/* CRC-32C with the processor's instruction where there is one, otherwise four bits at a time. */
#include "store/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82F63B78u /* reflected */

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t add_fast(uint32_t crc, const unsigned char *bytes,
                                                           size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; size--) crc = __builtin_ia32_crc32qi(crc, *bytes++);
    return crc;
}
#endif

/* The checksum of four bits: POLYNOMIAL divided into each. */
static uint32_t step_of(uint32_t bits) {
    for (int i = 0; i < 4; i++) bits = bits & 1 ? (bits >> 1) ^ POLYNOMIAL : bits >> 1;
    return bits;
}

uint32_t mp_crc32c_add_plain(uint32_t crc, const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint32_t steps[16];
    for (uint32_t i = 0; i < 16; i++) steps[i] = step_of(i);
    crc = ~crc;
    for (; size > 0; size--) {
        crc ^= *bytes++;
        crc = (crc >> 4) ^ steps[crc & 15];
        crc = (crc >> 4) ^ steps[crc & 15];
    }
    return ~crc;
}

uint32_t mp_crc32c_add(uint32_t crc, const void *data, size_t size) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~add_fast(~crc, data, size);
#endif
    return mp_crc32c_add_plain(crc, data, size);
}
