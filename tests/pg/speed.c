/* What the hot path costs: finding messages in a buffer, renaming a Bind, telling SQL apart. The
 * traffic is that of pgbench -S. Prints the best of several rounds; a bound of a hundredth of what
 * a transaction costs a pooler (about 15 us) holds on any machine that could run one. */
#include "lib/tap.h"

#include "pg/answer.h"
#include "pg/bytes.h"
#include "pg/request.h"
#include "pg/sqltext.h"

#include <time.h>

#define ROUNDS 100
#define TURNS 1000
#define TRANSACTION_NS 15000
#define PER_BUFFER 64 /* transactions in one buffer of 64 KB that a loop reads */

static sheet traffic;
static const mp_view select_sql = BYTES("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;");

/* ---- what is sent ---- */

static void add_row(mp_wire_out *out) {
    mp_answer_column column = {"abalance", 23, 4};
    mp_view cell = BYTES("-1234");
    mp_answer_write_description(out, &column, 1);
    mp_answer_write_row(out, &cell, 1);
    mp_answer_write_complete(out, BYTES("SELECT 1"));
    mp_answer_write_ready(out, MP_ANSWER_IDLE);
}

static void add_simple_answer(mp_wire_out *out) { add_row(out); }

static void add_extended_answer(mp_wire_out *out) {
    mp_answer_write_bare(out, MP_ANSWER_PARSE_COMPLETE);
    mp_answer_write_bare(out, MP_ANSWER_BIND_COMPLETE);
    add_row(out);
}

static void add_simple_request(mp_wire_out *out) { mp_request_write_query(out, select_sql); }

static void add_prepared_request(mp_wire_out *out) {
    mp_view param = BYTES("4711");
    mp_request_write_bind(out, (mp_request_bind){BYTES(""), BYTES("P_0")}, &param, 1);
    mp_request_write_describe(out, (mp_request_target){MP_REQUEST_PORTAL, BYTES("")});
    mp_request_write_execute(out, (mp_request_execute){BYTES(""), 0});
    mp_request_write_sync(out);
}

/* ---- measuring ---- */

/* Something that is done TURNS times; answers a number that depends on all of it. */
typedef uint64_t (*work)(void);

static double cpu_ns(void) { /* what others do with the machine is not counted */
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double best_ns(work run, double parts) {
    double best = 1e18;
    uint64_t expected = run();
    for (int round = 0; round < ROUNDS; round++) {
        double begun_ns = cpu_ns();
        uint64_t result = run();
        double ns = (cpu_ns() - begun_ns) / parts;
        check(result == expected);
        if (ns < best) best = ns;
    }
    return best;
}

static mp_wire_rules rules;
static size_t piece_size; /* of the traffic that one turn looks at */

static uint64_t scan_turns(void) {
    uint64_t found = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        mp_wire wire = {0};
        mp_message message;
        size_t at = 0;
        const uint8_t *data = traffic.data;
        __asm__ volatile("" : "+r"(data) : : "memory"); /* it could have changed */
        while (mp_wire_scan(&wire, &rules, data, piece_size, &at, &message) == MP_WIRE_WHOLE)
            found += message.size;
        found += at;
    }
    return found;
}

/* Measure the scan over one transaction at a time, and over many in one buffer. */
static void measure(const char *name, mp_wire_side from, const char *wanted, int messages,
                    void (*add)(mp_wire_out *out)) {
    mp_wire_rules_init(&rules, from, MP_WIRE_LENGTH_MAX, wanted);
    start(&traffic);
    for (int i = 0; i < PER_BUFFER; i++) {
        add(&traffic.out);
        if (i == 0) piece_size = traffic.out.length;
    }
    check(!traffic.out.is_full);
    size_t one_size = piece_size;
    double one_ns = best_ns(scan_turns, TURNS);
    piece_size = traffic.out.length;
    double many_ns = best_ns(scan_turns, (double)TURNS * PER_BUFFER * messages);
    printf("# %-16s %d messages, %3zu bytes: %5.1f ns a transaction alone, "
           "%4.2f ns a message in a full buffer\n",
           name, messages, one_size, one_ns, many_ns);
    check(one_ns < TRANSACTION_NS / 100.0);
}

TEST(a_scan_costs_less_than_a_hundredth_of_a_transaction) {
    measure("simple answer", MP_WIRE_SERVER, "ZESNAGHWKc", 4, add_simple_answer);
    measure("extended answer", MP_WIRE_SERVER, "ZESNAGHWKc", 6, add_extended_answer);
    measure("simple request", MP_WIRE_CLIENT, "QPBDCEFHSXcdf", 1, add_simple_request);
    measure("prepared request", MP_WIRE_CLIENT, "QPBDCEFHSXcdf", 4, add_prepared_request);
}

static uint64_t rename_turns(void) {
    uint64_t sum = 0;
    uint8_t head[128];
    mp_message message = {traffic.data + MP_WIRE_HEAD, (uint32_t)traffic.out.length - MP_WIRE_HEAD,
                          (uint32_t)traffic.out.length - MP_WIRE_HEAD, MP_REQUEST_BIND};
    for (int turn = 0; turn < TURNS; turn++) {
        mp_wire_out out = {.data = head, .size = sizeof head};
        uint32_t rest_at = 0;
        __asm__ volatile("" : : "r"(message.body) : "memory");
        check(mp_request_rename(&message, BYTES("MANTIS_4711"), &out, &rest_at));
        sum += out.length + rest_at;
    }
    return sum;
}

TEST(a_rename_costs_less_than_a_hundredth_of_a_transaction) {
    mp_view param = BYTES("4711");
    mp_request_write_bind(start(&traffic), (mp_request_bind){BYTES(""), BYTES("P_0")}, &param, 1);
    double ns = best_ns(rename_turns, TURNS);
    printf("# renaming a Bind: %.1f ns\n", ns);
    check(ns < TRANSACTION_NS / 100.0);
}

static uint64_t classify_turns(void) {
    uint64_t sum = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        mp_sqltext text;
        mp_sqltext_statement found;
        const char *sql = select_sql.data;
        __asm__ volatile("" : "+r"(sql) : : "memory");
        mp_sqltext_init(&text, (mp_view){sql, select_sql.size}, true, true);
        while (mp_sqltext_next(&text, &found)) sum += (uint64_t)found.kind + 1;
    }
    return sum;
}

TEST(telling_a_statement_apart_costs_less_than_a_twentieth_of_a_transaction) {
    double ns = best_ns(classify_turns, TURNS);
    printf("# telling a statement of %zu bytes apart: %.0f ns\n", select_sql.size, ns);
    check(ns < TRANSACTION_NS / 20.0);
}

TAP_MAIN
