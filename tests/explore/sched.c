/* The scheduler: coroutines on stacks of their own, one decision at each step, and the trace. */
#include "explore.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE (256 * 1024)
#define CLOCK_START_NS INT64_C(1000000000000)
#define STORES_MAX 16

enum state { ENDED, READY, ASLEEP };

struct store {
    volatile void *object;
    uint64_t value;
    size_t size;
};

struct thread {
    jmp_buf env;
    enum state state;
    bool timed_out;
    const volatile void *sleeps_on;
    int64_t deadline_ns;
    uint64_t sleep_order;
    const volatile void *object; /* the operation it is about to do */
    uint8_t kind;
    uint32_t priority; /* of a random run */
    uint32_t stores_count;
    struct store stores[STORES_MAX];
};

static struct {
    const ex_scenario *scenario;
    const ex_plan *plan; /* NULL: random */
    uint32_t plan_used;
    mp_random random;
    uint64_t seed;
    bool is_pct, delays_stores;
    uint32_t drops[4]; /* PCT: the steps at which the running thread loses its priority */
    uint32_t last_priority;

    uint32_t running; /* 0: the search itself */
    int64_t now_ns;
    uint64_t sleeps;
    struct thread threads[EX_THREADS_MAX + 1];
    ex_trace trace;
} ex;

bool ex_prints_trace;

static jmp_buf search_env;
static ucontext_t boot_contexts[EX_THREADS_MAX + 1];

/* ---- failing ---- */

static void print_schedule(void) {
    if (!ex.plan) {
        printf("--seed %llu%s", (unsigned long long)ex.seed, ex.delays_stores ? " --stores" : "");
        return;
    }
    printf("--schedule ");
    for (uint32_t i = 0; i < ex.plan->count; i++) {
        const ex_switch *at = &ex.plan->switches[i];
        printf("%s%u:%u%s", i ? "," : "", at->step, at->thread, at->timed ? "T" : "");
    }
    if (ex.plan->count == 0) printf("none");
}

void ex_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("# %s: ", ex.scenario ? ex.scenario->name : "explore");
    vprintf(format, args);
    va_end(args);
    printf("\n#   at step %u, thread %u; replay: explore --scenario %s ", ex.trace.points_count,
           ex.running, ex.scenario ? ex.scenario->name : "?");
    print_schedule();
    printf("\n");
    if (ex_prints_trace) ex_print_trace();
    fflush(stdout);
    _exit(1);
}

static void print_switches(uint32_t i, const ex_point *point) {
    static const char *const kinds[] = {"read", "write", "?"};
    printf("# %4u: thread %u %s %p -> thread %u%s (ready %x, timed %x)\n", i, point->running,
           point->is_forced ? "stops" : kinds[point->kind], (const void *)(uintptr_t)point->object,
           point->chosen, point->chosen_timed ? ", its deadline passed" : "", point->ready,
           point->timed);
}

void ex_print_trace(void) {
    for (uint32_t i = 0; i < ex.trace.points_count; i++) print_switches(i, &ex.trace.points[i]);
}

const ex_trace *ex_last_trace(void) { return &ex.trace; }

/* ---- choosing ---- */

static uint32_t next_in_circle(uint8_t mask, uint32_t from) {
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        uint32_t thread = (from - 1 + i) % EX_THREADS_MAX + 1;
        if (mask & (1u << thread)) return thread;
    }
    return 0;
}

static uint32_t first_due(uint8_t timed) {
    uint32_t first = 0;
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        if (!(timed & (1u << i))) continue;
        if (!first || ex.threads[i].deadline_ns < ex.threads[first].deadline_ns) first = i;
    }
    return first;
}

static void choose_default(ex_point *point) {
    if (!point->is_forced) point->chosen = point->running;
    else point->chosen = (uint8_t)next_in_circle(point->ready, point->running);
    if (point->chosen) return;
    point->chosen = (uint8_t)first_due(point->timed);
    point->chosen_timed = true;
}

static void choose_by_priority(ex_point *point, uint32_t step) {
    for (size_t i = 0; i < sizeof ex.drops / sizeof *ex.drops; i++)
        if (ex.drops[i] == step) ex.threads[point->running].priority = --ex.last_priority;
    uint32_t best = 0;
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        if (!(point->ready & (1u << i))) continue;
        if (!best || ex.threads[i].priority > ex.threads[best].priority) best = i;
    }
    point->chosen = (uint8_t)best;
}

static void choose_at_random(ex_point *point, uint32_t step) {
    if (point->timed && mp_random_below(&ex.random, 48) == 0) {
        point->chosen = (uint8_t)next_in_circle(
            point->timed, 1 + (uint32_t)mp_random_below(&ex.random, EX_THREADS_MAX));
        point->chosen_timed = true;
    } else if (!point->ready) {
        choose_default(point);
    } else if (ex.is_pct) {
        choose_by_priority(point, step);
    } else if (!point->is_forced && mp_random_below(&ex.random, 6) != 0) {
        point->chosen = point->running;
    } else {
        point->chosen = (uint8_t)next_in_circle(
            point->ready, 1 + (uint32_t)mp_random_below(&ex.random, EX_THREADS_MAX));
    }
}

static void choose_by_plan(ex_point *point, uint32_t step) {
    const ex_plan *plan = ex.plan;
    if (ex.plan_used == plan->count || plan->switches[ex.plan_used].step != step) {
        choose_default(point);
        return;
    }
    const ex_switch *at = &plan->switches[ex.plan_used++];
    uint8_t bit = (uint8_t)(1u << at->thread);
    if (!((at->timed ? point->timed : point->ready) & bit))
        ex_fail("this schedule does not fit: thread %u cannot run at step %u", at->thread, step);
    point->chosen = at->thread;
    point->chosen_timed = at->timed;
}

static void fill_masks(ex_point *point) {
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        const struct thread *thread = &ex.threads[i];
        if (thread->state == READY) point->ready |= (uint8_t)(1u << i);
        if (thread->state == ASLEEP && thread->deadline_ns != INT64_MAX)
            point->timed |= (uint8_t)(1u << i);
    }
}

/* ---- switching ---- */

static void note_done(void) {
    struct thread *thread = &ex.threads[ex.running];
    ex.trace.done[ex.trace.done_count++] = (ex_operation){
        .object = thread->object, .kind = thread->kind, .thread = (uint8_t)ex.running};
}

static void wake_by_time(uint32_t index) {
    struct thread *thread = &ex.threads[index];
    thread->state = READY;
    thread->timed_out = true;
    if (thread->deadline_ns > ex.now_ns) ex.now_ns = thread->deadline_ns;
}

static void switch_to(uint32_t next) {
    struct thread *from = &ex.threads[ex.running];
    if (next == ex.running) return;
    ex.running = next;
    if (_setjmp(from->env) != 0) return;
    if (next == 0) _longjmp(search_env, 1);
    _longjmp(ex.threads[next].env, 1);
}

static void fail_if_all_sleep(const ex_point *point) {
    if (point->ready || point->timed) return;
    unsigned asleep = 0;
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++)
        if (ex.threads[i].state == ASLEEP) asleep |= 1u << i;
    if (asleep) ex_fail("lost wake-up: everybody sleeps for ever (threads %x, a bit each)", asleep);
}

/* One decision: who goes on. Comes back when the calling thread does. */
static void decide(bool is_forced) {
    uint32_t step = ex.trace.points_count;
    if (step + 1 >= EX_STEPS_MAX || ex.trace.done_count + 1 >= EX_STEPS_MAX)
        ex_fail("more than %u steps: somebody spins", EX_STEPS_MAX);
    struct thread *thread = &ex.threads[ex.running];
    ex_point point = {.object = thread->object,
                      .kind = thread->kind,
                      .running = (uint8_t)ex.running,
                      .is_forced = is_forced,
                      .done_count = ex.trace.done_count};
    fill_masks(&point);
    fail_if_all_sleep(&point);
    if (!point.ready && !point.timed) {
        switch_to(0); /* all have ended */
        return;
    }
    if (ex.plan) choose_by_plan(&point, step);
    else choose_at_random(&point, step);
    ex.trace.points[ex.trace.points_count++] = point;
    if (point.chosen_timed) wake_by_time(point.chosen);
    switch_to(point.chosen);
}

/* ---- delayed stores: each thread's go out in order, at its next full barrier or by chance ---- */

static void write_out(const struct store *store) {
    switch (store->size) {
    case 1: __atomic_store_n((volatile uint8_t *)store->object, (uint8_t)store->value, 0); break;
    case 2: __atomic_store_n((volatile uint16_t *)store->object, (uint16_t)store->value, 0); break;
    case 4: __atomic_store_n((volatile uint32_t *)store->object, (uint32_t)store->value, 0); break;
    default: __atomic_store_n((volatile uint64_t *)store->object, store->value, 0); break;
    }
}

static void drain_first(struct thread *thread) {
    write_out(&thread->stores[0]);
    thread->stores_count--;
    memmove(&thread->stores[0], &thread->stores[1], thread->stores_count * sizeof(struct store));
}

static void drain_all(struct thread *thread) {
    while (thread->stores_count > 0) drain_first(thread);
}

static void drain_by_chance(void) {
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++)
        if (ex.threads[i].stores_count > 0 && mp_random_below(&ex.random, 8) == 0)
            drain_first(&ex.threads[i]);
}

void ex_drain_stores(void) {
    if (ex.running) drain_all(&ex.threads[ex.running]);
}

void ex_store(volatile void *object, size_t size, uint64_t value) {
    struct store store = {.object = object, .value = value, .size = size};
    struct thread *thread = &ex.threads[ex.running];
    if (!ex.running || !ex.delays_stores) {
        write_out(&store);
        return;
    }
    if (thread->stores_count == STORES_MAX) drain_first(thread);
    thread->stores[thread->stores_count++] = store;
}

bool ex_load(const volatile void *object, uint64_t *value) {
    const struct thread *thread = &ex.threads[ex.running];
    if (!ex.running) return false;
    for (uint32_t i = thread->stores_count; i > 0; i--) {
        if (thread->stores[i - 1].object != object) continue;
        *value = thread->stores[i - 1].value;
        return true;
    }
    return false;
}

/* ---- what the threads call ---- */

uint32_t ex_self(void) { return ex.running; }

int64_t ex_now_ns(void) { return ex.now_ns ? ex.now_ns : CLOCK_START_NS; }

void ex_pass_time(int64_t length_ns) {
    ex_step(&ex.now_ns, EX_WRITE);
    ex.now_ns += length_ns;
}

void ex_step(const volatile void *object, int kind) {
    if (!ex.running) return;
    struct thread *thread = &ex.threads[ex.running];
    thread->object = object;
    thread->kind = (uint8_t)kind;
    if (ex.delays_stores) drain_by_chance();
    decide(false);
    note_done();
}

bool ex_sleep(const volatile void *object, int64_t deadline_ns) {
    if (deadline_ns <= ex.now_ns) return false;
    if (!ex.running) {
        if (deadline_ns == INT64_MAX) ex_fail("set-up or check would sleep for ever");
        ex.now_ns = deadline_ns;
        return false;
    }
    struct thread *thread = &ex.threads[ex.running];
    drain_all(thread);
    thread->state = ASLEEP;
    thread->sleeps_on = object;
    thread->deadline_ns = deadline_ns;
    thread->sleep_order = ++ex.sleeps;
    thread->timed_out = false;
    decide(true);
    return !thread->timed_out;
}

static struct thread *first_sleeper(const volatile void *object) {
    struct thread *first = NULL;
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        struct thread *thread = &ex.threads[i];
        if (thread->state != ASLEEP || thread->sleeps_on != object) continue;
        if (!first || thread->sleep_order < first->sleep_order) first = thread;
    }
    return first;
}

void ex_wake(const volatile void *object, bool all) {
    ex_step(object, EX_WRITE);
    struct thread *thread;
    while ((thread = first_sleeper(object)) != NULL) {
        thread->state = READY;
        if (!all) return;
    }
}

/* ---- running a schedule ---- */

static void live(int index) {
    struct thread *thread = &ex.threads[index];
    if (_setjmp(thread->env) == 0) _longjmp(search_env, 1);
    for (;;) {
        note_done();
        ex.scenario->run[ex.running - 1]();
        thread = &ex.threads[ex.running];
        drain_all(thread);
        thread->state = ENDED;
        decide(true);
    }
}

static void boot_thread(int index) {
    ucontext_t *context = &boot_contexts[index];
    getcontext(context);
    context->uc_stack.ss_sp = malloc(STACK_SIZE);
    context->uc_stack.ss_size = STACK_SIZE;
    makecontext(context, (void (*)(void))live, 1, index);
    if (_setjmp(search_env) == 0) setcontext(context);
}

static void boot_threads(void) {
    static bool is_booted;
    if (is_booted) return;
    is_booted = true;
    for (int i = 1; i <= EX_THREADS_MAX; i++) boot_thread(i);
}

static void run_once(const ex_scenario *scenario) {
    boot_threads();
    ex.scenario = scenario;
    ex.plan_used = 0;
    ex.trace.points_count = 0;
    ex.trace.done_count = 0;
    ex.now_ns = CLOCK_START_NS;
    ex.running = 0;
    scenario->setup();
    for (uint32_t i = 1; i <= scenario->threads; i++) {
        ex.threads[i].state = READY;
        ex.threads[i].object = NULL;
        ex.threads[i].kind = EX_UNKNOWN;
    }
    if (_setjmp(search_env) == 0) {
        decide(true); /* the circle begins with thread 1 */
    }
    ex.running = 0;
    scenario->check();
}

void ex_run_plan(const ex_scenario *scenario, const ex_plan *plan) {
    ex.plan = plan;
    ex.delays_stores = false;
    run_once(scenario);
}

void ex_run_random(const ex_scenario *scenario, uint64_t seed, bool delays_stores) {
    ex.plan = NULL;
    ex.seed = seed;
    ex.delays_stores = delays_stores;
    mp_random_start(&ex.random, seed * 2 + 1);
    ex.is_pct = mp_random_below(&ex.random, 2) == 0;
    ex.last_priority = 100;
    uint32_t drops = (uint32_t)mp_random_below(&ex.random, 4);
    for (uint32_t i = 0; i < 4; i++)
        ex.drops[i] = i < drops ? (uint32_t)mp_random_below(&ex.random, 150) : EX_STEPS_MAX;
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++)
        ex.threads[i].priority = 1000 + (uint32_t)mp_random_below(&ex.random, 1000);
    run_once(scenario);
}
