/* The figures as one JSON object: members named as in figures.def, times nested. */
#include "report/report.h"

#include <inttypes.h>

void mp_report_format_json_times(const mp_figure_times *times, mp_text *out) {
    mp_text_add(out, "{\"count\":%" PRIu64 ",\"p50\":%" PRId64 ",\"p99\":%" PRId64, times->count,
                times->p50_ns, times->p99_ns);
    mp_text_add(out, ",\"p999\":%" PRId64 ",\"max\":%" PRId64, times->p999_ns, times->max_ns);
    mp_text_add(out, "%s}", times->is_sampled ? ",\"sampled\":true" : "");
}

static void format_figure(const mp_figure *figure, mp_text *out) {
    mp_text_add(out, ",\"%s\":", figure->name);
    if (figure->unit == MP_UNIT_FLAG) mp_text_add(out, "%s", figure->value ? "true" : "false");
    else mp_text_add(out, "%" PRIu64, figure->value);
}

void mp_report_format_json(const mp_report *report, mp_text *out) {
    mp_text_add(out, "{\"name\":");
    mp_text_add_json(out, report->pool ? report->pool : "");
    if (report->status != MANTIS_OK) {
        mp_text_add(out, ",\"error\":\"%s\"}", mantis_status_name(report->status));
        return;
    }
    for (int i = 0; i < MP_FIGURES; i++) format_figure(&report->figures[i], out);
    for (int i = 0; i < MP_FIGURES_TIMES; i++) {
        mp_text_add(out, ",\"%s\":", report->times[i].name);
        mp_report_format_json_times(&report->times[i], out);
    }
    mp_text_add(out, "}");
}

size_t mantis_report_json(mantis_pool *pool, char *out, size_t size) {
    mp_text text = {.data = out, .size = size};
    mp_report report;
    mp_report_read(pool, &report);
    mp_report_format_json(&report, &text);
    return text.length;
}
