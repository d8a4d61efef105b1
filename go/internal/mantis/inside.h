/* What the files of the bridge share: the handle of a connection, and the queue of events. */
#ifndef BRIDGE_INSIDE_H
#define BRIDGE_INSIDE_H

#include "bridge.h"

static inline mantis_conn bridge_handle(bridge_conn conn) {
    return (mantis_conn){(uint32_t)conn.place, (uint32_t)(conn.place >> 32), conn.generation};
}

/* Queue an event: its text is the hub's from here on. False: no memory. */
bool bridge_hub_post(const bridge_event *event);

/* Queue a commit that is done. */
void bridge_hub_post_commit(bridge_commit *commit);

/* Go's connector; its place is the pool's number. */
extern const mantis_connector bridge_go_connector;

/* Hooks that tell Go what it asked for. */
mantis_hooks bridge_hooks(uint32_t number, uint32_t tell);

#endif
