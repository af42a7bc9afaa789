package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/scenario"
)

// Limits of the flags.
const (
	nodesMax   = 9
	clientsMax = 256
)

// options are what the flags say.
type options struct {
	nodes    int
	scenario scenario.Scenario
	duration time.Duration
	clients  int
	seed     uint64
	entries  string

	// skipInvalid leaves out entries that are malformed.
	skipInvalid bool

	dir   string
	keep  bool
	json  bool
	plain bool
}

const usageHead = `demo-cluster runs a cluster of server processes on this machine, disturbs it,
and checks that nothing was lost.

  story   shows one thing after the other: kill -9 of the leader, a rolling
          restart, a lost disk, the loss of a majority (at least 3 nodes)
  chaos   disturbs servers at random for a while: kill -9, SIGSTOP, graceful
          restarts, lost disks; renews certificates all the time, and
          replaces the certificate authority (at least 3 nodes)
  serve   leaves the cluster alone until Ctrl-C, and prints how to reach it

The exit status is 0 if every promise was kept, else 1, and 2 for wrong usage.

Flags:
`

// parseOptions reads the flags. It has said on stderr what is wrong when it
// returns an error, which is flag.ErrHelp where help was asked for.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var name string
	fs := flag.NewFlagSet("demo-cluster", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = io.WriteString(stderr, usageHead)
		fs.PrintDefaults()
	}
	fs.IntVar(&o.nodes, "nodes", 3, "how many servers to run")
	fs.StringVar(&name, "scenario", scenario.All[0].Name, "what to do: story, chaos or serve")
	fs.DurationVar(&o.duration, "duration", 0, "how long chaos goes on (default 1m), or serve (default until Ctrl-C); story has a length of its own")
	fs.IntVar(&o.clients, "clients", 12, "how many clients write at the same time")
	fs.Uint64Var(&o.seed, "seed", 1, "the number that random choices follow from")
	fs.StringVar(&o.entries, "entries", "", "JSON `file` of registration entries, as 'spire-server entry create -data' takes it (default: about 300 built-in ones)")
	fs.BoolVar(&o.skipInvalid, "skip-invalid", false, "leave out the malformed entries of the file and say which they are, instead of refusing the whole file")
	fs.StringVar(&o.dir, "dir", "", "`directory` for all files: absent, empty or of an earlier run, whose files are replaced (default: a new one for temporary files)")
	fs.BoolVar(&o.keep, "keep", false, "keep data and logs when the run ends")
	fs.BoolVar(&o.json, "json", false, "end with a JSON object as the last line of standard output; all else goes to standard error")
	fs.BoolVar(&o.plain, "plain", false, "plain lines instead of a live table, also on a terminal")
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	err := o.check(fs, name)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "demo-cluster: %v\nSee demo-cluster -h.\n", err)
	}
	return o, err
}

// check reports all that is wrong, and fills in what depends on the scenario.
func (o *options) check(fs *flag.FlagSet, name string) error {
	var errs []error
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	demand(fs.NArg() == 0, "unexpected argument %q: all is said with flags", fs.Arg(0))
	sc, err := scenario.Find(name)
	if err != nil {
		errs = append(errs, fmt.Errorf("--scenario: %w", err))
	}
	o.scenario = sc
	demand(err != nil || o.nodes >= sc.NodesMin, "--nodes %d: scenario %s needs at least %d", o.nodes, name, sc.NodesMin)
	demand(o.nodes >= 1, "--nodes %d: there must be at least one", o.nodes)
	demand(o.nodes <= nodesMax, "--nodes %d: this machine is one, the limit is %d", o.nodes, nodesMax)
	demand(o.clients >= 1 && o.clients <= clientsMax, "--clients %d: use a number from 1 to %d", o.clients, clientsMax)
	durationSet := false
	fs.Visit(func(f *flag.Flag) { durationSet = durationSet || f.Name == "duration" })
	demand(!durationSet || o.duration > 0, "--duration %v: it must be more than zero", o.duration)
	if !durationSet {
		o.duration = sc.DurationDefault
	}
	return errors.Join(errs...)
}
