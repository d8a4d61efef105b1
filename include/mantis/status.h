/* What a call can answer, and the detail that goes with it.
 *
 * Every call that can fail returns a mantis_status and, if the caller passes one, fills a
 * mantis_error. Nothing here allocates. The numbers never change. */
#ifndef MANTIS_STATUS_H
#define MANTIS_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what the libraries export; everything else in them is hidden. */
#if defined(__GNUC__)
#define MANTIS_API __attribute__((visibility("default")))
#else
#define MANTIS_API
#endif

/* X(name, number, text): the one list; enum, names, texts and docs/errors.md come from it. */
#define MANTIS_STATUS_LIST(X)                                                                      \
    X(OK, 0, "done")                                                                               \
    X(TIMEOUT, 1, "the deadline passed first")                                                     \
    X(EXHAUSTED, 2, "no connection is free, and waiting is not possible or not allowed")           \
    X(CLOSED, 3, "the pool is closed")                                                             \
    X(CANCELLED, 4, "the request was cancelled by its owner")                                      \
    X(CONNECT_FAILED, 5, "the backend could not be reached or refused the connection")             \
    X(INVALID, 6, "an argument is out of its range")                                               \
    X(STALE, 7, "the handle is old: its connection was released, or its operation is over")        \
    X(BUSY, 8, "something still uses it, and it stays open")                                       \
    X(PAUSED, 9, "the pool is paused")                                                             \
    X(FORKED, 10, "the handle belongs to the parent process")                                      \
    X(NOT_FOUND, 11, "there is no such key")                                                       \
    X(CONFLICT, 12, "somebody else changed it first")                                              \
    X(TOO_BIG, 13, "larger than its limit")                                                        \
    X(FULL, 14, "the disk is full")                                                                \
    X(LOCKED, 15, "in use by another process")                                                     \
    X(CORRUPT, 16, "the stored data is damaged")                                                   \
    X(IO, 17, "the operating system reported an error")                                            \
    X(NOMEM, 18, "out of memory")                                                                  \
    X(UNSUPPORTED, 19, "this connection cannot do that")

typedef enum mantis_status {
#define MANTIS_STATUS_ENUM(name, number, text) MANTIS_##name = number,
    MANTIS_STATUS_LIST(MANTIS_STATUS_ENUM)
#undef MANTIS_STATUS_ENUM
} mantis_status;

/* The detail of a failure, in the caller's memory. A zeroed one is valid and says OK.
 * A call that succeeds leaves it as it was. */
typedef struct mantis_error {
    mantis_status status;
    int os_errno;     /* the errno behind it, or 0 */
    char sqlstate[6]; /* the five characters of SQLSTATE behind it, or "" */
    char text[256];   /* one line for a person: what failed, why, and what to do now */
} mantis_error;

/* The status as in the list above, "TIMEOUT"; "UNKNOWN" for a number that is none.
 * Owner   static text.    Threads any. */
MANTIS_API const char *mantis_status_name(mantis_status status);

/* One sentence for a person; never NULL.
 * Owner   static text.    Threads any. */
MANTIS_API const char *mantis_status_text(mantis_status status);

/* The version of the library as "0.1.0".
 * Owner   static text.    Threads any. */
MANTIS_API const char *mantis_version(void);

#ifdef __cplusplus
}
#endif
#endif
