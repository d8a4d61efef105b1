package pool

import (
	"context"
	"runtime"

	"mantisDB/internal/mantis"
)

// Conn is a borrowed connection, a value that may be copied: all copies are the same connection.
// One goroutine uses it at a time; a second one is answered ErrConnBusy. After Release each copy
// answers ErrConnReleased, for ever. A zero Conn is one that was released.
//
// A connection that is forgotten stays borrowed, also when the garbage collector has taken the
// Conn: Holders and PoolConfig.LeakAfter tell of it.
type Conn struct {
	pool   *ConnectionPool
	slot   *slot
	handle mantis.Conn
}

func (c Conn) base() uint64 { return c.handle.Generation << flagBits }

// Release gives the connection back. Again, or on a zero Conn, it does nothing. While another
// goroutine uses the connection it comes back when that call is over. It never waits.
func (c Conn) Release() {
	if c.slot == nil {
		return
	}
	if !c.slot.word.CompareAndSwap(c.base(), c.base()|released) {
		c.releaseLater(0)
		return
	}
	c.giveBack(false)
}

// Discard gives back a connection that is of no use any more: it is closed, and not lent again.
func (c Conn) Discard() {
	if c.slot != nil {
		c.releaseLater(broken)
	}
}

// releaseLater is Release when there is more to look at.
func (c Conn) releaseLater(flags uint64) {
	for {
		word := c.slot.word.Load()
		if word>>flagBits != c.handle.Generation || word&released != 0 {
			return
		}
		next := word | flags | released
		if word&inUse != 0 {
			next = word | flags | ending
		}
		if !c.slot.word.CompareAndSwap(word, next) {
			continue
		}
		if next&released != 0 {
			c.giveBack(next&broken != 0)
		}
		return
	}
}

// giveBack is the end of a borrowing, by whoever set released. Who begins to wait just after the
// look at waiting is told by the bell.
func (c Conn) giveBack(isBroken bool) {
	if isBroken || c.pool.waiting.Load() > 0 {
		c.pool.wake(c.pool.c.HandOver(c.handle, isBroken))
	} else {
		c.pool.c.Release(c.handle)
	}
	runtime.KeepAlive(c.pool)
}

// begin starts a call: from here to end the connection is this goroutine's alone.
func (c Conn) begin(ctx context.Context) error {
	if c.slot == nil {
		return newError(ErrConnReleased, "the Conn is empty: no connection was acquired into it")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.slot.word.CompareAndSwap(c.base(), c.base()|inUse) {
		return nil
	}
	return c.beginLater()
}

func (c Conn) beginLater() error {
	for {
		word := c.slot.word.Load()
		switch {
		case word>>flagBits != c.handle.Generation || word&released != 0:
			return newError(ErrConnReleased, "the connection was released: acquire another one")
		case word&inUse != 0:
			return newError(ErrConnBusy, "the connection is in use by another goroutine: "+
				"acquire one for each")
		case c.slot.word.CompareAndSwap(word, word|inUse):
			return nil
		}
	}
}

var errPanic = newError(ErrConnectionFailed, "the operation did not return")

// during runs an operation between begin and end. After a panic the connection is as good as broken.
func (c Conn) during(operation func() error) error {
	err := errPanic
	defer func() { c.end(err) }()
	err = operation()
	return err
}

// end ends a call. A connection that failed is not lent again.
func (c Conn) end(err error) {
	flags := uint64(0)
	if err != nil && isBroken(err) {
		flags = broken
	}
	if flags == 0 && c.slot.word.CompareAndSwap(c.base()|inUse, c.base()) {
		return
	}
	for {
		word := c.slot.word.Load()
		next := word&^inUse | flags
		if word&ending != 0 {
			next |= released
		}
		if !c.slot.word.CompareAndSwap(word, next) {
			continue
		}
		if next&released != 0 {
			c.giveBack(next&broken != 0)
		}
		return
	}
}

// Native is what the Connector's Open returned. It is nil with a DSN, and after the release.
func (c Conn) Native() any {
	if c.slot == nil || c.pool.connector == nil {
		return nil
	}
	found := c.pool.connector.find(c.handle.Native())
	if found == nil { // it was given back, or is being closed
		return nil
	}
	return found.native
}
