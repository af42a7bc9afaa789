package cache

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are registered as long as the cache is open.
type metrics struct {
	rebuilds  prometheus.Counter
	lost      prometheus.Counter
	drift     *prometheus.CounterVec // by kind
	malformed *prometheus.CounterVec // by kind
	refreshes *prometheus.CounterVec // by outcome

	collectors []prometheus.Collector
}

func newMetrics(c *Cache) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "spire_raft", Subsystem: "cache", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels prometheus.Labels, value func(Status) float64) prometheus.Collector {
		opts := prometheus.GaugeOpts{Namespace: "spire_raft", Subsystem: "cache", Name: name, Help: help, ConstLabels: labels}
		return prometheus.NewGaugeFunc(opts, func() float64 { return value(c.Status()) })
	}
	rebuilds := counter("rebuilds_total", "Rebuilds from a listing, after the watch's history was gone.")
	lost := counter("watches_lost_total", "Times that the cache lost its watch.")
	m := &metrics{
		rebuilds:  rebuilds.WithLabelValues(),
		lost:      lost.WithLabelValues(),
		drift:     counter("drift_total", "Differences from the store that a full refresh found and repaired.", "kind"),
		malformed: counter("malformed_total", "Records read from the store that don't decode.", "kind"),
		refreshes: counter("refreshes_total", "Full refreshes.", "outcome"),
	}
	m.collectors = []prometheus.Collector{
		rebuilds, lost, m.drift, m.malformed, m.refreshes,
		gauge("revision", "Revision of the store that the cache has reached.", nil, func(s Status) float64 { return float64(s.Cursor.Revision) }),
		gauge("lag_seconds", "Age of the oldest change that the cache may lack.", nil, func(s Status) float64 { return s.Age.Seconds() }),
		gauge("stale", "1 while the cache has lost its watch.", nil, func(s Status) float64 { return float64(one(s.Lost != nil)) }),
		gauge("malformed_records", "Records in the store that don't decode.", nil, func(s Status) float64 { return float64(s.Malformed) }),
		gauge("refresh_interval_seconds", "Time from a full refresh to the next.", nil, func(s Status) float64 { return s.Refresh.Interval.Seconds() }),
	}
	for kind := range Kind(kinds) {
		m.collectors = append(m.collectors, gauge("objects", "Objects in the cache.",
			prometheus.Labels{"kind": kind.String()}, func(s Status) float64 { return float64(s.Sizes[kind]) }))
	}
	return m
}

// register puts all metrics into r, or none.
func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for i, collector := range m.collectors {
		if err := r.Register(collector); err != nil {
			for _, done := range m.collectors[:i] {
				r.Unregister(done)
			}
			return fmt.Errorf("register metrics of the cache: %w", err)
		}
	}
	return nil
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, collector := range m.collectors {
		r.Unregister(collector)
	}
}

func (m *metrics) refreshed(err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.refreshes.WithLabelValues(outcome).Inc()
}
