package pool_test

// What went wrong once, or might.

import (
	"context"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mantisDB/internal/mantis"
	"mantisDB/pool"
)

// heapObjects is how many things are alive.
func heapObjects() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapObjects
}

func TestOperationsOfAConnectorLeaveNothing(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{Connector: new(fake), MaxConnections: 4})
	cycle := func(count int) {
		for i := 0; i < count; i++ {
			conn, err := p.Acquire(background)
			if err != nil {
				t.Fatal(err)
			}
			conn.Discard()
		}
	}
	cycle(100)
	before := heapObjects()
	cycle(5000)
	until(t, "all is closed", func() bool { return statsOf(t, p).ClosingConnections == 0 })
	if after := heapObjects(); after > before+2000 {
		t.Errorf("%d things more after 5000 connections", after-before)
	}
}

func TestDeadlineFarAwayIsNone(t *testing.T) {
	for name, length := range map[string]time.Duration{"negative": -1, "longest": math.MaxInt64,
		"long": 200 * 365 * 24 * time.Hour} {
		p := newPool(t, &pool.PoolConfig{MaxConnections: 1, ConnectionTimeout: -1,
			CloseTimeout: length})
		held := acquire(t, p)
		ctx, cancel := context.WithDeadline(background, time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC))
		time.AfterFunc(20*time.Millisecond, held.Release)
		conn, err := p.Acquire(ctx)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		time.AfterFunc(20*time.Millisecond, conn.Release)
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1})
	acquire(t, p)
	ctx, cancel := context.WithDeadline(background, time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC))
	defer cancel()
	_, err := p.Acquire(ctx)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrPoolExhausted)
}

// raising is a connection whose Set panics.
type raising struct{ fakeConn }

func (*raising) Set(context.Context, string, []byte) error   { panic("set") }
func (*raising) Get(context.Context, string) ([]byte, error) { return nil, nil }
func (*raising) Delete(context.Context, string) error        { return nil }
func (*raising) Open(context.Context) (any, error)           { return new(raising), nil }
func (*raising) Check(context.Context, any) error            { panic("check") }
func (*raising) Close(_ context.Context, conn any) error     { return nil }
func recovered(operation func()) (what any) {
	defer func() { what = recover() }()
	operation()
	return nil
}

func TestConnectionOfAPanicIsNotLentAgain(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, Connector: new(raising)})
	conn := acquire(t, p)
	first := conn.Native()
	what := recovered(func() { defer conn.Release(); _ = conn.Set(background, "a", nil) })
	if what != "set" {
		t.Fatalf("it panics with %v", what)
	}
	conn = acquire(t, p)
	if conn.Native() == first {
		t.Error("the connection is lent again")
	}
	if what := recovered(func() { _ = conn.Ping(background) }); what != "check" {
		t.Errorf("it panics with %v", what)
	}
	conn.Release()
	if stats := statsOf(t, p); stats.ClosedBroken != 2 {
		t.Errorf("%+v", stats)
	}
}

func TestNativeOfAConnectionThatGoesIsNil(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{Connector: new(fake), MaxConnections: 2})
	for i := 0; i < 2000; i++ {
		conn := acquire(t, p)
		done := make(chan struct{})
		go func() {
			for conn.Native() != nil {
			}
			close(done)
		}()
		runtime.Gosched()
		conn.Discard()
		<-done
	}
}

// Without a descriptor there is no pool, and nothing is left of it.
func TestOpenWithoutDescriptorsLeavesNothing(t *testing.T) {
	if inOwnProcess(t) {
		return
	}
	newPool(t, &pool.PoolConfig{}) // starts what the process has once
	goroutines := runtime.NumGoroutine()
	f := new(fake)
	filled := fillDescriptors(t)
	for free := 0; free < 3; free++ {
		began := time.Now()
		p, err := pool.NewConnectionPool(&pool.PoolConfig{Connector: f, MinConnections: 2})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if err == nil {
			_ = p.Close()
		} else if !strings.Contains(err.Error(), "too many open files") &&
			!strings.Contains(err.Error(), "Too many open files") {
			t.Error(err)
		}
		_ = filled[free].Close()
	}
	until(t, "nothing is left", func() bool {
		return runtime.NumGoroutine() <= goroutines && f.opened.Load() == f.closed.Load()
	})
}

func fillDescriptors(t *testing.T) (filled []*os.File) {
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for {
		file, err := os.Open("/dev/null")
		if err != nil {
			return filled
		}
		filled = append(filled, file)
	}
}

func TestMemoryOfLargeDurableWritesIsGivenBack(t *testing.T) {
	if inOwnProcess(t) {
		return
	}
	const goroutines, megabytes = 16, 8
	p := newPool(t, &pool.PoolConfig{DSN: "mantis:" + t.TempDir() + "/s?sync=group",
		MaxConnections: goroutines})
	done := make(chan error)
	for i := 0; i < goroutines; i++ {
		conn := acquire(t, p)
		go func(key string) {
			done <- conn.Set(background, key, make([]byte, megabytes<<20))
		}(strconv.Itoa(i))
	}
	for i := 0; i < goroutines; i++ {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if kept := pool.KeptByCommits(); kept > goroutines<<17 {
		t.Errorf("%d bytes are kept", kept)
	}
}

// C counts what a connection does without atomic steps: one goroutine at a time is the rule.
func TestWriteOfABusyConnectionDoesNotReachC(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{})
	conn := acquire(t, p)
	for name, write := range map[string]func() error{
		"set":    func() error { return conn.Set(background, "a", nil) },
		"delete": func() error { return conn.Delete(background, "a") },
	} {
		err := conn.Do(background, func(mantis.Conn) error {
			mustBe(t, write(), pool.ErrConnBusy)
			return nil
		})
		if err != nil || !p.AsksForDurability() {
			t.Errorf("%s asked while the connection was in use: %v", name, err)
		}
	}
	if err := conn.Set(background, "a", nil); err != nil || p.AsksForDurability() {
		t.Errorf("the first write did not ask: %v", err)
	}
}
