package logstore_test

import (
	"errors"
	"maps"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/spire-raft/spire-raft/raftstore/internal/logstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Backend that can be made to fail.
type memory struct {
	*raft.InmemStore

	mu      sync.Mutex
	values  map[string][]byte
	fail    map[string]error            // by method
	distort func(log *raft.Log)         // changes what GetLog reads
	reads   map[uint64]int              // GetLog calls by index
	readOK  func(i uint64, n int) error // decides about the n-th read of entry i
	closed  int
}

func newMemory() *memory {
	return &memory{
		InmemStore: raft.NewInmemStore(),
		values:     map[string][]byte{},
		fail:       map[string]error{},
		reads:      map[uint64]int{},
		readOK:     func(uint64, int) error { return nil },
		distort:    func(*raft.Log) {},
	}
}

func (m *memory) setFail(method string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = maps.Clone(m.fail)
	m.fail[method] = err
}

func (m *memory) failure(method string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail[method]
}

func (m *memory) FirstIndex() (uint64, error) {
	if err := m.failure("FirstIndex"); err != nil {
		return 0, err
	}
	return m.InmemStore.FirstIndex()
}

func (m *memory) LastIndex() (uint64, error) {
	if err := m.failure("LastIndex"); err != nil {
		return 0, err
	}
	return m.InmemStore.LastIndex()
}

func (m *memory) GetLog(index uint64, log *raft.Log) error {
	if err := m.failure("GetLog"); err != nil {
		return err
	}
	m.mu.Lock()
	m.reads[index]++
	err := m.readOK(index, m.reads[index])
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.InmemStore.GetLog(index, log); err != nil {
		return err
	}
	m.distort(log)
	return nil
}

func (m *memory) StoreLogs(logs []*raft.Log) error {
	if err := m.failure("StoreLogs"); err != nil {
		return err
	}
	return m.InmemStore.StoreLogs(logs)
}

func (m *memory) DeleteRange(first, last uint64) error {
	if err := m.failure("DeleteRange"); err != nil {
		return err
	}
	return m.InmemStore.DeleteRange(first, last)
}

func (m *memory) Set(key, value []byte) error {
	if err := m.failure("Set"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[string(key)] = value
	return nil
}

func (m *memory) Get(key []byte) ([]byte, error) {
	if err := m.failure("Get"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[string(key)], nil
}

func (m *memory) Close() error {
	m.closed++
	return m.failure("Close")
}

// recorder keeps the errors that a Store reports.
type recorder struct {
	mu   sync.Mutex
	errs []error
	ch   chan error
}

func newRecorder() *recorder { return &recorder{ch: make(chan error, 16)} }

func (r *recorder) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
	r.ch <- err
}

func (r *recorder) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errs
}

func openBolt(t *testing.T) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(logstore.Options{Path: filepath.Join(t.TempDir(), "raft.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var errIO = errors.New("input/output error")
