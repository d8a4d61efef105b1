/* The resolver, against a name server of this test's own on the same loop. */
#include "world.h"

#include "base/clock.h"
#include "net/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

/* ---- a name server ---- */

static mp_loop *loop;
static mp_watch server;
static int questions;  /* for addresses of IPv4 */
static bool is_silent; /* it answers nobody */
static bool is_broken; /* it says that it failed */
static int addresses = 2;

/* The label after the header, "two" of "two.test". */
static bool asks_for(const unsigned char *message, const char *label) {
    return message[12] == strlen(label) && memcmp(message + 13, label, strlen(label)) == 0;
}

static void on_question(mp_watch *watch, mp_loop *on, int events) {
    (void)on, (void)events;
    unsigned char message[1500];
    struct sockaddr_in from;
    socklen_t from_size = sizeof from;
    ssize_t size = recvfrom(watch->fd, message, 512, 0, (struct sockaddr *)&from, &from_size);
    check(size > 12);
    size_t at = 12;
    while (message[at]) at += message[at] + 1u;
    bool is_v4 = message[at + 2] == 1;
    at += 5; /* behind the question */
    questions += is_v4;
    if (is_silent) return;
    message[2] = 0x81; /* an answer */
    message[3] = asks_for(message, "none") ? 0x83 : is_broken ? 0x82 : 0x80;
    memset(message + 6, 0, 6);
    if (message[3] == 0x80 && is_v4) {
        message[7] = (unsigned char)addresses;
        for (int i = 0; i < addresses; i++) {
            const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1};
            memcpy(message + at, record, sizeof record);
            message[at + 15] = (unsigned char)(i + 1);
            at += sizeof record;
        }
    }
    check(sendto(watch->fd, message, at, 0, (struct sockaddr *)&from, from_size) == (ssize_t)at);
}

static mp_dns *open_dns(mp_dns_config config) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    check(mp_loop_open(&loop, NULL, NULL) == MANTIS_OK);
    server = (mp_watch){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                        .on_ready = on_question};
    check(bind(server.fd, (struct sockaddr *)&address, size) == 0);
    check(getsockname(server.fd, (struct sockaddr *)&address, &size) == 0);
    check(mp_watch_set(&server, loop, MP_WATCH_READ, NULL) == MANTIS_OK);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:%u", ntohs(address.sin_port));
    if (!config.servers) config.servers = servers;
    config.resolv_conf = "/dev/null";
    mp_dns *dns = NULL;
    check(mp_dns_open(&dns, loop, &config, NULL) == MANTIS_OK);
    return dns;
}

static void close_dns(mp_dns *dns) {
    mp_dns_close(&dns);
    check(mp_watch_set(&server, loop, 0, NULL) == MANTIS_OK);
    close(server.fd);
    mp_loop_close(&loop);
}

/* ---- questions ---- */

typedef struct question {
    mp_dns_query query;
    int answers;
    uint32_t count;
    mp_address first, last;
    mantis_error error;
} question;

static void on_done(mp_dns_query *query, const mp_address *found, uint32_t count,
                    const mantis_error *error) {
    question *q = mp_container_of(query, question, query);
    q->answers++;
    q->count = count;
    check((count > 0) == (error == NULL));
    if (error) q->error = *error;
    if (count) q->first = found[0];
    if (count) q->last = found[count - 1];
}

static void ask_until(mp_dns *dns, question *q, const char *name, int64_t wait_ns) {
    *q = (question){.query.on_done = on_done};
    mp_dns_resolve(dns, &q->query, name, 5432, mp_loop_now_ns(loop) + wait_ns);
}

static void ask(mp_dns *dns, question *q, const char *name) {
    ask_until(dns, q, name, 20 * SECOND);
}

static void until_answered(const question *q) {
    int64_t end_ns = mp_clock_now_ns() + 25 * SECOND;
    while (!q->answers) {
        mp_loop_turn(loop, end_ns);
        check(mp_clock_now_ns() < end_ns);
    }
}

TEST(a_numeric_address_is_answered_at_once) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    question q;
    char text[MP_ADDRESS_TEXT_MAX];
    ask(dns, &q, "10.1.2.3");
    check(q.answers == 1 && strcmp(mp_address_format(&q.first, text), "10.1.2.3:5432") == 0);
    ask(dns, &q, "fe80::1");
    check(q.answers == 1 && strcmp(mp_address_format(&q.first, text), "[fe80::1]:5432") == 0);
    check(questions == 0);
    close_dns(dns);
}

TEST(a_name_is_looked_up_once_for_all_who_ask_and_then_comes_from_the_cache) {
    mp_dns *dns = open_dns((mp_dns_config){.ttl_ns = 60 * MP_NS_PER_S});
    question a, b, c;
    char text[MP_ADDRESS_TEXT_MAX];
    ask(dns, &a, "two.test");
    ask(dns, &b, "TWO.test");
    check(a.answers == 0 && b.answers == 0);
    until_answered(&a);
    until_answered(&b);
    check(a.count == 2 && b.count == 2 && questions == 1);
    check(mp_address_port(&a.first) == 5432 && mp_address_port(&a.last) == 5432);
    check(strncmp(mp_address_format(&a.first, text), "10.0.0.", 7) == 0);
    ask(dns, &c, "two.test");
    check(c.answers == 1 && c.count == 2 && questions == 1);
    close_dns(dns);
}

TEST(an_old_answer_is_asked_for_again_and_serves_on_if_nobody_answers) {
    mp_dns *dns = open_dns((mp_dns_config){.ttl_ns = 1});
    question q;
    ask(dns, &q, "two.test");
    until_answered(&q);
    mp_loop_turn(loop, mp_clock_now_ns() + MS);
    addresses = 1;
    ask(dns, &q, "two.test");
    until_answered(&q);
    check(q.count == 1 && questions == 2);
    mp_loop_turn(loop, mp_clock_now_ns() + MS);
    is_broken = true;
    ask(dns, &q, "two.test");
    until_answered(&q);
    check(q.count == 1 && questions > 2);
    close_dns(dns);
}

TEST(that_there_is_no_such_name_is_kept_too) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    question q;
    ask(dns, &q, "none.test");
    until_answered(&q);
    check(q.count == 0 && q.error.status == MANTIS_NOT_FOUND);
    check_contains(q.error.text, "cannot resolve 'none.test': there is no such host");
    ask(dns, &q, "none.test");
    check(q.answers == 1 && questions == 1);
    close_dns(dns);
}

TEST(name_servers_that_fail_are_another_matter_and_asked_again) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    is_broken = true;
    question q;
    ask(dns, &q, "two.test");
    until_answered(&q);
    check(q.error.status == MANTIS_CONNECT_FAILED);
    check_contains(q.error.text, "no name server answers as it should");
    is_broken = false;
    ask(dns, &q, "two.test");
    until_answered(&q);
    check(q.count == 2);
    close_dns(dns);
}

TEST(a_question_ends_at_its_deadline_and_the_answer_still_fills_the_cache) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    is_silent = true;
    question q, other;
    ask(dns, &other, "two.test");
    int64_t begun_ns = mp_clock_now_ns();
    ask_until(dns, &q, "two.test", 50 * MS);
    until_answered(&q);
    check(mp_clock_now_ns() >= begun_ns + 50 * MS && q.error.status == MANTIS_TIMEOUT);
    check_contains(q.error.text, "cannot resolve 'two.test'");
    check(other.answers == 0);
    is_silent = false; /* c-ares asks again after two seconds */
    until_answered(&other);
    check(other.count == 2);
    ask(dns, &q, "two.test");
    check(q.answers == 1 && q.count == 2);
    close_dns(dns);
}

TEST(a_cancelled_question_is_not_answered) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    question a, b;
    ask(dns, &a, "two.test");
    ask(dns, &b, "two.test");
    mp_dns_cancel(dns, &a.query);
    mp_dns_cancel(dns, &a.query);
    until_answered(&b);
    check(a.answers == 0 && b.count == 2);
    close_dns(dns);
}

static int shown;
static void show(const mp_dns_entry *entry, void *arg) {
    (void)arg;
    if (shown++ == 0) check(strcmp(entry->name, "none.test") == 0 && entry->count == 0);
    else check(entry->expires_ns > mp_loop_now_ns(loop) || entry->count == 0);
}

TEST(the_cache_is_shown_and_a_reset_looks_everything_up_anew) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    question two, none, waiting;
    ask(dns, &two, "two.test");
    until_answered(&two);
    ask(dns, &none, "none.test");
    until_answered(&none);
    mp_dns_each(dns, show, NULL);
    check(shown == 2);
    is_silent = true;
    ask(dns, &waiting, "late.test");
    mp_loop_turn(loop, mp_clock_now_ns() + MS);
    is_silent = false;
    check(mp_dns_reset(dns, NULL) == MANTIS_OK); /* asks again at once */
    until_answered(&waiting);
    check(waiting.count == 2);
    int before = questions;
    ask(dns, &two, "two.test");
    until_answered(&two);
    check(two.count == 2 && questions == before + 1);
    close_dns(dns);
}

static void count_entry(const mp_dns_entry *entry, void *arg) {
    (void)entry;
    ++*(uint32_t *)arg;
}

TEST(the_cache_has_an_end) {
    mp_dns *dns = open_dns((mp_dns_config){0});
    for (uint32_t i = 0; i < MP_DNS_NAMES_MAX + 50; i++) {
        char name[32];
        snprintf(name, sizeof name, "host%u.test", i);
        question q;
        ask(dns, &q, name);
        until_answered(&q);
    }
    uint32_t count = 0;
    mp_dns_each(dns, count_entry, &count);
    check_equal(count, MP_DNS_NAMES_MAX);
    close_dns(dns);
}

TEST(a_list_of_servers_that_is_none_is_refused) {
    mp_dns *dns = NULL;
    mantis_error error = {0};
    mp_dns_config config = {.servers = "not an address"};
    check(mp_loop_open(&loop, NULL, NULL) == MANTIS_OK);
    check(mp_dns_open(&dns, loop, &config, &error) == MANTIS_INVALID && !dns);
    check_contains(error.text, "dns servers 'not an address'");
    mp_loop_close(&loop);
}

TEST(addresses_are_read_and_written) {
    mp_address address = {0};
    char text[MP_ADDRESS_TEXT_MAX];
    static const char *const good[] = {"0.0.0.0", "255.255.255.255", "::", "1:2:3:4:5:6:7:8",
                                       "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        check(mp_address_parse(&address, good[i], 65535));
        check(strcmp(mp_address_format_host(&address, text), good[i]) == 0);
        check_equal(mp_address_port(&address), 65535);
    }
    static const char *const bad[] = {"",         "localhost",     "10.0.0", "10.0.0.256",
                                      ":::",      "1::2::3",       "[::1]",  "10.0.0.1 ",
                                      "fe80::1%", "::1%nosuchzone"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check(!mp_address_parse(&address, bad[i], 1));
    check(!mp_address_parse(&address, "10.0.0.1", 65536));
    check(mp_address_parse(&address, "fe80::1%lo", 1));
    check(strcmp(mp_address_format(&address, text), "[fe80::1%lo]:1") == 0);
    char path[200];
    memset(path, 'p', sizeof path);
    path[107] = '\0';
    check(mp_address_set_path(&address, path));
    check(strcmp(mp_address_format(&address, text), path) == 0);
    path[107] = 'p';
    path[108] = '\0';
    check(!mp_address_set_path(&address, path) && !mp_address_set_path(&address, ""));
}

TAP_MAIN
