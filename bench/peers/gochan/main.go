// Command gochan measures the least that a pool in Go can be: a buffered channel, without deadlines,
// checks or figures.
package main

import "mantispool/bench/goload"

type conn struct{ number int }

type pool chan *conn

func (p pool) Pair(hold func()) {
	c := <-p
	if hold != nil {
		hold()
	}
	p <- c
}

func open(conns int) goload.Pool {
	p := make(pool, conns)
	for i := 0; i < conns; i++ {
		p <- &conn{i}
	}
	return p
}

func main() { goload.Main("gochan", "standard library", open) }
