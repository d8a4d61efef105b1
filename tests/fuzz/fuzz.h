/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(); it is linked
 * either with libFuzzer (fuzz.py) or with replay.c, which runs the corpus and needs no fuzzer. What
 * must hold of any input stands in expect(). */
#ifndef MP_TESTS_FUZZ_FUZZ_H
#define MP_TESTS_FUZZ_FUZZ_H

#include "pg/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define expect(condition)                                                                          \
    ((condition)                                                                                   \
         ? (void)0                                                                                 \
         : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), abort()))

/* A copy on the heap of just this size, so that AddressSanitizer sees every byte too far. The
 * caller frees it. */
__attribute__((unused)) static uint8_t *copy_of(const void *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    expect(copy != NULL);
    if (size) memcpy(copy, data, size);
    return copy;
}

/* The first byte of an input, which chooses what is done with the rest; 0 of an empty one. */
__attribute__((unused)) static uint8_t take_byte(const uint8_t **data, size_t *size) {
    if (*size == 0) return 0;
    --*size;
    return *(*data)++;
}

/* Touch every byte of a view, so that a sanitizer looks at it. */
__attribute__((unused)) static uint32_t touch(mp_view view) {
    uint32_t sum = 0;
    for (size_t i = 0; i < view.size; i++) sum += (uint8_t)view.data[i];
    __asm__ volatile("" : : "r"(sum));
    return sum;
}

#endif
