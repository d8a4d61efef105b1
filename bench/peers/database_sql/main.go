// Command database_sql measures the pool of Go's database/sql, with a driver that does nothing.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"mantispool/bench/goload"
)

var errNothing = errors.New("this driver does nothing")

type conn struct{ number int }

func (*conn) Prepare(string) (driver.Stmt, error) { return nil, errNothing }
func (*conn) Close() error                        { return nil }
func (*conn) Begin() (driver.Tx, error)           { return nil, errNothing }

type connector struct{}

func (connector) Connect(context.Context) (driver.Conn, error) { return &conn{}, nil }
func (connector) Driver() driver.Driver                        { return nil }

type pool struct{ db *sql.DB }

func (p pool) Pair(hold func()) {
	c, err := p.db.Conn(context.Background())
	if err != nil {
		panic(err)
	}
	if hold != nil {
		hold()
	}
	if err := c.Close(); err != nil {
		panic(err)
	}
}

func open(conns int) goload.Pool {
	db := sql.OpenDB(connector{})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return pool{db}
}

func main() {
	goload.Main("database_sql", "standard library", open)
}
