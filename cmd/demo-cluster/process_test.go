package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/report"
)

// asCommand in the environment makes the test binary the command. The servers
// that it starts are test binaries too.
const asCommand = "DEMO_CLUSTER_TEST_AS_COMMAND"

// patience bounds every wait for a process.
const patience = time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// demo is a demo-cluster in a process of its own.
type demo struct {
	t      *testing.T
	cmd    *exec.Cmd
	tmp    string // its directory for temporary files
	lines  chan string
	stdout bytes.Buffer // complete once lines is closed
	stderr bytes.Buffer // complete once wait returns
}

// start runs the command with its temporary files in tmp.
func start(t *testing.T, tmp string, args ...string) *demo {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{t: t, cmd: exec.Command(self, args...), tmp: tmp, lines: make(chan string, 1000)}
	d.cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+tmp)
	d.cmd.Stderr = &d.stderr
	// A pipe of our own: the servers must not hold one that Wait waits for.
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	t.Cleanup(func() {
		killer.Stop()
		_ = d.cmd.Process.Kill() // has ended, unless the test failed
	})
	go func() {
		defer close(d.lines)
		in := bufio.NewScanner(io.TeeReader(out, &d.stdout))
		for in.Scan() {
			d.lines <- in.Text()
		}
	}()
	return d
}

// await reads lines until one matches, and returns its submatches.
func (d *demo) await(pattern string) []string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	for line := range d.lines {
		if m := re.FindStringSubmatch(line); m != nil {
			return m
		}
	}
	d.wait()
	d.t.Fatalf("no line matches %q; the output is\n%s\n%s", pattern, d.stdout.String(), d.stderr.String())
	return nil
}

func (d *demo) signal(sig os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit status, -1 for a signal.
func (d *demo) wait() int {
	for range d.lines { // to the end, so that the process can write it
	}
	_ = d.cmd.Wait() // its state says more
	return d.cmd.ProcessState.ExitCode()
}

// result is the JSON object on the last line.
func (d *demo) result() report.Result {
	d.t.Helper()
	lines := strings.Split(strings.TrimSpace(d.stdout.String()), "\n")
	var r report.Result
	in := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	in.DisallowUnknownFields()
	if err := in.Decode(&r); err != nil {
		d.t.Fatalf("last line %q: %v\n%s", lines[len(lines)-1], err, d.stderr.String())
	}
	return r
}

// leftovers are the files that are still there.
func (d *demo) leftovers() []string {
	found, err := filepath.Glob(filepath.Join(d.tmp, "*"))
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

// server is what serve says of a server.
type server struct {
	address string
	pid     int
}

// servers reads how to reach n servers from the output of serve.
func (d *demo) servers(n int) []server {
	d.t.Helper()
	var out []server
	for i := range n {
		m := d.await(fmt.Sprintf(`^  n%d  http://(\S+)  \(process (\d+)\)$`, i+1))
		pid, err := strconv.Atoi(m[2])
		if err != nil {
			d.t.Fatal(err)
		}
		out = append(out, server{address: m[1], pid: pid})
	}
	return out
}

// awaitGone waits until nobody listens where the servers did. A process that
// is stopped still does.
func awaitGone(t *testing.T, servers []server) {
	t.Helper()
	end := time.Now().Add(patience)
	for _, s := range servers {
		for {
			c, err := net.DialTimeout("tcp", s.address, time.Second)
			if errors.Is(err, syscall.ECONNREFUSED) {
				break
			}
			if err == nil {
				c.Close()
			}
			if time.Now().After(end) {
				t.Fatalf("server %+v is still there: %v", s, err)
			}
		}
	}
}
