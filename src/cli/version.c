/* mantispool version: which version this is, and what is built in. */
#include "cli/args.h"
#include "connectors/dsn.h"

#include <mantis/status.h>
#include <stdio.h>

static int run_version(const mp_command *command, int argc, char **argv) {
    mp_args args = {.command = command, .usage = "", .details = ""};
    int code = mp_args_parse(&args, argc, argv);
    if (code >= 0) return code;
    (void)printf("mantispool %s\n", mantis_version());
    for (const mp_dsn_scheme *scheme = mp_dsn_schemes; scheme->name; scheme++)
        if (scheme->connector)
            (void)printf("%s: %s (%s)\n", scheme->name, scheme->version, scheme->forms);
    (void)printf("compiler: %s %s\n",
#ifdef __clang__
                 "clang",
#else
                 "gcc",
#endif
                 __VERSION__);
    return MP_EXIT_OK;
}

const mp_command mp_command_version = {
    .name = "version",
    .summary = "Say which version this is and what is built in (also --version)",
    .run = run_version,
};
