package pool

import (
	"context"
	"errors"
	"runtime"
	"time"

	"mantisDB/internal/mantis"
)

// Acquire borrows a connection, waiting until the context is done and for
// PoolConfig.ConnectionTimeout at most. Those who wait are served in the order in which they came.
//
// An error is, for errors.Is: context.Canceled or context.DeadlineExceeded, the latter together
// with ErrPoolExhausted if all connections were in use, or with ErrConnectionFailed and its cause
// if opening fails; ErrPoolExhausted alone if too many wait already; ErrPoolClosed.
func (p *ConnectionPool) Acquire(ctx context.Context) (Conn, error) {
	if err := ctx.Err(); err != nil {
		return Conn{}, p.tooLate(err)
	}
	var tag mantis.Tag
	if p.config.TrackHolders {
		tag = callerTag()
	}
	if p.waiting.Load() == 0 { // otherwise it would be refused, since others come first
		if handle := p.c.TryAcquire(tag); handle.Generation != 0 {
			return p.lend(handle), nil
		}
	}
	return p.wait(ctx, tag)
}

// lend makes a connection of a grant.
func (p *ConnectionPool) lend(handle mantis.Conn) Conn {
	s := slotAt(handle.Slot())
	// A swap and not a store: what the borrower before did happened before what this one does.
	s.word.Swap(handle.Generation << flagBits)
	return Conn{p, s, handle}
}

// ---- those who wait ----

// A waiter is one goroutine's request. The goroutine sleeps in Go; who learns of the outcome, from
// whichever call to C, wakes it.
type waiter struct {
	c    mantis.Waiter
	done chan struct{}
}

func newWaiter(number uint32) (*waiter, error) {
	c, err := mantis.NewWaiter(number)
	return &waiter{c: c, done: make(chan struct{}, 1)}, err
}

// wake wakes the goroutines whose requests have an outcome.
func (p *ConnectionPool) wake(ready mantis.Ready) {
	for number := ready.Number(); number != 0; number = ready.Number() {
		p.waiters.at(number).done <- struct{}{}
		if !ready.HasMore() {
			return
		}
		ready = p.c.Next()
	}
}

// wait queues a request and sleeps until its outcome.
func (p *ConnectionPool) wait(ctx context.Context, tag mantis.Tag) (Conn, error) {
	w, err := p.waiters.take()
	if err != nil {
		return Conn{}, err
	}
	defer p.waiters.give(w)
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	deadline := p.deadline(ctx)
	ready, err := p.c.Wait(w.c, deadline, tag)
	p.wake(ready)
	if err != nil {
		return Conn{}, p.refused(err)
	}
	p.plan(deadline)
	select {
	case <-w.done:
	case <-ctx.Done():
		p.withdraw(w)
	}
	handle, status := w.c.Outcome()
	if status != mantis.OK {
		return Conn{}, p.explain(ctx, w, status)
	}
	// Who was woken inherits the time slice of who woke it, and so on: for 10 ms one grant after
	// another would go round on this processor, while goroutines that hold the other connections
	// stand in line. So go to the end of that line (64 on 8: p99 of 1.3 ms and not 2.6).
	runtime.Gosched()
	return p.lend(handle), nil // also if the context ended just now: it was granted before
}

// withdraw ends a request whose context is done. It may have been granted meanwhile.
func (p *ConnectionPool) withdraw(w *waiter) {
	ready, isHere := p.c.Withdraw(w.c)
	p.wake(ready)
	if !isHere {
		<-w.done // another goroutine has its outcome, and is about to say so
	}
}

func (p *ConnectionPool) deadline(ctx context.Context) int64 {
	deadline := mantis.Never
	if p.config.ConnectionTimeout > 0 {
		deadline = mantis.DeadlineAt(time.Now().Add(p.config.ConnectionTimeout))
	}
	if moment, has := ctx.Deadline(); has {
		if sooner := mantis.DeadlineAt(moment); sooner < deadline {
			deadline = sooner
		}
	}
	return deadline
}

// ---- the goroutine that looks after outcomes which nobody else learns of ----

// drain: the keeper, a connector or a close has decided about somebody who waits.
func (p *ConnectionPool) drain() { p.wake(p.c.Drain()) }

// plan sets the bell for a deadline, if that is sooner than what it is set for. The request is in
// C's list before this looks at due, and expire resets due before it looks at the list.
func (p *ConnectionPool) plan(deadline int64) {
	if deadline >= p.due.Load() {
		return
	}
	p.planner.Lock()
	if deadline < p.due.Load() {
		p.set(deadline)
	}
	p.planner.Unlock()
}

// expire: a deadline has come. Draining ends what is past it.
func (p *ConnectionPool) expire() {
	p.drain()
	p.planner.Lock()
	p.due.Store(mantis.Never)
	p.set(p.c.DueNs())
	p.planner.Unlock()
}

func (p *ConnectionPool) set(due int64) {
	p.due.Store(due)
	if due == mantis.Never {
		p.bell.At(time.Time{})
	} else {
		p.bell.At(mantis.TimeAt(due))
	}
}

// ---- why there is no connection ----

// tooLate is for a context that was done before it began.
func (p *ConnectionPool) tooLate(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	made := &Error{Text: "pool '" + p.name() + "': the context's deadline had passed before Acquire",
		kinds: [2]error{context.DeadlineExceeded}}
	stats, statsErr := p.Stats()
	if statsErr == nil && stats.ActiveConnections >= stats.MaxConnections {
		made.kinds[1] = ErrPoolExhausted
	} else if statsErr == nil && stats.failing {
		p.blameOpen(made)
	}
	return made
}

// refused is for a request that did not come to wait.
func (p *ConnectionPool) refused(err error) error {
	made, _ := p.named(err).(*Error)
	if made.Is(ErrConnectionFailed) {
		p.blameOpen(made)
	}
	return made
}

// explain is for a request that ended without a connection.
func (p *ConnectionPool) explain(ctx context.Context, w *waiter, status mantis.Status) error {
	if status == mantis.Cancelled { // by withdraw
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ctx.Err()
		}
		status = mantis.Timeout
	}
	detail, unopened := p.c.Explain(w.c, status)
	made, _ := p.named(detail).(*Error)
	switch {
	case status == mantis.ConnectFailed || status == mantis.Timeout && unopened:
		p.blameOpen(made)
	case status == mantis.Timeout:
		made.kinds[1] = ErrPoolExhausted
	}
	return made
}

// blameOpen makes an error one of a failed open, with its cause.
func (p *ConnectionPool) blameOpen(made *Error) {
	if !made.Is(ErrConnectionFailed) {
		made.kinds[1] = ErrConnectionFailed
	}
	if p.connector == nil {
		return
	}
	if cause := p.connector.lastFailure(); cause != nil {
		made.cause = cause
	}
}
