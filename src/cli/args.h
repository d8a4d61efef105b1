/* Reading a command's arguments by a table of its options, and writing its --help from the same
 * table. What is wrong is said on standard error: what, where, and what would be right. */
#ifndef MP_CLI_ARGS_H
#define MP_CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>

enum { MP_EXIT_OK = 0, MP_EXIT_FAILED = 1, MP_EXIT_USAGE = 2 };

/* One command of the program. Its run() answers the exit code. */
typedef struct mp_command {
    const char *name;
    const char *summary; /* one line of mantispool --help */
    int (*run)(const struct mp_command *command, int argc, char **argv);
} mp_command;

extern const mp_command mp_command_bench, mp_command_kv, mp_command_version;

typedef enum mp_option_kind { MP_OPTION_FLAG = 0, MP_OPTION_NUMBER, MP_OPTION_TEXT } mp_option_kind;

typedef struct mp_option {
    const char *name;  /* without its dashes */
    const char *value; /* what --help calls its value: "N"; NULL for a flag */
    mp_option_kind kind;
    void *target;     /* bool *, int64_t * or const char **, which holds the default */
    int64_t min, max; /* of a number */
    const char *meaning;
} mp_option;

#define MP_OPERANDS_MAX 4

typedef struct mp_args {
    const mp_command *command;
    const char *usage;   /* what follows the command's name */
    const char *details; /* the end of its --help */
    const mp_option *options;
    size_t options_count;
    size_t operands_max;
    const char *operands[MP_OPERANDS_MAX]; /* what is no option, in order */
    size_t operands_count;
} mp_args;

/* Read the arguments behind the command's name. Answers -1 to go on, or the exit code: help was
 * asked for and given, or an argument is wrong. */
int mp_args_parse(mp_args *args, int argc, char **argv);

/* Say "mantispool COMMAND: …" on standard error, and answer MP_EXIT_USAGE. */
__attribute__((format(printf, 2, 3))) int mp_args_refuse(const mp_command *command,
                                                         const char *format, ...);

/* The name that a misspelt word most likely means, or NULL. names ends with NULL. */
const char *mp_args_find_similar(const char *word, const char *const *names);

#endif
