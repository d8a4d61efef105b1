/* Operations of a connector: started after the lock is released, completed by one call.
 *
 * An operation has no memory of its own: mantis_op is the slot. That is enough because a slot stays
 * in OPENING, CHECKING, RESETTING or CLOSING until its operation has completed, however late. */
#ifndef MP_CORE_OP_H
#define MP_CORE_OP_H

#include "core/slots.h"

/* Start all operations of a list linked by next: here, on their home, or on an opener thread. */
void mp_op_start_all(mp_slot *ops);

/* Call the connector now, on this thread. */
void mp_op_run(mp_slot *slot);

/* Ask the connector to give up the operation under way, if there still is one that is overdue. */
void mp_op_abort(mp_slot *slot);

#endif
