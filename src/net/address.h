/* Where a socket is: an IPv4 or IPv6 address with a port, or a name in the file system. */
#ifndef MP_NET_ADDRESS_H
#define MP_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Of the longest text that mp_address_format() writes, with its zero. */
#define MP_ADDRESS_TEXT_MAX 128

/* A value, free to copy. Zeroed it is no address. */
typedef struct mp_address {
    socklen_t size; /* of what is used below */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } u;
} mp_address;

/* A numeric address: "127.0.0.1", "::1", "fe80::1%eth0". False: it is none, or the port is above
 * 65535; then *out is untouched. */
bool mp_address_parse(mp_address *out, const char *text, uint32_t port);

/* A socket in the file system, "/run/mantis/.s.PGSQL.6432", or one that has only a name, "@mantis".
 * False: the name is empty or too long (107 characters); then *out is untouched. */
bool mp_address_set_path(mp_address *out, const char *path);

static inline bool mp_address_is_unix(const mp_address *address) {
    return address->u.any.sa_family == AF_UNIX;
}

/* As text for a person: "127.0.0.1:5432", "[::1]:5432", "/tmp/.s.PGSQL.5432", "unix" without a
 * name. Returns out. */
const char *mp_address_format(const mp_address *address, char out[MP_ADDRESS_TEXT_MAX]);

/* The host alone, "127.0.0.1", "::1", or the path; returns out. */
const char *mp_address_format_host(const mp_address *address, char out[MP_ADDRESS_TEXT_MAX]);

/* The port, 0 if it has none; and another one, if it has one. */
uint32_t mp_address_port(const mp_address *address);
void mp_address_set_port(mp_address *address, uint16_t port);

#endif
