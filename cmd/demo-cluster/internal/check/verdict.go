package check

import (
	"slices"
	"strings"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/client"
)

// Verdict is what the checks found.
type Verdict struct {
	// Writes counts the writes by what their writers were told.
	Writes Counts

	// Lost are acknowledged writes that the history does not have, Duplicated
	// those that it has more than once.
	Lost, Duplicated int

	// Problems are all that is wrong, in words. A cluster that keeps its
	// promises has none.
	Problems []string
}

// Judge holds the writes of l and the streams against the history h.
func Judge(l *Ledger, h *History, streams []*Stream) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Writes: l.counts}
	var p problems
	for id, w := range l.writes {
		shown := h.shown[id]
		switch {
		case w.outcome == client.Acknowledged && len(shown) == 0:
			v.Lost++
			p.report("write %s was acknowledged at revision %d and is lost", id, w.revision)
		case w.outcome == client.Acknowledged && len(shown) > 1:
			v.Duplicated++
			p.report("write %s was acknowledged once and shows at revisions %v", id, shown)
		case w.outcome == client.Acknowledged && shown[0] != w.revision:
			p.report("write %s was acknowledged at revision %d and shows at %d", id, w.revision, shown[0])
		case w.outcome == client.Failed && len(shown) > 0:
			p.report("write %s was refused and shows at revisions %v", id, shown)
		case w.outcome == client.Ambiguous && len(shown) > 1:
			p.report("write %s had an unknown outcome and shows at revisions %v", id, shown)
		}
	}
	for id, shown := range h.shown {
		// The others may be someone's own, through the client API.
		if _, known := l.writes[id]; !known && strings.HasPrefix(id, WritePrefix) {
			p.report("write %q at revisions %v was never sent", id, shown)
		}
	}
	slices.Sort(p.list)
	v.Problems = append(p.list, h.list...)
	for _, s := range streams {
		s.Compare(h)
		v.Problems = append(v.Problems, s.list...)
	}
	return v
}
