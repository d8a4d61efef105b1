/* Building and comparing messages for the tests of src/pg. Include after lib/tap.h. */
#ifndef MP_TESTS_PG_BYTES_H
#define MP_TESTS_PG_BYTES_H

#include "pg/wire.h"

/* A view of a literal, which may hold zero bytes. */
#define BYTES(literal) ((mp_view){literal, sizeof literal - 1})

#define BUFFER_SIZE 65536u

/* A buffer to write messages into. */
typedef struct sheet {
    uint8_t data[BUFFER_SIZE];
    mp_wire_out out;
} sheet;

__attribute__((unused)) static mp_wire_out *start(sheet *buffer) {
    buffer->out = (mp_wire_out){.data = buffer->data, .size = sizeof buffer->data};
    return &buffer->out;
}

__attribute__((unused)) static mp_view written(const sheet *buffer) {
    return (mp_view){(const char *)buffer->data, buffer->out.length};
}

/* The message that stands alone in some bytes. */
__attribute__((unused)) static mp_message message_of(mp_view bytes) {
    check(bytes.size >= MP_WIRE_HEAD);
    const uint8_t *data = (const uint8_t *)bytes.data;
    uint32_t size = (uint32_t)(bytes.size - MP_WIRE_HEAD);
    check_equal(mp_wire_get_u32(data + 1), size + 4);
    return (mp_message){data + MP_WIRE_HEAD, size, size, data[0]};
}

/* The same as a copy on the heap of just that size, so that AddressSanitizer sees a read beyond it.
 * have: how much of its body is there. The caller frees what *copy is set to. */
__attribute__((unused)) static mp_message cut_message(mp_view bytes, uint32_t have,
                                                      uint8_t **copy) {
    mp_message message = message_of(bytes);
    *copy = malloc(have ? have : 1);
    check(*copy != NULL);
    memcpy(*copy, message.body, have);
    message.body = *copy;
    message.have = have;
    return message;
}

#define check_view(view, string) check_same(__FILE__, __LINE__, #view, (view), mp_view_of(string))
#define check_bytes(view, literal) check_same(__FILE__, __LINE__, #view, (view), BYTES(literal))

__attribute__((unused)) static void check_same(const char *file, int line, const char *what,
                                               mp_view found, mp_view wanted) {
    if (found.data && found.size == wanted.size && memcmp(found.data, wanted.data, found.size) == 0)
        return;
    printf("# %s is %zu bytes, wanted are %zu:", what, found.size, wanted.size);
    for (size_t i = 0; found.data && i < found.size && i < 200; i++) {
        char c = found.data[i];
        if (c >= ' ' && c <= '~') printf("%c", c);
        else printf("\\x%02x", (uint8_t)c);
    }
    tap_fail(file, line, "as wanted");
}

#endif
