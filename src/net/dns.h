/* Host names to addresses, without blocking the loop (c-ares), with a cache. One resolver a loop.
 *
 * A name that several ask for at once is looked up once. An answer is kept for ttl_ns, that there
 * is no such name for negative_ttl_ns, whatever the records say. If a name cannot be looked up
 * again because no name server answers, the old answer serves on. */
#ifndef MP_NET_DNS_H
#define MP_NET_DNS_H

#include "net/address.h"
#include "net/loop.h"

#include <mantis/status.h>

#define MP_DNS_NAMES_MAX 256u    /* in the cache: beyond it the one used least recently goes */
#define MP_DNS_ADDRESSES_MAX 32u /* of one name */

typedef struct mp_dns mp_dns;

/* Zeroed it means the defaults. Strings need not outlive mp_dns_open(). */
typedef struct mp_dns_config {
    int64_t ttl_ns;          /* 0: 15 s */
    int64_t negative_ttl_ns; /* 0: 15 s */
    const char *servers;     /* "10.0.0.1,[::1]:5353" instead of the system's; NULL: the system's */
    const char *resolv_conf; /* instead of /etc/resolv.conf; NULL: that */
} mp_dns_config;

/* A question, in the memory of who asks. Zeroed but for the first two it is ready for use. */
typedef struct mp_dns_query {
    /* The answer: count addresses with the port that was asked for, best first, valid until the
     * call returns. Or count is 0, and error says why: NOT_FOUND (there is no such name) TIMEOUT
     * (the deadline passed) CONNECT_FAILED (no name server answers as it should) NOMEM. */
    void (*on_done)(struct mp_dns_query *query, const mp_address *addresses, uint32_t count,
                    const mantis_error *error);
    void *arg; /* its owner's */
    /* the resolver's */
    mp_node node;
    mp_timer deadline;
    struct mp_dns_name *name; /* it waits for; NULL: for none */
    uint16_t port;
} mp_dns_query;

/* Open a resolver.
 * Owner   the caller, until mp_dns_close().    Threads the loop's, as for all below.
 * Errors  NOMEM INVALID (servers) IO */
mantis_status mp_dns_open(mp_dns **out, mp_loop *loop, const mp_dns_config *config,
                          mantis_error *error);

/* Ask. on_done is called once: before this returns if name is a numeric address or in the cache,
 * otherwise later from the loop, by deadline_ns.
 * Owner   query stays where it is until then, or until mp_dns_cancel(). */
void mp_dns_resolve(mp_dns *dns, mp_dns_query *query, const char *name, uint16_t port,
                    int64_t deadline_ns);

/* Ask no longer: on_done is not called. One that waits for nothing is fine. */
void mp_dns_cancel(mp_dns *dns, mp_dns_query *query);

/* One name of the cache. */
typedef struct mp_dns_entry {
    const char *name;
    const mp_address *addresses;
    uint32_t count;     /* 0: there is no such name, or it is being looked up for the first time */
    int64_t expires_ns; /* in the past: it is looked up when somebody asks */
    bool is_pending;    /* being looked up now */
} mp_dns_entry;

/* Show each name of the cache, used most recently first. */
void mp_dns_each(const mp_dns *dns, void (*show)(const mp_dns_entry *entry, void *arg), void *arg);

/* Look every name up anew when it is next asked for, and read the system's configuration again.
 * Errors  NOMEM INVALID IO: then all is as before */
mantis_status mp_dns_reset(mp_dns *dns, mantis_error *error);

/* Close it, not from within on_done. No query may be waiting. An empty one is fine. */
void mp_dns_close(mp_dns **dns);

#endif
