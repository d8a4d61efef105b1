/* Anything as SQL. */
#include "fuzz/fuzz.h"

#include "pg/sqltext.h"

/* The tokens follow one another, inside the text. */
static void look_at_tokens(mp_view sql, bool is_whole, bool standard_strings) {
    mp_sqllex lex = {.text = sql, .is_whole = is_whole, .standard_strings = standard_strings};
    const char *end = sql.data + sql.size, *before = sql.data;
    for (;;) {
        char name[MP_SQLLEX_NAME_SIZE_MAX];
        mp_sqllex_token token = mp_sqllex_next(&lex);
        if (token.kind == MP_SQLLEX_END) expect(is_whole);
        if (token.kind <= MP_SQLLEX_CUT) return;
        expect(token.text.size > 0 && token.text.data >= before);
        before = token.text.data + token.text.size;
        expect(before <= end && (is_whole || before < end));
        touch(token.text);
        expect(mp_sqllex_write_name(&token, name) <= sizeof name);
    }
}

static uint32_t list(mp_view sql, bool is_whole, bool standard_strings, mp_sqltext_statement *out,
                     uint32_t count_max) {
    mp_sqltext text;
    mp_sqltext_statement found;
    uint32_t count = 0;
    mp_sqltext_init(&text, sql, is_whole, standard_strings);
    while (mp_sqltext_next(&text, &found)) {
        expect(found.name_size <= MP_SQLTEXT_NAME_SIZE_MAX);
        touch((mp_view){found.name, found.name_size});
        if (count < count_max) out[count] = found;
        count++;
    }
    return count < count_max ? count : count_max;
}

#define STATEMENTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static mp_sqltext_statement whole[STATEMENTS_MAX], part[STATEMENTS_MAX];
    uint8_t choice = take_byte(&data, &size);
    bool standard_strings = choice & 1;
    uint8_t *copy = copy_of(data, size);
    mp_view sql = {(const char *)copy, size};
    look_at_tokens(sql, true, standard_strings);
    look_at_tokens(sql, false, standard_strings);
    uint32_t count = list(sql, true, standard_strings, whole, STATEMENTS_MAX);

    /* what is found in a beginning, and is not cut, is what is found in the whole */
    size_t begin_size = size * choice / 256;
    uint8_t *begin = copy_of(data, begin_size);
    uint32_t part_count = list((mp_view){(const char *)begin, begin_size}, false, standard_strings,
                               part, STATEMENTS_MAX);
    for (uint32_t i = 0; i < part_count && size <= MP_SQLTEXT_WINDOW; i++) {
        if (part[i].is_cut) continue;
        expect(i < count && memcmp(&part[i], &whole[i], sizeof part[i]) == 0);
    }
    free(begin);
    free(copy);
    return 0;
}
