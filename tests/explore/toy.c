/* The explorer proves itself on a pool of one slot: announce, look again, sleep. With the second
 * look left out a release is missed; with a store instead of a compare-and-swap two threads own the
 * slot; with a relaxed announcement the store buffer loses the wake-up. */
#include "explore.h"

#include "base/park.h"

static struct {
    _Atomic uint32_t taken;
    mp_word waiting;
    mp_word ticket;
    uint32_t owner;
    bool looks_again, swaps, announces_late;
} toy;

static void start(bool looks_again, bool swaps, bool announces_late) {
    toy.taken = toy.waiting = toy.ticket = 0;
    toy.owner = 0;
    toy.looks_again = looks_again;
    toy.swaps = swaps;
    toy.announces_late = announces_late;
}

static void setup_sound(void) { start(true, true, false); }

static void setup_no_second_look(void) { start(false, true, false); }

static void setup_no_swap(void) { start(true, false, false); }

static void setup_late_announcement(void) { start(true, true, true); }

static bool try_take(void) {
    uint32_t nobody = 0;
    if (toy.swaps) return mp_cas_acquire(&toy.taken, &nobody, 1);
    if (mp_load_acquire(&toy.taken) != 0) return false;
    mp_store_relaxed(&toy.taken, 1);
    return true;
}

static void wait_for_slot(void) {
    uint32_t ticket = mp_load_acquire(&toy.ticket);
    if (toy.announces_late) mp_store_relaxed(&toy.waiting, 1);
    else mp_store_seq_cst(&toy.waiting, 1);
    if (toy.looks_again && mp_load_seq_cst(&toy.taken) == 0) return;
    mp_park_wait(&toy.ticket, ticket, INT64_MAX);
}

static void borrow_once(void) {
    while (!try_take()) wait_for_slot();
    ex_require(toy.owner == 0);
    toy.owner = ex_self();
    ex_step(&toy.owner, EX_WRITE);
    ex_require(toy.owner == ex_self());
    toy.owner = 0;
    mp_store_seq_cst(&toy.taken, 0);
    if (mp_load_seq_cst(&toy.waiting) == 0) return;
    mp_store_seq_cst(&toy.waiting, 0);
    mp_add_seq_cst(&toy.ticket, 1);
    mp_park_wake_all(&toy.ticket);
}

static void borrow_twice(void) {
    borrow_once();
    borrow_once();
}

static void check_free(void) { ex_require(toy.taken == 0); }

#define TOY(scenario_name, setup_function, fault)                                                  \
    {                                                                                              \
        .name = scenario_name, .threads = 2, .setup = setup_function,                              \
        .run = {borrow_twice, borrow_twice}, .check = check_free, .has_planted_fault = fault       \
    }

const ex_scenario ex_toy_scenarios[] = {
    TOY("explorer_passes_a_sound_protocol", setup_sound, false),
    TOY("explorer_finds_a_planted_lost_wake_up", setup_no_second_look, true),
    TOY("explorer_finds_a_planted_double_owner", setup_no_swap, true),
    TOY("explorer_finds_a_planted_late_store", setup_late_announcement, true),
};
const size_t ex_toy_scenarios_count = sizeof ex_toy_scenarios / sizeof *ex_toy_scenarios;
