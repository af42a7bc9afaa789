package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/spire-raft/spire-raft/store"
)

// The defaults of [Config].
const (
	DefaultStalenessMax       = 30 * time.Second
	DefaultWaitMax            = store.TxDurationMax
	DefaultRefreshInterval    = 10 * time.Minute
	DefaultRefreshIntervalMax = 12 * time.Hour
)

// Waits between attempts to find the way back into the store: doubling, from the
// first to the second.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second
)

// Config shapes a [Cache].
type Config struct {
	// TrustDomain is the server's. Agents are given no entries of another one.
	// Required.
	TrustDomain spiffeid.TrustDomain

	// StalenessMax bounds how old an answer may be that is not asked to be
	// fresher: it reflects every transaction that committed, on any server,
	// longer ago than this, or it is ErrStale. Shorter than a few times the
	// store's own interval of checks makes that common. Zero means
	// [DefaultStalenessMax].
	StalenessMax time.Duration

	// WaitMax bounds how long a read waits for the revision it demands, and
	// then is ErrStale. Zero means [DefaultWaitMax].
	WaitMax time.Duration

	// RefreshInterval is the time between a full refresh and the next. It
	// doubles while refreshes find no difference, up to RefreshIntervalMax,
	// and is RefreshInterval again after one that does. Zero means
	// [DefaultRefreshInterval], and negative that there are none.
	RefreshInterval time.Duration

	// RefreshIntervalMax is at least RefreshInterval. Zero means
	// [DefaultRefreshIntervalMax], or RefreshInterval if that is longer.
	RefreshIntervalMax time.Duration

	// OnDrift is called for every difference that a refresh finds, once the
	// refresh has repaired them, one call at a time. Nil means none. It must
	// neither close nor refresh the cache.
	OnDrift func(Drift)

	// Registerer takes the metrics until Close. Nil means none. Two caches
	// need two, for example with different labels.
	Registerer prometheus.Registerer

	// Logger takes what an operator should know. It is given keys of objects,
	// never values. Nil means none.
	Logger *slog.Logger
}

// Validate returns all that is wrong with the config.
func (c Config) Validate() error {
	c.fill()
	var errs []error
	if c.TrustDomain.IsZero() {
		errs = append(errs, errors.New("TrustDomain is required"))
	}
	if c.StalenessMax < 0 {
		errs = append(errs, fmt.Errorf("StalenessMax %v must not be negative", c.StalenessMax))
	}
	if c.WaitMax < 0 {
		errs = append(errs, fmt.Errorf("WaitMax %v must not be negative", c.WaitMax))
	}
	if c.RefreshIntervalMax < c.RefreshInterval {
		errs = append(errs, fmt.Errorf("RefreshIntervalMax %v must not be less than RefreshInterval %v", c.RefreshIntervalMax, c.RefreshInterval))
	}
	return errors.Join(errs...)
}

// fill puts in the defaults.
func (c *Config) fill() {
	if c.StalenessMax == 0 {
		c.StalenessMax = DefaultStalenessMax
	}
	if c.WaitMax == 0 {
		c.WaitMax = DefaultWaitMax
	}
	if c.RefreshInterval == 0 {
		c.RefreshInterval = DefaultRefreshInterval
	}
	if c.RefreshIntervalMax == 0 {
		c.RefreshIntervalMax = max(DefaultRefreshIntervalMax, c.RefreshInterval)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}
