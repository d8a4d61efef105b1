package pool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mantisDB/pool"
)

var background = context.Background()

func TestSecondReleaseIsHarmless(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1})
	conn := acquire(t, p)
	again := conn
	conn.Release()
	conn.Release()
	other := acquire(t, p) // the same connection, lent again
	again.Release()
	again.Discard()
	if stats := statsOf(t, p); stats.ActiveConnections != 1 || stats.ClosedBroken != 0 {
		t.Errorf("an old Conn released the connection of another: %+v", stats)
	}
	if err := other.Set(background, "a", nil); err != nil {
		t.Error(err)
	}
	pool.Conn{}.Release()
	pool.Conn{}.Discard()
}

func TestReleasedConnectionAnswersAnError(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1})
	conn := acquire(t, p)
	copied := conn
	conn.Release()
	acquire(t, p)
	for _, c := range []pool.Conn{conn, copied, {}} {
		mustBe(t, c.Set(background, "a", nil), pool.ErrConnReleased)
		_, err := c.Get(background, "a")
		mustBe(t, err, pool.ErrConnReleased)
		mustBe(t, c.Delete(background, "a"), pool.ErrConnReleased)
		mustBe(t, c.Ping(background), pool.ErrConnReleased)
		if c.Native() != nil {
			t.Error("it has a native connection")
		}
	}
}

// slow is a connection whose operations last until they are told to end.
type slow struct {
	begun, end chan struct{}
}

func (s *slow) Set(context.Context, string, []byte) error {
	s.begun <- struct{}{}
	<-s.end
	return nil
}
func (s *slow) Get(context.Context, string) ([]byte, error) { return []byte("value"), nil }
func (s *slow) Delete(context.Context, string) error {
	return fmt.Errorf("cut off: %w", pool.ErrConnectionFailed)
}

// slows is a Connector that opens one slow connection after another.
type slows struct{ *slow }

func (s slows) Open(context.Context) (any, error)    { return s.slow, nil }
func (s slows) Check(context.Context, any) error     { return nil }
func (s slows) Close(_ context.Context, _ any) error { return nil }

func newSlows() slows {
	return slows{&slow{begun: make(chan struct{}), end: make(chan struct{})}}
}

func TestConnectionOfTwoGoroutinesIsBusy(t *testing.T) {
	s := newSlows()
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: s})
	conn := acquire(t, p)
	done := make(chan error)
	go func() { done <- conn.Set(background, "a", nil) }()
	<-s.begun
	_, err := conn.Get(background, "a")
	mustBe(t, err, pool.ErrConnBusy)
	mustBe(t, conn.Ping(background), pool.ErrConnBusy)
	s.end <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if value, err := conn.Get(background, "a"); err != nil || string(value) != "value" {
		t.Errorf("%q, %v", value, err)
	}
}

func TestReleaseDuringAnOperationWaitsForItsEnd(t *testing.T) {
	s := newSlows()
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: s})
	conn := acquire(t, p)
	done := make(chan error)
	go func() { done <- conn.Set(background, "a", nil) }()
	<-s.begun
	conn.Release()
	conn.Release()
	if stats := statsOf(t, p); stats.ActiveConnections != 1 {
		t.Errorf("it was given back while it was used: %+v", stats)
	}
	s.end <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if stats := statsOf(t, p); stats.ActiveConnections != 0 || stats.IdleConnections != 1 {
		t.Errorf("it was not given back: %+v", stats)
	}
	mustBe(t, conn.Set(background, "a", nil), pool.ErrConnReleased)
}

func TestBrokenConnectionIsNotLentAgain(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: newSlows()})
	conn := acquire(t, p)
	mustBe(t, conn.Delete(background, "a"), pool.ErrConnectionFailed)
	conn.Release()
	if stats := statsOf(t, p); stats.ClosedBroken != 1 {
		t.Errorf("a connection that failed is kept: %+v", stats)
	}
	conn = acquire(t, p)
	conn.Discard()
	mustBe(t, conn.Set(background, "a", nil), pool.ErrConnReleased)
	if stats := statsOf(t, p); stats.ClosedBroken != 2 {
		t.Errorf("a discarded connection is kept: %+v", stats)
	}
}

func TestConnectorWithoutKeyValueSaysSo(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: new(fake)})
	conn := acquire(t, p)
	mustBe(t, conn.Set(background, "a", nil), pool.ErrUnsupported)
	if _, is := conn.Native().(*fakeConn); !is {
		t.Errorf("Native is %v", conn.Native())
	}
}

func TestPingAsksTheConnection(t *testing.T) {
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: f})
	conn := acquire(t, p)
	if err := conn.Ping(background); err != nil || f.checked.Load() != 1 {
		t.Errorf("%v, checked %d times", err, f.checked.Load())
	}
	gone := errors.New("gone")
	f.now(func(f *fake) { f.check = func(context.Context) error { return gone } })
	mustBe(t, conn.Ping(background), pool.ErrConnectionFailed, gone)
	conn.Release()
	if stats := statsOf(t, p); stats.ClosedBroken != 1 {
		t.Errorf("a connection without an answer is kept: %+v", stats)
	}
	stored := acquire(t, newPool(t, &pool.PoolConfig{}))
	if err := stored.Ping(background); err != nil {
		t.Error(err)
	}
}

func TestBytesComeBackAsTheyWere(t *testing.T) {
	for _, dsn := range []string{"mantis::memory:", "mantis:" + t.TempDir() + "/s?sync=group"} {
		conn := acquire(t, newPool(t, &pool.PoolConfig{DSN: dsn}))
		big := bytes.Repeat([]byte{0, 1, 255}, 1<<20)
		for key, value := range map[string][]byte{"empty": {}, "nil": nil, "zeros": {0, 0},
			"k\x00\xff": []byte("odd key"), "big": big} {
			if err := conn.Set(background, key, value); err != nil {
				t.Fatal(err)
			}
			got, err := conn.Get(background, key)
			if err != nil || !bytes.Equal(got, value) {
				t.Errorf("%q: %d bytes, and %d were set: %v", key, len(got), len(value), err)
			}
			if err := conn.Delete(background, key); err != nil {
				t.Error(err)
			}
			_, err = conn.Get(background, key)
			mustBe(t, err, pool.ErrNotFound)
		}
		if err := conn.Delete(background, "never there"); err != nil {
			t.Error(err)
		}
		mustBe(t, conn.Set(background, "", nil), pool.ErrInvalid)
		_, err := conn.Get(background, "")
		mustBe(t, err, pool.ErrInvalid)
		err = conn.Set(background, strings.Repeat("k", 70000), nil)
		if !errors.Is(err, pool.ErrTooBig) && !errors.Is(err, pool.ErrInvalid) {
			t.Error(err)
		}
	}
}

func TestOperationsLookAtTheirContext(t *testing.T) {
	conn := acquire(t, newPool(t, &pool.PoolConfig{}))
	ctx, cancel := context.WithCancel(background)
	cancel()
	mustBe(t, conn.Set(ctx, "a", nil), context.Canceled)
	_, err := conn.Get(ctx, "a")
	mustBe(t, err, context.Canceled)
	mustBe(t, conn.Delete(ctx, "a"), context.Canceled)
	if err := conn.Set(background, "a", nil); err != nil {
		t.Error(err)
	}
}

func TestAcquireAndReleaseAllocateNothing(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MinConnections: 1})
	acquire(t, p).Release()
	allocated := testing.AllocsPerRun(1000, func() {
		conn, _ := p.Acquire(background)
		conn.Release()
	})
	if allocated != 0 {
		t.Errorf("%v allocations a pair", allocated)
	}
}

func TestThousandBorrowedAtOnce(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1000,
		DSN: "mantis:" + t.TempDir() + "/s"})
	var borrowed, looked, all sync.WaitGroup
	borrowed.Add(1000)
	looked.Add(1)
	all.Add(1000)
	for i := 0; i < 1000; i++ {
		go func(key string) {
			defer all.Done()
			conn, err := p.Acquire(background)
			borrowed.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Release()
			looked.Wait()
			if err := conn.Set(background, key, []byte(key)); err != nil {
				t.Error(err)
			}
			if value, err := conn.Get(background, key); err != nil || string(value) != key {
				t.Errorf("%s has %q: %v", key, value, err)
			}
			if err := conn.Delete(background, key); err != nil {
				t.Error(err)
			}
		}(fmt.Sprint("key", i))
	}
	borrowed.Wait()
	if stats := statsOf(t, p); stats.ActiveConnections != 1000 {
		t.Errorf("%d are borrowed", stats.ActiveConnections)
	}
	looked.Done()
	all.Wait()
}

func TestForgottenConnectionStaysBorrowed(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, TrackHolders: true,
		CloseTimeout: time.Millisecond})
	func() { acquire(t, p) }()
	runtime.GC()
	runtime.GC()
	if stats := statsOf(t, p); stats.ActiveConnections != 1 {
		t.Errorf("%+v", stats)
	}
	holders := p.Holders()
	if len(holders) != 1 || !strings.HasPrefix(holders[0].Where, "pool/help_test.go:") {
		t.Errorf("the holders are %v", holders)
	}
}
