package pool_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mantisDB/pool"
)

// count is how many entries a folder has.
func count(t testing.TB, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// inOwnProcess runs a test again, alone, in a process with GOMAXPROCS=2. False: this is it.
func inOwnProcess(t *testing.T) bool {
	const name = "MANTIS_TEST_ALONE"
	if os.Getenv(name) == t.Name() {
		return false
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	command.Env = append(os.Environ(), name+"="+t.Name(), "GOMAXPROCS=2")
	said, err := command.CombinedOutput()
	for _, line := range strings.Split(string(said), "\n") {
		if strings.Contains(line, "threads") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return true
}

var threadsLine = regexp.MustCompile(`(?m)^Threads:\s*(\d+)$`)

// threads is how many this process has, and of the pool's own how many open connections.
func threads(t testing.TB) (all, openers int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	all, _ = strconv.Atoi(string(threadsLine.FindSubmatch(status)[1]))
	names, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range names {
		name, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/comm")
		if bytes.HasPrefix(name, []byte("mantis-open")) {
			openers++
		}
	}
	return all, openers
}

// mostThreads watches the number of threads until stop is closed.
func mostThreads(t testing.TB, stop chan struct{}) func() int {
	most, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			if now, _ := threads(t); now > most {
				most = now
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() int { <-done; return most }
}

func TestThousandWaitersOccupyNoThreads(t *testing.T) {
	if inOwnProcess(t) {
		return
	}
	p := newPool(t, &pool.PoolConfig{MaxConnections: 1, DSN: "mantis:" + t.TempDir() + "/s"})
	held := acquire(t, p)
	var all sync.WaitGroup
	for i := 0; i < 1000; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			conn, err := p.Acquire(background)
			if err != nil {
				t.Error(err)
			}
			conn.Release()
		}()
	}
	untilWaiting(t, p, 1000)
	until(t, "no idle opener is left", func() bool { _, openers := threads(t); return openers == 0 })
	now, _ := threads(t)
	t.Logf("%d threads while 1000 goroutines wait", now)
	if now > 12 {
		t.Errorf("%d threads, and 12 are allowed", now)
	}
	held.Release()
	all.Wait()
}

func TestThousandWritersOccupyFewThreads(t *testing.T) {
	if inOwnProcess(t) {
		return
	}
	for _, sync := range []string{"interval", "group"} {
		p := newPool(t, &pool.PoolConfig{MaxConnections: 1000,
			DSN: "mantis:" + t.TempDir() + "/s?sync=" + sync}) // RocksDB's open has threads, too
		stop := make(chan struct{})
		most := mostThreads(t, stop)
		writeAll(t, p)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		close(stop)
		count := most()
		t.Logf("at most %d threads while 1000 goroutines write with sync=%s", count, sync)
		if count > 16 {
			t.Errorf("%d threads, and 16 are allowed", count)
		}
	}
}

// writeAll has 1000 goroutines, each with a connection of its own, write.
func writeAll(t *testing.T, p *pool.ConnectionPool) {
	var all, borrowed sync.WaitGroup
	all.Add(1000)
	borrowed.Add(1000)
	for i := 0; i < 1000; i++ {
		go func(i int) {
			defer all.Done()
			conn, err := p.Acquire(background)
			borrowed.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Release()
			borrowed.Wait()
			for n := 0; n < 5; n++ {
				key := fmt.Sprint("key", i, "-", n)
				if err := conn.Set(background, key, []byte(key)); err != nil {
					t.Error(err)
				}
			}
		}(i)
	}
	all.Wait()
}
