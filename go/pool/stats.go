package pool

import (
	"time"

	"mantisDB/internal/mantis"
)

// PoolStats is how a pool stands, and what it did since it was opened, all of one moment.
//
// RequestsTotal = RequestsGranted + RequestsTimedOut + RequestsCancelled + RequestsRefused +
// RequestsFailed + WaitingRequests.
type PoolStats struct {
	// Now. TotalConnections counts all, those being opened, checked and closed included.
	TotalConnections    int
	ActiveConnections   int // borrowed
	IdleConnections     int
	OpeningConnections  int
	CheckingConnections int
	ClosingConnections  int
	WaitingRequests     int
	MinConnections      int
	MaxConnections      int
	OldestWait          time.Duration // of who waits now

	// Waiting. The mean is over all requests that ended, those that did not wait included; WaitP99
	// is of those that had to wait, and got a connection.
	AvgWaitTimeMs int64
	AvgWait       time.Duration
	WaitP99       time.Duration

	// Since the pool was opened, or since the earlier reading of Since.
	RequestsTotal      int64
	RequestsGranted    int64
	RequestsWaited     int64 // of those granted
	RequestsTimedOut   int64
	RequestsCancelled  int64
	RequestsRefused    int64 // too many waited
	RequestsFailed     int64 // the pool was closed, or with FailFast an open failed
	ConnectionsCreated int64
	ConnectionsFailed  int64 // opens that failed
	ConnectionsClosed  int64
	ClosedIdle         int64 // of those: idle for MaxIdleTime, or above MaxConnections
	ClosedLifetime     int64
	ClosedBroken       int64
	ClosedCheck        int64 // found to be of no use by a check
	Checks             int64
	Leaks              int64
	Period             time.Duration // what these are about

	failing   bool
	waitSumNs int64
	waits     *mantis.Waits
}

// Stats reads the figures. It blocks nobody.
func (p *ConnectionPool) Stats() (*PoolStats, error) {
	c, waits, err := p.c.Stats()
	if err != nil {
		return nil, p.named(err)
	}
	stats := &PoolStats{
		TotalConnections:    c.Total,
		ActiveConnections:   c.Busy,
		IdleConnections:     c.Idle,
		OpeningConnections:  c.Opening,
		CheckingConnections: c.Checking + c.Resetting,
		ClosingConnections:  c.Closing,
		WaitingRequests:     c.Waiting,
		MinConnections:      c.ConnsMin,
		MaxConnections:      c.ConnsMax,
		OldestWait:          time.Duration(c.OldestWaitNs),
		RequestsTotal:       c.Attempts,
		RequestsGranted:     c.Granted,
		RequestsWaited:      c.Waited,
		RequestsTimedOut:    c.TimedOut,
		RequestsCancelled:   c.Cancelled,
		RequestsRefused:     c.Refused,
		RequestsFailed:      c.Failed,
		ConnectionsCreated:  c.Opened,
		ConnectionsFailed:   c.OpenFailed,
		ConnectionsClosed:   c.Closed,
		ClosedIdle:          c.ClosedIdle,
		ClosedLifetime:      c.ClosedLifetime,
		ClosedBroken:        c.ClosedBroken,
		ClosedCheck:         c.ClosedCheck,
		Checks:              c.Checked,
		Leaks:               c.Leaked,
		Period:              time.Duration(c.NowNs - c.SinceNs),
		failing:             c.Failing,
		waitSumNs:           c.WaitSumNs,
		waits:               waits,
	}
	stats.setWaits()
	return stats, nil
}

func (s *PoolStats) setWaits() {
	s.AvgWait = 0
	if ended := s.RequestsTotal - int64(s.WaitingRequests); ended > 0 {
		s.AvgWait = time.Duration(s.waitSumNs / ended)
	}
	s.AvgWaitTimeMs = s.AvgWait.Milliseconds()
	s.WaitP99 = time.Duration(s.waits.QuantileNs(0.99))
}

// Since is how the pool stands now, and what it did since an earlier reading: for a ticker.
func (s *PoolStats) Since(earlier *PoolStats) *PoolStats {
	made := *s
	waits := *s.waits
	made.waits = &waits
	waits.Subtract(earlier.waits)
	made.waitSumNs -= earlier.waitSumNs
	made.Period -= earlier.Period
	for _, counter := range []struct {
		now     *int64
		earlier int64
	}{
		{&made.RequestsTotal, earlier.RequestsTotal},
		{&made.RequestsGranted, earlier.RequestsGranted},
		{&made.RequestsWaited, earlier.RequestsWaited},
		{&made.RequestsTimedOut, earlier.RequestsTimedOut},
		{&made.RequestsCancelled, earlier.RequestsCancelled},
		{&made.RequestsRefused, earlier.RequestsRefused},
		{&made.RequestsFailed, earlier.RequestsFailed},
		{&made.ConnectionsCreated, earlier.ConnectionsCreated},
		{&made.ConnectionsFailed, earlier.ConnectionsFailed},
		{&made.ConnectionsClosed, earlier.ConnectionsClosed},
		{&made.ClosedIdle, earlier.ClosedIdle},
		{&made.ClosedLifetime, earlier.ClosedLifetime},
		{&made.ClosedBroken, earlier.ClosedBroken},
		{&made.ClosedCheck, earlier.ClosedCheck},
		{&made.Checks, earlier.Checks},
		{&made.Leaks, earlier.Leaks},
	} {
		*counter.now -= counter.earlier
	}
	made.setWaits()
	return &made
}
