/* PgBouncer's auth_file:
 *
 *     ; a comment
 *     "user" "secret" and the rest of the line is not looked at
 *
 * Inside the quotes a quote is written twice. A line that cannot be read is refused with its
 * number, and the lines after it can be read all the same. */
#ifndef MP_PG_USERLIST_H
#define MP_PG_USERLIST_H

#include "pg/secret.h"
#include "pg/view.h"

#include <mantis/status.h>
#include <stddef.h>
#include <stdint.h>

#define MP_USERLIST_USER_SIZE_MAX 127u /* PgBouncer's bounds */
#define MP_USERLIST_SECRET_SIZE_MAX 65530u

/* A file that is being read: its whole text, in which quotes are taken away as it is read. It holds
 * secrets, so its owner wipes it after the last use of a user. */
typedef struct mp_userlist {
    char *text;
    size_t size;
    size_t at;
    uint32_t line; /* of the user that was read last; 0 before the first */
} mp_userlist;

typedef struct mp_userlist_user {
    mp_view name, secret; /* into the text; an empty secret: nobody can log in with it */
    mp_secret_kind kind;
} mp_userlist_user;

/* Read the next user. Call it again after INVALID to go on behind that line.
 * Errors  NOT_FOUND: the end. INVALID: this line; the text has its number and no secret */
mantis_status mp_userlist_read(mp_userlist *list, mp_userlist_user *out, mantis_error *error);

#endif
