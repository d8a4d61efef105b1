package pool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"mantisDB/internal/mantis"
)

// Connector opens connections of a kind of your own. The pool calls it on goroutines of its own,
// any number at a time, but one at a time for each connection. The context ends with
// PoolConfig.OpenTimeout; a call that goes on nonetheless is taken as failed, and what it opens
// later is closed.
//
// A connection may implement KeyValue.
type Connector interface {
	// Open opens a connection. Its error becomes the cause in the error of those who wait.
	Open(ctx context.Context) (any, error)
	// Check says whether an idle connection is fit for use; with an error it is closed.
	Check(ctx context.Context, conn any) error
	// Close closes a connection, whether it is fit for use or not.
	Close(ctx context.Context, conn any) error
}

// connections are what a Connector has opened. C knows them by number.
type connections struct {
	connector Connector
	failure   atomic.Pointer[error] // of the last open, if it failed

	lock sync.Mutex
	all  map[uintptr]*connection
	last uintptr
}

type connection struct {
	native any
	busy   sync.Mutex // held during a check: one that comes too late may still run
}

func newConnections(connector Connector) *connections {
	return &connections{connector: connector, all: make(map[uintptr]*connection)}
}

func (cs *connections) lastFailure() error {
	if failure := cs.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

func (cs *connections) add(native any) uintptr {
	cs.lock.Lock()
	defer cs.lock.Unlock()
	cs.last++
	cs.all[cs.last] = &connection{native: native}
	return cs.last
}

func (cs *connections) find(number uintptr) *connection {
	cs.lock.Lock()
	defer cs.lock.Unlock()
	return cs.all[number]
}

func (cs *connections) remove(number uintptr) *connection {
	cs.lock.Lock()
	defer cs.lock.Unlock()
	found := cs.all[number]
	delete(cs.all, number)
	return found
}

// ---- operations ----

const grace = 100 * time.Millisecond // after its deadline, for a call to notice that it is over

var errLate = errors.New("it took longer than PoolConfig.OpenTimeout")

// An operation is completed once: by its call, or when that takes too long.
type operation struct {
	pool   *ConnectionPool
	op     mantis.Op
	isOver atomic.Bool
}

// done completes it with a connection or a failure. False: that has happened before.
func (o *operation) done(native uintptr, failure error) bool {
	if o.isOver.Swap(true) {
		return false
	}
	cause := ""
	if failure != nil {
		if cause = failure.Error(); cause == "" {
			cause = "no cause was given"
		}
	}
	o.pool.wake(o.pool.c.Complete(o.op, native, cause))
	return true
}

// operate does what the pool asks of its Connector.
func (p *ConnectionPool) operate(event mantis.Event) {
	<-p.ready // an open may come before NewConnectionPool is done
	o := &operation{pool: p, op: event.Op}
	ctx := context.Background()
	if event.TimeNs != mantis.Never {
		deadline := mantis.TimeAt(event.TimeNs)
		within, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		late := time.AfterFunc(time.Until(deadline)+grace, func() { o.tooLate(event.Kind) })
		defer late.Stop()
		ctx = within
	}
	switch event.Kind {
	case mantis.EventOpen:
		o.open(ctx)
	case mantis.EventCheck:
		o.check(ctx, event.Native)
	case mantis.EventClose:
		o.close(ctx, event.Native)
	}
}

// tooLate: what is closed counts as closed, anything else has failed.
func (o *operation) tooLate(kind mantis.EventKind) {
	if kind == mantis.EventClose {
		o.done(0, nil)
		return
	}
	if kind == mantis.EventOpen {
		o.pool.connector.fail(errLate)
	}
	o.done(0, errLate)
}

func (cs *connections) fail(failure error) { cs.failure.Store(&failure) }

func (o *operation) open(ctx context.Context) {
	cs := o.pool.connector
	before := cs.failure.Load()
	native, err := cs.connector.Open(ctx)
	if err != nil {
		cs.fail(err)
		o.done(0, err)
		return
	}
	cs.failure.CompareAndSwap(before, nil) // what failed since then, also this if it is late, stays
	number := cs.add(native)
	if !o.done(number, nil) { // it was given up
		cs.remove(number)
		_ = cs.connector.Close(ctx, native)
	}
}

func (o *operation) check(ctx context.Context, number uintptr) {
	cs := o.pool.connector
	checked := cs.find(number)
	checked.busy.Lock()
	err := cs.connector.Check(ctx, checked.native)
	checked.busy.Unlock()
	o.done(0, err)
}

func (o *operation) close(ctx context.Context, number uintptr) {
	cs := o.pool.connector
	closed := cs.remove(number)
	closed.busy.Lock()
	_ = cs.connector.Close(ctx, closed.native) // it is over, however it went
	closed.busy.Unlock()
	o.done(0, nil)
}
