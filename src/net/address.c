/* Addresses from text and to text. */
#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

/* "fe80::1%eth0": the zone is an interface's name or number. */
static bool parse_v6(struct sockaddr_in6 *v6, const char *text) {
    char host[INET6_ADDRSTRLEN];
    const char *zone = strchr(text, '%');
    size_t length = zone ? (size_t)(zone - text) : strlen(text);
    if (length >= sizeof host) return false;
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1) return false;
    if (!zone) return true;
    unsigned number = if_nametoindex(zone + 1);
    char rest;
    if (!number && sscanf(zone + 1, "%9u%c", &number, &rest) != 1) return false;
    v6->sin6_scope_id = number;
    return true;
}

bool mp_address_parse(mp_address *out, const char *text, uint32_t port) {
    if (port > UINT16_MAX) return false;
    mp_address v4 = {.size = sizeof v4.u.v4}, v6 = {.size = sizeof v6.u.v6};
    v4.u.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    v6.u.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, text, &v4.u.v4.sin_addr) == 1) *out = v4;
    else if (parse_v6(&v6.u.v6, text)) *out = v6;
    else return false;
    return true;
}

bool mp_address_set_path(mp_address *out, const char *path) {
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof out->u.un.sun_path) return false;
    mp_address address = {.u.un.sun_family = AF_UNIX};
    memcpy(address.u.un.sun_path, path, length);
    if (*path == '@') address.u.un.sun_path[0] = '\0';
    /* a name without a file is as long as it is; a file's has a zero behind it */
    size_t size = offsetof(struct sockaddr_un, sun_path) + length + (*path != '@');
    address.size = (socklen_t)size;
    *out = address;
    return true;
}

const char *mp_address_format_host(const mp_address *address, char out[MP_ADDRESS_TEXT_MAX]) {
    size_t length = address->size > offsetof(struct sockaddr_un, sun_path)
                        ? address->size - offsetof(struct sockaddr_un, sun_path)
                        : 0;
    const char *path = address->u.un.sun_path;
    char zone[IF_NAMESIZE + 1] = "", name[IF_NAMESIZE];
    *out = '\0';
    switch (address->u.any.sa_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &address->u.v4.sin_addr, out, MP_ADDRESS_TEXT_MAX);
        break;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &address->u.v6.sin6_addr, out, MP_ADDRESS_TEXT_MAX);
        if (address->u.v6.sin6_scope_id && if_indextoname(address->u.v6.sin6_scope_id, name))
            (void)snprintf(zone, sizeof zone, "%%%s", name);
        (void)snprintf(out + strlen(out), MP_ADDRESS_TEXT_MAX - strlen(out), "%s", zone);
        break;
    case AF_UNIX:
        if (length == 0) (void)snprintf(out, MP_ADDRESS_TEXT_MAX, "unix");
        else if (*path == '\0')
            (void)snprintf(out, MP_ADDRESS_TEXT_MAX, "@%.*s", (int)length - 1, path + 1);
        else (void)snprintf(out, MP_ADDRESS_TEXT_MAX, "%.*s", (int)length, path);
        break;
    default: (void)snprintf(out, MP_ADDRESS_TEXT_MAX, "no address");
    }
    return out;
}

const char *mp_address_format(const mp_address *address, char out[MP_ADDRESS_TEXT_MAX]) {
    char host[MP_ADDRESS_TEXT_MAX];
    (void)mp_address_format_host(address, host);
    int family = address->u.any.sa_family;
    const char *form = family == AF_INET6 ? "[%.100s]:%u" : "%.100s:%u";
    if (family == AF_INET || family == AF_INET6)
        (void)snprintf(out, MP_ADDRESS_TEXT_MAX, form, host, mp_address_port(address));
    else memcpy(out, host, sizeof host);
    return out;
}

uint32_t mp_address_port(const mp_address *address) {
    if (address->u.any.sa_family == AF_INET) return ntohs(address->u.v4.sin_port);
    if (address->u.any.sa_family == AF_INET6) return ntohs(address->u.v6.sin6_port);
    return 0;
}

void mp_address_set_port(mp_address *address, uint16_t port) {
    if (address->u.any.sa_family == AF_INET) address->u.v4.sin_port = htons(port);
    if (address->u.any.sa_family == AF_INET6) address->u.v6.sin6_port = htons(port);
}
