package pool

import (
	"strings"
	"time"

	"mantisDB/internal/mantis"
)

// PoolConfig says how a pool is to be. Where nothing else is said a zero is the default, and a
// negative length or number stands for never or unlimited.
type PoolConfig struct {
	// MinConnections are kept open. Default: 0 (DefaultPoolConfig has 10).
	MinConnections int
	// MaxConnections are never exceeded, those being opened and closed included. Default: 1000.
	MaxConnections int
	// MaxIdleTime: a connection above MinConnections that was idle for so long is closed.
	// Default: 5 min.
	MaxIdleTime time.Duration
	// ConnectionTimeout is how long Acquire waits at most; a context can only shorten it.
	// Default: 10 s.
	ConnectionTimeout time.Duration

	// DSN says what the connections lead to: mantis:DIR?sync=interval|group, or mantis::memory:.
	// Default: mantis:mantis-data.
	DSN string
	// Connector opens connections of your own kind; DSN is empty then.
	Connector Connector
	// Name is the pool's in messages. Default: pool.
	Name string

	// MaxLifetime: a connection that is so old is replaced, when it comes back if it is in use.
	// Default: 1 h.
	MaxLifetime time.Duration
	// LifetimeJitterPercent: each lifetime is shortened by a random part of this share, so that
	// they end apart. Default: 10.
	LifetimeJitterPercent int
	// HealthCheckInterval: an idle connection is checked so often, with up to a tenth of jitter.
	// Default: 30 s.
	HealthCheckInterval time.Duration
	// CheckAfterIdle: one that was idle for so long is checked before it is lent. Default: never.
	CheckAfterIdle time.Duration
	// OpenTimeout is how long an open or a check may take. Default: 15 s.
	OpenTimeout time.Duration
	// MaxOpening connections are opened at the same time. Default: 4.
	MaxOpening int
	// BackoffMin is the pause after the first failed open; it doubles with each further one.
	// Default: 100 ms.
	BackoffMin time.Duration
	// BackoffMax is the longest pause between two attempts while the backend is down.
	// Default: 5 s.
	BackoffMax time.Duration
	// FailFast: while the backend is down Acquire answers ErrConnectionFailed and does not wait.
	FailFast bool
	// MaxWaiting: further calls of Acquire answer ErrPoolExhausted at once when this many wait.
	// Default: 100000.
	MaxWaiting int
	// Reserve: so many more connections may be opened once the first who waits has waited for
	// ReserveAfter. Default: 0.
	Reserve int
	// ReserveAfter is how long the first who waits does so before the reserve is used.
	// Default: 5 s.
	ReserveAfter time.Duration
	// MemoryPerConnection bounds, in bytes, what a batch or a transaction holds on one connection;
	// single values pass it. Default: 1 MiB.
	MemoryPerConnection int64

	// CloseTimeout is how long Close waits for borrowed connections. Default: 5 s.
	CloseTimeout time.Duration

	// TrackHolders notes the file and line of each Acquire, for Holders, OnLeak and the texts of
	// errors. It costs about 200 ns a call.
	TrackHolders bool
	// LeakAfter: a connection that is held for so long is reported once, to OnLeak and Log.
	// Default: never.
	LeakAfter time.Duration
	// OnLeak is told of such a connection, on a goroutine of the package.
	OnLeak func(Holder)
	// Log is told, line by line, what goes wrong in the background, on a goroutine of the package.
	Log func(line string)
}

// DefaultPoolConfig is what NewConnectionPool(nil) uses.
func DefaultPoolConfig() *PoolConfig {
	return &PoolConfig{
		MinConnections:    10,
		MaxConnections:    1000,
		MaxIdleTime:       5 * time.Minute,
		ConnectionTimeout: 10 * time.Second,
	}
}

// What the C library leaves to its callers, or has otherwise.
const (
	defaultDSN               = "mantis:mantis-data"
	defaultMaxConnections    = 1000
	defaultConnectionTimeout = 10 * time.Second
	defaultCloseTimeout      = 5 * time.Second
)

// settings are the names of src/core/settings.def and the fields that they are here.
var settings = []struct{ name, field string }{
	{"conns_min", "MinConnections"},
	{"conns_max", "MaxConnections"},
	{"reserve_after_ms", "ReserveAfter"}, // before reserve, which begins it
	{"reserve", "Reserve"},
	{"waiting_max", "MaxWaiting"},
	{"acquire_timeout_ms", "ConnectionTimeout"},
	{"open_timeout_ms", "OpenTimeout"},
	{"opening_max", "MaxOpening"},
	{"backoff_min_ms", "BackoffMin"},
	{"backoff_max_ms", "BackoffMax"},
	{"idle_timeout_ms", "MaxIdleTime"},
	{"lifetime_ms", "MaxLifetime"},
	{"lifetime_jitter_percent", "LifetimeJitterPercent"},
	{"check_interval_ms", "HealthCheckInterval"},
	{"check_after_idle_ms", "CheckAfterIdle"},
	{"leak_after_ms", "LeakAfter"},
	{"fail_fast", "FailFast"},
	{"conn_memory_max", "MemoryPerConnection"},
}

// milliseconds is a length as C has it; what is not whole is rounded up.
func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	whole := int64(d / time.Millisecond)
	if d%time.Millisecond != 0 {
		whole++
	}
	return whole
}

// forC is the configuration as C has it.
func (config *PoolConfig) forC() *mantis.Config {
	c := &mantis.Config{
		DSN:                   config.DSN,
		Name:                  config.Name,
		ConnsMin:              int64(config.MinConnections),
		ConnsMax:              int64(config.MaxConnections),
		Reserve:               int64(config.Reserve),
		ReserveAfterMs:        milliseconds(config.ReserveAfter),
		WaitingMax:            int64(config.MaxWaiting),
		AcquireTimeoutMs:      milliseconds(config.ConnectionTimeout),
		OpenTimeoutMs:         milliseconds(config.OpenTimeout),
		OpeningMax:            int64(config.MaxOpening),
		BackoffMinMs:          milliseconds(config.BackoffMin),
		BackoffMaxMs:          milliseconds(config.BackoffMax),
		IdleTimeoutMs:         milliseconds(config.MaxIdleTime),
		LifetimeMs:            milliseconds(config.MaxLifetime),
		LifetimeJitterPercent: int64(config.LifetimeJitterPercent),
		CheckIntervalMs:       milliseconds(config.HealthCheckInterval),
		CheckAfterIdleMs:      milliseconds(config.CheckAfterIdle),
		LeakAfterMs:           milliseconds(config.LeakAfter),
		ConnMemoryMax:         config.MemoryPerConnection,
		TellLeaks:             config.OnLeak != nil,
		TellLog:               config.Log != nil,
	}
	if config.FailFast {
		c.FailFast = 1
	}
	return c
}

// complete is a copy with the defaults that C does not have.
func (config *PoolConfig) complete() (*PoolConfig, error) {
	if config == nil {
		config = DefaultPoolConfig()
	}
	made := *config
	if made.Connector != nil && made.DSN != "" {
		return nil, newError(ErrInvalid, "PoolConfig has a Connector and a DSN: give one of them")
	}
	if made.Connector == nil && made.DSN == "" {
		made.DSN = defaultDSN
	}
	if made.Connector == nil && !strings.HasPrefix(made.DSN, "mantis:") {
		return nil, newError(ErrInvalid, "PoolConfig.DSN does not begin with mantis: the embedded "+
			"store is what is built in; for any other backend give a PoolConfig.Connector")
	}
	if strings.ContainsRune(made.DSN+made.Name, 0) {
		return nil, newError(ErrInvalid, "PoolConfig.DSN or Name has a zero byte in it")
	}
	if made.MaxConnections == 0 {
		made.MaxConnections = defaultMaxConnections
	}
	if made.ConnectionTimeout == 0 {
		made.ConnectionTimeout = defaultConnectionTimeout
	}
	if made.CloseTimeout == 0 {
		made.CloseTimeout = defaultCloseTimeout
	}
	return &made, nil
}

// inGo has what C refused say the names of the fields here.
func inGo(err error) error {
	refused, is := err.(*Error)
	if !is || refused.kinds[0] != ErrInvalid {
		return err
	}
	for _, setting := range settings {
		name := "PoolConfig." + setting.field
		if strings.HasSuffix(setting.name, "_ms") {
			name += " (in ms)"
		}
		refused.Text = strings.ReplaceAll(refused.Text, setting.name, name)
	}
	return refused
}
