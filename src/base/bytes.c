/* Text and numbers as bytes. */
#include "base/bytes.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mp_text_add_list(mp_text *text, const char *format, va_list args) {
    size_t room = text->length < text->size ? text->size - text->length : 0;
    int wanted = vsnprintf(room ? text->data + text->length : NULL, room, format, args);
    if (wanted > 0) text->length += (size_t)wanted;
}

void mp_text_add(mp_text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    mp_text_add_list(text, format, args);
    va_end(args);
}

void mp_text_add_time(mp_text *text, int64_t ns) {
    if (ns < 10 * MP_NS_PER_US) mp_text_add(text, "%lld ns", (long long)ns);
    else if (ns < 10 * MP_NS_PER_MS) mp_text_add(text, "%lld us", (long long)(ns / MP_NS_PER_US));
    else if (ns < 10 * MP_NS_PER_S) mp_text_add(text, "%lld ms", (long long)(ns / MP_NS_PER_MS));
    else mp_text_add(text, "%.1f s", (double)ns / (double)MP_NS_PER_S);
}

void mp_text_add_json(mp_text *text, const char *string) {
    mp_text_add(text, "\"");
    for (const unsigned char *c = (const unsigned char *)string; *c; c++) {
        if (*c == '"' || *c == '\\') mp_text_add(text, "\\%c", *c);
        else if (*c < 0x20) mp_text_add(text, "\\u%04x", *c);
        else mp_text_add(text, "%c", *c);
    }
    mp_text_add(text, "\"");
}

char *mp_bytes_copy_string(const char *string) { return string ? strdup(string) : NULL; }

void mp_bytes_put_u64(unsigned char *out, uint64_t value) {
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(value >> (8 * i));
}

uint64_t mp_bytes_get_u64(const unsigned char *in) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)in[i] << (8 * i);
    return value;
}
