package store

import (
	"context"
	"errors"
	"sync/atomic"

	"mantisDB/internal/mantis"
	"mantisDB/pool"
)

// Tx is a transaction: the store as it was when it began, and its own writes. While it is open all
// that its connection does belongs to it. It ends with Commit, Rollback, or the connection's
// release, which rolls it back; what is done with a Tx after that is pool.ErrInvalid. Keys that
// expire vanish for it, too.
type Tx struct {
	Store
}

// Begin begins a transaction. Its writes are kept in memory until Commit.
func (s Store) Begin(ctx context.Context) (Tx, error) { return s.begin(ctx, false) }

// Snapshot begins a transaction that only reads.
func (s Store) Snapshot(ctx context.Context) (Tx, error) { return s.begin(ctx, true) }

func (s Store) begin(ctx context.Context, snapshot bool) (Tx, error) {
	err := s.do(ctx, func(handle mantis.Conn) error { return handle.Begin(snapshot) })
	tx := Tx{Store{s.conn, new(atomic.Bool)}}
	tx.isOver.Store(err != nil)
	return tx, err
}

// Commit applies all its writes at once, if no key that it read with Get or Exists was written
// since it began. Otherwise it is pool.ErrConflict, and nothing was applied: begin again. However it
// goes, the transaction is over. Durable may be said about it.
func (t Tx) Commit(ctx context.Context, with ...Option) error {
	if t.isOver == nil {
		return errOver
	}
	_, err := t.submit(ctx, mantis.Transaction, new(mantis.Batch), 0, read(with))
	if err == nil {
		t.isOver.Store(true)
	} else {
		t.Rollback() // what did not come to begin
	}
	return err
}

// Rollback forgets its writes. After Commit it does nothing, so that it may be deferred.
func (t Tx) Rollback() {
	if t.isOver == nil {
		return
	}
	err := t.do(context.Background(), mantis.Conn.Rollback)
	if !errors.Is(err, pool.ErrConnBusy) {
		t.isOver.Store(true)
	}
}

// Update runs change in a transaction, and again whenever somebody else has written what it has
// read, until the context is done. An error of change rolls back and is returned.
func (s Store) Update(ctx context.Context, change func(Tx) error, with ...Option) error {
	for {
		err := s.tryUpdate(ctx, change, with)
		if !errors.Is(err, pool.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

func (s Store) tryUpdate(ctx context.Context, change func(Tx) error, with []Option) error {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := change(tx); err != nil {
		return err
	}
	return tx.Commit(ctx, with...)
}
