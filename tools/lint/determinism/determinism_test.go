package determinism_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/spire-raft/spire-raft/tools/lint/determinism"
)

func TestAnalyzer(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), determinism.Analyzer,
		"github.com/spire-raft/spire-raft/fsm", "github.com/spire-raft/spire-raft/transport")
}
