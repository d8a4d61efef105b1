/* The slots of a pool: where connections are found and put back without a lock.
 *
 *   pool ──> chunk of 8, 16, 32, … slots ──> slot: one word {generation, RETIRE, state}, alone on
 *     │                                            its cache line with what its holder writes
 *     │        bits: one per slot, a lazy hint "it may be free"
 *     └──> a thread's own hints: the slots that it released last
 *
 * States, and who may move them on:
 *   EMPTY      no connection; under the pool's lock
 *   OPENING    the connector opens it; the completion of that operation
 *   FREE       anybody, by compare-and-swap: to BUSY (a grant), CHECKING or CLOSING
 *   CHECKING   in the core's hands: looked at or checked before it is lent; who put it there
 *   BUSY       its holder, whose handle has this generation; to FREE by compare-and-swap, to
 *              anything else under the pool's lock
 *   RESETTING  the completion of the reset
 *   CLOSING    the completion of the close
 *
 * C1  Only who moved a slot out of FREE, or holds its generation in BUSY, touches its connection.
 * C2  A generation is granted once: every step into BUSY adds one, none is ever taken back, also
 *     when the memory goes on to another pool. So a handle matches only while it is borrowed.
 * C3  RETIRE makes every compare-and-swap of the fast paths fail: such a slot is looked at under
 *     the lock before it is lent or freed. Who sets it holds the lock.
 * C4  A FREE slot without RETIRE has its bit set, or the thread that freed it is about to set it,
 *     or look at the queue, or both. A set bit says nothing.
 *
 * Slots and chunks are type-stable: never unmapped, only used for another pool. A thread that was
 * stopped for long may so take a slot that has moved to another pool; it sees that by the slot's
 * pool and that pool's id, and puts it back there. */
#ifndef MP_CORE_SLOTS_H
#define MP_CORE_SLOTS_H

#include "base/atomic.h"
#include "base/crew.h"
#include "base/thread.h"

#include <mantis/pool.h>
#include <stdbool.h>
#include <stdint.h>

struct mp_waiter;

enum mp_slot_state {
    MP_SLOT_EMPTY = 0,
    MP_SLOT_OPENING,
    MP_SLOT_FREE,
    MP_SLOT_CHECKING,
    MP_SLOT_BUSY,
    MP_SLOT_RESETTING,
    MP_SLOT_CLOSING,
    MP_SLOT_STATES
};
#define MP_SLOT_STATE_MASK UINT64_C(7)
#define MP_SLOT_RETIRE UINT64_C(8)
#define MP_SLOT_LOW_MASK UINT64_C(15) /* state and RETIRE */
#define MP_SLOT_GENERATION UINT64_C(16)

#define MP_SAMPLE_EVERY 64 /* one grant in so many has its use timed */

/* What is added to the word of a FREE slot to take it. */
#define MP_SLOT_GRANT (MP_SLOT_GENERATION + MP_SLOT_BUSY - MP_SLOT_FREE)
#define MP_SLOT_HOLD (UINT64_C(0) + MP_SLOT_CHECKING - MP_SLOT_FREE)

enum mp_op_kind { MP_OP_NONE = 0, MP_OP_OPEN, MP_OP_CHECK, MP_OP_RESET, MP_OP_CLOSE, MP_OP_ABORT };

enum mp_op_progress {
    MP_OP_QUEUED = 0, /* for a thread, or its home */
    MP_OP_STARTED,    /* the connector has been called */
    MP_OP_OVERDUE     /* and is interrupted */
};

/* 128 bytes: a line for the holder, a line for the core. */
typedef struct mp_slot {
    /* any thread, atomic */
    _Alignas(2 * MP_CACHE_LINE) _Atomic uint64_t word;
    _Atomic(struct mantis_pool *) pool; /* changes only while EMPTY */
    _Atomic(void *) native;             /* C1 */
    /* holder only, read by reports */
    _Atomic(const char *) tag;
    _Atomic uint64_t holder;   /* low half of the generation, and the thread: mp_slot_holder() */
    _Atomic int64_t sample_ns; /* when a sampled use began; its negative length once it is over */
    _Atomic uint64_t *bits;    /* the word of the bitmap with this slot's bit; const */
    uint32_t index;            /* among all slots of the process; const */
    uint8_t bit;               /* const */
    _Atomic uint8_t home;      /* of the last borrower */
    _Atomic uint8_t was_home;  /* of the one before */
    _Atomic uint8_t op;        /* enum mp_op_kind of the operation under way; any thread */

    /* under the pool's lock, or C1 */
    _Alignas(MP_CACHE_LINE) union {
        mp_task task; /* while an operation is under way */
        struct {
            struct mp_slot *next;    /* while EMPTY */
            struct mp_waiter *watch; /* while BUSY */
        } list;
    } u;
    int64_t born_ns;
    int64_t retire_at_ns;
    uint64_t seen_word; /* as the keeper saw it last, and since when */
    int64_t seen_ns;
    int64_t check_at_ns;    /* FREE: when it is checked; BUSY: since when it had been idle before */
    uint32_t epoch;         /* of the pool when it was opened */
    uint8_t reason;         /* mantis_close_reason while CLOSING */
    bool leak_reported : 1; /* for this generation */
    bool is_suspect : 1;    /* to be checked before it is lent */
    bool is_dirty;          /* to be reset when it comes back; a holder reads it too */
    _Atomic uint8_t progress; /* enum mp_op_progress; any thread */
} mp_slot;

_Static_assert(sizeof(mp_slot) == 2 * MP_CACHE_LINE, "a slot is two lines");

typedef struct mp_chunk {
    struct mp_chunk *next; /* among the unused ones of its size */
    struct mp_slot *slots;
    uint32_t count;
    _Atomic uint64_t bits[]; /* beside what a scan reads first: one line for most chunks */
} mp_chunk;

#define MP_CHUNKS_MAX 14
#define MP_CHUNK_FIRST 8 /* slots in the first chunk; each further one has twice as many */
#define MP_SLOTS_MAX (MP_CHUNK_FIRST * ((1 << MP_CHUNKS_MAX) - 1))

/* A pool's slots. */
typedef struct mp_slots {
    _Atomic uint32_t chunk_count;
    mp_chunk *chunks[MP_CHUNKS_MAX]; /* published by chunk_count */
} mp_slots;

/* ---- the hints of a thread ---- */

#define MP_HINT_SETS 4
#define MP_HINTS 28 /* a set is 128 bytes */

typedef struct mp_hint_set {
    uint32_t pool_id;
    uint32_t count;
    mp_slot *last; /* the one released last, or NULL; a pointer: the shortest path waits for it */
    uint32_t slots[MP_HINTS]; /* those before */
} mp_hint_set;

typedef struct mp_hints {
    uint32_t tid; /* 0: not asked yet */
    uint32_t home;
    mantis_mailbox *drains;         /* see mantis_thread_drains() */
    mp_slot *lent;                  /* taken last: a release need not look it up */
    uint32_t calling_out;           /* how deep it is in hooks and connectors */
    mp_tasks later;                 /* operations to start once it is less deep in them */
    mp_hint_set sets[MP_HINT_SETS]; /* see mp_slots_hints() */
} mp_hints;

#ifdef MP_EXPLORE
mp_hints *mp_hints_of_thread(void); /* tests/explore: of the coroutine */
#else
/* initial-exec: the default model costs 2 ns more a call in a shared library (measured). */
extern _Thread_local mp_hints mp_thread_hints __attribute__((tls_model("initial-exec")));
static inline mp_hints *mp_hints_of_thread(void) { return &mp_thread_hints; }
#endif

/* The calling thread's kernel id; asks the kernel once. */
static inline uint32_t mp_hints_tid(mp_hints *hints) {
    if (mp_unlikely(hints->tid == 0)) hints->tid = mp_thread_id();
    return hints->tid;
}

/* ---- the word ---- */

static inline enum mp_slot_state mp_slot_state(uint64_t word) {
    return (enum mp_slot_state)(word & MP_SLOT_STATE_MASK);
}

static inline uint64_t mp_slot_generation(uint64_t word) { return word / MP_SLOT_GENERATION; }

static inline uint64_t mp_slot_word(uint64_t generation, enum mp_slot_state state) {
    return generation * MP_SLOT_GENERATION + state;
}

/* What a holder writes: believed only while the generation is the slot's, for between taking a slot
 * and writing this it still names the holder before. */
static inline uint64_t mp_slot_holder(uint64_t generation, uint32_t tid) {
    return generation << 32 | tid;
}

/* The thread that borrowed a slot with this word; 0: not known. */
static inline uint32_t mp_slot_tid(mp_slot *slot, uint64_t word) {
    uint64_t holder = mp_load_acquire(&slot->holder);
    return holder >> 32 == (uint32_t)mp_slot_generation(word) ? (uint32_t)holder : 0;
}

/* Take a FREE slot by adding step. The load is seq_cst: pairs with mp_slot_set_free() and the count
 * of waiters, see docs/architecture. */
static inline bool mp_slot_try_take(mp_slot *slot, uint64_t step, uint64_t *taken) {
    uint64_t word = mp_load_seq_cst(&slot->word);
    if ((word & MP_SLOT_LOW_MASK) != MP_SLOT_FREE) return false;
    if (!mp_cas_seq_cst(&slot->word, &word, word + step)) return false;
    *taken = word + step;
    return true;
}

/* Say in the bitmap that the slot may be free: after freeing it (C4). */
static inline void mp_slot_set_bit(mp_slot *slot) {
    uint64_t mask = UINT64_C(1) << slot->bit;
    if (!(mp_load_seq_cst(slot->bits) & mask)) mp_or_seq_cst(slot->bits, mask);
}

/* ---- all slots of the process ---- */

#define MP_SLOT_GROUP 8 /* slots come in multiples of this, contiguous in memory */
#define MP_SLOT_GROUPS (1u << 20)

extern _Atomic(mp_slot *) mp_slot_groups[MP_SLOT_GROUPS];

/* The slot with this index, or NULL. */
static inline mp_slot *mp_slot_at(uint32_t index) {
    if (mp_unlikely(index / MP_SLOT_GROUP >= MP_SLOT_GROUPS)) return NULL;
    mp_slot *group = mp_load_acquire(&mp_slot_groups[index / MP_SLOT_GROUP]);
    return mp_likely(group) ? group + index % MP_SLOT_GROUP : NULL;
}

/* ---- taking and hinting ---- */

/* The set that a pool shares with few others, by its address: nothing has to be loaded for it.
 * Headers lie 768 bytes apart, so neighbours have different ones. */
static inline mp_hint_set *mp_slots_hints(mp_hints *hints, const struct mantis_pool *pool) {
    return &hints->sets[(uintptr_t)pool / 256 % MP_HINT_SETS];
}

/* Take a slot that this thread released last, for a grant; NULL if none of them is free. */
mp_slot *mp_slots_take_hint(mp_hint_set *set, uint32_t pool_id, uint64_t *taken);

/* Remember a slot that this thread released. */
void mp_slots_push_hint(mp_hint_set *set, uint32_t pool_id, mp_slot *slot);

/* Take any free slot by adding step: by the bitmap, then by all words; NULL if there was none.
 * Lock-free: a stopped thread hides nothing, since every word is looked at. */
mp_slot *mp_slots_take(mp_slots *slots, uint64_t step, uint64_t *taken);

/* Visit all slots of a pool in order. */
#define MP_SLOTS_EACH(slots_, slot_)                                                               \
    for (uint32_t chunk_i_ = 0, chunk_n_ = mp_load_acquire(&(slots_)->chunk_count);                \
         chunk_i_ < chunk_n_; chunk_i_++)                                                          \
        for (mp_slot *slot_ = (slots_)->chunks[chunk_i_]->slots,                                   \
                     *end_ = slot_ + (slots_)->chunks[chunk_i_]->count;                            \
             slot_ < end_; slot_++)

/* Add a chunk; all its slots are EMPTY. Returns it, or NULL (no memory, or MP_CHUNKS_MAX). Under
 * the pool's lock. */
mp_chunk *mp_slots_add_chunk(mp_slots *slots, struct mantis_pool *pool);

/* Give all chunks back. All slots are EMPTY. */
void mp_slots_finish(mp_slots *slots);

#endif
