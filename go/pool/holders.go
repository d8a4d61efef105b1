package pool

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mantisDB/internal/mantis"
)

// Holder is a borrowed connection, and who borrowed it.
type Holder struct {
	Held  time.Duration // for at least so long: it may be up to a second more
	Since time.Time
	Where string // "orders/handler.go:42", with PoolConfig.TrackHolders; or ""
}

// Holders are the borrowed connections, those held longest first.
func (p *ConnectionPool) Holders() []Holder {
	all := p.c.Holders()
	runtime.KeepAlive(p)
	holders := make([]Holder, len(all))
	for i, one := range all {
		holders[i] = holderOf(one)
	}
	return holders
}

func holderOf(one mantis.Holder) Holder {
	held := time.Duration(one.HeldNs)
	return Holder{Held: held, Since: time.Now().Add(-held), Where: one.Tag.String()}
}

// tags has the texts of the places in the program that call Acquire, by program counter. C reads
// them as long as the process lives, and there are as many as there are places.
var (
	tags    atomic.Pointer[map[uintptr]mantis.Tag]
	tagging sync.Mutex
)

// callerTag is the tag of who called the function that calls it.
func callerTag() mantis.Tag {
	var pcs [1]uintptr
	if runtime.Callers(3, pcs[:]) == 0 {
		return 0
	}
	if known := tags.Load(); known != nil {
		if tag := (*known)[pcs[0]]; tag != 0 {
			return tag
		}
	}
	return addTag(pcs)
}

func addTag(pcs [1]uintptr) mantis.Tag {
	tagging.Lock()
	defer tagging.Unlock()
	grown := make(map[uintptr]mantis.Tag)
	if known := tags.Load(); known != nil {
		for pc, tag := range *known {
			grown[pc] = tag
		}
	}
	if tag := grown[pcs[0]]; tag != 0 {
		return tag
	}
	frame, _ := runtime.CallersFrames(pcs[:]).Next()
	directory, file := filepath.Split(frame.File)
	where := fmt.Sprintf("%s:%d", filepath.Join(filepath.Base(directory), file), frame.Line)
	grown[pcs[0]] = mantis.NewTag(where)
	tags.Store(&grown)
	return grown[pcs[0]]
}
