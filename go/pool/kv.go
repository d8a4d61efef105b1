package pool

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"mantisDB/internal/mantis"
)

// KeyValue may be implemented by what a Connector opens: then Set, Get and Delete of a Conn are
// its. An error that is ErrConnectionFailed for errors.Is says that the connection is of no use any
// more.
type KeyValue interface {
	Set(ctx context.Context, key string, value []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
}

// Set sets a key. Without an error it survives a crash of the process, and with sync=group in the
// DSN one of the machine. Once the write has begun its outcome is waited for, whatever becomes of
// the context.
func (c Conn) Set(ctx context.Context, key string, value []byte) error {
	if waits, err := c.waitsForDisk(ctx); err != nil {
		return err
	} else if waits {
		return c.writeOne(ctx, key, value, false)
	}
	return c.call(ctx, func(handle mantis.Conn) error { return handle.Set(key, value) },
		func(kv KeyValue) error { return kv.Set(ctx, key, value) })
}

// Get reads a key. One that is not there is ErrNotFound.
func (c Conn) Get(ctx context.Context, key string) (value []byte, err error) {
	err = c.call(ctx, func(handle mantis.Conn) error {
		got, err := handle.Get(key)
		value = got.Bytes
		return err
	}, func(kv KeyValue) (err error) {
		value, err = kv.Get(ctx, key)
		return err
	})
	return value, err
}

// Delete deletes a key. One that is not there is no error. It is as durable as Set.
func (c Conn) Delete(ctx context.Context, key string) error {
	if waits, err := c.waitsForDisk(ctx); err != nil {
		return err
	} else if waits {
		return c.writeOne(ctx, key, nil, true)
	}
	return c.call(ctx, func(handle mantis.Conn) error { return handle.Delete(key) },
		func(kv KeyValue) error { return kv.Delete(ctx, key) })
}

// Ping asks the connection whether it is alive: with a Connector it is its Check, with a DSN the
// store is read.
func (c Conn) Ping(ctx context.Context) error {
	if c.pool == nil || c.pool.connector == nil {
		return c.Do(ctx, mantis.Conn.Ping)
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	return c.during(func() error {
		err := c.pool.config.Connector.Check(ctx, c.Native())
		if err == nil || ctx.Err() != nil {
			return err
		}
		return &Error{Text: "the connection is of no use any more: " + err.Error(), cause: err,
			kinds: [2]error{ErrConnectionFailed}}
	})
}

// ---- what package store uses, too ----

// Do is for package store: it runs an operation in C, which may block.
func (c Conn) Do(ctx context.Context, operation func(mantis.Conn) error) error {
	return c.call(ctx, operation, nil)
}

// call runs one operation, of Go's own connection or in C.
func (c Conn) call(ctx context.Context, inC func(mantis.Conn) error,
	own func(KeyValue) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	return c.during(func() error {
		if c.pool.connector != nil && own != nil {
			kv, is := c.Native().(KeyValue)
			if !is {
				return newError(ErrUnsupported,
					"the Connector's connections have no Set, Get and Delete")
			}
			return own(kv)
		}
		if err := enterC(ctx); err != nil {
			return err
		}
		err := inC(c.handle)
		leaveC()
		runtime.KeepAlive(c.pool)
		return errorOf(err)
	})
}

// isBroken says whether an operation's error means that its connection is of no use any more.
func isBroken(err error) bool { return errors.Is(err, ErrConnectionFailed) }

// A goroutine that is in C occupies a thread. So no more than these are in a call that may block.
var (
	inC        chan struct{}
	inCStarted sync.Once
)

func enterC(ctx context.Context) error {
	inCStarted.Do(func() { inC = make(chan struct{}, 2*runtime.GOMAXPROCS(0)) })
	select {
	case inC <- struct{}{}:
		return nil
	default:
	}
	select {
	case inC <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func leaveC() { <-inC }

// ---- writes that wait for the disk: in Go ----

// A commit is one write under way. The goroutine sleeps in Go until the hub wakes it.
type commit struct {
	c     mantis.Commit
	batch mantis.Batch
	done  chan struct{}
}

const keptBytes = 64 << 10 // of a commit's batch, for its next use

var commits = table[*commit]{make: func(number uint32) (*commit, error) {
	c, err := mantis.NewCommit(number)
	return &commit{c: c, done: make(chan struct{}, 1)}, err
}}

// Whether plain writes wait for the disk, as the pool's DSN has it.
const (
	durableUnknown = iota
	durableNo
	durableYes
)

// waitsForDisk says whether plain writes do. The pool's first one asks: an operation as any other,
// since C lets one goroutine at a time use a connection.
func (c Conn) waitsForDisk(ctx context.Context) (bool, error) {
	if c.pool == nil || c.pool.connector != nil {
		return false, nil
	}
	if c.pool.durable.Load() == durableUnknown {
		if err := c.Do(ctx, c.pool.learnDurable); err != nil {
			return false, err
		}
	}
	return c.pool.durable.Load() == durableYes, nil
}

func (p *ConnectionPool) learnDurable(handle mantis.Conn) error {
	switch is, known := handle.IsDurable(); {
	case !known: // the write is about to say why
	case is:
		p.durable.Store(durableYes)
	default:
		p.durable.Store(durableNo)
	}
	return nil
}

func (c Conn) writeOne(ctx context.Context, key string, value []byte, isDelete bool) error {
	return c.submit(ctx, func(w *commit, handle mantis.Conn) bool {
		w.batch.Add(key, value, isDelete, 0)
		return handle.Submit(w.c, mantis.Writes, &w.batch, 0, false)
	}, nil)
}

// Submit is for package store: it writes a batch, or commits, and waits for the disk in Go.
func (c Conn) Submit(ctx context.Context, kind mantis.CommitKind, batch *mantis.Batch,
	expected uint64, synced bool) (version uint64, err error) {
	err = c.submit(ctx, func(w *commit, handle mantis.Conn) bool {
		return handle.Submit(w.c, kind, batch, expected, synced)
	}, &version)
	return version, err
}

func (c Conn) submit(ctx context.Context, start func(*commit, mantis.Conn) bool,
	version *uint64) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	return c.during(func() error {
		w, err := commits.take()
		if err != nil {
			return err
		}
		defer w.give()
		if err := enterC(ctx); err != nil {
			return err
		}
		pending := start(w, c.handle)
		leaveC()
		if pending {
			<-w.done
		}
		made, err := w.c.Outcome()
		if version != nil {
			*version = made
		}
		runtime.KeepAlive(c.pool)
		return errorOf(err)
	})
}

func (w *commit) give() {
	w.batch.Reset(keptBytes)
	commits.give(w)
}
