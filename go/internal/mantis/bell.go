package mantis

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Bell waits for an eventfd of C in Go's own poller, and for a moment.
type Bell struct {
	file *os.File
	raw  syscall.RawConn
}

// NewBell makes one of a descriptor, which stays C's.
func NewBell(fd int) (*Bell, error) {
	syscall.ForkLock.RLock()
	own, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(own)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	b := &Bell{file: os.NewFile(uintptr(own), "eventfd")}
	b.raw, err = b.file.SyscallConn()
	return b, err
}

// Run calls rung each time that the bell rings, and due when the moment of At has come, until the
// bell is closed. The first call of rung is at once.
func (b *Bell) Run(rung, due func()) {
	for {
		err := b.raw.Read(func(uintptr) bool { rung(); return false })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		due()
	}
}

// At sets the moment; a zero one is never. From any goroutine.
func (b *Bell) At(moment time.Time) { _ = b.file.SetReadDeadline(moment) }

// Close ends Run.
func (b *Bell) Close() { _ = b.file.Close() }
