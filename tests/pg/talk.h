/* A connection of src/pg over a blocking socket, for tests with real servers and clients. It reads
 * in pieces of odd sizes, so that messages are cut everywhere. Whatever goes wrong ends the
 * program. */
#ifndef MP_TESTS_PG_TALK_H
#define MP_TESTS_PG_TALK_H

#include "pg/login.h"
#include "pg/wire.h"

#include <stddef.h>
#include <stdint.h>

#define TALK_BUFFER 262144u

typedef struct conversation {
    int fd;
    uint8_t in[TALK_BUFFER];
    size_t have, used; /* of in; what is used goes with the next read */
    uint8_t out_data[TALK_BUFFER];
    mp_wire_out out;
    mp_wire wire;
    mp_wire_rules rules;
    uint32_t reads; /* so many, which decides how long the next may be */
    uint32_t pid;   /* of the server, and its cancel key */
    uint8_t key[256];
    size_t key_size;
} conversation;

/* Print a reason and end the program. */
_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...);

void talk_open(conversation *talk, int fd, mp_wire_side from);
int connect_to(uint16_t port);

/* Send what was written. */
void talk_send(conversation *talk);

/* The next message, whole; valid until the next read. False: the other side has closed. */
bool talk_read(conversation *talk, mp_message *out);

/* More bytes into the buffer. False: the other side has closed. */
bool talk_fill(conversation *talk);

/* Log in to a server as a client: up to ReadyForQuery. An error is printed, and false. */
bool talk_log_in(conversation *talk, mp_login *login);

/* Print messages, a line each, up to ReadyForQuery. */
void talk_print(conversation *talk);

#endif
