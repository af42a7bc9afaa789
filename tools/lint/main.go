// Command lint is staticcheck with more checks: errors that are dropped
// (errcheck), compared or formatted in ways that break wrapping (errorlint),
// nil dereferences (nilness), and code of the replicated machine whose result
// could differ between servers (determinism).
//
// It has staticcheck's flags, reads staticcheck.conf, and heeds comments of the
// form "//lint:ignore CHECK reason".
package main

import (
	"os"

	"github.com/kisielk/errcheck/errcheck"
	"github.com/polyfloyd/go-errorlint/errorlint"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"honnef.co/go/tools/lintcmd"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
	"honnef.co/go/tools/unused"

	"github.com/spire-raft/spire-raft/tools/lint/determinism"
)

func main() {
	cmd := lintcmd.NewCommand("lint")
	cmd.ParseFlags(os.Args[1:])

	cmd.AddAnalyzers(simple.Analyzers...)
	cmd.AddAnalyzers(staticcheck.Analyzers...)
	cmd.AddAnalyzers(stylecheck.Analyzers...)
	cmd.AddAnalyzers(unused.Analyzer)
	cmd.AddBareAnalyzers(
		outsideTests(exceptHarmless(errcheck.Analyzer)),
		outsideTests(errorlint.NewAnalyzer()),
		nilness.Analyzer,
		determinism.Analyzer,
	)
	cmd.Run()
}
