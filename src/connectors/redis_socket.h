/* Connecting to where a DSN points, within a deadline and interruptible. */
#ifndef MP_CONNECTORS_REDIS_SOCKET_H
#define MP_CONNECTORS_REDIS_SOCKET_H

#include "connectors/redis_dsn.h"
#include "connectors/redis_work.h"

#include <mantis/status.h>
#include <stdint.h>

/* Open a socket to the server: blocking, with the timeout of the DSN. Only the resolving of a name
 * may take longer than the deadline. work has the socket.
 * Owner   the caller closes *out.
 * Errors  CONNECT_FAILED */
mantis_status mp_redis_socket_open(const mp_redis_dsn *dsn, mp_redis_work *work,
                                   int64_t deadline_ns, int *out, mantis_error *error);

/* Give the socket the timeout of the DSN (again: its borrower may have changed it). */
void mp_redis_socket_set_timeout(int fd, const mp_redis_dsn *dsn);

#endif
