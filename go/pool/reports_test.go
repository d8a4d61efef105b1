package pool_test

import (
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

func TestStatisticsCountEachOutcome(t *testing.T) {
	f := new(fake)
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, MaxWaiting: 1, Connector: f})
	first := acquire(t, p)
	timeout, cancel := context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	_, err := p.Acquire(timeout)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrPoolExhausted)
	ctx, cancel := context.WithCancel(background)
	done := make(chan error)
	go func() { _, err := p.Acquire(ctx); done <- err }()
	untilWaiting(t, p, 1)
	_, err = p.Acquire(background)
	mustBe(t, err, pool.ErrPoolExhausted)
	time.Sleep(2 * time.Millisecond)
	stats := statsOf(t, p)
	if stats.OldestWait < time.Millisecond || stats.WaitingRequests != 1 {
		t.Errorf("%+v", stats)
	}
	cancel()
	mustBe(t, <-done, context.Canceled)
	go func() { conn, err := p.Acquire(background); conn.Release(); done <- err }()
	untilWaiting(t, p, 1)
	first.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	stats = statsOf(t, p)
	if stats.RequestsGranted != 2 || stats.RequestsTimedOut != 1 || stats.RequestsCancelled != 1 ||
		stats.RequestsRefused != 1 || stats.RequestsTotal != 5 || stats.OldestWait != 0 {
		t.Errorf("%+v", stats)
	}
	if stats.AvgWait < 20*time.Millisecond/5 || stats.AvgWaitTimeMs != stats.AvgWait.Milliseconds() {
		t.Errorf("the mean wait is %v, %d ms", stats.AvgWait, stats.AvgWaitTimeMs)
	}
	if stats.RequestsWaited < 1 || stats.WaitP99 <= 0 || stats.Period <= 0 {
		t.Errorf("%+v", stats)
	}
}

func TestStatisticsOfATimeAreTheDifference(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1})
	acquire(t, p).Release()
	before := statsOf(t, p)
	for i := 0; i < 3; i++ {
		acquire(t, p).Release()
	}
	held := acquire(t, p)
	now := statsOf(t, p)
	since := now.Since(before)
	held.Release()
	if since.RequestsGranted != 4 || since.RequestsTotal != 4 || since.ConnectionsCreated != 0 ||
		since.ActiveConnections != 1 || since.WaitP99 != 0 || since.AvgWait != 0 {
		t.Errorf("%+v", since)
	}
	if since.Period <= 0 || since.Period >= now.Period {
		t.Errorf("%v of %v", since.Period, now.Period)
	}
	if now.RequestsGranted != 5+before.RequestsGranted-1 {
		t.Errorf("the reading itself was changed: %+v", now)
	}
}

func TestStatisticsOfAClosedPoolAreAnError(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{Name: "orders"})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := p.Stats()
	mustBe(t, err, pool.ErrPoolClosed)
	mustBe(t, p.Resize(1, 2), pool.ErrPoolClosed)
	if !strings.Contains(err.Error(), "'orders'") {
		t.Error(err)
	}
	if holders := p.Holders(); len(holders) != 0 {
		t.Errorf("%v", holders)
	}
}

func TestHoldersSaySinceWhen(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.PoolConfig{})
	acquire(t, p)
	began := time.Now()
	until(t, "it was held for a while", func() bool {
		holders := p.Holders()
		return len(holders) == 1 && holders[0].Held > 0
	})
	one := p.Holders()[0]
	if one.Where != "" || one.Since.After(time.Now()) || time.Since(began)+time.Second < one.Held {
		t.Errorf("%+v", one)
	}
}

// below is the line two below the caller's, as Holders have it.
func below() string {
	_, _, line, _ := runtime.Caller(1)
	return fmt.Sprintf("pool/reports_test.go:%d", line+2)
}

func TestHoldersSayWhereWhenTheyAreTracked(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 200, TrackHolders: true})
	var conns []pool.Conn
	first := below()
	for i := 0; i < 200; i++ {
		conn, err := p.Acquire(background)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	waited := make(chan pool.Conn)
	second := below()
	go func() {
		conn, _ := p.Acquire(background)
		waited <- conn
	}()
	untilWaiting(t, p, 1)
	conns[0].Release()
	conns[0] = <-waited
	count := map[string]int{}
	for _, holder := range p.Holders() {
		count[holder.Where]++
	}
	if count[first] != 199 || count[second] != 1 {
		t.Errorf("%v", count)
	}
	for _, conn := range conns {
		conn.Release()
	}
}

// lines collects what Log is told.
type lines struct {
	lock sync.Mutex
	all  []string
}

func (l *lines) add(line string) {
	l.lock.Lock()
	l.all = append(l.all, line)
	l.lock.Unlock()
}

func (l *lines) have(text string) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	return strings.Contains(strings.Join(l.all, "\n"), text)
}

func TestLeakIsReportedOnce(t *testing.T) {
	t.Parallel()
	leaks := make(chan pool.Holder, 10)
	var log lines
	p := newPool(t, &pool.PoolConfig{LeakAfter: time.Millisecond, TrackHolders: true,
		OnLeak: func(leak pool.Holder) { leaks <- leak }, Log: log.add})
	acquire(t, p)
	leak := <-leaks
	if leak.Held < time.Millisecond || !strings.HasPrefix(leak.Where, "pool/help_test.go:") {
		t.Errorf("%+v", leak)
	}
	until(t, "the log says so", func() bool { return log.have("a connection is held for") })
	if stats := statsOf(t, p); stats.Leaks != 1 || len(leaks) != 0 {
		t.Errorf("%d leaks, and %d more were told", stats.Leaks, len(leaks))
	}
}

func TestLogSaysWhatFails(t *testing.T) {
	var log lines
	f := new(fake)
	f.open = func(context.Context) error { return errors.New("wrong password") }
	p := newPool(t, &pool.PoolConfig{Connector: f, MinConnections: 1, Log: log.add, Name: "orders"})
	until(t, "the log says so", func() bool {
		return log.have("pool 'orders': open failed: wrong password")
	})
	_ = p
}
