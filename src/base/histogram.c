/* Buckets, sums and quantiles of times. */
#include "base/histogram.h"

static uint32_t bucket_of(uint64_t ns) {
    if (ns < 16) return (uint32_t)ns;
    uint32_t power = 63 - (uint32_t)__builtin_clzll(ns); /* 4 or more */
    uint32_t bucket = (power - 2) * 8 + (uint32_t)((ns >> (power - 3)) & 7);
    return bucket < MANTIS_HISTOGRAM_BUCKETS ? bucket : MANTIS_HISTOGRAM_BUCKETS - 1;
}

void mp_histogram_add(mantis_histogram *histogram, int64_t ns) {
    if (ns < 0) ns = 0;
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns) histogram->max_ns = ns;
    histogram->buckets[bucket_of((uint64_t)ns)]++;
}

void mp_histogram_merge(mantis_histogram *into, const mantis_histogram *from) {
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns) into->max_ns = from->max_ns;
    for (uint32_t i = 0; i < MANTIS_HISTOGRAM_BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

int64_t mantis_histogram_floor_ns(uint32_t bucket) {
    if (bucket < 16) return bucket;
    uint32_t power = bucket / 8 + 2;
    return (int64_t)((UINT64_C(8) + bucket % 8) << (power - 3));
}

int64_t mantis_histogram_quantile_ns(const mantis_histogram *histogram, double share) {
    if (histogram->count == 0) return 0;
    double rank = share * (double)histogram->count;
    uint64_t below = 0;
    for (uint32_t i = 0; i < MANTIS_HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        if (below == 0 || (double)below < rank) continue;
        if (i == MANTIS_HISTOGRAM_BUCKETS - 1) break; /* it has no end */
        int64_t middle = (mantis_histogram_floor_ns(i) + mantis_histogram_floor_ns(i + 1)) / 2;
        return middle < histogram->max_ns ? middle : histogram->max_ns;
    }
    return histogram->max_ns;
}
