package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spire-raft/spire-raft/store"
)

const metricsNamespace = "spire_raft"

// metrics are what a node counts as it works.
type metrics struct {
	commits      *prometheus.CounterVec // by outcome
	commitTime   prometheus.Histogram
	lostAnswers  *prometheus.CounterVec // by outcome
	readIndexes  *prometheus.CounterVec // by outcome
	watchEvents  prometheus.Counter
	groupSize    prometheus.Histogram
	scrubs       *prometheus.CounterVec // by outcome
	hashMismatch prometheus.Counter
	refused      *prometheus.CounterVec // by reason
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help})
	}
	byOutcome := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help}, []string{"outcome"})
	}
	return &metrics{
		commits: byOutcome("commits_total", "Transactions that this node asked to commit."),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "commit_seconds",
			Help:    "Time from Commit to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		lostAnswers: byOutcome("lost_answers_total", "Writes whose answer was lost, by what was found out: applied, not_applied (and sent again) or unknown."),
		readIndexes: byOutcome("read_index_rounds_total", "Confirmations of a read index that this node made or asked for."),
		watchEvents: counter("watch_events_total", "Events delivered to watchers."),
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "entry_commands",
			Help:    "Commands in one log entry.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		scrubs:       byOutcome("scrubs_total", "Checks of the whole state."),
		hashMismatch: counter("state_hash_mismatches_total", "State hashes of other nodes that differ at the same index."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Name: "connections_refused_total",
			Help: "Connections of others that this node refused.",
		}, []string{"reason"}),
	}
}

// all are the collectors of m.
func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.commits, m.commitTime, m.lostAnswers, m.readIndexes, m.watchEvents, m.groupSize, m.scrubs, m.hashMismatch, m.refused}
}

// outcome names what became of a request, for a label.
func outcome(err error) string {
	for _, o := range []struct {
		err  error
		name string
	}{
		{store.ErrConflict, "conflict"},
		{store.ErrUnknownOutcome, "unknown"},
		{store.ErrNoLeader, "no_leader"},
		{store.ErrNoSpace, "no_space"},
		{store.ErrClosed, "closed"},
		{store.ErrFailed, "failed"},
	} {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	if err != nil {
		return "error"
	}
	return "ok"
}

// refuse implements transport.Config.OnRefuse.
func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }

func (m *metrics) committed(begun time.Time, err error) {
	m.commits.WithLabelValues(outcome(err)).Inc()
	m.commitTime.Observe(time.Since(begun).Seconds())
}

// answerLost counts a write whose answer was lost, and what settle ended in.
func (m *metrics) answerLost(err error) {
	found := "applied"
	switch {
	case errors.Is(err, errNotLeader):
		found = "not_applied"
	case err != nil:
		found = "unknown"
	}
	m.lostAnswers.WithLabelValues(found).Inc()
}

// statusCollector reports a node's Status when it is asked for metrics.
type statusCollector struct {
	node *Node
}

// statusGauge is one number of a Status.
type statusGauge struct {
	desc  *prometheus.Desc
	value func(Status) float64
}

func gauge(name, help string, value func(Status) float64) statusGauge {
	return statusGauge{prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", name), help, nil, nil), value}
}

var statusGauges = []statusGauge{
	gauge("term", "Current raft term.", func(s Status) float64 { return float64(s.Term) }),
	gauge("is_leader", "1 on the leader.", func(s Status) float64 { return truth(s.Role == RoleLeader) }),
	gauge("has_leader", "1 where a leader is known.", func(s Status) float64 { return truth(s.Leader != "") }),
	gauge("failed", "1 where the node has stopped itself: its storage failed, or it was removed, is a copy, or has another state than a quorum.", func(s Status) float64 { return truth(s.Err != nil) }),
	gauge("removed", "1 where this node was removed from the cluster, and has stopped for good.", func(s Status) float64 {
		return truth(errors.Is(s.Err, ErrRemoved))
	}),
	gauge("last_log_index", "End of the log.", func(s Status) float64 { return float64(s.LastLogIndex) }),
	gauge("commit_index", "Commit index known to this node.", func(s Status) float64 { return float64(s.CommitIndex) }),
	gauge("applied_index", "Last entry that changed the state.", func(s Status) float64 { return float64(s.AppliedIndex) }),
	gauge("durable_index", "Last entry whose changes are in the state's file.", func(s Status) float64 { return float64(s.DurableIndex) }),
	gauge("revision", "Newest revision.", func(s Status) float64 { return float64(s.Cursor.Revision) }),
	gauge("staleness_seconds", "Age of the data, at most; negative where unknown.", func(s Status) float64 { return s.Staleness.Seconds() }),
	gauge("leader_last_contact_seconds", "Time since the leader was heard.", func(s Status) float64 { return s.LastContact.Seconds() }),
	gauge("disk_free_bytes", "Free space of the data directory.", func(s Status) float64 { return float64(s.DiskFreeBytes) }),
	gauge("disk_low", "1 where the free space is below the reserve.", func(s Status) float64 { return truth(s.DiskLow) }),
	gauge("watchers", "Open watchers.", func(s Status) float64 { return float64(s.Watchers) }),
	gauge("peers", "Other servers in the configuration.", func(s Status) float64 { return float64(len(s.Peers)) }),
	gauge("certificate_not_after_seconds", "When this node's certificate expires, in Unix seconds.", func(s Status) float64 {
		return float64(s.CertificateNotAfter.Unix())
	}),
	gauge("authority_not_after_seconds", "When the authority that vouches for this node's certificate expires, in Unix seconds.", func(s Status) float64 {
		return float64(s.AuthorityNotAfter.Unix())
	}),
	gauge("ready", "1 where the node can serve, and go on to.", func(s Status) float64 { return truth(len(s.NotReady) == 0) }),
	gauge("diverged", "1 where a state hash differed from another node's.", func(s Status) float64 { return truth(s.Diverged) }),
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements [prometheus.Collector].
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range statusGauges {
		out <- g.desc
	}
}

// Collect implements [prometheus.Collector]. A node that Open is still at has
// no status.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	select {
	case <-c.node.started:
	default:
		return
	}
	s := c.node.Status()
	for _, g := range statusGauges {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s))
	}
}

// register registers the node's metrics. n.unmetric undoes it.
func (n *Node) register(context.Context) error {
	r := n.cfg.Registerer
	var done []prometheus.Collector
	n.unmetric = func() {
		for _, c := range done {
			r.Unregister(c)
		}
	}
	if r == nil {
		return nil
	}
	for _, c := range append(n.metrics.all(), &statusCollector{n}) {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w; give each node a Registerer of its own", err)
		}
		done = append(done, c)
	}
	return nil
}
