/* The search over schedules: all with few switches first, then random ones. */
#ifndef MP_EXPLORE_SEARCH_H
#define MP_EXPLORE_SEARCH_H

#include "explore.h"

typedef struct ex_budget {
    uint32_t planned; /* at most so many schedules, fewest switches first */
    uint32_t random;
    uint32_t preemptions_max;
    uint64_t seed;
} ex_budget;

/* In memory that the parent process reads, too. */
typedef struct ex_result {
    uint64_t planned, random;
    bool is_exhausted; /* every plan within the bound was run */
} ex_result;

/* Run it until every further schedule begins in the same state, as a replay must, too. */
void ex_warm_up(const ex_scenario *scenario);

void ex_search(const ex_scenario *scenario, const ex_budget *budget, ex_result *result);

#endif
