package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	// dirPrefix begins the names of the directories of runs.
	dirPrefix = "spire-raft-demo-"

	// lockName is the file whose lock the run and its servers hold. Its content
	// says whether the directory may be swept. It also marks the directory as
	// made by the demo.
	lockName  = "demo-cluster.lock"
	keptMark  = "keep\n"
	sweepMark = "sweep\n"

	// newDirMax is how long a run may take from making its directory to
	// marking it. A directory without a mark that is older belongs to a run
	// that died in between.
	newDirMax = time.Minute
)

// ErrDirInUse: another run works in the directory.
var ErrDirInUse = errors.New("directory is in use by a demo-cluster that runs")

// ErrDirForeign: the directory holds files that the demo did not make.
var ErrDirForeign = errors.New("directory is not empty and was not made by demo-cluster")

// Workspace is the directory of one run.
type Workspace struct {
	Dir string

	lock    *os.File
	keep    bool
	created bool // the run made Dir itself
}

// OpenWorkspace takes dir for a run, which must be absent, empty, or left by an
// earlier run, whose files it removes. Where dir is empty it makes a new
// directory in parent. With keep, files stay when the run ends.
func OpenWorkspace(dir, parent string, keep bool) (*Workspace, error) {
	w := &Workspace{Dir: dir, keep: keep}
	var err error
	switch _, statErr := os.Stat(dir); {
	case dir == "":
		w.created = true
		w.Dir, err = os.MkdirTemp(parent, dirPrefix)
	case errors.Is(statErr, fs.ErrNotExist):
		w.created = true
		err = os.MkdirAll(dir, 0o700)
	case statErr != nil:
		err = statErr
	default:
		err = checkOwn(dir)
	}
	if err != nil {
		return nil, err
	}
	w.lock, err = lockDir(w.Dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(removeRun(w.Dir), w.mark()); err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	return w, nil
}

// checkOwn tells whether dir is the demo's to use.
func checkOwn(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	own := func(e fs.DirEntry) bool { return e.Name() == lockName }
	if len(entries) > 0 && !slices.ContainsFunc(entries, own) {
		return fmt.Errorf("%w: %s has %q; choose another with --dir", ErrDirForeign, dir, entries[0].Name())
	}
	return nil
}

// lockDir creates the lock file of dir, if it is not there, and locks it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; stop it or choose another with --dir", ErrDirInUse, dir)
		}
		return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return f, nil
}

// mark notes in the lock file whether the directory may be swept.
func (w *Workspace) mark() error {
	mark := sweepMark
	if w.keep {
		mark = keptMark
	}
	if err := w.lock.Truncate(0); err != nil {
		return err
	}
	_, err := w.lock.WriteAt([]byte(mark), 0)
	return err
}

// Close removes what the run has made, unless it is to be kept. No server may
// be running. It may be called again.
func (w *Workspace) Close() error {
	if w.lock == nil {
		return nil
	}
	var err error
	if !w.keep {
		err = removeRun(w.Dir)
		err = errors.Join(err, os.Remove(w.lock.Name()))
		if w.created {
			err = errors.Join(err, os.Remove(w.Dir))
		}
	}
	err = errors.Join(err, w.lock.Close())
	w.lock = nil
	return err
}

// removeRun removes the files of a run, but not the lock, nor anything else
// that someone may have put beside them.
func removeRun(dir string) error {
	own, err := filepath.Glob(filepath.Join(dir, serverDirPrefix+"n[0-9]*"))
	if err != nil {
		return err
	}
	for _, path := range own {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// Sweep removes the directories in parent of runs that ended without doing so,
// and returns them. Those of live runs, and those to be kept, stay. What can't
// be removed is left for the next run.
func Sweep(parent string, now time.Time) []string {
	dirs, err := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	if err != nil {
		return nil
	}
	var swept []string
	for _, dir := range dirs {
		if sweep(dir, now) {
			swept = append(swept, dir)
		}
	}
	return swept
}

func sweep(dir string, now time.Time) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	old := now.Sub(info.ModTime()) > newDirMax
	mark, err := os.ReadFile(filepath.Join(dir, lockName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return old && os.Remove(dir) == nil // spares a directory with anything in it
	case err != nil || string(mark) == keptMark:
		return false
	case string(mark) != sweepMark && !old:
		return false // its run is about to mark it
	}
	lock, err := lockDir(dir)
	if err != nil {
		return false
	}
	w := Workspace{Dir: dir, lock: lock, created: true}
	return w.Close() == nil
}
