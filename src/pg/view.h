/* A run of bytes that belongs to somebody else: a string of a message without its terminator, a
 * word of a statement. A zeroed one is no string at all, which is not the same as an empty one. */
#ifndef MP_PG_VIEW_H
#define MP_PG_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct mp_view {
    const char *data; /* NULL: not there */
    size_t size;
} mp_view;

/* For %.*s of short texts that go to people: at most 128 bytes of them. */
#define MP_VIEW_ARGS(view) (int)((view).size > 128 ? 128 : (view).size), (view).data

static inline mp_view mp_view_of(const char *string) {
    return (mp_view){string, string ? strlen(string) : 0};
}

/* The same bytes? Not for secrets: it takes less time the earlier they differ. */
static inline bool mp_view_is(mp_view view, const char *string) {
    size_t size = strlen(string);
    return view.data && view.size == size && memcmp(view.data, string, size) == 0;
}

static inline bool mp_view_begins(mp_view view, const char *string) {
    size_t size = strlen(string);
    return view.data && view.size >= size && memcmp(view.data, string, size) == 0;
}

#endif
