/* Options, operands, help, and what to say when they are wrong. */
#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GO_ON (-1)
#define OPTIONS_MAX 16
#define WORD_MAX 24 /* longer words are not misspelt, they are something else */
#define MISTAKES_MAX 2

int mp_args_refuse(const mp_command *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "mantispool %s: ", command->name);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\nTry 'mantispool %s --help'.\n", command->name);
    va_end(args);
    return MP_EXIT_USAGE;
}

/* ---- similar words ---- */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* How many letters must be added, left out or changed to make one word of the other
 * (V. Levenshtein, 1966). */
static size_t count_mistakes(const char *word, const char *other) {
    size_t length = strlen(other);
    size_t row[WORD_MAX + 1];
    if (strlen(word) > WORD_MAX || length > WORD_MAX) return MISTAKES_MAX + 1;
    for (size_t i = 0; i <= length; i++) row[i] = i;
    for (size_t w = 0; word[w]; w++) {
        size_t diagonal = row[0];
        row[0] = w + 1;
        for (size_t i = 0; i < length; i++) {
            size_t changed = diagonal + (word[w] != other[i]);
            diagonal = row[i + 1];
            row[i + 1] = least(changed, least(row[i], diagonal) + 1);
        }
    }
    return row[length];
}

const char *mp_args_find_similar(const char *word, const char *const *names) {
    const char *best = NULL;
    size_t best_mistakes = MISTAKES_MAX + 1;
    for (; *names; names++) {
        size_t mistakes = count_mistakes(word, *names);
        if (mistakes >= best_mistakes || mistakes >= strlen(*names)) continue;
        best = *names;
        best_mistakes = mistakes;
    }
    return best;
}

/* ---- options ---- */

static int refuse_option(const mp_args *args, const char *name) {
    const char *names[OPTIONS_MAX + 2] = {"help"};
    for (size_t i = 0; i < args->options_count && i < OPTIONS_MAX; i++)
        names[i + 1] = args->options[i].name;
    const char *similar = mp_args_find_similar(name, names);
    if (!similar) return mp_args_refuse(args->command, "there is no option --%s", name);
    return mp_args_refuse(args->command, "there is no option --%s; did you mean --%s?", name,
                          similar);
}

static const mp_option *find_option(const mp_args *args, const char *name) {
    for (size_t i = 0; i < args->options_count; i++)
        if (strcmp(args->options[i].name, name) == 0) return &args->options[i];
    return NULL;
}

static int parse_number(const mp_args *args, const mp_option *option, const char *value) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || errno || number < option->min || number > option->max)
        return mp_args_refuse(
            args->command, "--%s is '%s': it must be a whole number from %" PRId64 " to %" PRId64,
            option->name, value, option->min, option->max);
    *(int64_t *)option->target = number;
    return GO_ON;
}

static int parse_value(const mp_args *args, const mp_option *option, const char *value) {
    if (option->kind == MP_OPTION_NUMBER) return parse_number(args, option, value);
    *(const char **)option->target = value;
    return GO_ON;
}

/* One option: "--name value" or "--name=value". *index stays on its last word. */
static int parse_option(const mp_args *args, int argc, char **argv, int *index) {
    char name[64];
    const char *word = argv[*index] + 2;
    size_t length = strcspn(word, "=");
    (void)snprintf(name, sizeof name, "%.*s", (int)least(length, sizeof name - 1), word);
    const mp_option *option = find_option(args, name);
    if (!option) return refuse_option(args, name);
    const char *value = word[length] ? word + length + 1 : NULL;
    if (option->kind == MP_OPTION_FLAG) {
        if (value) return mp_args_refuse(args->command, "--%s takes no value", name);
        *(bool *)option->target = true;
        return GO_ON;
    }
    if (!value && *index + 1 < argc) value = argv[++*index];
    if (!value)
        return mp_args_refuse(args->command, "--%s needs a value: --%s %s", name, name,
                              option->value);
    return parse_value(args, option, value);
}

/* ---- help ---- */

static void write_default(const mp_option *option) {
    if (option->kind == MP_OPTION_NUMBER)
        (void)printf(" (%" PRId64 ")", *(const int64_t *)option->target);
    const char *text = option->kind == MP_OPTION_TEXT ? *(const char **)option->target : NULL;
    if (text) (void)printf(" (%s)", text);
}

static int write_help(const mp_args *args) {
    (void)printf("Usage: mantispool %s%s%s\n%s.\n\nOptions (and their defaults):\n",
                 args->command->name, *args->usage ? " " : "", args->usage, args->command->summary);
    for (size_t i = 0; i < args->options_count; i++) {
        const mp_option *option = &args->options[i];
        char left[40];
        (void)snprintf(left, sizeof left, "--%s%s%s", option->name, option->value ? " " : "",
                       option->value ? option->value : "");
        (void)printf("  %-20s  %s", left, option->meaning);
        write_default(option);
        (void)printf("\n");
    }
    (void)printf("  %-20s  show this\n\n%s", "-h, --help", args->details);
    return MP_EXIT_OK;
}

int mp_args_parse(mp_args *args, int argc, char **argv) {
    bool is_operand = false; /* behind "--" everything is */
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!is_operand && strcmp(word, "--") == 0) {
            is_operand = true;
        } else if (!is_operand && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            return write_help(args);
        } else if (!is_operand && strncmp(word, "--", 2) == 0) {
            int code = parse_option(args, argc, argv, &i);
            if (code != GO_ON) return code;
        } else if (args->operands_count == args->operands_max) {
            return mp_args_refuse(args->command, "'%s' is one argument too many: mantispool %s %s",
                                  word, args->command->name, args->usage);
        } else {
            args->operands[args->operands_count++] = word;
        }
    }
    return GO_ON;
}
