/* The parts below the core, each on its own: heap, histogram, list, lock, text, settings, queue. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/park.h"
#include "base/random.h"
#include "core/settings.h"
#include "core/waitq.h"
#include "lib/tap.h"

#include <pthread.h>

/* ---- heap ---- */

#define NODES 200

TEST(a_heap_gives_the_earliest_whatever_was_pushed_and_removed) {
    static mp_heap_node nodes[NODES];
    mp_heap heap = {0};
    mp_random random;
    mp_random_start(&random, 5);
    for (int i = 0; i < 100000; i++) {
        mp_heap_node *node = &nodes[mp_random_below(&random, NODES)];
        if (node->is_in) mp_heap_remove(&heap, node);
        else mp_heap_push(&heap, node, (int64_t)mp_random_below(&random, 50));
        if (i % 16) continue;
        const mp_heap_node *earliest = NULL;
        for (int j = 0; j < NODES; j++)
            if (nodes[j].is_in && (!earliest || nodes[j].due_ns < earliest->due_ns))
                earliest = &nodes[j];
        check((mp_heap_first(&heap) == NULL) == (earliest == NULL));
        if (earliest) check_equal(mp_heap_first(&heap)->due_ns, earliest->due_ns);
    }
    int64_t last_ns = INT64_MIN;
    for (mp_heap_node *node; (node = mp_heap_first(&heap));) {
        check(node->due_ns >= last_ns);
        last_ns = node->due_ns;
        mp_heap_remove(&heap, node);
        mp_heap_remove(&heap, node); /* one that is in no heap is fine */
    }
    for (int j = 0; j < NODES; j++) check(!nodes[j].is_in);
}

/* ---- histogram ---- */

TEST(a_histogram_puts_each_time_between_the_floors_of_its_bucket) {
    mp_random random;
    mp_random_start(&random, 6);
    for (int i = 0; i < 100000; i++) {
        int64_t ns = (int64_t)(mp_random_next(&random) >> (30 + mp_random_below(&random, 34)));
        mantis_histogram one = {0};
        mp_histogram_add(&one, ns);
        uint32_t bucket = 0;
        while (!one.buckets[bucket]) bucket++;
        check(mantis_histogram_floor_ns(bucket) <= ns);
        if (bucket + 1 < MANTIS_HISTOGRAM_BUCKETS)
            check(ns < mantis_histogram_floor_ns(bucket + 1));
    }
    for (uint32_t i = 1; i < MANTIS_HISTOGRAM_BUCKETS; i++)
        check(mantis_histogram_floor_ns(i - 1) < mantis_histogram_floor_ns(i));
}

TEST(quantiles_are_within_an_eighth_and_never_above_the_largest) {
    mantis_histogram all = {0}, half = {0};
    check_equal(mantis_histogram_quantile_ns(&all, 0.5), 0);
    for (int64_t i = 1; i <= 1000; i++) mp_histogram_add(i % 2 ? &all : &half, i * MP_NS_PER_US);
    mp_histogram_merge(&all, &half);
    check_equal(all.count, 1000);
    check_equal(all.sum_ns, 500500 * MP_NS_PER_US);
    check_equal(all.max_ns, 1000 * MP_NS_PER_US);
    for (int percent = 10; percent <= 100; percent += 10) {
        int64_t true_ns = percent * 10 * MP_NS_PER_US;
        int64_t said_ns = mantis_histogram_quantile_ns(&all, percent / 100.0);
        check(said_ns >= true_ns * 7 / 8 && said_ns <= true_ns * 9 / 8);
        check(said_ns <= all.max_ns);
    }
}

/* ---- list and lock ---- */

TEST(a_list_keeps_the_order_of_what_is_left_in_it) {
    mp_node nodes[5] = {0};
    mp_list list = {0};
    for (int i = 0; i < 5; i++) mp_list_push(&list, &nodes[i]);
    mp_list_remove(&list, &nodes[0]);
    mp_list_remove(&list, &nodes[2]);
    mp_list_remove(&list, &nodes[4]);
    check(mp_list_pop(&list) == &nodes[1]);
    mp_list_push(&list, &nodes[0]);
    check(mp_list_pop(&list) == &nodes[3]);
    check(mp_list_pop(&list) == &nodes[0]);
    check(mp_list_pop(&list) == NULL && mp_list_is_empty(&list));
}

static struct {
    mp_lock lock;
    uint32_t count; /* under lock */
} shared;

static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < 50000; i++) {
        mp_lock_acquire(&shared.lock);
        shared.count++;
        mp_lock_release(&shared.lock);
    }
    return NULL;
}

TEST(a_lock_lets_one_in_at_a_time) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) check(pthread_create(&threads[i], NULL, count_up, NULL) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    check_equal(shared.count, 200000);
    check(mp_lock_try_acquire(&shared.lock));
    check(!mp_lock_try_acquire(&shared.lock));
    mp_lock_release(&shared.lock);
}

TEST(a_wait_for_a_word_ends_at_its_deadline) {
    mp_word word = 7;
    check(mp_park_wait(&word, 8, MP_NEVER_NS)); /* it is another already */
    int64_t deadline_ns = mp_clock_now_ns() + 5 * MP_NS_PER_MS;
    while (mp_park_wait(&word, 7, deadline_ns)) continue;
    check(mp_clock_now_ns() >= deadline_ns);
}

/* ---- time and text ---- */

TEST(sums_of_times_stop_at_never) {
    check_equal(mp_clock_after(5, 6), 11);
    check_equal(mp_clock_after(5, -6), 5);
    check_equal(mp_clock_after(5, MP_NEVER_NS), MP_NEVER_NS);
    check_equal(mp_clock_ns_of_ms(-1), MP_NEVER_NS);
    check_equal(mp_clock_ns_of_ms(3), 3 * MP_NS_PER_MS);
    check_equal(mp_clock_ns_of_ms(INT64_MAX), MP_NEVER_NS);
}

static void text_is(const mp_text *text, const char *expected) {
    if (strcmp(text->data, expected) != 0)
        tap_fail(__FILE__, __LINE__, "\"%s\" is \"%s\"", text->data, expected);
}

TEST(text_is_cut_off_and_never_overruns) {
    char small[8];
    memset(small, 'x', sizeof small);
    mp_text text = {.data = small, .size = 7};
    mp_text_add(&text, "%s", "abcdef");
    mp_text_add(&text, "%d", 12345);
    text_is(&text, "abcdef");
    check_equal(text.length, 11);
    check(small[7] == 'x');
}

TEST(text_escapes_what_json_must) {
    char data[128];
    mp_text text = {.data = data, .size = sizeof data};
    mp_text_add_json(&text, "a\"b\\c\n\x01");
    text_is(&text, "\"a\\\"b\\\\c\\u000a\\u0001\"");
}

TEST(times_are_written_for_people) {
    static const struct {
        int64_t ns;
        const char *text;
    } times[] = {{850, "850 ns"}, {250 * MP_NS_PER_MS, "250 ms"}, {12400 * MP_NS_PER_MS, "12.4 s"}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char data[32];
        mp_text text = {.data = data, .size = sizeof data};
        mp_text_add_time(&text, times[i].ns);
        text_is(&text, times[i].text);
    }
}

/* ---- settings ---- */

TEST(a_config_of_zeros_becomes_the_defaults_of_the_table) {
    mantis_pool_config config = {0};
    mp_settings settings;
    check_equal(mp_settings_read(&settings, &config, NULL), MANTIS_OK);
#define MP_SETTING(name, unit, by_default, least, most, negative, meaning)                         \
    check_equal(settings.name, by_default);
#include "core/settings.def"
#undef MP_SETTING
}

TEST(each_setting_takes_its_bounds_and_nothing_beyond) {
    mantis_pool_config config = {0};
    mp_settings settings;
    mp_settings_read(&settings, &config, NULL);
    settings.conns_max = -1; /* so that any conns_min fits, and any backoff_min_ms */
    settings.backoff_max_ms = INT64_MAX;
#define MP_SETTING(name, unit, by_default, least, most, negative, meaning)                         \
    check_equal(mp_settings_set(&settings, #name, (most), NULL), MANTIS_OK);                       \
    check_equal(settings.name, (most));                                                            \
    check_equal(mp_settings_set(&settings, #name, INT64_C(1) + (most), NULL), MANTIS_INVALID);     \
    check_equal(settings.name, (most));                                                            \
    check_equal(mp_settings_set(&settings, #name, INT64_MAX, NULL), MANTIS_INVALID);
#include "core/settings.def"
#undef MP_SETTING
    check_equal(mp_settings_set(&settings, "", 1, NULL), MANTIS_INVALID);
}

/* ---- whose turn it is ---- */

static void fill(mp_waitq *queue, mp_waiter *waiters, const uint32_t *homes, int count) {
    *queue = (mp_waitq){0};
    for (int i = 0; i < count; i++) {
        waiters[i] = (mp_waiter){.home = homes[i]};
        mp_waitq_push(queue, &waiters[i]);
    }
}

TEST(f2_the_first_of_the_own_home_among_eight_comes_first) {
    mp_waitq queue;
    mp_waiter waiters[10];
    const uint32_t homes[10] = {2, 0, 3, 1, 1, 2, 2, 2, 4, 4};
    fill(&queue, waiters, homes, 10);
    check(mp_waitq_choose(&queue, 0, 0) == &waiters[0]);
    check(mp_waitq_choose(&queue, 2, 0) == &waiters[0]);
    check_equal(waiters[0].passed, 0);
    check(mp_waitq_choose(&queue, 1, 0) == &waiters[3]);
    for (int i = 0; i < 3; i++) check_equal(waiters[i].passed, 1);
    check_equal(waiters[3].passed, 0);
    check(mp_waitq_choose(&queue, 4, 0) == &waiters[0]); /* the ninth is too far behind */
    check(mp_waitq_choose(&queue, 9, 0) == &waiters[0]);
    check(mp_waitq_choose(&queue, 1, MP_PASSED_NS - 1) == &waiters[3]);
    check(mp_waitq_choose(&queue, 1, MP_PASSED_NS) == &waiters[0]);
    while (mp_waitq_first(&queue)) mp_waitq_remove(&queue, mp_waitq_first(&queue));
    check(mp_waitq_choose(&queue, 1, 0) == NULL);
    check_equal(queue.count, 0);
}

TAP_MAIN
