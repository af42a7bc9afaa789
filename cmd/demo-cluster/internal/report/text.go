package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Report is a Result with what only the report in words says.
type Report struct {
	Result

	Took time.Duration

	// Keys is how many keys the store held at the end, Revision how many
	// transactions had changed it, Hash the state hash of all servers at Index.
	Keys     int
	Revision uint64
	Hash     string
	Index    uint64

	// Agents is how many agents asked for their entries, Answers how many answers
	// they got. AgentsCompared counts the answers at the end that were found to
	// be what the history says.
	Agents, Answers, AgentsCompared int

	// Notes are measurements and observations of the scenario.
	Notes []string

	// Problems are the broken promises that were found.
	Problems []string
}

// WriteText writes the report for a human reader.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n=== Report: %s with %d servers, %.1f s ===\n\n", r.Scenario, r.Nodes, r.Took.Seconds())
	r.writes(&b)
	r.watchers(&b)
	r.agents(&b)
	r.failovers(&b)
	for i, note := range r.Notes {
		line(&b, firstOnly("Seen", i), "%s", note)
	}
	r.verdict(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) writes(b *strings.Builder) {
	line(b, "Writes", "%d acknowledged: %d lost, %d duplicated", r.Acked, r.Lost, r.Duplicated)
	if r.DataStoreOps > 0 {
		line(b, "", "they are among %d operations on SPIRE's DataStore: the calls by which a SPIRE server reads and writes all it stores", r.DataStoreOps)
	}
	if r.Ambiguous > 0 {
		line(b, "", "%d ended without an answer that could be trusted, and said so; each happened once or not at all", r.Ambiguous)
	}
	if r.HashEqual {
		line(b, "Servers", "all %d hold the same %d keys at revision %d", r.Nodes, r.Keys, r.Revision)
		line(b, "", "at log index %d the state hash is %.16s... on each", r.Index, r.Hash)
	} else {
		line(b, "Servers", "were not shown to hold the same state")
	}
}

func (r Report) watchers(b *strings.Builder) {
	line(b, "Watchers", "%d events: %d missing, %d twice, %d out of order", r.Watch.Events, r.Watch.Gaps, r.Watch.Duplicates, r.Watch.OutOfOrder)
	if r.Watch.P50MS > 0 {
		line(b, "", "write on one server to event on another: %.1f ms (median), %.1f ms (99 %%)", r.Watch.P50MS, r.Watch.P99MS)
	}
}

func (r Report) agents(b *strings.Builder) {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if r.Answers > 0 {
		add("%d agents asked their servers which identities they may hand out: %d answers, %.0f a second", r.Agents, r.Answers, r.AuthorizedPerSecond)
		add("(that is as often as %.0f real agents would ask, each every 5 s)", 5*r.AuthorizedPerSecond)
	}
	if r.Propagation.P50MS > 0 {
		add("entry created on one server until an agent of another is given it: %.1f ms (median), %.1f ms (99 %%)", r.Propagation.P50MS, r.Propagation.P99MS)
	}
	if r.AgentsCompared > 0 {
		add("in the end every server gives every agent exactly its entries (%d answers compared)", r.AgentsCompared)
	}
	for i, text := range lines {
		line(b, firstOnly("Agents", i), "%s", text)
	}
}

func (r Report) failovers(b *strings.Builder) {
	for i, f := range r.Failovers {
		line(b, firstOnly("Failovers", i), "%s: next acknowledged write after %.0f ms", f.Cause, f.RecoveryMS)
	}
}

func (r Report) verdict(b *strings.Builder) {
	b.WriteString("\n")
	for _, p := range r.Problems {
		line(b, "PROBLEM", "%s", p)
	}
	if r.OK {
		b.WriteString("OK: every promise was kept.\n")
	} else {
		fmt.Fprintf(b, "NOT OK: %s\n", r.Error)
	}
}

// firstOnly is the title of the line i of a section.
func firstOnly(title string, i int) string {
	if i == 0 {
		return title
	}
	return ""
}

func line(b *strings.Builder, title, format string, args ...any) {
	fmt.Fprintf(b, "  %-10s %s\n", title, fmt.Sprintf(format, args...))
}
