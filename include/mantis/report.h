/* A pool's figures as text and JSON, for people and programs. The fields are described in
 * docs/figures.md, with their units and meaning. */
#ifndef MANTIS_REPORT_H
#define MANTIS_REPORT_H

#include <mantis/pool.h>
#include <mantis/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Write the pool's figures as lines of "name value unit", and return the bytes needed without the
 * final zero, as snprintf does. out may be NULL if size is 0.
 * Threads any.    Blocks as mantis_pool_get_stats() does. */
MANTIS_API size_t mantis_report_text(mantis_pool *pool, char *out, size_t size);

/* The same as one JSON object.
 * Threads any.    Blocks as mantis_pool_get_stats() does. */
MANTIS_API size_t mantis_report_json(mantis_pool *pool, char *out, size_t size);

#ifdef __cplusplus
}
#endif
#endif
