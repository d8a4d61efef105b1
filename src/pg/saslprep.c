/* SASLprep: map, normalize to NFKC, refuse what is prohibited (RFC 3454, 4013; Unicode's annex 15).
 *
 * As in PostgreSQL a character is judged as it was before it was normalized. */
#include "pg/saslprep.h"

#include "pg/crypto.h"

#include <stdint.h>
#include <stdlib.h>

/* What RFC 3454 says of a character. tools/saslprep-tables has the same order. */
enum {
    KIND_SPACE = 1,   /* C.1.2: becomes a blank */
    KIND_NOTHING = 2, /* B.1: is left out */
    KIND_PROHIBITED = 4,
    KIND_RIGHT_TO_LEFT = 8,
    KIND_LEFT_TO_RIGHT = 16
};

typedef struct range {
    uint32_t first, last;
    uint32_t value;
} range;

typedef struct decomposition {
    uint32_t code;
    uint16_t pieces_at;
    uint16_t count;
} decomposition;

typedef struct composition {
    uint32_t first, second, whole;
} composition;

#include "pg/saslprep_tables.h"

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* Hangul is composed by arithmetic (Unicode, 3.12). */
enum {
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    S_BASE = 0xac00,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    S_COUNT = L_COUNT * V_COUNT * T_COUNT
};

/* A text as characters. */
typedef struct codes {
    uint32_t *data;
    size_t count, room;
} codes;

static void finish(codes *text) {
    if (text->data) mp_crypto_wipe(text->data, text->room * sizeof *text->data);
    free(text->data);
}

/* Have room for as many. False: no memory. Not by realloc, which leaves the old text behind. */
static bool reserve(codes *text, size_t room) {
    uint32_t *data = malloc(room * sizeof *data);
    if (!data) return false;
    if (text->count) memcpy(data, text->data, text->count * sizeof *data);
    finish(text);
    text->data = data;
    text->room = room;
    return true;
}

static bool add(codes *text, uint32_t code) {
    if (text->count == text->room && !reserve(text, 2 * text->room + 64)) return false;
    text->data[text->count++] = code;
    return true;
}

/* ---- UTF-8 ---- */

/* The character at the place, which is stepped over; or UINT32_MAX if there is none. */
static uint32_t read_code(const uint8_t **at, const uint8_t *end) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *c = *at;
    size_t size = c[0] < 0x80   ? 1
                  : c[0] < 0xc0 ? 0
                  : c[0] < 0xe0 ? 2
                  : c[0] < 0xf0 ? 3
                  : c[0] < 0xf8 ? 4
                                : 0;
    if (size == 0 || (size_t)(end - c) < size) return UINT32_MAX;
    uint32_t code = size == 1 ? c[0] : c[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((c[i] & 0xc0) != 0x80) return UINT32_MAX;
        code = code << 6 | (c[i] & 0x3fu);
    }
    bool is_surrogate = code >= 0xd800 && code < 0xe000;
    if (code < least[size] || code > 0x10ffff || is_surrogate) return UINT32_MAX;
    *at = c + size;
    return code;
}

static size_t write_code(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> size & 0xf0) | code);
    return size;
}

/* ---- tables ---- */

static uint32_t look_up(const range *table, size_t count, uint32_t code) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code < table[middle].first) high = middle;
        else if (code > table[middle].last) low = middle + 1;
        else return table[middle].value;
    }
    return 0;
}

static uint32_t kind_of(uint32_t code) { return look_up(kinds, COUNT(kinds), code); }

/* The canonical combining class. */
static uint32_t class_of(uint32_t code) { return look_up(classes, COUNT(classes), code); }

static const decomposition *decomposition_of(uint32_t code) {
    size_t low = 0, high = COUNT(decompositions);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code < decompositions[middle].code) high = middle;
        else if (code > decompositions[middle].code) low = middle + 1;
        else return &decompositions[middle];
    }
    return NULL;
}

/* What two characters make together; 0: nothing. */
static uint32_t compose_two(uint32_t first, uint32_t second) {
    uint32_t l = first - L_BASE, v = second - V_BASE, s = first - S_BASE, t = second - T_BASE;
    if (l < L_COUNT && v < V_COUNT) return S_BASE + (l * V_COUNT + v) * T_COUNT;
    if (s < S_COUNT && s % T_COUNT == 0 && t > 0 && t < T_COUNT) return first + t;
    size_t low = 0, high = COUNT(compositions);
    while (low < high) {
        size_t middle = (low + high) / 2;
        const composition *row = &compositions[middle];
        if (first < row->first || (first == row->first && second < row->second)) high = middle;
        else if (first > row->first || second > row->second) low = middle + 1;
        else return row->whole;
    }
    return 0;
}

/* ---- the steps ---- */

#define CLASS_SHIFT 24
#define CLASS(code) ((code) >> CLASS_SHIFT)
#define CODE(code) ((code) & ((1u << CLASS_SHIFT) - 1))

/* Read UTF-8 and map it, into as much room as it has bytes. False: it cannot be prepared. */
static bool map(mp_view password, codes *out) {
    const uint8_t *at = (const uint8_t *)password.data, *end = at + password.size;
    while (at < end) {
        uint32_t code = read_code(&at, end);
        if (code == UINT32_MAX) return false;
        uint32_t kind = kind_of(code);
        if (kind & KIND_SPACE) out->data[out->count++] = ' ';
        else if (!(kind & KIND_NOTHING)) out->data[out->count++] = code;
    }
    return out->count > 0;
}

static bool is_prohibited(const codes *text) {
    uint32_t all = 0;
    for (size_t i = 0; i < text->count; i++) all |= kind_of(text->data[i]);
    if (all & KIND_PROHIBITED) return true;
    if (!(all & KIND_RIGHT_TO_LEFT)) return false;
    bool both_ends = kind_of(text->data[0]) & kind_of(text->data[text->count - 1]) &
                     KIND_RIGHT_TO_LEFT;
    return (all & KIND_LEFT_TO_RIGHT) || !both_ends;
}

static bool add_decomposed(codes *out, uint32_t code) {
    uint32_t s = code - S_BASE;
    if (s < S_COUNT) {
        bool is_added = add(out, L_BASE + s / (V_COUNT * T_COUNT)) &&
                        add(out, V_BASE + s / T_COUNT % V_COUNT);
        return is_added && (s % T_COUNT == 0 || add(out, T_BASE + s % T_COUNT));
    }
    const decomposition *found = decomposition_of(code);
    if (!found) return add(out, code);
    for (size_t i = 0; i < found->count; i++)
        if (!add(out, pieces[found->pieces_at + i])) return false;
    return true;
}

/* Marks that follow a letter come into the order of their classes; the class stands above the
 * character from here on, so that it is looked up once. */
static void order(codes *text) {
    for (size_t i = 0; i < text->count; i++) {
        uint32_t code = text->data[i], class = class_of(code);
        size_t place = i;
        for (; class && place > 0 && CLASS(text->data[place - 1]) > class; place--)
            text->data[place] = text->data[place - 1];
        text->data[place] = class << CLASS_SHIFT | code;
    }
}

/* Each mark is joined with the letter before it, if they make another, and nothing that was kept
 * between them stands in the way: a letter, or a mark of the same class or a higher one. */
static void compose(codes *text) {
    size_t count = 0, letter = SIZE_MAX;
    uint32_t class_before = 0; /* of what was kept last */
    for (size_t i = 0; i < text->count; i++) {
        uint32_t code = CODE(text->data[i]), class = CLASS(text->data[i]), whole = 0;
        bool is_free = letter + 1 == count || (class_before && class_before < class);
        if (letter != SIZE_MAX && is_free) whole = compose_two(text->data[letter], code);
        if (whole) {
            text->data[letter] = whole;
            continue;
        }
        if (class == 0) letter = count;
        class_before = class;
        text->data[count++] = code;
    }
    text->count = count;
}

static bool copy(mp_saslprep *out, mp_view text) {
    out->data = malloc(text.size + 1);
    if (!out->data) return false;
    if (text.size) memcpy(out->data, text.data, text.size);
    out->size = text.size;
    return true;
}

static bool write_codes(mp_saslprep *out, const codes *text) {
    out->data = malloc(4 * text->count + 1);
    if (!out->data) return false;
    for (size_t i = 0; i < text->count; i++)
        out->size += write_code(text->data[i], out->data + out->size);
    return true;
}

static bool normalize(const codes *mapped, mp_saslprep *out) {
    codes text = {0};
    bool is_done = true;
    for (size_t i = 0; is_done && i < mapped->count; i++)
        is_done = add_decomposed(&text, mapped->data[i]);
    if (is_done) {
        order(&text);
        compose(&text);
        is_done = write_codes(out, &text);
    }
    finish(&text);
    return is_done;
}

static bool is_ascii(mp_view text) {
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] & 0x80) return false;
    return true;
}

bool mp_saslprep_init(mp_saslprep *prepared, mp_view password) {
    *prepared = (mp_saslprep){0};
    if (is_ascii(password)) return copy(prepared, password);
    codes mapped = {0};
    if (!reserve(&mapped, password.size)) return false;
    bool is_prepared = map(password, &mapped) && !is_prohibited(&mapped);
    bool is_done = is_prepared ? normalize(&mapped, prepared) : copy(prepared, password);
    finish(&mapped);
    return is_done;
}

void mp_saslprep_finish(mp_saslprep *prepared) {
    if (prepared->data) mp_crypto_wipe(prepared->data, prepared->size);
    free(prepared->data);
    *prepared = (mp_saslprep){0};
}
