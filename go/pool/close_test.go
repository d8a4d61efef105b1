package pool_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mantisDB/pool"
)

func TestCloseWaitsForWhatIsBorrowed(t *testing.T) {
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{Connector: f, CloseTimeout: tooLong})
	conn := acquire(t, p)
	time.AfterFunc(20*time.Millisecond, conn.Release)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if f.closed.Load() != 1 {
		t.Error("the connection is not closed")
	}
}

func TestCloseWaitsNoLongerThanItsTimeout(t *testing.T) {
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{Connector: f, CloseTimeout: 20 * time.Millisecond,
		Name: "orders"})
	conn := acquire(t, p)
	err := p.Close()
	mustBe(t, err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), "pool 'orders' is closed, but after 20ms some connections") {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("the second Close says %v", err)
	}
	runtime.GC()
	conn.Release()
	conn.Release()
	until(t, "it is closed when it comes back", func() bool { return f.closed.Load() == 1 })
}

func TestOperationsEndWithThePool(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{CloseTimeout: time.Millisecond})
	conn := acquire(t, p)
	_ = p.Close()
	if err := conn.Set(background, "a", nil); err != nil {
		mustBe(t, err, pool.ErrPoolClosed) // either is fine: it is still borrowed
	}
	conn.Release()
	mustBe(t, conn.Set(background, "a", nil), pool.ErrConnReleased)
}

// Pools come and go without leaving anything behind: goroutines, descriptors, C's memory.
func TestClosedPoolsLeaveNothing(t *testing.T) {
	newPool(t, &pool.PoolConfig{}) // starts what the process has once
	goroutines := runtime.NumGoroutine()
	descriptors := count(t, "/proc/self/fd")
	for i := 0; i < 200; i++ {
		f := new(fake)
		p, err := pool.NewConnectionPool(&pool.PoolConfig{Connector: f, MinConnections: 2})
		if err != nil {
			t.Fatal(err)
		}
		acquired, err := p.Acquire(background)
		if err != nil {
			t.Fatal(err)
		}
		acquired.Release()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			runtime.GC()
		}
	}
	until(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	until(t, "the descriptors are gone", func() bool {
		return count(t, "/proc/self/fd") <= descriptors+2
	})
}

func TestFailedOpenLeavesNothing(t *testing.T) {
	newPool(t, &pool.PoolConfig{})
	descriptors := count(t, "/proc/self/fd")
	for i := 0; i < 100; i++ {
		_, err := pool.NewConnectionPool(&pool.PoolConfig{MaxConnections: -1, MinConnections: -1,
			Connector: new(fake)})
		mustBe(t, err, pool.ErrInvalid)
	}
	if now := count(t, "/proc/self/fd"); now > descriptors+2 {
		t.Errorf("%d descriptors more", now-descriptors)
	}
}

func TestLockedStoreSaysSo(t *testing.T) {
	dsn := "mantis:" + t.TempDir() + "/s"
	conn := acquire(t, newPool(t, &pool.PoolConfig{DSN: dsn}))
	other := acquire(t, newPool(t, &pool.PoolConfig{DSN: dsn})) // of one process: it is shared
	if err := conn.Set(background, "a", []byte("b")); err != nil {
		t.Error(err)
	}
	if value, err := other.Get(background, "a"); err != nil || string(value) != "b" {
		t.Errorf("%q, %v", value, err)
	}
}

func TestConcurrentClosesAreOne(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MinConnections: 4})
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := p.Close(); err != nil && !errors.Is(err, pool.ErrPoolClosed) {
				t.Error(err)
			}
		}()
	}
	all.Wait()
}
