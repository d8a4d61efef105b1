/* CRC-32C (Castagnoli), as RocksDB's log files have it. */
#ifndef MP_STORE_CRC32C_H
#define MP_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what crc stands for (0: nothing yet) and these bytes. */
uint32_t mp_crc32c_add(uint32_t crc, const void *data, size_t size);

/* The same on any processor: what mp_crc32c_add() does where there is no instruction for it. */
uint32_t mp_crc32c_add_plain(uint32_t crc, const void *data, size_t size);

#endif
