package pool_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mantisDB/pool"
)

// tooLong is longer than anything here takes on a slow machine. Where a fault is planted less will do.
var tooLong = patience()

func patience() time.Duration {
	if length, err := time.ParseDuration(os.Getenv("MANTIS_TEST_PATIENCE")); err == nil {
		return length
	}
	return time.Minute
}

// fake is a Connector whose connections are numbers, and which counts.
type fake struct {
	opened, closed, checked atomic.Int64

	lock  sync.Mutex
	open  func(context.Context) error
	check func(context.Context) error
	close func(context.Context)
}

type fakeConn struct{ number int64 }

// now changes what it does.
func (f *fake) now(change func(*fake)) {
	f.lock.Lock()
	change(f)
	f.lock.Unlock()
}

func (f *fake) hooks() (open, check func(context.Context) error, close func(context.Context)) {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.open, f.check, f.close
}

func (f *fake) Open(ctx context.Context) (any, error) {
	if open, _, _ := f.hooks(); open != nil {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return &fakeConn{f.opened.Add(1)}, nil
}

func (f *fake) Check(ctx context.Context, conn any) error {
	f.checked.Add(1)
	_ = conn.(*fakeConn)
	if _, check, _ := f.hooks(); check != nil {
		return check(ctx)
	}
	return nil
}

func (f *fake) Close(ctx context.Context, conn any) error {
	_ = conn.(*fakeConn)
	if _, _, close := f.hooks(); close != nil {
		close(ctx)
	}
	f.closed.Add(1)
	return errors.New("nobody reads this")
}

// newPool opens a pool that is closed with the test.
func newPool(t testing.TB, config *pool.PoolConfig) *pool.ConnectionPool {
	t.Helper()
	if config.Connector == nil && config.DSN == "" {
		config.DSN = "mantis::memory:"
	}
	p, err := pool.NewConnectionPool(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// acquire borrows a connection, and releases it with the test at the latest.
func acquire(t testing.TB, p *pool.ConnectionPool) pool.Conn {
	t.Helper()
	conn, err := p.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	return conn
}

func statsOf(t testing.TB, p *pool.ConnectionPool) *pool.PoolStats {
	t.Helper()
	stats, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// until waits for something that has to come.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > tooLong {
			t.Fatalf("in %v it did not come that %s", tooLong, what)
		}
	}
}

// untilWaiting waits until so many requests do.
func untilWaiting(t testing.TB, p *pool.ConnectionPool, count int) {
	t.Helper()
	until(t, "requests wait", func() bool { return statsOf(t, p).WaitingRequests == count })
}

// mustBe checks what an error is, and what it is not.
func mustBe(t testing.TB, err error, are ...error) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, kind := range []error{context.Canceled, context.DeadlineExceeded, pool.ErrPoolExhausted,
		pool.ErrPoolClosed, pool.ErrConnectionFailed, pool.ErrNotFound, pool.ErrConnBusy,
		pool.ErrConnReleased, pool.ErrInvalid, pool.ErrUnsupported, pool.ErrConflict} {
		wanted := false
		for _, is := range are {
			wanted = wanted || is == kind
		}
		if errors.Is(err, kind) != wanted {
			t.Errorf("errors.Is(%q, %q) is %v", err, kind, !wanted)
		}
	}
	for _, is := range are {
		if !errors.Is(err, is) {
			t.Errorf("%q is not %q", err, is)
		}
	}
}
