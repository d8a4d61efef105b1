// Command puddle measures puddle v2, the pool underneath pgx.
package main

import (
	"context"

	"github.com/jackc/puddle/v2"
	"mantispool/bench/goload"
)

type conn struct{ number int }

type pool struct{ puddle *puddle.Pool[*conn] }

func (p pool) Pair(hold func()) {
	resource, err := p.puddle.Acquire(context.Background())
	if err != nil {
		panic(err)
	}
	if hold != nil {
		hold()
	}
	resource.Release()
}

func open(conns int) goload.Pool {
	p, err := puddle.NewPool(&puddle.Config[*conn]{
		Constructor: func(context.Context) (*conn, error) { return &conn{}, nil },
		Destructor:  func(*conn) {},
		MaxSize:     int32(conns),
	})
	for i := 0; err == nil && i < conns; i++ {
		err = p.CreateResource(context.Background())
	}
	if err != nil {
		panic(err)
	}
	return pool{p}
}

func main() {
	goload.Main("puddle", "2.2.2", open)
}
