// Command mantis_go measures MantisPool through its Go package.
package main

import (
	"context"

	"mantisDB/pool"
	"mantispool/bench/goload"
)

// connector opens connections that are nothing, as those of the other peers are.
type connector struct{}

type conn struct{ number int }

func (connector) Open(context.Context) (any, error)    { return &conn{}, nil }
func (connector) Check(context.Context, any) error     { return nil }
func (connector) Close(_ context.Context, _ any) error { return nil }

type mantis struct{ pool *pool.ConnectionPool }

func (m mantis) Pair(hold func()) {
	c, err := m.pool.Acquire(context.Background())
	if err != nil {
		panic(err)
	}
	if hold != nil {
		hold()
	}
	c.Release()
}

func open(conns int) goload.Pool {
	p, err := pool.NewConnectionPool(&pool.PoolConfig{
		MinConnections: conns, MaxConnections: conns, Connector: connector{}})
	if err != nil {
		panic(err)
	}
	for {
		stats, err := p.Stats()
		if err != nil {
			panic(err)
		}
		if stats.IdleConnections == conns {
			return mantis{p}
		}
	}
}

const version = "0.1.0"

func main() {
	if !storeScenario() {
		goload.Main("mantis_go", version, open)
	}
}
