/* explore: run every scenario under many schedules, each scenario in a process of its own.
 *
 *     explore [--scenario WORD] [--schedules N] [--preemptions N] [--trace]
 *     explore --scenario NAME --schedule 17:2,34:1      that one schedule again
 *     explore --scenario NAME --seed 4711 [--stores]    that one random run again
 *     explore --list */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SCENARIOS_MAX 64
#define JOBS 2
#define SECONDS_MAX 600u

static struct {
    const ex_scenario *scenarios[SCENARIOS_MAX];
    size_t count;
    ex_result *results; /* shared with the children */
    pid_t children[SCENARIOS_MAX];
    bool has_failed[SCENARIOS_MAX];
    const char *word, *schedule, *seed;
    uint32_t schedules, preemptions;
    bool delays_stores, lists;
} run = {.preemptions = 3};

static void add_scenarios(const ex_scenario *scenarios, size_t count) {
    for (size_t i = 0; i < count && run.count < SCENARIOS_MAX; i++)
        if (!run.word || strstr(scenarios[i].name, run.word))
            run.scenarios[run.count++] = &scenarios[i];
}

static bool is_long(void) {
    const char *value = getenv("MANTIS_TEST_LONG");
    return value && *value && strcmp(value, "0") != 0;
}

static void usage(void) {
    fprintf(stderr, "usage: explore [--scenario WORD] [--schedules N] [--preemptions N] [--list]\n"
                    "       explore --scenario NAME --schedule STEP:THREAD,... [--trace]\n"
                    "       explore --scenario NAME --seed N [--stores] [--trace]\n");
    exit(2);
}

static uint32_t number(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value > 100000000) usage();
    return (uint32_t)value;
}

static bool read_switch_word(const char *option) {
    if (strcmp(option, "--list") == 0) return run.lists = true;
    if (strcmp(option, "--stores") == 0) return run.delays_stores = true;
    if (strcmp(option, "--trace") == 0) return ex_prints_trace = true;
    return false;
}

static void read_options(int count, char **words) {
    run.schedules = is_long() ? 300000 : 40000;
    for (int i = 1; i < count; i++) {
        const char *option = words[i];
        if (read_switch_word(option)) continue;
        if (i + 1 == count) usage();
        const char *value = words[++i];
        if (strcmp(option, "--scenario") == 0) run.word = value;
        else if (strcmp(option, "--schedule") == 0) run.schedule = value;
        else if (strcmp(option, "--seed") == 0) run.seed = value;
        else if (strcmp(option, "--schedules") == 0) run.schedules = number(value);
        else if (strcmp(option, "--preemptions") == 0) run.preemptions = number(value);
        else usage();
    }
}

/* ---- one schedule again ---- */

static ex_plan read_plan(const char *text) {
    ex_plan plan = {0};
    if (strcmp(text, "none") == 0) return plan;
    while (*text) {
        char *end;
        if (plan.count == EX_SWITCHES_MAX) usage();
        ex_switch *at = &plan.switches[plan.count++];
        at->step = (uint16_t)strtoul(text, &end, 10);
        if (*end != ':') usage();
        at->thread = (uint8_t)strtoul(end + 1, &end, 10);
        if (at->thread < 1 || at->thread > EX_THREADS_MAX) usage();
        at->timed = *end == 'T';
        text = end + at->timed;
        if (*text == ',') text++;
        else if (*text) usage();
    }
    return plan;
}

static int replay(void) {
    if (run.count != 1) usage();
    ex_warm_up(run.scenarios[0]);
    ex_plan plan = run.schedule ? read_plan(run.schedule) : (ex_plan){0};
    if (run.schedule) ex_run_plan(run.scenarios[0], &plan);
    else ex_run_random(run.scenarios[0], strtoull(run.seed, NULL, 10), run.delays_stores);
    if (ex_prints_trace) ex_print_trace();
    printf("ok 1 - %s\n1..1\n", run.scenarios[0]->name);
    return 0;
}

/* ---- all of them ---- */

static void silence(void) {
    if (!freopen("/dev/null", "w", stdout)) _exit(3);
}

static void start_child(size_t i) {
    fflush(stdout);
    run.children[i] = fork();
    if (run.children[i] != 0) return;
    const ex_scenario *scenario = run.scenarios[i];
    if (scenario->has_planted_fault && !ex_prints_trace) silence();
    alarm(SECONDS_MAX);
    ex_budget budget = {.planned = run.schedules * 3 / 4,
                        .random = run.schedules / 4,
                        .preemptions_max = run.preemptions,
                        .seed = 1};
    ex_search(scenario, &budget, &run.results[i]);
    fflush(stdout);
    _exit(0);
}

static void on_child_end(pid_t child, int status) {
    for (size_t i = 0; i < run.count; i++) {
        if (run.children[i] != child) continue;
        bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        bool found = WIFEXITED(status) && WEXITSTATUS(status) == 1;
        run.has_failed[i] = run.scenarios[i]->has_planted_fault ? !found : failed;
        if (WIFSIGNALED(status))
            printf("# %s: signal %d after %llu schedules\n", run.scenarios[i]->name,
                   WTERMSIG(status), (unsigned long long)run.results[i].planned);
    }
}

static void run_children(void) {
    size_t started = 0, running = 0;
    while (started < run.count || running > 0) {
        if (started < run.count && running < JOBS) {
            start_child(started++);
            running++;
            continue;
        }
        int status;
        pid_t child = wait(&status);
        if (child < 0) exit(3);
        on_child_end(child, status);
        running--;
    }
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int report(double took_s) {
    int failed = 0;
    uint64_t all = 0;
    for (size_t i = 0; i < run.count; i++) {
        const ex_result *result = &run.results[i];
        all += result->planned + result->random;
        failed += run.has_failed[i];
        printf("# %llu planned%s, %llu random\n", (unsigned long long)result->planned,
               result->is_exhausted ? " (all)" : "", (unsigned long long)result->random);
        printf("%sok %zu - %s\n", run.has_failed[i] ? "not " : "", i + 1, run.scenarios[i]->name);
    }
    printf("# %llu schedules, %.0f a second\n1..%zu\n", (unsigned long long)all,
           (double)all / took_s, run.count);
    return failed || run.count == 0;
}

int main(int count, char **words) {
    read_options(count, words);
    add_scenarios(ex_toy_scenarios, ex_toy_scenarios_count);
    add_scenarios(ex_core_scenarios, ex_core_scenarios_count);
    add_scenarios(ex_change_scenarios, ex_change_scenarios_count);
    if (run.lists) {
        for (size_t i = 0; i < run.count; i++) printf("%s\n", run.scenarios[i]->name);
        return 0;
    }
    if (run.schedule || run.seed) return replay();
    size_t size = SCENARIOS_MAX * sizeof *run.results;
    run.results = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.results == MAP_FAILED) return 3;
    double from_s = seconds();
    run_children();
    return report(seconds() - from_s);
}
