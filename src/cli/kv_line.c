/* Lines of commands: reading them, and cutting them into words. */
#include "cli/kv.h"

#include <string.h>

char *mp_kv_cut_word(char **rest, size_t *rest_size, size_t *size) {
    char *word = *rest;
    char *space = memchr(word, ' ', *rest_size);
    *size = space ? (size_t)(space - word) : *rest_size;
    word[*size] = '\0'; /* over the space, or behind the line */
    *rest = space ? space + 1 : NULL;
    *rest_size = space ? *rest_size - *size - 1 : 0;
    return word;
}

void mp_kv_parse_line(char *line, size_t size, mp_kv_line *out) {
    size_t command_size;
    *out = (mp_kv_line){0};
    out->command = mp_kv_cut_word(&line, &size, &command_size);
    if (line) out->key = mp_kv_cut_word(&line, &size, &out->key_size);
    out->value = line;
    out->value_size = size;
}

bool mp_kv_read_line(FILE *in, char **line, size_t *room, size_t *size) {
    ssize_t length = getline(line, room, in);
    if (length < 0) return false;
    *size = (size_t)length;
    if (*size && (*line)[*size - 1] == '\n') (*line)[--*size] = '\0';
    return true;
}
