// Package store is what a connection to the embedded store can do beside Set, Get and Delete: values
// with versions and a time to live, compare-and-set, batches, scans, transactions, durable writes.
//
//	s := store.From(conn)
//	err := s.Set(ctx, "session:17", token, store.TTL(time.Hour), store.Durable())
//
// A Store is the connection it is made of: its rules and its errors are those of package pool, and
// it ends with the connection's release. ErrConflict is pool.ErrConflict.
package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"mantisDB/internal/mantis"
	"mantisDB/pool"
)

// Store is a borrowed connection to a store.
type Store struct {
	conn   pool.Conn
	isOver *atomic.Bool // of a transaction
}

// From makes a Store of a borrowed connection.
func From(conn pool.Conn) Store { return Store{conn: conn} }

var errOver = fmt.Errorf("the transaction is over, begin another one: %w", pool.ErrInvalid)

func (s Store) do(ctx context.Context, operation func(mantis.Conn) error) error {
	if s.isOver != nil && s.isOver.Load() {
		return errOver
	}
	return s.conn.Do(ctx, operation)
}

func (s Store) submit(ctx context.Context, kind mantis.CommitKind, batch *mantis.Batch,
	expected uint64, o options) (uint64, error) {
	if s.isOver != nil && s.isOver.Load() {
		return 0, errOver
	}
	return s.conn.Submit(ctx, kind, batch, expected, o.durable)
}

// Entry is a key and what is stored under it.
type Entry struct {
	Key     string
	Value   []byte
	Version uint64    // changes with each write, and is never used again; 0 where there is none
	Expires time.Time // zero: never
}

// An Option says more about a write.
type Option func(*options)

type options struct {
	ttlMs   int64
	durable bool
}

// TTL has the key vanish after so long, by the wall clock. What is not whole milliseconds is
// rounded up. It must be more than 0: a key that stays is set without it.
func TTL(d time.Duration) Option {
	return func(o *options) {
		o.ttlMs = int64(d / time.Millisecond)
		if d%time.Millisecond > 0 {
			o.ttlMs++
		}
		if d <= 0 {
			o.ttlMs = -1 // which C refuses: 0 would be for ever
		}
	}
}

// Durable has the write on disk before it is acknowledged, whatever the DSN's sync= says.
func Durable() Option { return func(o *options) { o.durable = true } }

func read(given []Option) options {
	var o options
	for _, option := range given {
		option(&o)
	}
	return o
}

func expires(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Get reads a key, with its version. One that is not there is pool.ErrNotFound.
func (s Store) Get(ctx context.Context, key string) (Entry, error) {
	var got mantis.Value
	err := s.do(ctx, func(handle mantis.Conn) (err error) {
		got, err = handle.Get(key)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return Entry{key, got.Bytes, got.Version, expires(got.ExpiresMs)}, nil
}

// Exists says whether a key is there.
func (s Store) Exists(ctx context.Context, key string) (found bool, err error) {
	err = s.do(ctx, func(handle mantis.Conn) (err error) {
		found, err = handle.Exists(key)
		return err
	})
	return found, err
}

// Set sets a key.
func (s Store) Set(ctx context.Context, key string, value []byte, with ...Option) error {
	o := read(with)
	var batch mantis.Batch
	batch.Add(key, value, false, o.ttlMs)
	return s.write(ctx, &batch, o)
}

// Delete deletes a key. One that is not there is no error.
func (s Store) Delete(ctx context.Context, key string, with ...Option) error {
	o := read(with)
	var batch mantis.Batch
	batch.Add(key, nil, true, o.ttlMs)
	return s.write(ctx, &batch, o)
}

func (s Store) write(ctx context.Context, batch *mantis.Batch, o options) error {
	_, err := s.submit(ctx, mantis.Writes, batch, 0, o)
	return err
}

// CompareAndSet sets a key if it still has the version that Get reported, and returns its new one.
// Version 0 stands for a key that is not there. Otherwise it is pool.ErrConflict.
func (s Store) CompareAndSet(ctx context.Context, key string, value []byte, version uint64,
	with ...Option) (uint64, error) {
	o := read(with)
	var batch mantis.Batch
	batch.Add(key, value, false, o.ttlMs)
	return s.submit(ctx, mantis.CompareAndSet, &batch, version, o)
}

// CompareAndDelete deletes a key if it still has this version. Otherwise it is pool.ErrConflict.
func (s Store) CompareAndDelete(ctx context.Context, key string, version uint64,
	with ...Option) error {
	o := read(with)
	var batch mantis.Batch
	batch.Add(key, nil, true, o.ttlMs)
	_, err := s.submit(ctx, mantis.CompareAndSet, &batch, version, o)
	return err
}

// Batch collects writes. A zero one is empty.
type Batch struct{ writes mantis.Batch }

// Set adds the setting of a key, which TTL may be said about.
func (b *Batch) Set(key string, value []byte, with ...Option) {
	b.writes.Add(key, value, false, read(with).ttlMs)
}

// Delete adds the deletion of a key.
func (b *Batch) Delete(key string) { b.writes.Add(key, nil, true, 0) }

// Len is the number of its writes.
func (b *Batch) Len() int { return b.writes.Len() }

// Apply applies all writes of a batch, or none of them, which Durable may be said about. Its keys
// and values together may have PoolConfig.MemoryPerConnection bytes at most; more is
// pool.ErrTooBig. The batch may be applied again.
func (s Store) Apply(ctx context.Context, batch *Batch, with ...Option) error {
	return s.write(ctx, &batch.writes, read(with))
}
