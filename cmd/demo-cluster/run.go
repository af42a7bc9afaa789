package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/check"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/cluster"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/entryfile"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/scenario"
	"github.com/spire-raft/spire-raft/testdata"
)

// plainInterval is the time between lines about the servers where there is no
// live table.
const plainInterval = 5 * time.Second

// run does what the arguments say and returns the exit status. An end of ctx
// interrupts it; hurry, closed after that, keeps it from doing more than to
// clean up.
func run(ctx context.Context, hurry <-chan struct{}, args []string, stdout, stderr *os.File) int {
	opts, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	text := stdout
	if opts.json {
		text = stderr
	}
	display := newDisplay(text, opts)
	defer display.Close()
	rep := play(ctx, hurry, opts, display, stderr)
	display.Close()

	// Whoever does not read the report is still told by the exit status.
	_ = rep.WriteText(text)
	if opts.json {
		_ = rep.WriteJSON(stdout)
	}
	if !rep.OK {
		return exitFailed
	}
	return 0
}

func newDisplay(text *os.File, opts options) report.Display {
	if !opts.plain && !opts.json {
		if live, err := report.NewLive(text); err == nil {
			return live
		}
	}
	return report.NewPlain(text, plainInterval)
}

// play prepares a cluster, runs the scenario on it, and leaves nothing behind
// that was not to be kept.
func play(ctx context.Context, hurry <-chan struct{}, opts options, display report.Display, stderr io.Writer) report.Report {
	failed := func(err error) report.Report {
		return report.Report{Result: report.Result{Scenario: opts.scenario.Name, Nodes: opts.nodes, Error: err.Error()}}
	}
	file, err := readEntries(opts)
	if err != nil {
		return failed(err)
	}
	if n := file.MalformedCount(); n > 0 {
		display.Printf("%s: leaving out %d malformed entries, as told by --skip-invalid:", file.Name, n)
		for _, problem := range file.Problems {
			display.Printf("  %v", problem)
		}
	}
	for _, dir := range cluster.Sweep(os.TempDir(), time.Now()) {
		display.Printf("Removed %s, left by a run that was killed", dir)
	}
	ws, err := cluster.OpenWorkspace(opts.dir, os.TempDir(), opts.keep)
	if err != nil {
		return failed(err)
	}
	rep, err := playIn(ctx, hurry, ws, opts, file, display, stderr)
	if err = errors.Join(err, ws.Close()); err != nil {
		rep.OK, rep.Error = false, err.Error()
	}
	if opts.keep {
		display.Printf("Data and logs are kept in %s", ws.Dir)
	}
	return rep
}

// playIn runs the scenario in a workspace. No process is left when it returns.
func playIn(ctx context.Context, hurry <-chan struct{}, ws *cluster.Workspace, opts options, file entryfile.File, display report.Display, stderr io.Writer) (report.Report, error) {
	rep := report.Report{Result: report.Result{Scenario: opts.scenario.Name, Nodes: opts.nodes}}
	self, err := os.Executable()
	if err != nil {
		return rep, err
	}
	c, err := cluster.New(cluster.Config{
		Nodes: opts.nodes, TrustDomain: file.TrustDomain, Command: []string{self, serverCommand}, Workspace: ws,
		CertificateLifetime: opts.scenario.CertificateLifetime,
		Say:                 func(format string, args ...any) { display.Printf("      "+format, args...) },
	})
	if err != nil {
		return rep, err
	}
	defer c.Close()
	rep = opts.scenario.Run(ctx, scenario.Config{
		Cluster:  c,
		Display:  display,
		Entries:  file.Entries,
		Duration: opts.duration,
		Clients:  opts.clients,
		Seed:     opts.seed,
		Hurry:    hurry,
	})
	if !rep.OK && ctx.Err() == nil {
		display.Close() // the logs come after the last table
		for _, s := range c.Servers {
			_, _ = fmt.Fprintf(stderr, "\nThe log of %s ends:\n%s\n", s.Name(), s.LogTail())
		}
		if !opts.keep {
			_, _ = fmt.Fprintln(stderr, "\nRun it again with --keep to have the whole logs.")
		}
	}
	return rep, nil
}

// readEntries reads the registration entries. Some of them may be malformed only
// where they are to be left out.
func readEntries(opts options) (entryfile.File, error) {
	name, data := "built-in entries", testdata.RegistrationEntries()
	if opts.entries != "" {
		var err error
		name = opts.entries
		if data, err = os.ReadFile(name); err != nil {
			return entryfile.File{}, fmt.Errorf("--entries: %w", err)
		}
	}
	file, err := entryfile.Parse(name, data, check.WritePrefix)
	switch {
	case err != nil:
		return file, err
	case len(file.Entries) > 0 && opts.skipInvalid:
		return file, nil
	}
	return file, file.Malformed()
}
