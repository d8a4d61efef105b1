package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mantisDB/pool"
)

// refusal is what a backend says, for errors.As.
type refusal struct{ code int }

func (r *refusal) Error() string { return fmt.Sprintf("refused with code %d", r.code) }

const short = 30 * time.Millisecond

// The state in which a pool cannot lend.
type state struct {
	name     string
	config   pool.PoolConfig
	prepare  func(t *testing.T, p *pool.ConnectionPool, f *fake)
	at       []error // when the time is up
	atOnce   []error // without waiting; nil: it waits
	text     []string
	hasCause bool
}

func holdAll(t *testing.T, p *pool.ConnectionPool, _ *fake) {
	acquire(t, p)
	acquire(t, p)
}

var states = []state{
	{
		name:    "all busy",
		config:  pool.PoolConfig{MaxConnections: 2},
		prepare: holdAll,
		at:      []error{context.DeadlineExceeded, pool.ErrPoolExhausted},
		text:    []string{"pool 'pool': no connection in ", "2 of 2 busy", "longest held"},
	},
	{
		name:   "all busy and many wait",
		config: pool.PoolConfig{MaxConnections: 2, TrackHolders: true},
		prepare: func(t *testing.T, p *pool.ConnectionPool, f *fake) {
			holdAll(t, p, f)
			for i := 0; i < 3; i++ {
				go func() { _, _ = p.Acquire(context.Background()) }()
			}
			untilWaiting(t, p, 3)
		},
		at:   []error{context.DeadlineExceeded, pool.ErrPoolExhausted},
		text: []string{"2 of 2 busy", "3 waited before you", "(tag pool/help_test.go:"},
	},
	{
		name:   "the queue is full",
		config: pool.PoolConfig{MaxConnections: 2, MaxWaiting: 1, Name: "orders"},
		prepare: func(t *testing.T, p *pool.ConnectionPool, f *fake) {
			holdAll(t, p, f)
			go func() { _, _ = p.Acquire(context.Background()) }()
			untilWaiting(t, p, 1)
		},
		atOnce: []error{pool.ErrPoolExhausted},
		text:   []string{"pool 'orders': the queue is full: 1 wait", "2 of 2 busy"},
	},
	{
		name:   "opening fails",
		config: pool.PoolConfig{MaxConnections: 2},
		prepare: func(t *testing.T, p *pool.ConnectionPool, f *fake) {
			f.now(func(f *fake) { f.open = func(context.Context) error { return &refusal{53300} } })
			ctx, cancel := context.WithTimeout(context.Background(), short)
			defer cancel()
			_, _ = p.Acquire(ctx) // so that an open has failed
		},
		at:       []error{context.DeadlineExceeded, pool.ErrConnectionFailed},
		text:     []string{"no connection in ", "the last open failed: refused with code 53300"},
		hasCause: true,
	},
	{
		name:   "opening fails and the pool fails fast",
		config: pool.PoolConfig{MaxConnections: 2, FailFast: true},
		prepare: func(t *testing.T, p *pool.ConnectionPool, f *fake) {
			f.now(func(f *fake) { f.open = func(context.Context) error { return &refusal{53300} } })
			_, _ = p.Acquire(context.Background())
		},
		atOnce:   []error{pool.ErrConnectionFailed},
		text:     []string{"the last open failed: refused with code 53300"},
		hasCause: true,
	},
	{
		name:   "opening takes for ever",
		config: pool.PoolConfig{MaxConnections: 2},
		prepare: func(t *testing.T, p *pool.ConnectionPool, f *fake) {
			f.now(func(f *fake) {
				f.open = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			})
			t.Cleanup(func() { f.now(func(f *fake) { f.open = nil }) })
		},
		at:   []error{context.DeadlineExceeded, pool.ErrConnectionFailed},
		text: []string{"no connection in ", "0 of 2 busy", "1 being opened"},
	},
	{
		name:    "closed",
		config:  pool.PoolConfig{MaxConnections: 2, Name: "orders"},
		prepare: func(t *testing.T, p *pool.ConnectionPool, _ *fake) { _ = p.Close() },
		atOnce:  []error{pool.ErrPoolClosed},
		text:    []string{"pool 'orders': the pool is closed"},
	},
}

// How the caller's patience ends.
type ending struct {
	name    string
	timeout time.Duration // of the pool
	context func() (context.Context, context.CancelFunc)
	is      []error // whatever the state; nil: as the state says
}

var endings = []ending{
	{"the pool's timeout", short, func() (context.Context, context.CancelFunc) {
		return context.WithCancel(context.Background())
	}, nil},
	{"the context's deadline", 0, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), short)
	}, nil},
	{"both", short, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), short)
	}, nil},
	{"the context's deadline, without a timeout", -1, func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), short)
	}, nil},
	{"a cancellation", 0, func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(short, cancel)
		return ctx, cancel
	}, []error{context.Canceled}},
	{"a context cancelled before", 0, func() (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx, cancel
	}, []error{context.Canceled}},
}

func TestErrorsSayWhatTheyAreInEveryCombination(t *testing.T) {
	for _, state := range states {
		for _, ending := range endings {
			t.Run(state.name+", "+ending.name, func(t *testing.T) { combine(t, state, ending) })
		}
	}
}

func combine(t *testing.T, state state, ending ending) {
	f := new(fake)
	config := state.config
	config.Connector = f
	config.ConnectionTimeout = ending.timeout
	config.CloseTimeout = time.Nanosecond
	config.BackoffMin = time.Millisecond
	p := newPool(t, &config)
	state.prepare(t, p, f)
	ctx, cancel := ending.context()
	defer cancel()
	began := time.Now()
	_, err := p.Acquire(ctx)
	took := time.Since(began)
	want := ending.is
	switch {
	case ending.is != nil && state.atOnce != nil && ctx.Err() == nil:
		want = state.atOnce
	case ending.is == nil && state.atOnce != nil:
		want = state.atOnce
	case ending.is == nil:
		want = state.at
		if took < short/2 {
			t.Errorf("it waited %v", took)
		}
	}
	// A cancellation that comes later than an answer at once has not happened yet.
	if state.atOnce != nil && ending.name == "a cancellation" {
		want = state.atOnce
	}
	mustBe(t, err, want...)
	if len(want) == 1 && want[0] == context.Canceled {
		if err != context.Canceled {
			t.Errorf("it is not context.Canceled itself: %v", err)
		}
		return
	}
	for _, text := range state.text {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	var cause *refusal
	if errors.As(err, &cause) != state.hasCause || state.hasCause && cause.code != 53300 {
		t.Errorf("errors.As finds %v in %q", cause, err)
	}
	var timeout net.Error
	isTimeout := errors.Is(err, context.DeadlineExceeded)
	if errors.As(err, &timeout) && timeout.Timeout() != isTimeout {
		t.Errorf("Timeout() is %v of %q", timeout.Timeout(), err)
	}
}

func TestDeadlineThatPassedBeforeSaysWhy(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, MinConnections: 1})
	_, err := p.Acquire(ctx)
	mustBe(t, err, context.DeadlineExceeded)
	acquire(t, p)
	_, err = p.Acquire(ctx)
	mustBe(t, err, context.DeadlineExceeded, pool.ErrPoolExhausted)
}

func TestWaitersAreToldWhenThePoolIsClosed(t *testing.T) {
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, CloseTimeout: time.Millisecond})
	acquire(t, p)
	answers := make(chan error)
	for i := 0; i < 10; i++ {
		go func() { _, err := p.Acquire(context.Background()); answers <- err }()
	}
	untilWaiting(t, p, 10)
	_ = p.Close()
	for i := 0; i < 10; i++ {
		mustBe(t, <-answers, pool.ErrPoolClosed)
	}
}

func TestSystemErrorIsTheCause(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := pool.NewConnectionPool(&pool.PoolConfig{DSN: "mantis:" + file + "/below"})
	var detail *pool.Error
	if !errors.As(err, &detail) || detail.Text != err.Error() {
		t.Fatalf("%v is no pool.Error", err)
	}
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v: ENOTDIR is not its cause", err)
	}
}

func TestBadConfigurationNamesTheField(t *testing.T) {
	for field, config := range map[string]*pool.PoolConfig{
		"PoolConfig.MinConnections is -4":                   {MinConnections: -4},
		"PoolConfig.MinConnections is 5":                    {MinConnections: 5, MaxConnections: 4},
		"PoolConfig.MaxConnections is 200000":               {MaxConnections: 200000},
		"PoolConfig.MaxIdleTime (in ms) is 5000000000000":   {MaxIdleTime: 5e18},
		"PoolConfig.ConnectionTimeout (in ms) is 922337203": {ConnectionTimeout: math.MaxInt64},
		"PoolConfig.LifetimeJitterPercent is 80":            {LifetimeJitterPercent: 80},
		"PoolConfig.Reserve is -1":                          {Reserve: -1},
		"PoolConfig.MemoryPerConnection is 5":               {MemoryPerConnection: 5},
		"PoolConfig has a Connector and a DSN":              {Connector: new(fake)},
		"PoolConfig.DSN does not begin with mantis:":        {DSN: "sqlite:x"},
		"PoolConfig.DSN or Name has a zero byte":            {Name: "a\x00b"},
		"PoolConfig.BackoffMin (in ms) is 9000: it must be": {BackoffMin: 9 * time.Second},
	} {
		if config.DSN == "" {
			config.DSN = "mantis::memory:"
		}
		_, err := pool.NewConnectionPool(config)
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not say %q", err, field)
			continue
		}
		mustBe(t, err, pool.ErrInvalid)
	}
}
