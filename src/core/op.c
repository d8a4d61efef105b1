/* Calling the connector, and being called back by it.
 *
 * An operation has no memory of its own: mantis_op is the slot. That is enough because a slot stays
 * in OPENING, CHECKING, RESETTING or CLOSING until its operation has completed, however late. */
#include "core/pool.h"

#include "base/error.h"

#define DEPTH_MAX 8 /* of connectors called from within connectors */

static mp_slot *slot_of(const mantis_op *op) { return (mp_slot *)(uintptr_t)op; }

mp_crew mp_op_crew = {.name = "mantis-open", .run = mp_op_run, .size = 4};

static void start(mp_slot *slot) {
    enum mp_op_kind kind = (enum mp_op_kind)mp_load_relaxed(&slot->op);
    uint32_t home = mp_load_relaxed(&slot->home);
    if (mp_load_relaxed(&slot->pool)->connector->blocks)
        mp_crew_push(&mp_op_crew, &slot->u.task, kind == MP_OP_CLOSE || kind == MP_OP_ABORT);
    else if (home == 0 || !mp_mailbox_post_op(home, slot)) mp_op_run(&slot->u.task);
}

/* A connector that completes at once may start the next operation from within this one: beyond some
 * depth that is left to a caller further up, so that a pool of any size needs little stack. */
void mp_op_start_all(mp_tasks *ops) {
    mp_hints *hints = mp_hints_of_thread();
    for (mp_task *t; (t = mp_tasks_pop(ops));)
        if (hints->calling_out >= DEPTH_MAX) mp_tasks_push(&hints->later, t);
        else start(mp_container_of(t, mp_slot, u.task));
    if (hints->calling_out < DEPTH_MAX) mp_op_start_later();
}

void mp_op_start_later(void) {
    mp_tasks *later = &mp_hints_of_thread()->later;
    for (mp_task *t; (t = mp_tasks_pop(later));) start(mp_container_of(t, mp_slot, u.task));
}

void mp_op_run(mp_task *task) {
    mp_slot *slot = mp_container_of(task, mp_slot, u.task);
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    const mantis_connector *connector = pool->connector;
    void *place = mp_supply_place(pool, slot)->place;
    void *native = mp_load_relaxed(&slot->native);
    mantis_op *op = (mantis_op *)(void *)slot;
    enum mp_op_kind kind = (enum mp_op_kind)mp_load_relaxed(&slot->op);
    mp_store_relaxed(&slot->progress, MP_OP_STARTED);
    mp_hints_of_thread()->calling_out++;
    switch (kind) {
    case MP_OP_OPEN: connector->open(place, op); break;
    case MP_OP_CHECK: connector->check(place, native, op); break;
    case MP_OP_RESET: connector->reset(place, native, op); break;
    case MP_OP_ABORT: connector->abort(place, native, op); break;
    case MP_OP_CLOSE: connector->close(place, native, op); break;
    case MP_OP_NONE: break;
    }
    mp_hints_of_thread()->calling_out--;
}

void mp_op_interrupt(mp_slot *slot) {
    mantis_pool *pool = mp_load_relaxed(&slot->pool);
    if (mp_load_relaxed(&slot->op) == MP_OP_NONE || !pool->connector->interrupt) return;
    if (mp_load_relaxed(&slot->progress) != MP_OP_OVERDUE) return;
    pool->connector->interrupt(mp_supply_place(pool, slot)->place, (mantis_op *)(void *)slot);
}

mantis_status mantis_op_done(mantis_op *op, void *native) {
    return mp_supply_complete(slot_of(op), native, NULL);
}

mantis_status mantis_op_failed(mantis_op *op, const char *cause) {
    mantis_error error;
    mp_error_set(&error, MANTIS_CONNECT_FAILED, "%s", cause ? cause : "no cause was given");
    return mp_supply_complete(slot_of(op), NULL, &error);
}

mantis_status mantis_op_failed_with(mantis_op *op, const mantis_error *error) {
    return error ? mp_supply_complete(slot_of(op), NULL, error) : mantis_op_failed(op, NULL);
}

int64_t mantis_op_deadline(const mantis_op *op) { return slot_of(op)->u.task.due_ns; }
