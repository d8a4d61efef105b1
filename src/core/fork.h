/* What a child process may do with its parent's pools: nothing. */
#ifndef MP_CORE_FORK_H
#define MP_CORE_FORK_H

/* From now on a fork() marks all pools in the child as FORKED. Once a process is enough. */
void mp_fork_watch(void);

#endif
