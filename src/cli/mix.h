/* What a bench does, in which shares: "get=80,set=20". */
#ifndef MP_CLI_MIX_H
#define MP_CLI_MIX_H

#include <stddef.h>
#include <stdint.h>

typedef enum mp_operation {
    MP_OPERATION_GET = 0,
    MP_OPERATION_SET,
    MP_OPERATION_DELETE,
    MP_OPERATION_EXISTS,
    MP_OPERATION_SCAN,
    MP_OPERATIONS
} mp_operation;

typedef struct mp_mix {
    uint32_t shares[MP_OPERATIONS]; /* relative to each other; 0: not in the mix */
    uint32_t total;                 /* their sum */
} mp_mix;

#define MP_MIX_SHARE_MAX 1000000

/* "get", as a mix and a table name it. */
const char *mp_mix_name(mp_operation operation);

/* Read a mix. Answers NULL, or what is wrong with it in why, which is then also the answer. */
const char *mp_mix_parse(const char *text, mp_mix *out, char *why, size_t why_size);

/* The operation for a random number. */
static inline mp_operation mp_mix_find(const mp_mix *mix, uint64_t number) {
    uint64_t left = number % mix->total;
    int operation = 0;
    while (left >= mix->shares[operation]) left -= mix->shares[operation++];
    return (mp_operation)operation;
}

#endif
