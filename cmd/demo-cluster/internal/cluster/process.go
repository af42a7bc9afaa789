package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/spire-raft/spire-raft/cmd/demo-cluster/internal/api"
)

// Limits on what processes are waited for.
const (
	readyMax = 30 * time.Second
	stopMax  = 20 * time.Second
)

// spawner starts processes from one thread that lives as long as the spawner:
// Linux sends the signal that a child asks for at its parent's death when the
// parent's thread ends.
type spawner struct {
	jobs chan func()
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() { // ends with close, and its thread with it
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// close must follow the end of all processes, which would die with it.
func (s *spawner) close() { close(s.jobs) }

// process is a server process.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ready api.Ready

	done chan struct{} // closed when the process is gone; err is set then
	err  error
}

// startProcess runs argv with setup as its input, and waits until it serves.
// Its log goes to the file logPath.
func (s *spawner) startProcess(ctx context.Context, argv []string, setup api.Setup, logPath string, inherit *os.File) (*process, error) {
	logFile, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close() // the child has its own
	out, outChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	defer outChild.Close()

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = outChild, logFile
	cmd.ExtraFiles = []*os.File{inherit}
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go p.wait()
	outChild.Close() // else the end of the child's output is never seen
	if err := p.handshake(ctx, stdin, out, setup); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// wait runs until the process is gone.
func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// handshake sends the setup and waits for the answer.
func (p *process) handshake(ctx context.Context, stdin io.Writer, out *os.File, setup api.Setup) error {
	if err := json.NewEncoder(stdin).Encode(setup); err != nil {
		return fmt.Errorf("setup of %s: %w", setup.Node, err)
	}
	line := make(chan error, 1)
	go func() { // ends with the line, or when the caller closes out
		data, err := bufio.NewReader(out).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(data, &p.ready)
		}
		line <- err
	}()
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	select {
	case err := <-line:
		if err == nil && p.ready.Error != "" {
			err = errors.New(p.ready.Error)
		}
		if err != nil {
			return fmt.Errorf("start of %s: %w", setup.Node, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", setup.Node, ctx.Err())
	}
}

// kill ends the process at once, paused or not, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if it is gone already
	<-p.done
}

// stop asks the process to end and waits until it has.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	t := time.NewTimer(stopMax)
	defer t.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("graceful stop: %w", p.err)
		}
		return nil
	case <-t.C:
		p.kill()
		return fmt.Errorf("graceful stop took longer than %v", stopMax)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exit says how the process ended. It must have.
func (p *process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

func (p *process) signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }
