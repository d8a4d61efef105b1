/* sim [--seed N] [--ops N] [--verbose]: run the simulator with one seed, or with its usual ones. */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORLD_OPS 40000 /* then another world, with other pools and limits */
#define CALM_OPS 8000
#define MOOD_OPS 1000
#define CHECK_ALL_OPS 64

typedef struct sim_options {
    uint64_t seed, ops;
    bool has_seed, is_verbose;
} sim_options;

static uint64_t run_world(sim *world, const sim_options *options, uint64_t index, uint64_t done) {
    memset(world, 0, sizeof *world);
    world->is_verbose = options->is_verbose;
    world->op = done;
    world->ops = options->ops;
    sim_world_start(world, options->seed, index);
    for (uint64_t i = 1; i <= WORLD_OPS && world->op < options->ops; i++) {
        world->op++;
        sim_step(world);
        sim_check_touched(world);
        if (i % CHECK_ALL_OPS == 0) sim_check_all(world);
        if (i % MOOD_OPS == 0) sim_new_weights(world);
        if (i % CALM_OPS == 0) sim_calm(world);
    }
    sim_world_finish(world);
    return world->op;
}

static void run(const sim_options *options, int number) {
    sim *world = calloc(1, sizeof *world);
    if (!world) abort();
    int64_t start_ns = mp_clock_now_ns();
    uint64_t done = 0, granted = 0, passed_max = 0;
    for (uint64_t index = 0; done < options->ops; index++) {
        done = run_world(world, options, index, done);
        granted += world->granted;
        if (world->passed_max > passed_max) passed_max = world->passed_max;
    }
    int64_t took_ns = mp_clock_now_ns() - start_ns;
    printf("ok %d - the_core_keeps_its_invariants_with_seed_%" PRIu64 "\n", number, options->seed);
    printf("# %" PRIu64 " operations, %" PRIu64 " grants, passed over at most %" PRIu64
           " times, %" PRId64 " operations/s\n",
           done, granted, passed_max,
           took_ns > 0 ? (int64_t)done * 1000 / (took_ns / 1000000 + 1) : 0);
    fflush(stdout);
    free(world);
}

static uint64_t parse_number(const char *text) {
    char *end = NULL;
    errno = 0;
    uint64_t value = text ? strtoull(text, &end, 10) : 0;
    if (!text || *end || end == text || errno) {
        fprintf(stderr, "sim: \"%s\" is not a number\n", text ? text : "");
        exit(2);
    }
    return value;
}

static sim_options parse(int count, char **words) {
    sim_options found = {0};
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--verbose") == 0) found.is_verbose = true;
        else if (strcmp(words[i], "--seed") == 0) {
            found.seed = parse_number(words[++i]);
            found.has_seed = true;
        } else if (strcmp(words[i], "--ops") == 0) {
            found.ops = parse_number(words[++i]);
        } else {
            fprintf(stderr, "sim [--seed N] [--ops N] [--verbose]\n");
            exit(2);
        }
    }
    return found;
}

int main(int count, char **words) {
    sim_options given = parse(count, words);
    const char *is_long = getenv("MANTIS_TEST_LONG");
    bool long_run = is_long && *is_long && strcmp(is_long, "0") != 0;
    const char *sanitizer = getenv("MANTIS_SANITIZER"); /* ten times slower */
    uint64_t usual = sanitizer && *sanitizer ? 400000 : 2000000;
    uint64_t total = given.ops ? given.ops : long_run ? usual * 50 : usual;
    if (given.has_seed) {
        printf("TAP version 13\n1..1\n");
        given.ops = total;
        run(&given, 1);
        return 0;
    }
    printf("TAP version 13\n1..4\n"); /* three seeds that stay, and one that nobody has seen */
    uint64_t fresh = (uint64_t)time(NULL) % 1000000000;
    const uint64_t seeds[4] = {1, 2, 3, fresh};
    for (int i = 0; i < 4; i++) {
        given.seed = seeds[i];
        given.ops = total / 4;
        run(&given, i + 1);
    }
    return 0;
}
