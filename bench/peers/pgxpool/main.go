// Command pgxpool measures pgx's pool as bench/postgres/select.c measures ours: goroutines that each
// borrow a connection, send the query of `pgbench -S`, and give it back.
//
//	pgxpool CONNINFO GOROUTINES CONNS SECONDS
package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	accounts = 100000 // of pgbench -i -s 1
	query    = "SELECT abalance FROM pgbench_accounts WHERE aid = $1"
	timesMax = 65536 // latencies that a goroutine keeps
)

type worker struct {
	ops, errors int
	timesUs     []int64
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "pgxpool: %s: %v\n", what, err)
	os.Exit(1)
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	if err != nil {
		fail("usage", err)
	}
	return value
}

// open has all connections open before anything is measured.
func open(ctx context.Context, conninfo string, conns int) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(conninfo)
	if err != nil {
		fail("conninfo", err)
	}
	config.MaxConns, config.MinConns = int32(conns), int32(conns)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		fail("open", err)
	}
	held := make([]*pgxpool.Conn, conns)
	for i := range held {
		if held[i], err = pool.Acquire(ctx); err != nil {
			fail("acquire", err)
		}
	}
	for _, conn := range held {
		conn.Release()
	}
	return pool
}

func (w *worker) run(ctx context.Context, pool *pgxpool.Pool, over *int32, seed int64) {
	random := rand.New(rand.NewSource(seed))
	for atomic.LoadInt32(over) == 0 {
		began := time.Now()
		var balance int
		if err := pool.QueryRow(ctx, query, random.Intn(accounts)+1).Scan(&balance); err != nil {
			w.errors++
		}
		took := time.Since(began).Microseconds()
		if len(w.timesUs) < timesMax {
			w.timesUs = append(w.timesUs, took)
		} else {
			w.timesUs[w.ops%timesMax] = took
		}
		w.ops++
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail("getrusage", err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/jackc/pgx/v5" {
				return module.Version[1:] + " on " + runtime.Version()
			}
		}
	}
	return "? on " + runtime.Version()
}

func show(workers []worker, seconds, usedSeconds float64) {
	var ops, errors int
	var times []int64
	for i := range workers {
		ops += workers[i].ops
		errors += workers[i].errors
		times = append(times, workers[i].timesUs...)
	}
	sort.Slice(times, func(i, j int) bool { return times[i] < times[j] })
	if len(times) == 0 {
		fail("run", fmt.Errorf("no query came back"))
	}
	fmt.Printf("{\"version\": %q, \"ops\": %d, \"errors\": %d, \"ops_per_s\": %.1f, "+
		"\"p50_us\": %d, \"p99_us\": %d, \"cpu_s_per_100k\": %.4f}\n", version(), ops, errors,
		float64(ops)/seconds, times[len(times)/2], times[len(times)*99/100],
		usedSeconds*1e5/float64(ops))
}

func main() {
	if len(os.Args) != 5 {
		fail("usage", fmt.Errorf("pgxpool CONNINFO GOROUTINES CONNS SECONDS"))
	}
	ctx := context.Background()
	workers := make([]worker, number(os.Args[2]))
	pool := open(ctx, os.Args[1], number(os.Args[3]))
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	if err != nil {
		fail("usage", err)
	}
	var over int32
	var group sync.WaitGroup
	before, began := cpuSeconds(), time.Now()
	for i := range workers {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			workers[i].run(ctx, pool, &over, int64(i)+1)
		}(i)
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	atomic.StoreInt32(&over, 1)
	took := time.Since(began).Seconds()
	group.Wait()
	show(workers, took, cpuSeconds()-before)
	pool.Close()
}
