// Package goload is the load that bench/load.h describes, for pools in Go.
package goload

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Pool is what is measured. Pair borrows a connection, calls hold if it is not nil, and gives the
// connection back.
type Pool interface {
	Pair(hold func())
}

const (
	conns      = 8
	holdNs     = 100000 // asleep
	busyNs     = 20000  // of the processor
	bucketBits = 5
)

type worker struct {
	_       [128]byte
	ops     uint64
	buckets [(64 - bucketBits + 1) << bucketBits]uint64
	_       [128]byte
}

func bucket(value uint64) int {
	if value < 1<<bucketBits {
		return int(value)
	}
	shift := 63 - bits.LeadingZeros64(value) - bucketBits
	return shift<<bucketBits + int(value>>shift)
}

func bucketValue(bucket int) uint64 {
	if bucket < 2<<bucketBits {
		return uint64(bucket)
	}
	shift := bucket>>bucketBits - 1
	return uint64(bucket-shift<<bucketBits) << shift
}

// The runtime's timers are a millisecond coarse, so a sleeper sleeps in the kernel.
func sleep() {
	hold := syscall.Timespec{Nsec: holdNs}
	_ = syscall.Nanosleep(&hold, nil)
}

func loopPairs(pool Pool, w *worker, stop *atomic.Bool) {
	ops := uint64(0)
	for ; !stop.Load(); ops++ {
		pool.Pair(nil)
	}
	w.ops = ops
}

// turns is how often spin goes round in busyNs.
var turns int

func spin(turns int) uint64 {
	state := uint64(88172645463325252)
	for ; turns > 0; turns-- {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
	}
	return state
}

var spun uint64

// calibrate measures turns: the fastest of many tries, which nothing interrupted.
func calibrate() {
	const tries, length = 200, 10000
	fastest := time.Hour
	for i := 0; i < tries; i++ {
		began := time.Now()
		spun += spin(length)
		if took := time.Since(began); took < fastest {
			fastest = took
		}
	}
	turns = int(busyNs * length / fastest.Nanoseconds())
}

func busy() { atomic.AddUint64(&spun, spin(turns)) }

// counting begins once all goroutines contend: until then the first ones have the pool to themselves.
var counting atomic.Bool

const warmUp = 200 * time.Millisecond

func loopHeld(pool Pool, w *worker, stop *atomic.Bool, wait func()) {
	var began time.Time
	hold := func() {
		took := time.Since(began)
		if counting.Load() {
			w.ops++
			w.buckets[bucket(uint64(took))]++
		}
		wait()
	}
	for !stop.Load() {
		began = time.Now()
		pool.Pair(hold)
	}
}

func percentileUs(workers []*worker, part float64, ops uint64) float64 {
	seen := uint64(0)
	for b := range workers[0].buckets {
		for _, w := range workers {
			seen += w.buckets[b]
		}
		if float64(seen) >= part*float64(ops) {
			return float64(bucketValue(b)) / 1e3
		}
	}
	return 0
}

func report(peer, version, scenario string, workers []*worker, wall time.Duration) {
	ops, least, most := uint64(0), ^uint64(0), uint64(0)
	for _, w := range workers {
		ops += w.ops
		if w.ops < least {
			least = w.ops
		}
		if w.ops > most {
			most = w.ops
		}
	}
	fmt.Printf(`{"peer":"%s","version":"%s on %s","scenario":"%s","ops":%d,"ns_pair":%.3f,`+
		`"ops_per_s":%.0f,"fairness":%.4f`, peer, version, runtime.Version(), scenario, ops,
		float64(wall.Nanoseconds())/float64(ops), float64(ops)/wall.Seconds(),
		float64(least)/float64(most))
	if len(workers) == 64 {
		fmt.Printf(`,"p50_us":%.2f,"p99_us":%.2f`, percentileUs(workers, 0.50, ops),
			percentileUs(workers, 0.99, ops))
	}
	fmt.Println("}")
}

// Main runs the scenario that the command line names, and prints its line.
func Main(peer, version string, open func(conns int) Pool) {
	threads := map[string]int{"t1": 1, "t8": 8, "t64h": 64, "t64c": 64}
	if len(os.Args) != 3 || threads[os.Args[1]] == 0 {
		fmt.Fprintf(os.Stderr, "usage: %s t1|t8|t64h|t64c SECONDS\n", os.Args[0])
		os.Exit(2)
	}
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	workers := make([]*worker, threads[os.Args[1]])
	loop := loopPairs
	switch os.Args[1] {
	case "t64h":
		loop = func(p Pool, w *worker, stop *atomic.Bool) { loopHeld(p, w, stop, sleep) }
	case "t64c":
		calibrate()
		loop = func(p Pool, w *worker, stop *atomic.Bool) { loopHeld(p, w, stop, busy) }
	}
	pool := open(conns)
	var stop atomic.Bool
	var all sync.WaitGroup
	began := time.Now()
	for i := range workers {
		workers[i] = new(worker)
		all.Add(1)
		go func(w *worker) {
			loop(pool, w, &stop)
			all.Done()
		}(workers[i])
	}
	if len(workers) == 64 {
		time.Sleep(warmUp)
		began = time.Now()
		counting.Store(true)
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	stop.Store(true)
	wall := time.Since(began)
	all.Wait()
	report(peer, version, os.Args[1], workers, wall)
}
