package pool

import (
	"sync"
	"sync/atomic"
)

// A table has things that C knows by number, from 1, and keeps those that are not in use.
type table[T any] struct {
	make func(number uint32) (T, error)
	all  atomic.Pointer[[]T] // by number, less 1
	lock sync.Mutex
	idle []T
}

func (t *table[T]) take() (T, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if last := len(t.idle) - 1; last >= 0 {
		one := t.idle[last]
		t.idle = t.idle[:last]
		return one, nil
	}
	var all []T
	if before := t.all.Load(); before != nil {
		all = *before
	}
	one, err := t.make(uint32(len(all)) + 1)
	if err == nil {
		all = append(all, one) // behind what others read: they have the slice before
		t.all.Store(&all)
	}
	return one, errorOf(err)
}

func (t *table[T]) give(one T) {
	t.lock.Lock()
	t.idle = append(t.idle, one)
	t.lock.Unlock()
}

func (t *table[T]) at(number uint32) T { return (*t.all.Load())[number-1] }

// each visits all of them, when nobody takes any more.
func (t *table[T]) each(visit func(T)) {
	if all := t.all.Load(); all != nil {
		for _, one := range *all {
			visit(one)
		}
	}
}
