package pool

import "sync/atomic"

// A slot is Go's half of a slot of C: one word that says what the borrower of its generation does.
// Slots are C's, numbered through the process and never freed, and so are these.
//
// The word is the generation, shifted, and these bits. It is written by whoever borrowed that
// generation: a handle that was released, or never was one, finds another generation or released.
type slot struct {
	word atomic.Uint64
	_    [56]byte // a cache line
}

const (
	inUse    = 1 << iota // a call is under way
	ending               // and it releases the connection when it is over
	broken               // of no use any more
	released             // given back
	flagBits = 4
)

const (
	slotsInLeaf = 1024
	leaves      = 8192 // C has at most 8 Mi slots
)

var slots [leaves]atomic.Pointer[[slotsInLeaf]slot]

func slotAt(index uint32) *slot {
	leaf := slots[index/slotsInLeaf%leaves].Load()
	if leaf == nil {
		leaf = addLeaf(index)
	}
	return &leaf[index%slotsInLeaf]
}

func addLeaf(index uint32) *[slotsInLeaf]slot {
	at := &slots[index/slotsInLeaf%leaves]
	at.CompareAndSwap(nil, new([slotsInLeaf]slot))
	return at.Load()
}
