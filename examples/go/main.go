// The pool from Go: a store in memory, eight goroutines on four connections.
//
//	eval "$(make -s go-env)"
//	cd examples/go && go run .
package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"mantisDB/pool"
)

func main() {
	p, err := pool.NewConnectionPool(&pool.PoolConfig{
		DSN:               "mantis::memory:",
		MaxConnections:    4,
		ConnectionTimeout: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()

	var all sync.WaitGroup
	for g := 0; g < 8; g++ {
		all.Add(1)
		go func(key string) {
			defer all.Done()
			if err := write(context.Background(), p, key); err != nil {
				log.Print(err)
			}
		}(fmt.Sprint("key", g))
	}
	all.Wait()

	stats, err := p.Stats()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d requests were granted, %d connections were opened\n",
		stats.RequestsGranted, stats.ConnectionsCreated)
}

func write(ctx context.Context, p *pool.ConnectionPool, key string) error {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return conn.Set(ctx, key, []byte("value"))
}
