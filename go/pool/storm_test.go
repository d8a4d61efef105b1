package pool_test

import (
	"context"
	"errors"
	"math/rand"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mantisDB/pool"
)

// long says whether to run with full numbers where less is enough to find most faults.
var long = os.Getenv("MANTIS_TEST_LONG") == "1"

// storm has goroutines acquire with contexts that end in all ways, and hold what they get.
func storm(t *testing.T, p *pool.ConnectionPool, goroutines, acquires int, hold func(pool.Conn)) {
	var left atomic.Int64
	left.Store(int64(acquires))
	var all sync.WaitGroup
	for g := 0; g < goroutines; g++ {
		all.Add(1)
		go func(random *rand.Rand) {
			defer all.Done()
			for left.Add(-1) >= 0 {
				ctx, cancel := randomContext(random)
				conn, err := p.Acquire(ctx)
				if err == nil {
					hold(conn)
					conn.Release()
				} else if !errors.Is(err, context.Canceled) &&
					!errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Acquire: %v", err)
				}
				cancel()
			}
		}(rand.New(rand.NewSource(int64(g))))
	}
	all.Wait()
}

func randomContext(random *rand.Rand) (context.Context, context.CancelFunc) {
	soon := time.Duration(random.Intn(200)) * time.Microsecond
	switch random.Intn(5) {
	case 0:
		return context.WithTimeout(context.Background(), soon)
	case 1:
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(soon, cancel)
		return ctx, cancel
	case 2:
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			runtime.Gosched()
			cancel()
		}()
		return ctx, cancel
	case 3:
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		return ctx, cancel
	default:
		return context.WithCancel(context.Background())
	}
}

// exactly checks that so many connections can be borrowed at once, and one more cannot.
func exactly(t *testing.T, p *pool.ConnectionPool, max int) {
	t.Helper()
	conns := make([]pool.Conn, max)
	for i := range conns {
		conns[i] = acquire(t, p)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := p.Acquire(ctx)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrPoolExhausted)
	for _, conn := range conns {
		conn.Release()
	}
}

// After 100,000 acquires with random cancellations and deadlines nothing is lost, and nothing is
// there twice.
func TestStormOfCancellationsLosesNoConnection(t *testing.T) {
	const max = 8
	f := new(fake)
	config := &pool.PoolConfig{MaxConnections: max, MinConnections: 2, Connector: f,
		ConnectionTimeout: time.Hour, MaxLifetime: 100 * time.Millisecond}
	p := newPool(t, config)
	owners := new(sync.Map)
	storm(t, p, 32, 100000, func(conn pool.Conn) {
		native := conn.Native().(*fakeConn)
		if other, has := owners.LoadOrStore(native, conn); has {
			t.Errorf("connection %d has two owners: %v and %v", native.number, other, conn)
		}
		if native.number%3 == 0 {
			runtime.Gosched()
		}
		owners.Delete(native)
	})
	if err := p.Resize(0, max); err != nil {
		t.Fatal(err)
	}
	exactly(t, p, max)
	agree(t, p, f)
}

// agree checks the pool's counts against the connector's own.
func agree(t *testing.T, p *pool.ConnectionPool, f *fake) {
	t.Helper()
	if err := p.Resize(0, 1); err != nil {
		t.Fatal(err)
	}
	var stats *pool.PoolStats
	until(t, "the counts agree", func() bool {
		stats = statsOf(t, p)
		return stats.OpeningConnections == 0 && stats.ClosingConnections == 0 &&
			stats.CheckingConnections == 0
	})
	opened, closed := f.opened.Load(), f.closed.Load()
	if stats.ConnectionsCreated != opened || stats.ConnectionsClosed != closed {
		t.Errorf("the pool says %d created and %d closed, the connector %d and %d",
			stats.ConnectionsCreated, stats.ConnectionsClosed, opened, closed)
	}
	if int64(stats.TotalConnections) != opened-closed {
		t.Errorf("%d are open, and %d should be", stats.TotalConnections, opened-closed)
	}
	ended := stats.RequestsGranted + stats.RequestsTimedOut + stats.RequestsCancelled +
		stats.RequestsRefused + stats.RequestsFailed + int64(stats.WaitingRequests)
	if stats.RequestsTotal != ended {
		t.Errorf("%d requests, and the sum of what became of them is %d", stats.RequestsTotal, ended)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	until(t, "all are closed", func() bool { return f.opened.Load() == f.closed.Load() })
}

// Nobody is forgotten when the pool changes all the time.
func TestStormWhileThePoolIsResized(t *testing.T) {
	f := new(fake)
	f.open = func(context.Context) error {
		if rand.Intn(10) == 0 {
			return errors.New("not now")
		}
		return nil
	}
	p := newPool(t, &pool.PoolConfig{MaxConnections: 8, Connector: f, ConnectionTimeout: time.Hour,
		BackoffMin: time.Millisecond, BackoffMax: time.Millisecond})
	stop := make(chan struct{})
	var resizing sync.WaitGroup
	resizing.Add(1)
	go func() {
		defer resizing.Done()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_ = p.Resize(n%3, 3+n%8)
				_, _ = p.Stats()
				p.Holders()
			}
		}
	}()
	storm(t, p, 32, 20000, func(conn pool.Conn) {
		if conn.Native().(*fakeConn).number%7 == 0 {
			conn.Discard()
		}
	})
	close(stop)
	resizing.Wait()
	if err := p.Resize(0, 8); err != nil {
		t.Fatal(err)
	}
	exactly(t, p, 8)
	agree(t, p, f)
}

// Close while everybody is at it: each request has an outcome, and none is granted afterwards.
func TestStormWhileThePoolIsClosed(t *testing.T) {
	rounds := 30
	if long {
		rounds = 300
	}
	for round := 0; round < rounds; round++ {
		f := new(fake)
		p := newPool(t, &pool.PoolConfig{MaxConnections: 4, Connector: f})
		var all sync.WaitGroup
		for g := 0; g < 16; g++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for {
					conn, err := p.Acquire(context.Background())
					if err != nil {
						mustBe(t, err, pool.ErrPoolClosed)
						return
					}
					runtime.Gosched()
					conn.Release()
				}
			}()
		}
		time.Sleep(time.Duration(round%10) * 100 * time.Microsecond)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
		until(t, "all are closed", func() bool { return f.opened.Load() == f.closed.Load() })
	}
}

// Those who wait are served in the order in which they came.
func TestWaitersAreServedInOrder(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1})
	held := acquire(t, p)
	order := make(chan int, 100)
	for i := 0; i < 100; i++ {
		go func(i int) {
			conn, err := p.Acquire(context.Background())
			if err != nil {
				t.Error(err)
			}
			order <- i
			conn.Release()
		}(i)
		untilWaiting(t, p, i+1)
	}
	held.Release()
	for i := 0; i < 100; i++ {
		if got := <-order; got != i {
			t.Fatalf("number %d was served as number %d", got, i)
		}
	}
}
