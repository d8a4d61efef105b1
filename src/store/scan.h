/* Visiting keys in order: of the engine as it is, or of a transaction, whose writes to come lie
 * over its snapshot.
 *
 *   Y1  of a key that is in both, the transaction's write is what is seen, also if it is a delete.
 *   Y2  a callback may write within the transaction: an entry that the scan stands on stays. */
#ifndef MP_STORE_SCAN_H
#define MP_STORE_SCAN_H

#include "store/engine.h"
#include "store/txn.h"

#include <mantis/store.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mp_scan {
    const mp_engine *engine;
    mp_txn *txn; /* NULL: none */
    const void *prefix;
    size_t prefix_size;
    uint32_t limit; /* 0: none */
    mantis_on_entry on_entry;
    void *arg;
} mp_scan;

/* Visit entries from where the cursor stands; NULL: from the first. The cursor is moved if all went
 * well.
 * Blocks  for reads.
 * Errors  CORRUPT IO NOMEM */
mantis_status mp_scan_run(const mp_scan *scan, mantis_cursor *cursor, mantis_error *error);

#endif
