// Package pool lends connections: open a pool, acquire a connection, release it.
//
//	p, err := pool.NewConnectionPool(pool.DefaultPoolConfig())
//	conn, err := p.Acquire(ctx)
//	defer conn.Release()
//	err = conn.Set(ctx, "key", []byte("value"))
//
// The pool itself is libmantispool, in C. Goroutines wait for connections in Go, and nothing here
// occupies a thread while it waits. All of it may be called from any goroutine.
package pool

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mantisDB/internal/mantis"
)

// ConnectionPool is a bounded set of connections to one place, and the queue of those who want one.
type ConnectionPool struct {
	// set when it is opened
	c         *mantis.Pool
	bell      *mantis.Bell
	config    *PoolConfig
	number    uint32        // in the hub's events
	ready     chan struct{} // closed once it is open
	connector *connections  // of a Connector of Go

	waiting atomic.Int32 // requests that are queued, or about to be
	waiters table[*waiter]
	due     atomic.Int64 // for when the bell is set
	planner sync.Mutex   // sets it
	durable atomic.Int32 // durableYes and the like
	closing sync.Once
}

// NewConnectionPool opens a pool; without a configuration it is DefaultPoolConfig's. Connections
// are opened in the background, so a success does not say that the backend is there.
func NewConnectionPool(config *PoolConfig) (*ConnectionPool, error) {
	complete, err := config.complete()
	if err != nil {
		return nil, err
	}
	p := &ConnectionPool{config: complete, ready: make(chan struct{})}
	p.waiters.make = newWaiter
	if complete.Connector != nil {
		p.connector = newConnections(complete.Connector)
	}
	p.due.Store(mantis.Never)
	if err := register(p); err != nil {
		return nil, err
	}
	if p.c, err = mantis.Open(complete.forC(), p.number); err != nil {
		forget(p)
		return nil, inGo(errorOf(err))
	}
	if p.bell, err = mantis.NewBell(p.c.FD()); err != nil {
		close(p.ready)
		p.end(mantis.DeadlineAt(time.Now()))
		return nil, err
	}
	close(p.ready)
	go p.bell.Run(p.drain, p.expire)
	return p, nil
}

// Close refuses new requests, fails those who wait with ErrPoolClosed, closes what is idle, and
// waits for what is borrowed, for PoolConfig.CloseTimeout at most. Connections that come back later
// are closed then. A second call does nothing.
func (p *ConnectionPool) Close() error {
	var err error
	p.closing.Do(func() { err = p.close() })
	return err
}

func (p *ConnectionPool) close() error {
	deadline := mantis.Never
	if p.config.CloseTimeout > 0 {
		deadline = mantis.DeadlineAt(time.Now().Add(p.config.CloseTimeout))
	}
	status := p.end(deadline)
	p.bell.Close()
	if status != mantis.Timeout {
		return nil
	}
	return newError(context.DeadlineExceeded, fmt.Sprintf("pool '%s' is closed, but after %v some "+
		"connections are still borrowed: each is closed when it is released", p.name(),
		p.config.CloseTimeout))
}

// end ends C's pool. Its memory stays until nobody can call it any more.
func (p *ConnectionPool) end(deadline int64) mantis.Status {
	ready, status := p.c.Close(deadline)
	p.wake(ready)
	if p.connector == nil {
		forget(p) // otherwise with the last operation of its connector
	}
	runtime.SetFinalizer(p, (*ConnectionPool).free)
	return status
}

// free gives C's memory back, once nothing can call the pool any more.
func (p *ConnectionPool) free() {
	p.waiters.each(func(w *waiter) { w.c.Free() })
	p.c.Free()
}

// Resize changes the smallest and largest number of connections. Above the new maximum what is idle
// is closed now, and what is borrowed when it comes back.
func (p *ConnectionPool) Resize(min, max int) error {
	ready, err := p.c.Resize(int64(min), int64(max))
	p.wake(ready)
	return inGo(p.named(err))
}

// named has an error name the pool, which C does only while it is open.
func (p *ConnectionPool) named(err error) error {
	made := errorOf(err)
	if closed, is := made.(*Error); is && closed.kinds[0] == ErrPoolClosed {
		closed.Text = "pool '" + p.name() + "': the pool is closed"
	}
	return made
}

func (p *ConnectionPool) name() string {
	if p.config.Name == "" {
		return "pool"
	}
	return p.config.Name
}
