// Package mantis is the one place of this module that calls C.
package mantis

/*
#cgo pkg-config: mantispool mantispool-store
#include "bridge.h"
#include <stdlib.h>

// Go's strings are read where they are, during the call alone.

static bridge_outcome set_key(uint64_t place, uint64_t generation, _GoString_ key,
                              const void *value, size_t size) {
    bridge_conn conn = {place, generation};
    return bridge_set(conn, _GoStringPtr(key), _GoStringLen(key), value, size);
}
static bridge_outcome delete_key(uint64_t place, uint64_t generation, _GoString_ key) {
    bridge_conn conn = {place, generation};
    return bridge_delete(conn, _GoStringPtr(key), _GoStringLen(key));
}
static bridge_value get_key(uint64_t place, uint64_t generation, _GoString_ key) {
    bridge_conn conn = {place, generation};
    return bridge_get(conn, _GoStringPtr(key), _GoStringLen(key));
}
static bridge_outcome has_key(uint64_t place, uint64_t generation, _GoString_ key, bool *out) {
    bridge_conn conn = {place, generation};
    return bridge_exists(conn, _GoStringPtr(key), _GoStringLen(key), out);
}
static bridge_outcome scan_page(uint64_t place, uint64_t generation, bridge_scan *scan,
                                _GoString_ prefix) {
    bridge_conn conn = {place, generation};
    return bridge_scan_page(conn, scan, _GoStringPtr(prefix), _GoStringLen(prefix));
}
*/
import "C"

import (
	"errors"
	"sync"
	"time"
	"unsafe"
)

// Status is what a call answered; the numbers are those of <mantis/status.h>.
type Status int

// The statuses that Go has to tell apart.
const (
	OK            Status = C.MANTIS_OK
	Timeout       Status = C.MANTIS_TIMEOUT
	Exhausted     Status = C.MANTIS_EXHAUSTED
	Closed        Status = C.MANTIS_CLOSED
	Cancelled     Status = C.MANTIS_CANCELLED
	ConnectFailed Status = C.MANTIS_CONNECT_FAILED
	Invalid       Status = C.MANTIS_INVALID
	Stale         Status = C.MANTIS_STALE
	Busy          Status = C.MANTIS_BUSY
	Paused        Status = C.MANTIS_PAUSED
	Forked        Status = C.MANTIS_FORKED
	NotFound      Status = C.MANTIS_NOT_FOUND
	Conflict      Status = C.MANTIS_CONFLICT
	TooBig        Status = C.MANTIS_TOO_BIG
	Full          Status = C.MANTIS_FULL
	Locked        Status = C.MANTIS_LOCKED
	Corrupt       Status = C.MANTIS_CORRUPT
	IO            Status = C.MANTIS_IO
	NoMemory      Status = C.MANTIS_NOMEM
	Unsupported   Status = C.MANTIS_UNSUPPORTED
)

// Name is the status as in MANTIS_STATUS_LIST; "UNKNOWN" for a number that is none.
func (s Status) Name() string { return C.GoString(C.mantis_status_name(C.mantis_status(s))) }

// Text is one sentence for a person.
func (s Status) Text() string { return C.GoString(C.mantis_status_text(C.mantis_status(s))) }

// Error is the detail of a failed call.
type Error struct {
	Status   Status
	Errno    int
	SQLState string
	Text     string
}

func (e *Error) Error() string { return e.Text }

func read(status C.mantis_status, detail *C.mantis_error) *Error {
	e := &Error{Status: Status(status)}
	if detail != nil && detail.status == status {
		e.Errno = int(detail.os_errno)
		e.SQLState = C.GoString(&detail.sqlstate[0])
		e.Text = C.GoString(&detail.text[0])
	}
	if e.Text == "" {
		e.Text = e.Status.Text()
	}
	return e
}

// errorOf takes over what a call said.
func errorOf(outcome C.bridge_outcome) error {
	if outcome.status == C.MANTIS_OK {
		return nil
	}
	e := read(outcome.status, outcome.error)
	C.free(unsafe.Pointer(outcome.error))
	return e
}

// ---- time ----

// Both clocks are CLOCK_MONOTONIC; where they stood at one moment.
var (
	clockNs = int64(C.mantis_now_ns())
	clock   = time.Now()
)

// Never is the deadline of who waits without an end.
const Never int64 = C.MANTIS_DEADLINE_NONE

// DeadlineAt is a moment on C's clock. One that is too far away for it is never.
func DeadlineAt(moment time.Time) int64 {
	left := int64(moment.Sub(clock))
	if left >= Never-clockNs {
		return Never
	}
	if left <= -clockNs {
		return 1 // 0 stands for something else
	}
	return clockNs + left
}

// TimeAt is the moment of a deadline.
func TimeAt(deadlineNs int64) time.Time { return clock.Add(time.Duration(deadlineNs - clockNs)) }

// ---- pools ----

// Config is a mantis_pool_config. Lengths are in milliseconds; 0 is the default, negative is never.
type Config struct {
	DSN, Name string // without a DSN the connector is Go's, through the hub

	ConnsMin, ConnsMax, Reserve, ReserveAfterMs, WaitingMax, AcquireTimeoutMs, OpenTimeoutMs,
	OpeningMax, BackoffMinMs, BackoffMaxMs, IdleTimeoutMs, LifetimeMs, LifetimeJitterPercent,
	CheckIntervalMs, CheckAfterIdleMs, LeakAfterMs, FailFast, ConnMemoryMax int64

	TellLeaks, TellLog bool
}

// Pool is a pool as C has it. Its mailbox has one owner at a time, who holds the lock: a goroutine
// that has to wait for it does so here, and not in C, where it would occupy a thread.
type Pool struct {
	c    *C.bridge_pool
	raw  C.uintptr_t // c, for the calls that must be short
	lock sync.Mutex
}

// Conn is the handle of a borrowed connection. Generation 0 is none.
type Conn struct{ Place, Generation uint64 }

// Slot is the number of its slot, among all of the process.
func (c Conn) Slot() uint32 { return uint32(c.Place >> 32) }

func (c Conn) c() C.bridge_conn {
	return C.bridge_conn{place: C.uint64_t(c.Place), generation: C.uint64_t(c.Generation)}
}

// Ready says which waiter has its outcome, and whether there are more: see Pool.Next.
type Ready uint64

// Number is that waiter's; 0: none.
func (r Ready) Number() uint32 { return uint32(r) }

// HasMore says that Pool.Next has another.
func (r Ready) HasMore() bool { return r&C.BRIDGE_MORE != 0 }

// Open opens a pool. number is its name in events.
func Open(config *Config, number uint32) (*Pool, error) {
	c := C.mantis_pool_config{
		conns_min:               C.int64_t(config.ConnsMin),
		conns_max:               C.int64_t(config.ConnsMax),
		reserve:                 C.int64_t(config.Reserve),
		reserve_after_ms:        C.int64_t(config.ReserveAfterMs),
		waiting_max:             C.int64_t(config.WaitingMax),
		acquire_timeout_ms:      C.int64_t(config.AcquireTimeoutMs),
		open_timeout_ms:         C.int64_t(config.OpenTimeoutMs),
		opening_max:             C.int64_t(config.OpeningMax),
		backoff_min_ms:          C.int64_t(config.BackoffMinMs),
		backoff_max_ms:          C.int64_t(config.BackoffMaxMs),
		idle_timeout_ms:         C.int64_t(config.IdleTimeoutMs),
		lifetime_ms:             C.int64_t(config.LifetimeMs),
		lifetime_jitter_percent: C.int64_t(config.LifetimeJitterPercent),
		check_interval_ms:       C.int64_t(config.CheckIntervalMs),
		check_after_idle_ms:     C.int64_t(config.CheckAfterIdleMs),
		leak_after_ms:           C.int64_t(config.LeakAfterMs),
		fail_fast:               C.int64_t(config.FailFast),
		conn_memory_max:         C.int64_t(config.ConnMemoryMax),
	}
	if config.DSN != "" {
		c.dsn = C.CString(config.DSN)
		defer C.free(unsafe.Pointer(c.dsn))
	}
	if config.Name != "" {
		c.name = C.CString(config.Name)
		defer C.free(unsafe.Pointer(c.name))
	}
	tell := C.uint32_t(0)
	if config.TellLeaks {
		tell |= C.BRIDGE_TELL_LEAKS
	}
	if config.TellLog {
		tell |= C.BRIDGE_TELL_LOG
	}
	var opened *C.bridge_pool
	var detail C.mantis_error
	status := C.bridge_pool_open(&opened, &c, C.uint32_t(number), tell, &detail)
	if status != C.MANTIS_OK {
		return nil, read(status, &detail)
	}
	return &Pool{c: opened, raw: C.uintptr_t(uintptr(unsafe.Pointer(opened)))}, nil
}

// FD is the descriptor that is readable when Drain is to be called.
func (p *Pool) FD() int { return int(C.bridge_pool_fd(p.c)) }

// Close ends the pool, waiting for what is borrowed until the deadline. Once.
func (p *Pool) Close(deadlineNs int64) (Ready, Status) {
	p.lock.Lock()
	pool := C.bridge_hide(p.c)
	p.lock.Unlock()
	status := C.mantis_pool_close(&pool, C.int64_t(deadlineNs))
	p.lock.Lock()
	defer p.lock.Unlock()
	return Ready(C.bridge_finish(p.c)), Status(status)
}

// Free frees the memory of a closed pool that nothing calls any more.
func (p *Pool) Free() { C.bridge_pool_free(p.c) }

// TryAcquire borrows what is free at once.
func (p *Pool) TryAcquire(tag Tag) Conn {
	conn := C.bridge_try_acquire(p.raw, C.uintptr_t(tag))
	return Conn{uint64(conn.place), uint64(conn.generation)}
}

// Release gives a connection back, when nobody is known to wait.
func (p *Pool) Release(conn Conn) {
	C.bridge_release(C.uint64_t(conn.Place), C.uint64_t(conn.Generation))
}

// HandOver gives a connection back when somebody may wait for it. A broken one is closed.
func (p *Pool) HandOver(conn Conn, broken bool) Ready {
	how := C.mantis_release(C.MANTIS_RELEASE_CLEAN)
	if broken {
		how = C.MANTIS_RELEASE_BROKEN
	}
	p.lock.Lock()
	ready := Ready(C.bridge_release_as(p.c, conn.c(), how))
	p.lock.Unlock()
	return ready
}

// Drain reads the mailbox to its end, so that its descriptor speaks again.
func (p *Pool) Drain() Ready {
	p.lock.Lock()
	defer p.lock.Unlock()
	return Ready(C.bridge_drain(p.c))
}

// Next is the next waiter with an outcome, after a Ready that has more.
func (p *Pool) Next() Ready {
	p.lock.Lock()
	defer p.lock.Unlock()
	return Ready(C.bridge_next(p.c))
}

// DueNs is the earliest deadline of those who wait.
func (p *Pool) DueNs() int64 {
	p.lock.Lock()
	defer p.lock.Unlock()
	return int64(C.bridge_due_ns(p.c))
}

// Resize changes the smallest and largest number of connections.
func (p *Pool) Resize(connsMin, connsMax int64) (Ready, error) {
	var detail C.mantis_error
	var status C.mantis_status
	p.lock.Lock()
	ready := Ready(C.bridge_resize(p.c, C.int64_t(connsMin), C.int64_t(connsMax), &status, &detail))
	p.lock.Unlock()
	if status != C.MANTIS_OK {
		return ready, read(status, &detail)
	}
	return ready, nil
}

// Native is what the open of a borrowed connection completed with.
func (c Conn) Native() uintptr { return uintptr(C.bridge_native(c.c())) }

// ---- waiting ----

// Waiter is one request in C's memory. It is used for one request after another.
type Waiter struct{ c *C.bridge_waiter }

var errNoMemory = &Error{Status: NoMemory, Text: "out of memory"}

// NewWaiter makes one; number is its own, and not 0.
func NewWaiter(number uint32) (Waiter, error) {
	c := C.bridge_waiter_new(C.uint32_t(number))
	if c == nil {
		return Waiter{}, errNoMemory
	}
	return Waiter{c}, nil
}

// Free frees one that is not waiting.
func (w Waiter) Free() { C.bridge_waiter_free(w.c) }

// Wait queues a request. With an error there will be no outcome.
func (p *Pool) Wait(w Waiter, deadlineNs int64, tag Tag) (Ready, error) {
	w.c.tag = (*C.char)(tag.pointer())
	p.lock.Lock()
	ready := Ready(C.bridge_wait(p.c, w.c, C.int64_t(deadlineNs)))
	p.lock.Unlock()
	if w.c.error.status != C.MANTIS_OK {
		return ready, read(w.c.error.status, &w.c.error)
	}
	return ready, nil
}

// Withdraw takes a request back. True: its outcome is in the waiter. False: some other call has
// returned its number.
func (p *Pool) Withdraw(w Waiter) (Ready, bool) {
	var isHere C.bool
	p.lock.Lock()
	ready := Ready(C.bridge_withdraw(p.c, w.c, &isHere))
	p.lock.Unlock()
	return ready, bool(isHere)
}

// Outcome is what became of the request: with OK the connection is borrowed.
func (w Waiter) Outcome() (Conn, Status) {
	conn := w.c.waiter.conn
	return Conn{uint64(conn.slot)<<32 | uint64(conn.pool), uint64(conn.generation)},
		Status(w.c.waiter.status)
}

// Explain says why the request got no connection, as if it had ended so, and whether that is for
// want of opening: it fails, or has not brought one connection yet.
func (p *Pool) Explain(w Waiter, status Status) (err *Error, unopened bool) {
	p.lock.Lock()
	unopened = bool(C.bridge_explain(p.c, w.c, C.mantis_status(status)))
	p.lock.Unlock()
	return read(C.mantis_status(status), &w.c.error), unopened
}

// ---- the hub ----

// EventKind says what happened.
type EventKind uint32

// The kinds of events, with the fields that they have beside Number.
const (
	EventOpen   EventKind = C.BRIDGE_OPEN   // Op, TimeNs: its deadline
	EventCheck  EventKind = C.BRIDGE_CHECK  // Op, Native, TimeNs
	EventClose  EventKind = C.BRIDGE_CLOSE  // Op, Native, TimeNs
	EventStop   EventKind = C.BRIDGE_STOP   // the pool's connector is not asked any more
	EventCommit EventKind = C.BRIDGE_COMMIT // Number is the commit's
	EventLeak   EventKind = C.BRIDGE_LEAK   // Tag, TimeNs: how long it is held
	EventLog    EventKind = C.BRIDGE_LOG    // Text
)

// Event is something that happened on a thread of C.
type Event struct {
	Kind   EventKind
	Number uint32 // of the pool
	Op     Op
	Native uintptr
	Tag    Tag
	TimeNs int64
	Text   string
}

// HubFD is the descriptor that is readable when Take is to be called.
func HubFD() (int, error) {
	fd := int(C.bridge_hub_fd())
	if fd < 0 {
		return 0, errors.New("no descriptor for events: too many are open")
	}
	return fd, nil
}

// Take adds the next events to out. If there are none the descriptor speaks again.
func Take(out []Event) []Event {
	var taken [64]C.bridge_event
	count := C.bridge_take(&taken[0], C.size_t(len(taken)))
	for _, event := range taken[:count] {
		made := Event{Kind: EventKind(event.kind), Number: uint32(event.number),
			Op: Op(event.op), Native: uintptr(event.native), Tag: Tag(event.tag),
			TimeNs: int64(event.time_ns)}
		if event.text != nil {
			made.Text = C.GoString(event.text)
			C.free(unsafe.Pointer(event.text))
		}
		out = append(out, made)
	}
	return out
}

// Op is an operation of a connector.
type Op uintptr

// Complete ends an operation; a cause says that it failed.
func (p *Pool) Complete(op Op, native uintptr, cause string) Ready {
	var text *C.char
	if cause != "" {
		text = C.CString(cause)
		defer C.free(unsafe.Pointer(text))
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	return Ready(C.bridge_complete(p.c, C.uintptr_t(op), C.uintptr_t(native), text))
}

// Tag is a text that lives for ever, for reports: who holds a connection.
type Tag uintptr

func (t Tag) pointer() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&t)) }

// NewTag makes one; it is never freed.
func NewTag(text string) Tag { return Tag(unsafe.Pointer(C.CString(text))) }

func (t Tag) String() string {
	if t == 0 {
		return ""
	}
	return C.GoString((*C.char)(t.pointer()))
}

// ---- figures ----

// Stats is a mantis_pool_stats.
type Stats struct {
	Total, Idle, Busy, Opening, Checking, Resetting, Closing, Waiting, ConnsMin, ConnsMax int

	Attempts, Granted, TimedOut, Cancelled, Refused, Failed, Waited, Opened, OpenFailed, Closed,
	ClosedIdle, ClosedLifetime, ClosedBroken, ClosedCheck, Checked, CheckFailed, Leaked int64

	WaitSumNs, OldestWaitNs, SinceNs, NowNs int64
	Failing                                 bool
}

// Waits is a histogram of how long grants that had to wait did wait.
type Waits struct{ c C.mantis_histogram }

// QuantileNs is the time that this share (0..1) of them stay below.
func (w *Waits) QuantileNs(share float64) int64 {
	return int64(C.mantis_histogram_quantile_ns(&w.c, C.double(share)))
}

// Subtract leaves what came after an earlier reading. Its longest stays.
func (w *Waits) Subtract(earlier *Waits) {
	w.c.count -= earlier.c.count
	w.c.sum_ns -= earlier.c.sum_ns
	for i := range w.c.buckets {
		w.c.buckets[i] -= earlier.c.buckets[i]
	}
}

// Stats reads the figures.
func (p *Pool) Stats() (*Stats, *Waits, error) {
	var c C.mantis_pool_stats
	waits := new(Waits)
	p.lock.Lock()
	status := C.bridge_get_stats(p.c, &c, &waits.c)
	p.lock.Unlock()
	if status != C.MANTIS_OK {
		return nil, nil, read(status, nil)
	}
	return &Stats{
		Total: int(c.total), Idle: int(c.idle), Busy: int(c.busy), Opening: int(c.opening),
		Checking: int(c.checking), Resetting: int(c.resetting), Closing: int(c.closing),
		Waiting: int(c.waiting), ConnsMin: int(c.conns_min), ConnsMax: int(c.conns_max),
		Attempts: int64(c.attempts), Granted: int64(c.granted), TimedOut: int64(c.timed_out),
		Cancelled: int64(c.cancelled), Refused: int64(c.refused), Failed: int64(c.failed),
		Waited: int64(c.waited), Opened: int64(c.opened), OpenFailed: int64(c.open_failed),
		Closed: int64(c.closed_conns), ClosedIdle: int64(c.closed_idle),
		ClosedLifetime: int64(c.closed_lifetime), ClosedBroken: int64(c.closed_broken),
		ClosedCheck: int64(c.closed_check), Checked: int64(c.checked),
		CheckFailed: int64(c.check_failed), Leaked: int64(c.leaked),
		WaitSumNs: int64(c.wait_sum_ns), OldestWaitNs: int64(c.oldest_wait_ns),
		SinceNs: int64(c.since_ns), NowNs: int64(c.now_ns), Failing: bool(c.failing),
	}, waits, nil
}

// Holder is a borrowed connection, for reports.
type Holder struct {
	HeldNs int64
	Tag    Tag
}

// Holders are the borrowed connections, longest first.
func (p *Pool) Holders() []Holder {
	for size := 64; ; size *= 2 {
		out := make([]C.mantis_holder, size)
		p.lock.Lock()
		count := int(C.bridge_holders(p.c, &out[0], C.size_t(size)))
		p.lock.Unlock()
		if count > size {
			continue
		}
		holders := make([]Holder, count)
		for i := range holders {
			tag := Tag(unsafe.Pointer(out[i].tag))
			holders[i] = Holder{HeldNs: int64(out[i].held_ns), Tag: tag}
		}
		return holders
	}
}

// ---- key-value operations ----

// Value is what was read. Without an expiry ExpiresMs is 0.
type Value struct {
	Bytes     []byte
	Version   uint64
	ExpiresMs int64
}

func pointerTo(bytes []byte) unsafe.Pointer {
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Pointer(&bytes[0])
}

// Set sets a key, and blocks for the write.
func (c Conn) Set(key string, value []byte) error {
	return errorOf(C.set_key(C.uint64_t(c.Place), C.uint64_t(c.Generation), key, pointerTo(value),
		C.size_t(len(value))))
}

// Delete deletes a key, and blocks for the write.
func (c Conn) Delete(key string) error {
	return errorOf(C.delete_key(C.uint64_t(c.Place), C.uint64_t(c.Generation), key))
}

// Get reads a key.
func (c Conn) Get(key string) (Value, error) {
	got := C.get_key(C.uint64_t(c.Place), C.uint64_t(c.Generation), key)
	if got.outcome.status != C.MANTIS_OK {
		return Value{}, errorOf(got.outcome)
	}
	bytes := make([]byte, int(got.size))
	copy(bytes, view(got.data, int(got.size)))
	C.bridge_value_free(got.owner, got.free_owner)
	return Value{bytes, uint64(got.version), int64(got.expires_ms)}, nil
}

// view is C's memory as it is.
func view(data unsafe.Pointer, size int) []byte {
	if size == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(data), size)
}

// Exists says whether a key is there.
func (c Conn) Exists(key string) (bool, error) {
	var found C.bool
	err := errorOf(C.has_key(C.uint64_t(c.Place), C.uint64_t(c.Generation), key, &found))
	return bool(found), err
}

// Ping reads the store, though no key.
func (c Conn) Ping() error { return errorOf(C.bridge_ping(c.c())) }

// Begin begins a transaction; a snapshot only reads.
func (c Conn) Begin(snapshot bool) error {
	kind := C.mantis_transaction(C.MANTIS_TRANSACTION_WRITE)
	if snapshot {
		kind = C.MANTIS_TRANSACTION_SNAPSHOT
	}
	return errorOf(C.bridge_begin(c.c(), kind))
}

// Rollback forgets the transaction, if there is one.
func (c Conn) Rollback() error { return errorOf(C.bridge_rollback(c.c())) }

// IsDurable says whether plain writes of this connection wait for the disk. It is not known if the
// connection is not borrowed.
func (c Conn) IsDurable() (is, known bool) {
	is = bool(C.bridge_is_durable(c.c(), (*C.bool)(&known)))
	return is, known
}

// ---- writes that do not block ----

// CommitKind is what is submitted.
type CommitKind int

// The kinds of commits.
const (
	Writes        CommitKind = C.MANTIS_COMMIT_WRITES
	CompareAndSet CommitKind = C.MANTIS_COMMIT_COMPARE_AND_SET
	Transaction   CommitKind = C.MANTIS_COMMIT_TRANSACTION
)

// Batch is a list of writes.
type Batch struct {
	writes []C.bridge_write
	bytes  []byte
}

// Add adds a write to the batch.
func (b *Batch) Add(key string, value []byte, isDelete bool, ttlMs int64) {
	write := C.bridge_write{key_size: C.uint64_t(len(key)), value_size: C.uint64_t(len(value)),
		ttl_ms: C.int64_t(ttlMs)}
	if isDelete {
		write.is_delete = 1
	}
	b.writes = append(b.writes, write)
	b.bytes = append(append(b.bytes, key...), value...)
}

// Len is the number of its writes.
func (b *Batch) Len() int { return len(b.writes) }

// Reset empties the batch, and keeps its memory up to so many bytes.
func (b *Batch) Reset(keptBytes int) {
	if cap(b.bytes) > keptBytes || cap(b.writes) > keptBytes/int(unsafe.Sizeof(C.bridge_write{})) {
		*b = Batch{}
	}
	b.writes, b.bytes = b.writes[:0], b.bytes[:0]
}

// Commit is one write under way, in C's memory. It is used for one after another.
type Commit struct{ c *C.bridge_commit }

// NewCommit makes one; number is its own.
func NewCommit(number uint32) (Commit, error) {
	c := C.bridge_commit_new(C.uint32_t(number))
	if c == nil {
		return Commit{}, errNoMemory
	}
	return Commit{c}, nil
}

// Submit starts a write. True: it goes on, and the hub tells when it is over.
func (c Conn) Submit(commit Commit, kind CommitKind, batch *Batch, expected uint64,
	synced bool) bool {
	durability := C.mantis_durability(C.MANTIS_DURABLE_DEFAULT)
	if synced {
		durability = C.MANTIS_DURABLE_SYNCED
	}
	var writes *C.bridge_write
	if len(batch.writes) > 0 {
		writes = &batch.writes[0]
	}
	submitted := C.bridge_submit(c.c(), commit.c, C.mantis_commit_kind(kind), durability,
		C.uint64_t(expected), writes, C.size_t(len(batch.writes)), pointerTo(batch.bytes),
		C.size_t(len(batch.bytes)))
	return submitted == C.BRIDGE_PENDING
}

// Outcome is what became of it, and the new version of a compare-and-set. Memory of a large write is
// given back.
func (c Commit) Outcome() (uint64, error) {
	commit := &c.c.commit
	if c.c.size_max > C.BRIDGE_KEPT_BYTES {
		C.bridge_commit_trim(c.c)
	}
	if commit.status != C.MANTIS_OK {
		return 0, read(commit.status, &commit.error)
	}
	return uint64(commit.version), nil
}

// Kept is how much of C's memory it has.
func (c Commit) Kept() int { return int(c.c.size_max) }

// Kept is how much memory it has.
func (b *Batch) Kept() int { return cap(b.bytes) }

// ---- scans ----

// Scan visits keys in order, a page at a time.
type Scan struct{ c *C.bridge_scan }

// Entry is a key and its value, in the memory of the scan's page.
type Entry struct {
	Key, Value []byte
	Version    uint64
	ExpiresMs  int64
}

// NewScan begins one; a page ends once it holds so many bytes.
func NewScan(pageBytes int) (*Scan, error) {
	c := C.bridge_scan_new(C.size_t(pageBytes))
	if c == nil {
		return nil, errNoMemory
	}
	return &Scan{c}, nil
}

// Page reads on. Its bytes are valid until the next page; at the end of the keys it is empty.
func (c Conn) Page(scan *Scan, prefix string) ([]byte, error) {
	err := errorOf(C.scan_page(C.uint64_t(c.Place), C.uint64_t(c.Generation), scan.c, prefix))
	if err != nil {
		return nil, err
	}
	return view(unsafe.Pointer(scan.c.bytes), int(scan.c.size)), nil
}

// NextEntry is the first entry of a page, and what is behind it.
func NextEntry(page []byte) (Entry, []byte) {
	var head C.bridge_entry
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&head)), unsafe.Sizeof(head)), page)
	page = page[unsafe.Sizeof(head):]
	key, value := page[:head.key_size], page[head.key_size:head.key_size+head.value_size]
	return Entry{key, value, uint64(head.version), int64(head.expires_ms)},
		page[head.key_size+head.value_size:]
}

// Free ends a scan.
func (s *Scan) Free() { C.bridge_scan_free(s.c) }
