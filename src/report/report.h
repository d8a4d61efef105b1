/* A pool's figures, read once; the views in text.c and json.c only print them. */
#ifndef MP_REPORT_REPORT_H
#define MP_REPORT_REPORT_H

#include "base/bytes.h"

#include <mantis/pool.h>
#include <mantis/report.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum mp_unit { MP_UNIT_COUNT = 0, MP_UNIT_FLAG, MP_UNIT_NS } mp_unit;

typedef struct mp_figure {
    const char *name;
    const char *meaning;
    mp_unit unit;
    bool is_brief;
    uint64_t value;
} mp_figure;

typedef struct mp_figure_times {
    const char *name;
    const char *meaning;
    bool is_sampled, is_brief;
    uint64_t count;
    int64_t p50_ns, p99_ns, p999_ns, max_ns;
} mp_figure_times;

enum {
    MP_FIGURES = 0
#define MP_FIGURE(id, kind, brief, source, text) +1
#define MP_FIGURE_TIMES(id, which, sampled, brief, text)
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
    ,
    MP_FIGURES_TIMES = 0
#define MP_FIGURE(id, kind, brief, source, text)
#define MP_FIGURE_TIMES(id, which, sampled, brief, text) +1
#include "report/figures.def"
#undef MP_FIGURE
#undef MP_FIGURE_TIMES
};

typedef struct mp_report {
    const char *pool;     /* its name: lives as long as the pool */
    mantis_status status; /* not OK: the pool could not be read, and there are no figures */
    mp_figure figures[MP_FIGURES];
    mp_figure_times times[MP_FIGURES_TIMES];
} mp_report;

/* Read all figures of a pool. */
void mp_report_read(mantis_pool *pool, mp_report *out);

/* The part of a histogram that reports show. */
void mp_report_read_times(const mantis_histogram *histogram, mp_figure_times *out);

/* "name value unit", one figure a line; brief: the short table, without times that never were. */
void mp_report_format_text(const mp_report *report, bool brief, mp_text *out);

/* One JSON object. */
void mp_report_format_json(const mp_report *report, mp_text *out);

/* {"count":…,"p50":…,"p99":…,"p999":…,"max":…}, and "sampled":true if it is. */
void mp_report_format_json_times(const mp_figure_times *times, mp_text *out);

#endif
