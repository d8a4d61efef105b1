package pool_test

// The programs of the documentation, as a user pastes them into a function.

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"mantisDB/pool"
	"mantisDB/store"
)

// inEmptyFolder has the default DSN make its folder in one of the test's.
func inEmptyFolder(t *testing.T) {
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chdir(before) })
}

func configuredProgram(ctx context.Context) error {
	config := &pool.PoolConfig{
		MinConnections:    10,
		MaxConnections:    1000,
		MaxIdleTime:       5 * time.Minute,
		ConnectionTimeout: 10 * time.Second,
	}

	p, err := pool.NewConnectionPool(config)
	if err != nil {
		return err
	}
	defer p.Close()

	// Acquire a connection
	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()

	// Use the connection
	err = conn.Set(ctx, "key", []byte("value"))
	if err != nil {
		return err
	}
	value, err := conn.Get(ctx, "key")
	if err != nil {
		return err
	}
	if string(value) != "value" {
		return fmt.Errorf("the value is %q", value)
	}
	err = conn.Delete(ctx, "key")
	return err
}

func TestConfiguredProgramRuns(t *testing.T) {
	inEmptyFolder(t)
	if err := configuredProgram(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("mantis-data"); err != nil {
		t.Errorf("the default DSN makes no mantis-data: %v", err)
	}
}

func statisticsProgram(pool *pool.ConnectionPool) error {
	stats, err := pool.Stats()
	if err != nil {
		return err
	}
	fmt.Printf("# Total: %d\n", stats.TotalConnections)
	fmt.Printf("# Active: %d\n", stats.ActiveConnections)
	fmt.Printf("# Idle: %d\n", stats.IdleConnections)
	fmt.Printf("# Avg wait time: %d ms\n", stats.AvgWaitTimeMs)
	fmt.Printf("# Created: %d\n", stats.ConnectionsCreated)
	fmt.Printf("# Closed: %d\n", stats.ConnectionsClosed)
	return nil
}

func TestStatisticsProgramRuns(t *testing.T) {
	p := newPool(t, inMemory())
	if err := statisticsProgram(p); err != nil {
		t.Fatal(err)
	}
}

func tickerProgram(p *pool.ConnectionPool) {
	// Log the pool's statistics periodically
	ticker := time.NewTicker(30 * time.Second)
	go func() {
		for range ticker.C {
			stats, _ := p.Stats()
			log.Printf("Pool stats: total=%d active=%d idle=%d wait=%dms created=%d closed=%d",
				stats.TotalConnections, stats.ActiveConnections, stats.IdleConnections,
				stats.AvgWaitTimeMs, stats.ConnectionsCreated, stats.ConnectionsClosed)
		}
	}()
}

func TestTickerProgramStarts(t *testing.T) {
	p := newPool(t, inMemory())
	tickerProgram(p)
}

func storeProgram(ctx context.Context) error {
	p, _ := pool.NewConnectionPool(pool.DefaultPoolConfig())
	defer p.Close()

	conn, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()

	s := store.From(conn)
	if err := s.Set(ctx, "session", []byte("17"), store.TTL(time.Hour)); err != nil {
		return err
	}
	entry, err := s.Get(ctx, "session")
	if err != nil {
		return err
	}
	_, err = s.CompareAndSet(ctx, "session", []byte("18"), entry.Version, store.Durable())
	return err
}

func TestStoreProgramRuns(t *testing.T) {
	inEmptyFolder(t)
	if err := storeProgram(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestNilIsTheDefaultConfiguration(t *testing.T) {
	inEmptyFolder(t)
	p, err := pool.NewConnectionPool(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	stats := statsOf(t, p)
	if stats.MinConnections != 10 || stats.MaxConnections != 1000 {
		t.Errorf("min %d, max %d", stats.MinConnections, stats.MaxConnections)
	}
}

func inMemory() *pool.PoolConfig {
	config := pool.DefaultPoolConfig()
	config.DSN = "mantis::memory:"
	return config
}
