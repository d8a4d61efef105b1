/* Counting into the public histogram: exact up to 16 ns, then 8 buckets a doubling (at most 12.5 %
 * wide). The reading side is mantis/histogram.h. No thread-safety of its own. */
#ifndef MP_BASE_HISTOGRAM_H
#define MP_BASE_HISTOGRAM_H

#include <mantis/histogram.h>
#include <stdint.h>

/* Count one time; a negative one counts as 0. */
void mp_histogram_add(mantis_histogram *histogram, int64_t ns);

/* Add what another one counted. */
void mp_histogram_merge(mantis_histogram *into, const mantis_histogram *from);

#endif
