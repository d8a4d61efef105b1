/* Reading the figures that figures.def names. */
#include "report/report.h"

#include <string.h>

static const mp_figure figure_names[] = {
#define MP_FIGURE(id, kind, brief, source, text) {#id, text, MP_UNIT_##kind, brief, 0},
#define MP_FIGURE_TIMES(id, which, sampled, brief, text)
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
};

static const mp_figure_times times_names[] = {
#define MP_FIGURE(id, kind, brief, source, text)
#define MP_FIGURE_TIMES(id, which, sampled, brief, text) {#id, text, sampled, brief, 0, 0, 0, 0, 0},
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
};

static void read_values(const mantis_pool_stats *stats, mp_figure *out) {
#define MP_FIGURE(id, kind, brief, source, text) (out++)->value = (uint64_t)(source);
#define MP_FIGURE_TIMES(id, which, sampled, brief, text)
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
}

void mp_report_read_times(const mantis_histogram *histogram, mp_figure_times *out) {
    out->count = histogram->count;
    out->p50_ns = mantis_histogram_quantile_ns(histogram, 0.5);
    out->p99_ns = mantis_histogram_quantile_ns(histogram, 0.99);
    out->p999_ns = mantis_histogram_quantile_ns(histogram, 0.999);
    out->max_ns = histogram->max_ns;
}

static mantis_status read_times(mantis_pool *pool, mantis_pool_histogram which,
                                mp_figure_times *out) {
    mantis_histogram histogram = {0};
    mantis_status status = mantis_pool_get_histogram(pool, which, &histogram);
    mp_report_read_times(&histogram, out);
    return status;
}

void mp_report_read(mantis_pool *pool, mp_report *out) {
    mantis_pool_stats stats = {0};
    memcpy(out->figures, figure_names, sizeof figure_names);
    memcpy(out->times, times_names, sizeof times_names);
    out->pool = mantis_pool_name(pool);
    out->status = mantis_pool_get_stats(pool, &stats);
    if (out->status != MANTIS_OK) return;
    read_values(&stats, out->figures);

    mp_figure_times *times = out->times;
#define MP_FIGURE(id, kind, brief, source, text)
#define MP_FIGURE_TIMES(id, which, sampled, brief, text)                                           \
    if (out->status == MANTIS_OK) out->status = read_times(pool, which, times++);
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
}
