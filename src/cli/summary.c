/* The end of a bench. */
#include "cli/summary.h"

#include "base/clock.h"

#include <inttypes.h>
#include <mantis/status.h>
#include <stdio.h>

double mp_summary_rate(uint64_t operations, int64_t ns) {
    return ns > 0 ? (double)operations * (double)MP_NS_PER_S / (double)ns : 0;
}

void mp_summary_format_count(uint64_t count, mp_text *out) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    for (int i = 0; i < length; i++)
        mp_text_add(out, "%s%c", i && (length - i) % 3 == 0 ? "," : "", digits[i]);
}

static double seconds_of(const mp_summary *summary) {
    return (double)summary->load.elapsed_ns / (double)MP_NS_PER_S;
}

static double rate_of(const mp_summary *summary) {
    return mp_summary_rate(summary->load.operations, summary->load.elapsed_ns);
}

static double cpu_of(const mp_summary *summary) /* seconds per 100,000 operations */
{
    uint64_t operations = summary->load.operations;
    return operations ? summary->cpu_s * 1e5 / (double)operations : 0;
}

/* ---- the table ---- */

#define CELL 14

static void add_count_cell(uint64_t count, mp_text *out) {
    char cell[32];
    mp_text text = {.data = cell, .size = sizeof cell};
    mp_summary_format_count(count, &text);
    mp_text_add(out, "%*s", CELL, cell);
}

static void add_time_cell(int64_t ns, mp_text *out) {
    char cell[32];
    if (ns < MP_NS_PER_US) (void)snprintf(cell, sizeof cell, "%" PRId64 " ns", ns);
    else if (ns < MP_NS_PER_MS)
        (void)snprintf(cell, sizeof cell, "%.1f us", (double)ns / (double)MP_NS_PER_US);
    else (void)snprintf(cell, sizeof cell, "%.1f ms", (double)ns / (double)MP_NS_PER_MS);
    mp_text_add(out, "%*s", CELL, cell);
}

static void add_times_row(const char *name, const mantis_histogram *histogram, mp_text *out) {
    mp_figure_times times = {0};
    mp_report_read_times(histogram, &times);
    mp_text_add(out, "  %-8s", name);
    add_count_cell(times.count, out);
    add_time_cell(times.p50_ns, out);
    add_time_cell(times.p99_ns, out);
    add_time_cell(times.p999_ns, out);
    add_time_cell(times.max_ns, out);
    mp_text_add(out, "\n");
}

static void add_row(const char *name, uint64_t value, const char *remark, mp_text *out) {
    mp_text_add(out, "  %-22s", name);
    add_count_cell(value, out);
    mp_text_add(out, "%s\n", remark);
}

static void add_pool(const mp_report *pool, mp_text *out) {
    char figures[4096];
    mp_text text = {.data = figures, .size = sizeof figures};
    mp_report_format_text(pool, true, &text);
    mp_text_add(out, "\npool, since it was opened\n");
    for (char *line = figures, *end; *line; line = end) {
        end = line;
        while (*end && *end != '\n') end++;
        mp_text_add(out, "  %.*s\n", (int)(end - line), line);
        if (*end) end++;
    }
}

void mp_summary_format_text(const mp_summary *summary, mp_text *out) {
    const mp_load_result *load = &summary->load;
    double rate = rate_of(summary);
    mp_text_add(out, "\nresult of %.1f s%s\n", seconds_of(summary),
                summary->is_interrupted ? ", interrupted" : "");
    add_row("operations", load->operations, "", out);
    add_row("ops/s", (uint64_t)rate, "", out);
    add_row("ops/s a connection", (uint64_t)(rate / summary->connections), "", out);
    add_row("errors", load->errors, load->errors ? "  <- failed" : "", out);
    mp_text_add(out, "  %-22s%*.2f s for 100,000 operations\n", "processor", CELL, cpu_of(summary));
    if (load->errors) mp_text_add(out, "  first error: %s\n", load->error.text);

    mp_text_add(out, "\ntimes   %*s%*s%*s%*s%*s\n", CELL + 2, "count", CELL, "p50", CELL, "p99",
                CELL, "p99.9", CELL, "max");
    add_times_row("acquire", &load->acquire, out);
    for (int i = 0; i < MP_OPERATIONS; i++)
        if (summary->mix.shares[i])
            add_times_row(mp_mix_name((mp_operation)i), &load->by_operation[i], out);
    add_pool(&summary->pool, out);
}

/* ---- JSON ---- */

static void add_json_times(const char *name, const mantis_histogram *histogram, mp_text *out) {
    mp_figure_times times = {0};
    mp_report_read_times(histogram, &times);
    mp_text_add(out, ",\n \"%s_ns\":", name);
    mp_report_format_json_times(&times, out);
}

static void add_json_config(const mp_summary *summary, mp_text *out) {
    mp_text_add(out, ",\n \"config\":{\"dsn\":");
    mp_text_add_json(out, summary->dsn);
    mp_text_add(out, ",\"threads\":%" PRIu32 ",\"connections\":%" PRIu32, summary->threads,
                summary->connections);
    mp_text_add(out, ",\"mix\":");
    mp_text_add_json(out, summary->mix_text);
    mp_text_add(out, ",\"keys\":%" PRIu64 ",\"key_size\":%d,\"value_size\":%zu}",
                summary->keyspace.keys, MP_KEY_BYTES, summary->keyspace.value_bytes);
}

void mp_summary_format_json(const mp_summary *summary, mp_text *out) {
    const mp_load_result *load = &summary->load;
    mp_text_add(out, "{\"version\":\"%s\",\n", mantis_version());
    mp_text_add(out, " \"ops_per_s\":%.1f,\n \"ops_per_s_per_connection\":%.1f,\n",
                rate_of(summary), rate_of(summary) / summary->connections);
    mp_text_add(out, " \"operations\":%" PRIu64 ",\n \"errors\":%" PRIu64 ",\n", load->operations,
                load->errors);
    mp_text_add(out, " \"misses\":%" PRIu64 ",\n \"first_error\":", load->misses);
    if (load->errors) mp_text_add_json(out, load->error.text);
    else mp_text_add(out, "null");
    mp_text_add(out, ",\n \"seconds\":%.3f,\n \"interrupted\":%s,\n", seconds_of(summary),
                summary->is_interrupted ? "true" : "false");
    mp_text_add(out, " \"cpu_s\":%.3f,\n \"cpu_s_per_100k\":%.4f", summary->cpu_s, cpu_of(summary));
    add_json_times("acquire", &load->acquire, out);
    for (int i = 0; i < MP_OPERATIONS; i++)
        if (summary->mix.shares[i])
            add_json_times(mp_mix_name((mp_operation)i), &load->by_operation[i], out);
    mp_text_add(out, ",\n \"pool\":");
    mp_report_format_json(&summary->pool, out);
    add_json_config(summary, out);
    mp_text_add(out, "}\n");
}
