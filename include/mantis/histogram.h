/* Histograms of times, as a pool gives them out. */
#ifndef MANTIS_HISTOGRAM_H
#define MANTIS_HISTOGRAM_H

#include <mantis/status.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A histogram of times: bucket i counts those from mantis_histogram_floor_ns(i) up to the next. */
#define MANTIS_HISTOGRAM_BUCKETS 256
typedef struct mantis_histogram {
    uint64_t count;
    int64_t sum_ns;
    int64_t max_ns;
    uint32_t buckets[MANTIS_HISTOGRAM_BUCKETS];
} mantis_histogram;

/* The smallest time in bucket i, in nanoseconds: exact up to 16, then 8 steps a doubling. */
MANTIS_API int64_t mantis_histogram_floor_ns(uint32_t bucket);

/* The time that this share (0..1) of the counted stay below, in nanoseconds; 0 if it is empty. */
MANTIS_API int64_t mantis_histogram_quantile_ns(const mantis_histogram *histogram, double share);

#ifdef __cplusplus
}
#endif
#endif
