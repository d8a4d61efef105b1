/* Breadth first over schedules: from each run, branch where it could have gone another way.
 *
 * A thread is preempted only where it matters: before an operation on an object that the other
 * thread uses later in the same run, one of the two writing. Every other switch commutes with what
 * follows. Where the running thread cannot go on, all choices are taken. The random runs that
 * follow know no such rule. */
#include "search.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_SIZE 1024
#define WARM_UPS 100 /* until the core uses memory again instead of adding to it */

/* Who uses an object after the point that is looked at. */
struct later_use {
    const volatile void *object;
    uint32_t epoch;
    uint8_t readers, writers; /* bit per thread */
};

static struct {
    ex_plan *plans; /* a queue that only grows: it ends with the budget */
    uint32_t count, size;
    struct later_use table[TABLE_SIZE];
    uint32_t epoch;
    uint8_t unknown; /* threads that do operations on objects not known */
    const ex_budget *budget;
} search;

static struct later_use *find_use(const volatile void *object) {
    size_t i = ((uintptr_t)object >> 2) * 2654435761u % TABLE_SIZE;
    for (;;) {
        struct later_use *use = &search.table[i];
        if (use->epoch != search.epoch) {
            *use = (struct later_use){.object = object, .epoch = search.epoch};
            return use;
        }
        if (use->object == object) return use;
        i = (i + 1) % TABLE_SIZE;
    }
}

static void add_use(const ex_operation *operation) {
    uint8_t bit = (uint8_t)(1u << operation->thread);
    if (operation->kind == EX_UNKNOWN) {
        search.unknown |= bit;
        return;
    }
    struct later_use *use = find_use(operation->object);
    if (operation->kind == EX_WRITE) use->writers |= bit;
    else use->readers |= bit;
}

static uint8_t rivals_of(const ex_point *point) {
    if (point->kind == EX_UNKNOWN || !point->object) return 0xff;
    const struct later_use *use = find_use(point->object);
    uint8_t rivals = use->writers | search.unknown;
    if (point->kind == EX_WRITE) rivals |= use->readers;
    return rivals;
}

static bool is_preemption(const ex_point *point, bool timed) {
    return !point->is_forced || (timed && point->ready);
}

static uint32_t count_preemptions(const ex_plan *plan, const ex_trace *trace) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->count; i++)
        count += is_preemption(&trace->points[plan->switches[i].step], plan->switches[i].timed);
    return count;
}

static void add_plan(const ex_plan *parent, uint32_t step, uint32_t thread, bool timed) {
    if (search.count == search.size) return;
    ex_plan *plan = &search.plans[search.count++];
    *plan = *parent;
    plan->switches[plan->count++] =
        (ex_switch){.step = (uint16_t)step, .thread = (uint8_t)thread, .timed = timed};
}

static void branch_at(const ex_plan *plan, uint32_t step, const ex_point *point, bool may_preempt) {
    uint8_t rivals = point->is_forced ? 0xff : rivals_of(point);
    for (uint32_t i = 1; i <= EX_THREADS_MAX; i++) {
        uint8_t bit = (uint8_t)(1u << i);
        bool timed = point->timed & bit;
        if (!((point->ready | point->timed) & bit & rivals)) continue;
        if (i == point->chosen) continue;
        if (is_preemption(point, timed) && !may_preempt) continue;
        add_plan(plan, step, i, timed);
    }
}

static void branch(const ex_plan *plan) {
    const ex_trace *trace = ex_last_trace();
    if (plan->count == EX_SWITCHES_MAX || search.count == search.size) return;
    bool may_preempt = count_preemptions(plan, trace) < search.budget->preemptions_max;
    uint32_t first = plan->count ? plan->switches[plan->count - 1].step + 1u : 0;
    search.epoch++;
    search.unknown = 0;
    uint32_t done = trace->done_count;
    for (uint32_t i = trace->points_count; i-- > first;) {
        while (done > trace->points[i].done_count) add_use(&trace->done[--done]);
        branch_at(plan, i, &trace->points[i], may_preempt);
    }
}

void ex_warm_up(const ex_scenario *scenario) {
    static const ex_plan no_switches;
    for (int i = 0; i < WARM_UPS; i++) ex_run_plan(scenario, &no_switches);
}

void ex_search(const ex_scenario *scenario, const ex_budget *budget, ex_result *result) {
    ex_warm_up(scenario);
    search.budget = budget;
    search.size = budget->planned + 1;
    search.plans = calloc(search.size, sizeof *search.plans);
    search.count = 1; /* the plan without a switch */
    while (result->planned < search.count && result->planned < budget->planned) {
        ex_plan plan = search.plans[result->planned++];
        ex_run_plan(scenario, &plan);
        branch(&plan);
    }
    result->is_exhausted = result->planned == search.count;
    for (; result->random < budget->random; result->random++)
        ex_run_random(scenario, budget->seed + result->random, result->random % 2 == 1);
    free(search.plans);
}
