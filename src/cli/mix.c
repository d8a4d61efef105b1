/* Reading a mix. */
#include "cli/mix.h"

#include "cli/args.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[MP_OPERATIONS + 1] = {"get", "set", "delete", "exists", "scan"};

const char *mp_mix_name(mp_operation operation) { return names[operation]; }

static int find_operation(const char *name) {
    if (strcmp(name, "del") == 0) return MP_OPERATION_DELETE;
    for (int i = 0; i < MP_OPERATIONS; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

static void refuse_name(const char *name, char *why, size_t size) {
    const char *similar = mp_args_find_similar(name, names);
    if (similar)
        (void)snprintf(why, size, "there is no operation '%s'; did you mean %s?", name, similar);
    else
        (void)snprintf(why, size,
                       "there is no operation '%s': there are get, set, delete, exists, "
                       "scan",
                       name);
}

/* One "name=share". False: why says what is wrong. */
static bool parse_share(char *part, mp_mix *mix, char *why, size_t size) {
    char *equals = strchr(part, '=');
    if (equals) *equals = '\0';
    int operation = find_operation(part);
    if (operation < 0) {
        refuse_name(part, why, size);
        return false;
    }
    char *end = equals;
    long share = equals ? strtol(equals + 1, &end, 10) : 0;
    if (!equals || end == equals + 1 || *end || share < 1 || share > MP_MIX_SHARE_MAX) {
        (void)snprintf(why, size, "'%s%s%s' must give a share from 1 to %d, as in %s=80", part,
                       equals ? "=" : "", equals ? equals + 1 : "", MP_MIX_SHARE_MAX, part);
        return false;
    }
    if (mix->shares[operation]) {
        (void)snprintf(why, size, "'%s' stands twice", part);
        return false;
    }
    mix->shares[operation] = (uint32_t)share;
    mix->total += (uint32_t)share;
    return true;
}

const char *mp_mix_parse(const char *text, mp_mix *out, char *why, size_t why_size) {
    char copy[256];
    mp_mix mix = {0};
    if (strlen(text) >= sizeof copy || !*text) {
        (void)snprintf(why, why_size, "write operations and their shares, as in get=80,set=20");
        return why;
    }
    (void)snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    for (char *part = strsep(&rest, ","); part; part = strsep(&rest, ","))
        if (!parse_share(part, &mix, why, why_size)) return why;
    *out = mix;
    return NULL;
}
