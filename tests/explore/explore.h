/* Exploring interleavings: threads are coroutines, and before each atomic operation the scheduler
 * may let another one run. The same schedule always gives the same run.
 *
 * A schedule is the list of points where the scheduler did not do the default thing ("step:thread",
 * or "step:threadT" where a sleeper's deadline passed). The default: go on with the thread that
 * runs; when it sleeps or ends, with the next one in a circle; when all sleep, let time pass. */
#ifndef MP_EXPLORE_EXPLORE_H
#define MP_EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EX_THREADS_MAX 4
#define EX_STEPS_MAX 4000

/* ---- scenarios ---- */

typedef struct ex_scenario {
    const char *name;
    uint32_t threads;
    void (*setup)(void); /* before each schedule; nobody else runs */
    void (*run[EX_THREADS_MAX])(void);
    void (*check)(void);    /* after each schedule: what must hold, and free everything */
    bool has_planted_fault; /* the explorer must find it: then the scenario passes */
} ex_scenario;

extern const ex_scenario ex_toy_scenarios[];
extern const size_t ex_toy_scenarios_count;
extern const ex_scenario ex_core_scenarios[];
extern const size_t ex_core_scenarios_count;
extern const ex_scenario ex_change_scenarios[];
extern const size_t ex_change_scenarios_count;

/* ---- the scheduler: what scenarios and the core's stand-ins use ---- */

enum { EX_READ, EX_WRITE, EX_UNKNOWN }; /* what an operation does to its object */

/* The thread that runs is about to do an operation: perhaps another goes first. */
void ex_step(const volatile void *object, int kind);

/* Sleep on an address until woken or until the deadline, as decided by the schedule. */
bool ex_sleep(const volatile void *object, int64_t deadline_ns);
void ex_wake(const volatile void *object, bool all);

/* 0 outside of a schedule, else 1 .. threads. */
uint32_t ex_self(void);

/* The clock, which stands still unless a deadline passes or a scenario moves it. */
int64_t ex_now_ns(void);
void ex_pass_time(int64_t length_ns);

/* The schedule shows a fault: say what, how to replay it, and end this process. */
_Noreturn void ex_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define ex_require(condition)                                                                      \
    ((condition) ? (void)0 : ex_fail("%s:%d: %s does not hold", __FILE__, __LINE__, #condition))

/* ---- the scheduler: what the search uses ---- */

typedef struct ex_switch {
    uint16_t step;
    uint8_t thread;
    bool timed; /* its deadline passes now */
} ex_switch;

#define EX_SWITCHES_MAX 8

typedef struct ex_plan {
    uint32_t count;
    ex_switch switches[EX_SWITCHES_MAX];
} ex_plan;

/* One decision that was made: who ran, who could have run, who was chosen. */
typedef struct ex_point {
    const volatile void *object; /* of the operation that the running thread was about to do */
    uint8_t kind;
    uint8_t running;
    uint8_t ready; /* bit per thread */
    uint8_t timed; /* bit per thread: asleep with a deadline */
    uint8_t chosen;
    bool chosen_timed;
    bool is_forced;      /* the running thread could not go on */
    uint32_t done_count; /* how many operations had been done */
} ex_point;

typedef struct ex_operation {
    const volatile void *object;
    uint8_t kind;
    uint8_t thread;
} ex_operation;

typedef struct ex_trace {
    uint32_t points_count, done_count;
    ex_point points[EX_STEPS_MAX];
    ex_operation done[EX_STEPS_MAX];
} ex_trace;

/* Run the scenario once after the plan, or at random from a seed (plan NULL). */
void ex_run_plan(const ex_scenario *scenario, const ex_plan *plan);
void ex_run_random(const ex_scenario *scenario, uint64_t seed, bool delays_stores);
const ex_trace *ex_last_trace(void);
void ex_print_trace(void);
extern bool ex_prints_trace; /* ex_fail() does it, too */

/* ---- stores that other threads see late (x86: a thread's own store buffer) ---- */

void ex_store(volatile void *object, size_t size, uint64_t value);
bool ex_load(const volatile void *object, uint64_t *value);
void ex_drain_stores(void);

#endif
