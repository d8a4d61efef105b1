package pool

import (
	"context"
	"errors"
	"syscall"

	"mantisDB/internal/mantis"
)

// What an error is: ask with errors.Is. The error itself says more: which pool, how many are busy,
// how many wait, who holds a connection longest, and what to do.
var (
	ErrPoolExhausted    = errors.New("no connection is free")
	ErrPoolClosed       = errors.New("the pool is closed")
	ErrConnectionFailed = errors.New("the connection failed, or none could be opened")
	ErrNotFound         = errors.New("there is no such key")
	ErrConnBusy         = errors.New("the connection is in use by another goroutine")
	ErrConnReleased     = errors.New("the connection was released")
	ErrConflict         = errors.New("somebody else changed it first")
	ErrTooBig           = errors.New("larger than its limit")
	ErrInvalid          = errors.New("an argument is out of its range")
	ErrUnsupported      = errors.New("this connection cannot do that")
	ErrDiskFull         = errors.New("the disk is full")
	ErrLocked           = errors.New("in use by another process")
	ErrCorrupt          = errors.New("the stored data is damaged")
	ErrIO               = errors.New("the operating system reported an error")
	ErrNoMemory         = errors.New("out of memory")
	ErrPaused           = errors.New("the pool is paused")
	ErrForked           = errors.New("the pool belongs to the parent process")
)

// kinds says which error each status is.
var kinds = map[mantis.Status]error{
	mantis.Timeout:       context.DeadlineExceeded,
	mantis.Exhausted:     ErrPoolExhausted,
	mantis.Closed:        ErrPoolClosed,
	mantis.Cancelled:     context.Canceled,
	mantis.ConnectFailed: ErrConnectionFailed,
	mantis.Invalid:       ErrInvalid,
	mantis.Stale:         ErrConnReleased,
	mantis.Busy:          ErrConnBusy,
	mantis.Paused:        ErrPaused,
	mantis.Forked:        ErrForked,
	mantis.NotFound:      ErrNotFound,
	mantis.Conflict:      ErrConflict,
	mantis.TooBig:        ErrTooBig,
	mantis.Full:          ErrDiskFull,
	mantis.Locked:        ErrLocked,
	mantis.Corrupt:       ErrCorrupt,
	mantis.IO:            ErrIO,
	mantis.NoMemory:      ErrNoMemory,
	mantis.Unsupported:   ErrUnsupported,
}

// Error is what the calls of this module answer. errors.Is finds what it is: one or two of the
// variables above, or context.DeadlineExceeded; errors.Is and errors.As also look into its cause,
// which is what a Connector answered or an error number of the system.
type Error struct {
	Text     string // one line that says what to do
	SQLState string // the five characters of SQLSTATE behind it, or ""

	kinds [2]error
	cause error
}

func (e *Error) Error() string { return e.Text }

// Is makes errors.Is find what the error is.
func (e *Error) Is(target error) bool { return target == e.kinds[0] || target == e.kinds[1] }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.cause }

// Timeout says whether a deadline passed, as errors of package net do.
func (e *Error) Timeout() bool { return e.Is(context.DeadlineExceeded) }

// errorOf makes an error of what C said.
func errorOf(err error) error {
	if err == nil {
		return nil
	}
	detail, ok := err.(*mantis.Error)
	if !ok {
		return err
	}
	made := &Error{Text: detail.Text, SQLState: detail.SQLState}
	made.kinds[0] = kinds[detail.Status]
	if detail.Errno != 0 {
		made.cause = syscall.Errno(detail.Errno)
	}
	return made
}

// newError makes an error of this package's own.
func newError(kind error, text string) error {
	return &Error{Text: text, kinds: [2]error{kind}}
}
