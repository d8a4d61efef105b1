/* What a bench found, as a table and as JSON. */
#ifndef MP_CLI_SUMMARY_H
#define MP_CLI_SUMMARY_H

#include "base/bytes.h"
#include "cli/load.h"
#include "report/report.h"

typedef struct mp_summary {
    const char *dsn, *mix_text;
    mp_mix mix;
    mp_keyspace keyspace;
    uint32_t threads, connections;
    double cpu_s; /* of this process while the load ran */
    bool is_interrupted;
    mp_load_result load;
    mp_report pool;
} mp_summary;

/* The table for a person. */
void mp_summary_format_text(const mp_summary *summary, mp_text *out);

/* One object. */
void mp_summary_format_json(const mp_summary *summary, mp_text *out);

/* A count for a person: "1,000,000". */
void mp_summary_format_count(uint64_t count, mp_text *out);

/* Operations a second. */
double mp_summary_rate(uint64_t operations, int64_t ns);

#endif
