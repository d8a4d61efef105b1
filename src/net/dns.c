/* The resolver: a cache of names in front of c-ares, whose sockets and timeouts are the loop's. */
#include "net/dns.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"
#include "net/transport.h"

#include <ares.h>
#include <stdlib.h>
#include <string.h>

#define TTL_NS (15 * MP_NS_PER_S)
#define SERVER_TIMEOUT_MS 2000 /* then the next name server is asked */

struct mp_dns_name {
    mp_node node; /* in the cache, used most recently last */
    mp_dns *dns;
    char *name;
    mp_list waiting; /* queries */
    mp_address *addresses;
    uint32_t count;
    int64_t expires_ns;
    bool is_pending;   /* being looked up */
    bool is_answering; /* its owners are being called: it must stay */
    mantis_status status;
};

/* One of c-ares's sockets. */
typedef struct channel_socket {
    mp_watch watch;
    mp_node node;
} channel_socket;

struct mp_dns {
    mp_loop *loop;
    int64_t ttl_ns, negative_ttl_ns;
    char *servers, *resolv_conf;
    ares_channel channel;
    mp_timer timeout; /* c-ares's next */
    mp_list sockets, names;
    uint32_t names_count;
    bool is_closing; /* the channel: what it still answers is not looked at */
};

/* ---- c-ares on the loop ---- */

static void set_timeout(mp_dns *dns) {
    struct timeval left;
    int64_t due_ns = MP_NEVER_NS;
    if (ares_timeout(dns->channel, NULL, &left))
        due_ns = mp_loop_now_ns(dns->loop) + left.tv_sec * MP_NS_PER_S +
                 left.tv_usec * MP_NS_PER_US;
    mp_timer_set(&dns->timeout, dns->loop, due_ns);
}

static void on_timeout(mp_timer *timer, mp_loop *loop) {
    (void)loop;
    mp_dns *dns = mp_container_of(timer, mp_dns, timeout);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timeout(dns);
}

static void on_ready(mp_watch *watch, mp_loop *loop, int events) {
    (void)loop;
    mp_dns *dns = watch->arg;
    ares_process_fd(dns->channel, events & MP_WATCH_READ ? watch->fd : ARES_SOCKET_BAD,
                    events & MP_WATCH_WRITE ? watch->fd : ARES_SOCKET_BAD);
    set_timeout(dns); /* the watch may be gone */
}

/* c-ares wants a socket watched otherwise, or not any more; it closes it after that. */
static void on_socket(void *arg, ares_socket_t fd, int reads, int writes) {
    mp_dns *dns = arg;
    int events = (reads ? MP_WATCH_READ : 0) | (writes ? MP_WATCH_WRITE : 0);
    channel_socket *found = NULL;
    for (mp_node *node = dns->sockets.head; node && !found; node = node->next) {
        channel_socket *each = mp_container_of(node, channel_socket, node);
        if (each->watch.fd == fd) found = each;
    }
    if (!found && events) {
        found = calloc(1, sizeof *found);
        if (!found) return; /* the lookup runs into its timeout */
        found->watch = (mp_watch){.fd = fd, .on_ready = on_ready, .arg = dns};
        mp_list_push(&dns->sockets, &found->node);
    }
    if (!found) return;
    (void)mp_watch_set(&found->watch, dns->loop, events, NULL);
    if (events) return;
    mp_list_remove(&dns->sockets, &found->node);
    free(found);
}

static mantis_status fail_ares(int code, mantis_error *error) {
    mantis_status status = code == ARES_ENOMEM ? MANTIS_NOMEM : MANTIS_IO;
    return mp_error_set(error, status, "cannot open a resolver: %s", ares_strerror(code));
}

static mantis_status open_channel(mp_dns *dns, ares_channel *out, mantis_error *error) {
    struct ares_options options = {.timeout = SERVER_TIMEOUT_MS,
                                   .sock_state_cb = on_socket,
                                   .sock_state_cb_data = dns,
                                   .resolvconf_path = dns->resolv_conf};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_SOCK_STATE_CB;
    if (dns->resolv_conf) mask |= ARES_OPT_RESOLVCONF;
    ares_channel channel;
    int code = ares_init_options(&channel, &options, mask);
    if (code != ARES_SUCCESS) return fail_ares(code, error);
    if (dns->servers) code = ares_set_servers_ports_csv(channel, dns->servers);
    if (code == ARES_SUCCESS) {
        *out = channel;
        return MANTIS_OK;
    }
    ares_destroy(channel);
    return mp_error_set(error, MANTIS_INVALID,
                        "dns servers '%s': %s; they are addresses with commas between them",
                        dns->servers, ares_strerror(code));
}

static void close_channel(mp_dns *dns) {
    dns->is_closing = true;
    if (dns->channel) ares_destroy(dns->channel);
    dns->is_closing = false;
}

/* ---- answers ---- */

static void tell(const struct mp_dns_name *name, mp_dns_query *query) {
    mp_address addresses[MP_DNS_ADDRESSES_MAX];
    for (uint32_t i = 0; i < name->count; i++) {
        addresses[i] = name->addresses[i];
        mp_address_set_port(&addresses[i], query->port);
    }
    mantis_error error;
    const char *why = "no name server answers as it should";
    if (name->status == MANTIS_NOT_FOUND) why = "there is no such host";
    if (name->status == MANTIS_NOMEM) why = "out of memory";
    if (!name->count)
        (void)mp_error_set(&error, name->status, "cannot resolve '%.100s': %s", name->name, why);
    query->on_done(query, addresses, name->count, name->count ? NULL : &error);
}

static void stop_waiting(mp_dns_query *query) {
    mp_timer_stop(&query->deadline, query->name->dns->loop);
    mp_list_remove(&query->name->waiting, &query->node);
    query->name = NULL;
}

/* All that wait now; who asks again meanwhile is answered from the cache, or waits. */
static void tell_waiting(struct mp_dns_name *name) {
    uint32_t count = 0;
    for (mp_node *node = name->waiting.head; node; node = node->next) count++;
    name->is_answering = true;
    for (; count && !mp_list_is_empty(&name->waiting); count--) {
        mp_dns_query *query = mp_container_of(name->waiting.head, mp_dns_query, node);
        stop_waiting(query);
        tell(name, query);
    }
    name->is_answering = false;
}

static bool add_address(mp_address *to, const struct ares_addrinfo_node *node) {
    if (node->ai_family != AF_INET && node->ai_family != AF_INET6) return false;
    *to = (mp_address){.size = node->ai_addrlen};
    memcpy(&to->u, node->ai_addr, node->ai_addrlen);
    return true;
}

/* False: no memory. */
static bool take_addresses(struct mp_dns_name *name, const struct ares_addrinfo *result) {
    mp_address *addresses = calloc(MP_DNS_ADDRESSES_MAX, sizeof *addresses);
    if (!addresses) return false;
    uint32_t count = 0;
    for (const struct ares_addrinfo_node *node = result->nodes;
         node && count < MP_DNS_ADDRESSES_MAX; node = node->ai_next)
        count += add_address(&addresses[count], node);
    free(name->addresses);
    name->addresses = addresses;
    name->count = count;
    name->status = count ? MANTIS_OK : MANTIS_NOT_FOUND;
    return true;
}

static void on_result(void *arg, int code, int timeouts, struct ares_addrinfo *result) {
    (void)timeouts;
    struct mp_dns_name *name = arg;
    mp_dns *dns = name->dns;
    if (dns->is_closing) return;
    if (code == ARES_SUCCESS && !take_addresses(name, result)) code = ARES_ENOMEM;
    if (result) ares_freeaddrinfo(result);
    int64_t ttl_ns = 0; /* another failure: the next who asks tries again */
    bool is_none = code == ARES_ENOTFOUND || code == ARES_ENODATA;
    if (code == ARES_SUCCESS) ttl_ns = dns->ttl_ns;
    else if (is_none) ttl_ns = dns->negative_ttl_ns;
    if (is_none) name->count = 0;
    if (code == ARES_ENOMEM) name->status = MANTIS_NOMEM;
    else if (code != ARES_SUCCESS)
        name->status = is_none ? MANTIS_NOT_FOUND : MANTIS_CONNECT_FAILED;
    name->expires_ns = mp_loop_now_ns(dns->loop) + ttl_ns;
    name->is_pending = false;
    tell_waiting(name);
}

static void look_up(struct mp_dns_name *name) {
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    name->is_pending = true;
    mp_dns *dns = name->dns;
    ares_getaddrinfo(dns->channel, name->name, NULL, &hints, on_result, name); /* may be done now */
    set_timeout(dns);
}

/* ---- the cache ---- */

static void free_name(struct mp_dns_name *name) {
    mp_assert(mp_list_is_empty(&name->waiting));
    mp_list_remove(&name->dns->names, &name->node);
    name->dns->names_count--;
    free(name->addresses);
    free(name->name);
    free(name);
}

static void free_least_used(mp_dns *dns) {
    for (mp_node *node = dns->names.head; node; node = node->next) {
        struct mp_dns_name *name = mp_container_of(node, struct mp_dns_name, node);
        if (name->is_pending || name->is_answering) continue;
        free_name(name);
        return;
    }
}

static struct mp_dns_name *add_name(mp_dns *dns, const char *text) {
    struct mp_dns_name *name = calloc(1, sizeof *name);
    if (name) name->name = mp_bytes_copy_string(text);
    if (!name || !name->name) {
        free(name);
        return NULL;
    }
    if (dns->names_count >= MP_DNS_NAMES_MAX) free_least_used(dns);
    name->dns = dns;
    mp_list_push(&dns->names, &name->node);
    dns->names_count++;
    return name;
}

/* From the cache, or new there; it becomes the one used most recently. NULL: no memory. */
static struct mp_dns_name *find_name(mp_dns *dns, const char *text) {
    for (mp_node *node = dns->names.tail; node; node = node->prev) {
        struct mp_dns_name *name = mp_container_of(node, struct mp_dns_name, node);
        if (strcasecmp(name->name, text) != 0) continue;
        mp_list_remove(&dns->names, node);
        mp_list_push(&dns->names, node);
        return name;
    }
    return add_name(dns, text);
}

/* ---- asking ---- */

static void on_deadline(mp_timer *timer, mp_loop *loop) {
    (void)loop;
    mp_dns_query *query = mp_container_of(timer, mp_dns_query, deadline);
    mantis_error error;
    (void)mp_error_set(&error, MANTIS_TIMEOUT,
                       "cannot resolve '%.100s': no name server has answered", query->name->name);
    stop_waiting(query);
    query->on_done(query, NULL, 0, &error);
}

void mp_dns_resolve(mp_dns *dns, mp_dns_query *query, const char *name, uint16_t port,
                    int64_t deadline_ns) {
    mp_address address;
    mantis_error error;
    if (mp_address_parse(&address, name, port)) {
        query->on_done(query, &address, 1, NULL);
        return;
    }
    query->port = port;
    struct mp_dns_name *found = find_name(dns, name);
    if (!found) {
        (void)mp_error_set(&error, MANTIS_NOMEM, "cannot resolve '%.100s': out of memory", name);
        query->on_done(query, NULL, 0, &error);
        return;
    }
    if (!found->is_pending && mp_loop_now_ns(dns->loop) < found->expires_ns) {
        tell(found, query);
        return;
    }
    query->name = found;
    query->deadline.on_due = on_deadline;
    mp_list_push(&found->waiting, &query->node);
    mp_timer_set(&query->deadline, dns->loop, deadline_ns);
    if (!found->is_pending) look_up(found);
}

void mp_dns_cancel(mp_dns *dns, mp_dns_query *query) {
    (void)dns;
    if (query->name) stop_waiting(query);
}

void mp_dns_each(const mp_dns *dns, void (*show)(const mp_dns_entry *entry, void *arg), void *arg) {
    for (const mp_node *node = dns->names.tail; node; node = node->prev) {
        const struct mp_dns_name *name = mp_container_of(node, const struct mp_dns_name, node);
        mp_dns_entry entry = {name->name, name->addresses, name->count, name->expires_ns,
                              name->is_pending};
        show(&entry, arg);
    }
}

/* ---- opening and closing ---- */

mantis_status mp_dns_open(mp_dns **out, mp_loop *loop, const mp_dns_config *config,
                          mantis_error *error) {
    static const mp_dns_config defaults;
    if (!config) config = &defaults;
    mp_dns *dns = calloc(1, sizeof *dns);
    if (!dns) return mp_error_set(error, MANTIS_NOMEM, "no memory for a resolver");
    dns->loop = loop;
    dns->ttl_ns = config->ttl_ns ? config->ttl_ns : TTL_NS;
    dns->negative_ttl_ns = config->negative_ttl_ns ? config->negative_ttl_ns : TTL_NS;
    dns->servers = mp_bytes_copy_string(config->servers);
    dns->resolv_conf = mp_bytes_copy_string(config->resolv_conf);
    dns->timeout.on_due = on_timeout;
    int code = ares_library_init(ARES_LIB_INIT_ALL);
    mantis_status status = code == ARES_SUCCESS ? open_channel(dns, &dns->channel, error)
                                                : fail_ares(code, error);
    if (status == MANTIS_OK) *out = dns;
    else mp_dns_close(&dns);
    return status;
}

/* A name that somebody waits for, and that is not being looked up. */
static struct mp_dns_name *find_forgotten(mp_dns *dns) {
    for (mp_node *node = dns->names.head; node; node = node->next) {
        struct mp_dns_name *name = mp_container_of(node, struct mp_dns_name, node);
        if (!name->is_pending && !mp_list_is_empty(&name->waiting)) return name;
    }
    return NULL;
}

mantis_status mp_dns_reset(mp_dns *dns, mantis_error *error) {
    ares_channel fresh = NULL;
    mantis_status status = open_channel(dns, &fresh, error);
    if (status != MANTIS_OK) return status;
    close_channel(dns);
    dns->channel = fresh;
    for (mp_node *node = dns->names.head; node; node = node->next) {
        struct mp_dns_name *name = mp_container_of(node, struct mp_dns_name, node);
        name->expires_ns = 0;
        name->is_pending = false;
    }
    for (struct mp_dns_name *name; (name = find_forgotten(dns));) look_up(name);
    return MANTIS_OK;
}

void mp_dns_close(mp_dns **dns) {
    if (!dns || !*dns) return;
    mp_dns *closing = *dns;
    *dns = NULL;
    close_channel(closing);
    mp_timer_stop(&closing->timeout, closing->loop);
    while (!mp_list_is_empty(&closing->names))
        free_name(mp_container_of(closing->names.head, struct mp_dns_name, node));
    ares_library_cleanup();
    free(closing->servers);
    free(closing->resolv_conf);
    free(closing);
}
