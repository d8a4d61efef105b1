package pool

import (
	"sync"

	"mantisDB/internal/mantis"
)

// The hub is the one goroutine that learns what happens on threads of C.
var hub struct {
	lock    sync.Mutex
	bell    *mantis.Bell
	pools   map[uint32]*ConnectionPool
	last    uint32 // number given to a pool
	tidings chan func()
}

const tidingsMax = 1000 // what OnLeak and Log have not been told yet; more is dropped

// register gives a pool its number.
func register(p *ConnectionPool) error {
	hub.lock.Lock()
	defer hub.lock.Unlock()
	if hub.bell == nil {
		if err := startHub(); err != nil {
			return err
		}
	}
	hub.last++
	p.number = hub.last
	hub.pools[p.number] = p
	return nil
}

func startHub() error {
	fd, err := mantis.HubFD()
	if err != nil {
		return err
	}
	bell, err := mantis.NewBell(fd)
	if err != nil {
		return err
	}
	hub.bell, hub.pools = bell, make(map[uint32]*ConnectionPool)
	hub.tidings = make(chan func(), tidingsMax)
	go bell.Run(takeEvents, func() {})
	go func() {
		for tell := range hub.tidings {
			tell()
		}
	}()
	return nil
}

// forget is for a pool that nothing happens to any more.
func forget(p *ConnectionPool) {
	hub.lock.Lock()
	delete(hub.pools, p.number)
	hub.lock.Unlock()
}

func poolOf(number uint32) *ConnectionPool {
	hub.lock.Lock()
	defer hub.lock.Unlock()
	return hub.pools[number]
}

func takeEvents() {
	var room [64]mantis.Event
	for {
		events := mantis.Take(room[:0])
		if len(events) == 0 {
			return
		}
		for _, event := range events {
			happen(event)
		}
	}
}

func happen(event mantis.Event) {
	if event.Kind == mantis.EventCommit {
		commits.at(event.Number).done <- struct{}{}
		return
	}
	p := poolOf(event.Number)
	if p == nil {
		return // a leak, or a line, of a pool that was closed
	}
	switch event.Kind {
	case mantis.EventStop:
		forget(p)
	case mantis.EventLeak:
		leak := holderOf(mantis.Holder{HeldNs: event.TimeNs, Tag: event.Tag})
		tell(func() { p.config.OnLeak(leak) })
	case mantis.EventLog:
		tell(func() { p.config.Log(event.Text) })
	default:
		go p.operate(event)
	}
}

// tell calls a function of the program, in order, and never waits for it.
func tell(what func()) {
	select {
	case hub.tidings <- what:
	default:
	}
}
