/* Operations of a connector: started after the lock is released, completed by one call.
 *
 * An operation has no memory of its own: mantis_op is the slot. That is enough because a slot stays
 * in OPENING, CHECKING, RESETTING or CLOSING until its operation has completed, however late. */
#ifndef MP_CORE_OP_H
#define MP_CORE_OP_H

#include "core/slots.h"

extern mp_crew mp_op_crew; /* the threads of blocking connectors */

/* Start all operations of a list: here, on their home, or on a thread of the crew. */
void mp_op_start_all(mp_tasks *ops);

/* Call the connector now, on this thread. */
void mp_op_run(mp_task *task);

/* Ask the connector to give up the operation under way, if there still is one that is overdue. */
void mp_op_abort(mp_slot *slot);

#endif
