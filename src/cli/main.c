/* mantispool: the program. Each command is a file of its own; this one finds it. */
#include "cli/args.h"

#include <stdio.h>
#include <string.h>

static const mp_command *const commands[] = {
    &mp_command_bench,
    &mp_command_kv,
    &mp_command_version,
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void write_help(FILE *out) {
    (void)fprintf(out, "Usage: mantispool COMMAND [options]\n"
                       "A pool of connections, and the key-value store that comes with it.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    (void)fprintf(out, "\n'mantispool COMMAND --help' says more. Exit codes: 0 done, 1 failed, "
                       "2 wrong arguments.\n"
                       "Start with: mantispool bench\n");
}

static const mp_command *find_command(const char *name) {
    if (strcmp(name, "--version") == 0) name = "version";
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int refuse_command(const char *name) {
    const char *names[COMMANDS + 2] = {"help"};
    for (size_t i = 0; i < COMMANDS; i++) names[i + 1] = commands[i]->name;
    const char *similar = mp_args_find_similar(name, names);
    (void)fprintf(stderr, "mantispool: there is no command '%s'%s%s%s\n", name,
                  similar ? "; did you mean " : ". Try 'mantispool --help'.",
                  similar ? similar : "", similar ? "?" : "");
    return MP_EXIT_USAGE;
}

static int run_help(int argc, char **argv) {
    const mp_command *command = argc > 0 ? find_command(argv[0]) : NULL;
    if (argc > 0 && !command) return refuse_command(argv[0]);
    char *help[] = {"--help", NULL};
    if (command) return command->run(command, 1, help);
    write_help(stdout);
    return MP_EXIT_OK;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        write_help(stderr);
        return MP_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return run_help(argc - 2, argv + 2);
    const mp_command *command = find_command(name);
    return command ? command->run(command, argc - 2, argv + 2) : refuse_command(name);
}
