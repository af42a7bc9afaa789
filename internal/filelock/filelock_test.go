package filelock_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spire-raft/spire-raft/internal/filelock"
)

func lock(t *testing.T, path string) (unlock func() error) {
	t.Helper()
	unlock, err := filelock.Lock(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unlock() }) // its error was looked at, if it matters
	return unlock
}

// refused checks that the lock is taken, and that the error tells by whom.
func refused(t *testing.T, path, holder string) {
	t.Helper()
	_, err := filelock.Lock(path, 0)
	if !errors.Is(err, filelock.ErrLocked) || !strings.Contains(err.Error(), holder) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrLocked, %s and %s", err, holder, path)
	}
}

func TestLock_SecondHolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock := lock(t, path)
	refused(t, path, fmt.Sprintf("this process (%d)", os.Getpid()))
	if err := errors.Join(unlock(), unlock()); err != nil {
		t.Fatal(err)
	}
	lock(t, path)
}

func TestLock_WaitsForTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock := lock(t, path)
	got := make(chan error)
	go func() {
		unlock, err := filelock.Lock(path, time.Minute)
		if err == nil {
			err = unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestLock_OfAnOlderFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("12345678901234567890\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock(t, path)
	if got, err := os.ReadFile(path); err != nil || string(got) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "another process")
}

func TestLock_MissingFolder(t *testing.T) {
	if _, err := filelock.Lock(filepath.Join(t.TempDir(), "missing", "lock"), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestLock_OtherProcess runs this test binary again to hold the lock. The lock
// of a process that is killed is free.
func TestLock_OtherProcess(t *testing.T) {
	if path := os.Getenv("LOCK_PATH"); path != "" {
		lock(t, path)
		fmt.Println("locked")
		select {}
	}
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLock_OtherProcess$")
	cmd.Env = append(os.Environ(), "LOCK_PATH="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	refused(t, path, fmt.Sprintf("process %d", cmd.Process.Pid))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	lock(t, path)
}
