package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"time"

	"mantisDB/pool"
)

const (
	keys       = 10000
	valueBytes = 100
)

// runStore measures the store through the package: set, get, or how long Acquire takes while
// connections are free. Its line has the figures that bench/gopool.py looks for.
func runStore(scenario string, seconds float64, folder string) error {
	ctx := context.Background()
	p, err := pool.NewConnectionPool(&pool.PoolConfig{
		DSN: "mantis:" + folder, MinConnections: 8, MaxConnections: 8})
	if err != nil {
		return err
	}
	defer p.Close()
	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	names, value := make([]string, keys), make([]byte, valueBytes)
	for i := range names {
		names[i] = fmt.Sprintf("key%06d", i)
		if err := conn.Set(ctx, names[i], value); err != nil {
			return err
		}
	}
	one := map[string]func(key string) error{
		"set": func(key string) error { return conn.Set(ctx, key, value) },
		"get": func(key string) error { _, err := conn.Get(ctx, key); return err },
		"acquire": func(key string) error {
			other, err := p.Acquire(ctx)
			other.Release()
			return err
		},
	}[scenario]
	return measure(scenario, one, names, time.Duration(seconds*float64(time.Second)))
}

const samplesMax = 2000000

func measure(scenario string, one func(string) error, names []string, length time.Duration) error {
	samples := make([]time.Duration, 0, samplesMax)
	ops, began := 0, time.Now()
	for ; time.Since(began) < length; ops++ {
		before := time.Now()
		if err := one(names[ops%keys]); err != nil {
			return err
		}
		if len(samples) < samplesMax {
			samples = append(samples, time.Since(before))
		}
	}
	wall := time.Since(began)
	sort.Slice(samples, func(i, j int) bool { return samples[i] < samples[j] })
	at := func(share float64) float64 {
		return float64(samples[int(share*float64(len(samples)-1))].Nanoseconds()) / 1e3
	}
	fmt.Printf(`{"peer":"mantis_go","version":"%s on %s","scenario":"%s","ops":%d,`+
		`"ops_per_s":%.0f,"p50_us":%.2f,"p99_us":%.2f,"p999_us":%.2f}`+"\n", version,
		runtime.Version(), scenario, ops, float64(ops)/wall.Seconds(), at(0.5), at(0.99), at(0.999))
	return nil
}

// storeScenario runs what the command line asks for, if it is one of the store's.
func storeScenario() bool {
	if len(os.Args) != 4 {
		return false
	}
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	if err := runStore(os.Args[1], seconds, os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}
