package store

import (
	"context"
	"runtime"

	"mantisDB/internal/mantis"
)

const pageBytes = 64 << 10 // of keys and values that a scan reads at once

// Scan visits the keys that begin with prefix, in the order of their bytes, until visit returns
// false. It reads some 64 KiB at a time: each such page is of one moment. For all of them to be of
// one moment, scan within a snapshot. visit may use the connection.
func (s Store) Scan(ctx context.Context, prefix string, visit func(Entry) bool) error {
	cursor := s.Cursor(prefix)
	defer cursor.Close()
	for cursor.Next(ctx) {
		if !visit(cursor.Entry()) {
			return nil
		}
	}
	return cursor.Err()
}

// Cursor visits keys one at a time:
//
//	cursor := s.Cursor("user:")
//	defer cursor.Close()
//	for cursor.Next(ctx) {
//		fmt.Println(cursor.Entry().Key)
//	}
//	err := cursor.Err()
type Cursor struct {
	store  Store
	prefix string
	scan   *mantis.Scan
	page   []byte // what is left of it; C's memory
	now    Entry
	err    error
	isOver bool
}

// Cursor begins a scan: see Scan. It is one goroutine's, and is to be closed.
func (s Store) Cursor(prefix string) *Cursor {
	c := &Cursor{store: s, prefix: prefix}
	runtime.SetFinalizer(c, (*Cursor).Close)
	return c
}

// Next goes on to the next key. False: there is none, or there was an error.
func (c *Cursor) Next(ctx context.Context) bool {
	if c.isOver {
		return false
	}
	if len(c.page) == 0 && !c.turn(ctx) {
		c.Close()
		return false
	}
	entry, rest := mantis.NextEntry(c.page)
	c.page = rest
	value := append(make([]byte, 0, len(entry.Value)), entry.Value...)
	c.now = Entry{string(entry.Key), value, entry.Version, expires(entry.ExpiresMs)}
	return true
}

// turn reads the next page. False: it is empty, or there was an error.
func (c *Cursor) turn(ctx context.Context) bool {
	c.err = c.store.do(ctx, func(handle mantis.Conn) (err error) {
		if c.scan == nil {
			c.scan, err = mantis.NewScan(pageBytes)
		}
		if err == nil {
			c.page, err = handle.Page(c.scan, c.prefix)
		}
		return err
	})
	return c.err == nil && len(c.page) > 0
}

// Entry is the key that Next went on to.
func (c *Cursor) Entry() Entry { return c.now }

// Err is the error that ended the scan, or nil.
func (c *Cursor) Err() error { return c.err }

// Close ends the scan. Again it does nothing.
func (c *Cursor) Close() {
	c.isOver, c.page = true, nil
	if c.scan != nil {
		c.scan.Free()
		c.scan = nil
	}
	runtime.SetFinalizer(c, nil)
}
