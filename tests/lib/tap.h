/* A small test harness. Each test runs in a process of its own with a time limit, so one that
 * hangs, crashes or leaks is reported and the rest goes on. Output is TAP.
 *
 *     #include "lib/tap.h"
 *     TEST(s4_a_second_release_answers_stale) { check(mantis_conn_release(&copy) != MANTIS_OK); }
 *     TAP_MAIN
 *
 * `program` runs all; `program WORD…` those whose name contains a word; `--no-fork` stays in this
 * process (for a debugger). A test name is a sentence, and begins with its property if it has
 * one. */
#ifndef MP_TESTS_LIB_TAP_H
#define MP_TESTS_LIB_TAP_H

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAP_TESTS_MAX 256
#define TAP_SECONDS_MAX 60u /* one test; times 4 with MANTIS_TEST_LONG */

typedef struct tap_test {
    const char *name;
    void (*run)(void);
} tap_test;

static tap_test tap_tests[TAP_TESTS_MAX];
static int tap_count;

__attribute__((unused)) static void tap_add(const char *name, void (*run)(void)) {
    if (tap_count == TAP_TESTS_MAX) abort();
    tap_tests[tap_count++] = (tap_test){name, run};
}

/* Declare and register one test. */
#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void tap_register_##name(void) { tap_add(#name, name); }   \
    static void name(void)

/* The condition must hold; otherwise the test has failed and ends here. Any thread. */
#define check(condition) ((condition) ? (void)0 : tap_fail(__FILE__, __LINE__, "%s", #condition))

/* Two numbers must be equal; says both if they are not. */
#define check_equal(left, right)                                                                   \
    tap_check_equal(__FILE__, __LINE__, #left " == " #right, (int64_t)(left), (int64_t)(right))

/* The text must contain the word; says the text if it does not. */
#define check_contains(text, word)                                                                 \
    (strstr((text), (word))                                                                        \
         ? (void)0                                                                                 \
         : tap_fail(__FILE__, __LINE__, "\"%s\" contains \"%s\"", (text), (word)))

#define tap_fail(file, line, ...)                                                                  \
    do_tap_fail((fprintf(stdout, "# %s:%d: not true: ", (file), (line)),                           \
                 fprintf(stdout, __VA_ARGS__), fputc('\n', stdout)))

__attribute__((unused)) _Noreturn static void do_tap_fail(int ignored) {
    (void)ignored;
    fflush(stdout);
    _exit(1);
}

__attribute__((unused)) static void tap_check_equal(const char *file, int line, const char *text,
                                                    int64_t left, int64_t right) {
    if (left != right) tap_fail(file, line, "%s (%" PRId64 ", %" PRId64 ")", text, left, right);
}

/* End the test here without a verdict. */
#define TAP_SKIPPED 77
__attribute__((unused)) _Noreturn static void tap_skip(const char *reason) {
    printf("# skipped: %s\n", reason);
    fflush(stdout);
    exit(TAP_SKIPPED);
}

/* Is it built with this sanitizer, "address" or "thread"? */
__attribute__((unused)) static bool tap_is_sanitized(const char *sanitizer) {
    const char *value = getenv("MANTIS_SANITIZER");
    return value && strstr(value, sanitizer);
}

/* Is this the long run? */
__attribute__((unused)) static bool tap_is_long(void) {
    const char *value = getenv("MANTIS_TEST_LONG");
    return value && strcmp(value, "0") != 0 && *value;
}

static const char *tap_run_forked(const tap_test *test, char *why, size_t why_size) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(TAP_SECONDS_MAX * (tap_is_long() ? 4 : 1));
        test->run();
        fflush(stdout);
        exit(0); /* not _exit: a leak checker reports at exit */
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return "fork";
    if (WIFSIGNALED(status)) {
        snprintf(why, why_size, WTERMSIG(status) == SIGALRM ? "timed out" : "signal %d",
                 WTERMSIG(status));
        return why;
    }
    if (WEXITSTATUS(status) == TAP_SKIPPED) return "SKIP";
    return WEXITSTATUS(status) == 0 ? NULL : "failed";
}

static bool tap_is_wanted(const char *name, int count, char **words) {
    bool any = false;
    for (int i = 1; i < count; i++) {
        if (words[i][0] == '-') continue;
        any = true;
        if (strstr(name, words[i])) return true;
    }
    return !any;
}

__attribute__((unused)) static int tap_main(int count, char **words) {
    bool no_fork = false;
    int wanted = 0, failed = 0, number = 0;
    for (int i = 1; i < count; i++) no_fork |= strcmp(words[i], "--no-fork") == 0;
    for (int i = 0; i < tap_count; i++) wanted += tap_is_wanted(tap_tests[i].name, count, words);
    printf("TAP version 13\n1..%d\n", wanted);
    if (wanted == 0) printf("# no test has such a name\n");
    for (int i = 0; i < tap_count; i++) {
        if (!tap_is_wanted(tap_tests[i].name, count, words)) continue;
        char why_text[32];
        const char *why = NULL;
        if (no_fork) tap_tests[i].run();
        else why = tap_run_forked(&tap_tests[i], why_text, sizeof why_text);
        bool is_ok = !why || strcmp(why, "SKIP") == 0;
        printf("%sok %d - %s%s%s\n", is_ok ? "" : "not ", ++number, tap_tests[i].name,
               why ? " # " : "", why ? why : "");
        failed += !is_ok;
    }
    fflush(stdout);
    return failed || wanted == 0 ? 1 : 0;
}

#define TAP_MAIN                                                                                   \
    int main(int count, char **words) { return tap_main(count, words); }

#endif
