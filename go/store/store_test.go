package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mantisDB/pool"
	"mantisDB/store"
)

var background = context.Background()

func open(t *testing.T, dsn string) *pool.ConnectionPool {
	t.Helper()
	p, err := pool.NewConnectionPool(&pool.PoolConfig{DSN: dsn, MaxConnections: 16,
		MemoryPerConnection: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func from(t *testing.T, p *pool.ConnectionPool) store.Store {
	t.Helper()
	conn, err := p.Acquire(background)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	return store.From(conn)
}

// inEach runs a test with each kind of store.
func inEach(t *testing.T, run func(t *testing.T, p *pool.ConnectionPool)) {
	for name, dsn := range map[string]string{
		"memory":   "mantis::memory:",
		"interval": "mantis:" + t.TempDir() + "/i?sync=interval",
		"group":    "mantis:" + t.TempDir() + "/g?sync=group",
	} {
		dsn := dsn
		t.Run(name, func(t *testing.T) { run(t, open(t, dsn)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("%v is not %q", err, kind)
	}
}

func valueOf(t *testing.T, s store.Store, key string) string {
	t.Helper()
	entry, err := s.Get(background, key)
	if errors.Is(err, pool.ErrNotFound) {
		return "missing"
	}
	must(t, err)
	return string(entry.Value)
}

func TestCompareAndSetSeesEveryOtherWrite(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s := from(t, p)
		first, err := s.CompareAndSet(background, "k", []byte("1"), 0)
		must(t, err)
		_, err = s.CompareAndSet(background, "k", []byte("2"), 0)
		mustBe(t, err, pool.ErrConflict)
		entry, err := s.Get(background, "k")
		must(t, err)
		if entry.Version != first || entry.Key != "k" || !entry.Expires.IsZero() {
			t.Errorf("%+v, and the version was %d", entry, first)
		}
		second, err := s.CompareAndSet(background, "k", []byte("2"), first, store.Durable())
		must(t, err)
		_, err = s.CompareAndSet(background, "k", []byte("3"), first)
		mustBe(t, err, pool.ErrConflict)
		mustBe(t, s.CompareAndDelete(background, "k", first), pool.ErrConflict)
		must(t, s.CompareAndDelete(background, "k", second))
		if got := valueOf(t, s, "k"); got != "missing" {
			t.Error(got)
		}
	})
}

func TestIncrementsByCompareAndSetAreNotLost(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		const goroutines, each = 8, 100
		var all sync.WaitGroup
		for g := 0; g < goroutines; g++ {
			s := from(t, p)
			all.Add(1)
			go func() {
				defer all.Done()
				for done := 0; done < each; {
					entry, err := s.Get(background, "n")
					if err != nil && !errors.Is(err, pool.ErrNotFound) {
						t.Error(err)
						return
					}
					var n int
					_, _ = fmt.Sscan(string(entry.Value), &n)
					_, err = s.CompareAndSet(background, "n", []byte(fmt.Sprint(n+1)), entry.Version)
					if err == nil {
						done++
					} else if !errors.Is(err, pool.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}()
		}
		all.Wait()
		if got := valueOf(t, from(t, p), "n"); got != fmt.Sprint(goroutines*each) {
			t.Errorf("%s of %d", got, goroutines*each)
		}
	})
}

func TestKeysVanishWhenTheirTimeIsOver(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s := from(t, p)
		must(t, s.Set(background, "long", []byte("a"), store.TTL(time.Hour)))
		must(t, s.Set(background, "short", []byte("b"), store.TTL(time.Microsecond)))
		entry, err := s.Get(background, "long")
		must(t, err)
		if left := time.Until(entry.Expires); left <= 0 || left > time.Hour {
			t.Errorf("it expires in %v", left)
		}
		time.Sleep(3 * time.Millisecond)
		if got := valueOf(t, s, "short"); got != "missing" {
			t.Error(got)
		}
		found, err := s.Exists(background, "short")
		must(t, err)
		if found {
			t.Error("it exists")
		}
		mustBe(t, s.Set(background, "k", nil, store.TTL(-time.Second)), pool.ErrInvalid)
		mustBe(t, s.Set(background, "k", nil, store.TTL(0)), pool.ErrInvalid)
		mustBe(t, s.Delete(background, "k", store.TTL(time.Second)), pool.ErrInvalid)
	})
}

func TestBatchIsAllOrNothing(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s := from(t, p)
		must(t, s.Set(background, "gone", nil))
		var batch store.Batch
		batch.Set("a", []byte("1"))
		batch.Set("b", []byte("2"), store.TTL(time.Hour))
		batch.Delete("gone")
		if batch.Len() != 3 {
			t.Error(batch.Len())
		}
		must(t, s.Apply(background, &batch, store.Durable()))
		got := valueOf(t, s, "a") + valueOf(t, s, "b") + valueOf(t, s, "gone")
		if got != "12missing" {
			t.Error(got)
		}
		batch = store.Batch{}
		batch.Set("a", []byte("3"))
		batch.Set("", nil)
		mustBe(t, s.Apply(background, &batch), pool.ErrInvalid)
		batch = store.Batch{}
		batch.Set("a", make([]byte, 33<<10))
		batch.Set("b", make([]byte, 33<<10))
		mustBe(t, s.Apply(background, &batch), pool.ErrTooBig)
		if got := valueOf(t, s, "a"); got != "1" {
			t.Error(got)
		}
		must(t, s.Apply(background, new(store.Batch)))
	})
}

func TestScanVisitsAPrefixInOrder(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s := from(t, p)
		const count = 500 // with their values several pages
		for i := 0; i < count; i++ {
			value := strings.Repeat("v", 400)
			must(t, s.Set(background, fmt.Sprintf("key%03d", i), []byte(value)))
		}
		must(t, s.Set(background, "kez", nil))
		next := 0
		err := s.Scan(background, "key", func(entry store.Entry) bool {
			if entry.Key != fmt.Sprintf("key%03d", next) || len(entry.Value) != 400 ||
				entry.Version == 0 {
				t.Fatalf("%+v is number %d", entry, next)
			}
			next++
			if next%100 == 0 { // the connection is free for other things meanwhile
				must(t, s.Set(background, "other", nil))
			}
			return true
		})
		must(t, err)
		if next != count {
			t.Errorf("%d of %d", next, count)
		}
		next = 0
		must(t, s.Scan(background, "", func(store.Entry) bool { next++; return next < 7 }))
		if next != 7 {
			t.Error(next)
		}
		must(t, s.Scan(background, "nothing", func(store.Entry) bool { t.Error("no"); return true }))
	})
}

func TestScanEndsWithItsContext(t *testing.T) {
	s := from(t, open(t, "mantis::memory:"))
	must(t, s.Set(background, "k", nil))
	ctx, cancel := context.WithCancel(background)
	cancel()
	mustBe(t, s.Scan(ctx, "", func(store.Entry) bool { return true }), context.Canceled)
	cursor := s.Cursor("")
	if !cursor.Next(background) || cursor.Entry().Key != "k" || cursor.Next(background) {
		t.Error("the cursor does not see one key")
	}
	must(t, cursor.Err())
	cursor.Close()
	cursor.Close()
	if cursor.Next(background) {
		t.Error("a closed cursor goes on")
	}
	for i := 0; i < 10; i++ {
		s.Cursor("").Next(background) // forgotten: the garbage collector frees it
	}
}

func TestTransactionIsAppliedAtOnceOrNotAtAll(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s, other := from(t, p), from(t, p)
		must(t, s.Set(background, "a", []byte("1")))
		tx, err := s.Begin(background)
		must(t, err)
		must(t, tx.Set(background, "a", []byte("2")))
		if mine, theirs := valueOf(t, tx.Store, "a"), valueOf(t, other, "a"); mine+theirs != "21" {
			t.Errorf("%s, and outside %s", mine, theirs)
		}
		must(t, tx.Commit(background, store.Durable()))
		tx.Rollback()
		if got := valueOf(t, other, "a"); got != "2" {
			t.Error(got)
		}
		tx, err = s.Begin(background)
		must(t, err)
		valueOf(t, tx.Store, "a")
		must(t, tx.Set(background, "b", nil))
		must(t, other.Set(background, "a", []byte("3")))
		mustBe(t, tx.Commit(background), pool.ErrConflict)
		if got := valueOf(t, other, "b"); got != "missing" {
			t.Error(got)
		}
		tx, err = s.Begin(background)
		must(t, err)
		must(t, tx.Delete(background, "a"))
		tx.Rollback()
		if got := valueOf(t, other, "a"); got != "3" {
			t.Error(got)
		}
	})
}

func TestSnapshotStaysAsItWas(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		s, other := from(t, p), from(t, p)
		must(t, s.Set(background, "a", []byte("1")))
		snapshot, err := s.Snapshot(background)
		must(t, err)
		must(t, other.Set(background, "a", []byte("2")))
		must(t, other.Set(background, "b", nil))
		if got := valueOf(t, snapshot.Store, "a"); got != "1" {
			t.Error(got)
		}
		count := 0
		must(t, snapshot.Scan(background, "", func(store.Entry) bool { count++; return true }))
		if count != 1 {
			t.Errorf("%d keys", count)
		}
		if err := snapshot.Set(background, "c", nil); err == nil {
			t.Error("a snapshot can be written")
		}
		snapshot.Rollback()
		if got := valueOf(t, s, "a"); got != "2" {
			t.Error(got)
		}
	})
}

func TestReleaseRollsBack(t *testing.T) {
	p := open(t, "mantis::memory:")
	conn, err := p.Acquire(background)
	must(t, err)
	tx, err := store.From(conn).Begin(background)
	must(t, err)
	must(t, tx.Set(background, "a", nil))
	conn.Release()
	mustBe(t, tx.Commit(background), pool.ErrConnReleased)
	for i := 0; i < 16; i++ {
		s := from(t, p)
		if got := valueOf(t, s, "a"); got != "missing" {
			t.Error(got)
		}
		must(t, s.Set(background, "b", nil)) // not within a transaction
	}
}

func TestUpdateBeginsAgainAfterAConflict(t *testing.T) {
	inEach(t, func(t *testing.T, p *pool.ConnectionPool) {
		const goroutines, each = 4, 50
		var all sync.WaitGroup
		for g := 0; g < goroutines; g++ {
			s := from(t, p)
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; i < each; i++ {
					if err := s.Update(background, increment); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		all.Wait()
		if got := valueOf(t, from(t, p), "n"); got != fmt.Sprint(goroutines*each) {
			t.Errorf("%s of %d", got, goroutines*each)
		}
	})
}

func increment(tx store.Tx) error {
	entry, err := tx.Get(background, "n")
	if err != nil && !errors.Is(err, pool.ErrNotFound) {
		return err
	}
	var n int
	_, _ = fmt.Sscan(string(entry.Value), &n)
	return tx.Set(background, "n", []byte(fmt.Sprint(n+1)))
}

func TestErrorOfAnUpdateRollsBack(t *testing.T) {
	s := from(t, open(t, "mantis::memory:"))
	wrong := errors.New("wrong")
	err := s.Update(background, func(tx store.Tx) error {
		must(t, tx.Set(background, "a", nil))
		return wrong
	})
	mustBe(t, err, wrong)
	if got := valueOf(t, s, "a"); got != "missing" {
		t.Error(got)
	}
}

func TestStoreOfAConnectorsConnectionSaysThatItIsNone(t *testing.T) {
	p, err := pool.NewConnectionPool(&pool.PoolConfig{Connector: nothing{}})
	must(t, err)
	t.Cleanup(func() { _ = p.Close() })
	s := from(t, p)
	_, err = s.Get(background, "a")
	mustBe(t, err, pool.ErrUnsupported)
	mustBe(t, s.Set(background, "a", nil), pool.ErrUnsupported)
	_, err = s.Begin(background)
	mustBe(t, err, pool.ErrUnsupported)
	mustBe(t, s.Scan(background, "", nil), pool.ErrUnsupported)
	mustBe(t, store.From(pool.Conn{}).Set(background, "a", nil), pool.ErrConnReleased)
}

type nothing struct{}

func (nothing) Open(context.Context) (any, error)    { return nothing{}, nil }
func (nothing) Check(context.Context, any) error     { return nil }
func (nothing) Close(_ context.Context, _ any) error { return nil }

func TestDurableWritesOfManyWaitInGo(t *testing.T) {
	p := open(t, "mantis:"+t.TempDir()+"/s")
	var all sync.WaitGroup
	for g := 0; g < 64; g++ {
		all.Add(1)
		go func(g int) {
			defer all.Done()
			for i := 0; i < 20; i++ {
				conn, err := p.Acquire(background)
				if err != nil {
					t.Error(err)
					return
				}
				err = store.From(conn).Set(background, fmt.Sprint(g, i), nil, store.Durable())
				if err != nil {
					t.Error(err)
				}
				conn.Release()
			}
		}(g)
	}
	all.Wait()
}

func TestTransactionThatIsOverTouchesNothing(t *testing.T) {
	p := open(t, "mantis::memory:")
	s := from(t, p)
	first, err := s.Begin(background)
	must(t, err)
	must(t, first.Commit(background))
	second, err := s.Begin(background)
	must(t, err)
	first.Rollback() // as one that was deferred
	must(t, second.Set(background, "b", nil))
	if got := valueOf(t, from(t, p), "b"); got != "missing" {
		t.Errorf("the second is over with the first: %s", got)
	}
	must(t, second.Commit(background))
	for _, tx := range []store.Tx{first, second, {}} {
		mustBe(t, tx.Commit(background), pool.ErrInvalid)
		tx.Rollback()
	}
	mustBe(t, first.Set(background, "c", nil), pool.ErrInvalid)
	_, err = second.Get(background, "b")
	mustBe(t, err, pool.ErrInvalid)
	mustBe(t, first.Scan(background, "", nil), pool.ErrInvalid)
	if got := valueOf(t, s, "c"); got != "missing" {
		t.Error(got)
	}
}

func TestCommitThatDidNotBeginRollsBack(t *testing.T) {
	p := open(t, "mantis::memory:")
	s := from(t, p)
	tx, err := s.Begin(background)
	must(t, err)
	must(t, tx.Set(background, "a", nil))
	ctx, cancel := context.WithCancel(background)
	cancel()
	mustBe(t, tx.Commit(ctx), context.Canceled)
	must(t, s.Set(background, "b", nil)) // not within it
	if got := valueOf(t, from(t, p), "a") + valueOf(t, from(t, p), "b"); got != "missing" {
		t.Error(got)
	}
	_, err = s.Begin(background)
	must(t, err)
	again, err := s.Begin(background)
	mustBe(t, err, pool.ErrConnBusy)
	mustBe(t, again.Set(background, "c", nil), pool.ErrInvalid)
}

func TestPingReadsNoKeyOfATransaction(t *testing.T) {
	p := open(t, "mantis::memory:")
	conn, err := p.Acquire(background)
	must(t, err)
	defer conn.Release()
	tx, err := store.From(conn).Begin(background)
	must(t, err)
	must(t, tx.Set(background, "a", nil))
	must(t, conn.Ping(background))
	for _, key := range []string{"ping", "\xff\xff\xff\xff", "\xff\xff\xff\xffa"} {
		must(t, from(t, p).Set(background, key, nil))
		must(t, conn.Ping(background))
	}
	must(t, tx.Commit(background))
	must(t, conn.Ping(background))
}
