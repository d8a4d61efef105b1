/* Text into a buffer of fixed size, cut off rather than overrun, and little-endian numbers. */
#ifndef MP_BASE_BYTES_H
#define MP_BASE_BYTES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* A buffer being written. Zero-terminated after every call as long as size is not 0. */
typedef struct mp_text {
    char *data;
    size_t size;   /* of data */
    size_t length; /* wanted so far, also what did not fit */
} mp_text;

/* Append, as printf does. */
__attribute__((format(printf, 2, 3))) void mp_text_add(mp_text *text, const char *format, ...);

/* The same with the arguments as a list. */
__attribute__((format(printf, 2, 0))) void mp_text_add_list(mp_text *text, const char *format,
                                                            va_list args);

/* A length of time for a person: "250 ms", "12.4 s", "850 ns". */
void mp_text_add_time(mp_text *text, int64_t ns);

/* A JSON string with its quotes, everything escaped that must be. */
void mp_text_add_json(mp_text *text, const char *string);

/* A copy of a string on the heap, or NULL if memory is out; NULL stays NULL.
 * Owner   the caller frees it. */
char *mp_bytes_copy_string(const char *string);

void mp_bytes_put_u64(unsigned char *out, uint64_t value);
uint64_t mp_bytes_get_u64(const unsigned char *in);

#endif
