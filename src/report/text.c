/* The figures as lines for people, which programs can split too: name, value, unit. */
#include "report/report.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_WIDTH 18

static void format_figure(const mp_figure *figure, mp_text *out) {
    mp_text_add(out, "%-*s ", NAME_WIDTH, figure->name);
    if (figure->unit == MP_UNIT_FLAG) mp_text_add(out, "%s\n", figure->value ? "true" : "false");
    if (figure->unit == MP_UNIT_NS) mp_text_add(out, "%" PRIu64 " ns\n", figure->value);
    if (figure->unit == MP_UNIT_COUNT) mp_text_add(out, "%" PRIu64 "\n", figure->value);
}

static void format_time(const char *name, const char *share, int64_t ns, mp_text *out) {
    char line_name[32];
    (void)snprintf(line_name, sizeof line_name, "%s.%s", name, share);
    mp_text_add(out, "%-*s %" PRId64 " ns\n", NAME_WIDTH, line_name, ns);
}

static void format_times(const mp_figure_times *times, mp_text *out) {
    char line_name[32];
    (void)snprintf(line_name, sizeof line_name, "%s.count", times->name);
    mp_text_add(out, "%-*s %" PRIu64 "%s\n", NAME_WIDTH, line_name, times->count,
                times->is_sampled ? " sampled" : "");
    format_time(times->name, "p50", times->p50_ns, out);
    format_time(times->name, "p99", times->p99_ns, out);
    format_time(times->name, "p999", times->p999_ns, out);
    format_time(times->name, "max", times->max_ns, out);
}

void mp_report_format_text(const mp_report *report, bool brief, mp_text *out) {
    if (report->status != MANTIS_OK) {
        mp_text_add(out, "%-*s %s\n", NAME_WIDTH, "error", mantis_status_name(report->status));
        return;
    }
    for (int i = 0; i < MP_FIGURES; i++)
        if (!brief || report->figures[i].is_brief) format_figure(&report->figures[i], out);
    for (int i = 0; i < MP_FIGURES_TIMES; i++) {
        const mp_figure_times *times = &report->times[i];
        if (!brief || (times->is_brief && times->count)) format_times(times, out);
    }
}

size_t mantis_report_text(mantis_pool *pool, char *out, size_t size) {
    mp_text text = {.data = out, .size = size};
    mp_report report;
    mp_report_read(pool, &report);
    mp_report_format_text(&report, false, &text);
    return text.length;
}
