package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mantisDB/pool"
)

func TestConnectorsErrorIsTheCause(t *testing.T) {
	f := new(fake)
	f.open = func(context.Context) error { return fmt.Errorf("handshake: %w", io.ErrUnexpectedEOF) }
	p := newPool(t, &pool.PoolConfig{Connector: f, ConnectionTimeout: 20 * time.Millisecond})
	_, err := p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed, io.ErrUnexpectedEOF)
	f.now(func(f *fake) { f.open = nil })
	until(t, "it recovers", func() bool {
		conn, err := p.Acquire(background)
		conn.Release()
		return err == nil
	})
}

func TestErrorWithoutATextIsAnError(t *testing.T) {
	f := new(fake)
	f.open = func(context.Context) error { return errors.New("") }
	p := newPool(t, &pool.PoolConfig{Connector: f, ConnectionTimeout: 20 * time.Millisecond})
	_, err := p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed)
}

func TestOpenAndCheckHaveADeadline(t *testing.T) {
	t.Parallel()
	f := new(fake)
	f.open = func(ctx context.Context) error {
		if _, has := ctx.Deadline(); !has {
			return errors.New("the context has no deadline")
		}
		<-ctx.Done()
		return ctx.Err()
	}
	p := newPool(t, &pool.PoolConfig{Connector: f, OpenTimeout: 20 * time.Millisecond,
		ConnectionTimeout: 500 * time.Millisecond, BackoffMin: time.Millisecond,
		BackoffMax: time.Millisecond})
	_, err := p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed)
	if !strings.Contains(err.Error(), "the last open failed: context deadline exceeded") {
		t.Error(err)
	}
}

// A call that does not look at its context is given up, and what it opens at last is closed.
func TestCallsThatHangAreGivenUp(t *testing.T) {
	t.Parallel()
	f := new(fake)
	hangs, ends := make(chan struct{}), make(chan struct{})
	var hanging atomic.Int64
	wait := func(end chan struct{}) { hanging.Add(1); <-end; hanging.Add(-1) }
	f.open = func(context.Context) error { wait(hangs); return nil }
	p := newPool(t, &pool.PoolConfig{Connector: f, MaxConnections: 1, CloseTimeout: time.Second,
		OpenTimeout: time.Millisecond, ConnectionTimeout: 300 * time.Millisecond})
	_, err := p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed)
	if !strings.Contains(err.Error(), "longer than PoolConfig.OpenTimeout") {
		t.Error(err)
	}
	f.now(func(f *fake) { f.open = nil })
	var conn pool.Conn
	until(t, "another is opened", func() bool {
		conn, err = p.Acquire(background)
		return err == nil
	})
	conn.Release()
	close(hangs)
	until(t, "what came late is closed", func() bool {
		return hanging.Load() == 0 && f.opened.Load()-f.closed.Load() == 1
	})
	f.now(func(f *fake) { f.close = func(context.Context) { wait(ends) } })
	acquire(t, p).Discard()
	until(t, "a close that hangs is over", func() bool {
		return statsOf(t, p).ConnectionsClosed == 1
	})
	close(ends)
	until(t, "it has ended", func() bool { return hanging.Load() == 0 })
}

func TestIdleConnectionsAreChecked(t *testing.T) {
	t.Parallel()
	f := new(fake)
	f.check = func(context.Context) error { return errors.New("gone") }
	p := newPool(t, &pool.PoolConfig{Connector: f, MinConnections: 2,
		HealthCheckInterval: 10 * time.Millisecond})
	until(t, "what fails its check is replaced", func() bool {
		stats := statsOf(t, p)
		return stats.ClosedCheck >= 2 && stats.ConnectionsCreated >= 4 && f.closed.Load() >= 2
	})
	f.now(func(f *fake) { f.check = nil })
	until(t, "the pool is full again", func() bool { return statsOf(t, p).IdleConnections == 2 })
}

func TestConnectionIsCheckedAfterALongIdleTime(t *testing.T) {
	t.Parallel()
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{Connector: f, MinConnections: 1, MaxConnections: 1,
		CheckAfterIdle: time.Millisecond})
	until(t, "it is checked before it is lent", func() bool {
		time.Sleep(2100 * time.Millisecond) // two passes of the keeper
		acquire(t, p).Release()
		return f.checked.Load() > 0
	})
}

func TestConnectionsAreOpenedInTheBackground(t *testing.T) {
	f := new(fake)
	opening, open := make(chan struct{}), make(chan struct{})
	f.open = func(context.Context) error { opening <- struct{}{}; <-open; return nil }
	p := newPool(t, &pool.PoolConfig{Connector: f, MaxConnections: 1})
	ctx, cancel := context.WithCancel(background)
	done := make(chan error)
	go func() { _, err := p.Acquire(ctx); done <- err }()
	<-opening
	cancel() // the caller's end is not the open's
	mustBe(t, <-done, context.Canceled)
	open <- struct{}{}
	acquire(t, p)
	if f.opened.Load() != 1 {
		t.Errorf("%d were opened", f.opened.Load())
	}
}

func TestOldConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{Connector: f, MinConnections: 2,
		MaxLifetime: 50 * time.Millisecond})
	until(t, "both were replaced", func() bool { return statsOf(t, p).ClosedLifetime >= 2 })
	stats := statsOf(t, p)
	if stats.IdleConnections+stats.OpeningConnections < 2 {
		t.Errorf("%+v", stats)
	}
}

func TestIdleConnectionsAboveTheMinimumAreClosed(t *testing.T) {
	t.Parallel()
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{Connector: f, MinConnections: 1,
		MaxIdleTime: 10 * time.Millisecond})
	var conns []pool.Conn
	for i := 0; i < 5; i++ {
		conns = append(conns, acquire(t, p))
	}
	for _, conn := range conns {
		conn.Release()
	}
	until(t, "one is left", func() bool { return statsOf(t, p).TotalConnections == 1 })
	if stats := statsOf(t, p); stats.ClosedIdle != 4 {
		t.Errorf("%+v", stats)
	}
}

func TestReserveIsForThoseWhoWaitLong(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Reserve: 1,
		ReserveAfter: 10 * time.Millisecond})
	acquire(t, p)
	acquire(t, p)
	if stats := statsOf(t, p); stats.ActiveConnections != 2 {
		t.Errorf("%+v", stats)
	}
}

func TestFailureIsForgottenOnceAnOpenSucceeds(t *testing.T) {
	old := errors.New("the backend starts")
	f := new(fake)
	f.open = func(context.Context) error { return old }
	p := newPool(t, &pool.PoolConfig{Connector: f, MaxConnections: 1, BackoffMin: time.Millisecond,
		BackoffMax: time.Millisecond, ConnectionTimeout: 50 * time.Millisecond})
	_, err := p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed, old)
	f.now(func(f *fake) { f.open = nil })
	var conn pool.Conn
	until(t, "it recovers", func() bool {
		conn, err = p.Acquire(background)
		return err == nil
	})
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	f.now(func(f *fake) { f.open = func(context.Context) error { <-end; return nil } })
	conn.Discard() // its replacement is slow
	_, err = p.Acquire(background)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrConnectionFailed)
	if errors.Is(err, old) {
		t.Errorf("the cause is an error of before: %v", err)
	}
}
