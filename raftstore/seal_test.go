package raftstore_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/raftstore"
)

func sealFile(t *testing.T, key []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seal.key")
	must(t, os.WriteFile(path, key, mode))
	must(t, os.Chmod(path, mode))
	return path
}

func fileSeal(t *testing.T, key []byte) *raftstore.FileSeal {
	t.Helper()
	s, err := raftstore.NewFileSeal(sealFile(t, key, 0o600))
	must(t, err)
	return s
}

func TestFileSeal_BindsWhatItSeals(t *testing.T) {
	key, secret, aad := value(32), []byte("a secret"), []byte("cluster a")
	s := fileSeal(t, key)
	sealed, err := s.Seal(t.Context(), secret, aad)
	must(t, err)
	if bytes.Contains(sealed, secret) {
		t.Error("the secret is in plain")
	}
	if got, err := fileSeal(t, key).Open(t.Context(), sealed, aad); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("open: %q, %v", got, err)
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another key":     func() ([]byte, error) { return fileSeal(t, value(32)).Open(t.Context(), sealed, aad) },
		"another cluster": func() ([]byte, error) { return s.Open(t.Context(), sealed, []byte("cluster b")) },
		"damage":          func() ([]byte, error) { return s.Open(t.Context(), damaged, aad) },
		"nothing":         func() ([]byte, error) { return s.Open(t.Context(), nil, aad) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s opens it: %q", name, got)
		}
	}
}

func TestFileSeal_RefusesBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ path, want string }{
		"a short key":       {sealFile(t, value(31), 0o600), "exactly 32 bytes"},
		"a long key":        {sealFile(t, value(33), 0o600), "exactly 32 bytes"},
		"open to everybody": {sealFile(t, value(32), 0o604), "mode 0604"},
		"no file":           {filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if _, err := raftstore.NewFileSeal(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// filesHold tells which files of a directory have some bytes.
func filesHold(t *testing.T, dir string, secret []byte) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, filesHold(t, filepath.Join(dir, e.Name()), secret)...)
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		if bytes.Contains(content, secret) {
			found = append(found, e.Name())
		}
	}
	return found
}

func TestAuthoritySeal_TheKeyIsOnNoDisk(t *testing.T) {
	t.Parallel()
	key := value(32)
	c := startCluster(t, 3, func(cfg *raftstore.Config) {
		ownAuthority(cfg)
		cfg.AuthoritySeal = fileSeal(t, key)
	})
	check := func() {
		t.Helper()
		stored, plain, err := raftstore.AuthorityKey(c.nodes[0])
		must(t, err)
		c.converged()
		var image bytes.Buffer
		must(t, raftstore.WriteSnapshot(c.nodes[0], &image))
		if bytes.Contains(image.Bytes(), plain) {
			t.Error("a snapshot has the key in plain")
		}
		if !bytes.Contains(image.Bytes(), stored) {
			t.Error("the snapshot hasn't got the sealed key: the test looks at the wrong bytes")
		}
		for i := range c.nodes {
			if found := filesHold(t, c.configs[i].Dir, plain); len(found) > 0 {
				t.Errorf("the key is in plain in %q of node %d", found, i+1)
			}
		}
	}
	check()
	before := authorityOf(c.nodes[0])
	must(t, c.nodes[1].RotateAuthority(c.ctx()))
	c.rotated(before)
	check()

	// A node without the seal goes on, and says what it can't.
	c.configs[0].ListenAddress = c.nodes[0].Addr().String()
	must(t, c.nodes[0].Close())
	other := c.configs[0]
	other.Bootstrap, other.AuthoritySeal = false, fileSeal(t, value(32))
	said := make(chan struct{}, 100)
	other.Logger = slog.New(slog.NewTextHandler(untilText{"can't issue certificates", func() { said <- struct{}{} }}, nil))
	c.nodes[0] = c.mustOpen(other)
	<-said
	for c.leader() != 0 {
		must(t, c.nodes[c.leader()].TransferLeadership(c.ctx()))
	}
	// Another leader may be able to: whoever asks goes on asking.
	ctx, cancel := context.WithCancel(c.ctx())
	defer cancel()
	joiner := c.joinWith("node-4", c.token())
	joiner.Logger = slog.New(slog.NewTextHandler(untilText{"is not the one that it was sealed with", cancel}, nil))
	if n, err := raftstore.Open(ctx, joiner); !errors.Is(err, context.Canceled) {
		if err == nil {
			n.Close()
		}
		t.Errorf("join through a leader that can't open the key: %v", err)
	}
	if n := len(c.nodes[1].Status().Peers); n != 2 {
		t.Errorf("the node that got no certificate was taken in: there are %d peers", n)
	}
}

// A cluster that was founded without a seal gets one as its configuration says.
func TestAuthoritySeal_IsBegunWithARotation(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, ownAuthority)
	must(t, c.nodes[0].Close())
	cfg := c.configs[0]
	said := make(chan struct{}, 100)
	cfg.Bootstrap, cfg.AuthoritySeal = false, fileSeal(t, value(32))
	cfg.Logger = slog.New(slog.NewTextHandler(untilText{"stored in plain", func() { said <- struct{}{} }}, nil))
	c.nodes[0] = c.mustOpen(cfg)
	<-said
	before := authorityOf(c.nodes[0])
	stored, plain, err := raftstore.AuthorityKey(c.nodes[0])
	must(t, err)
	if !bytes.Equal(stored, plain) {
		t.Fatal("the key of before is not in plain")
	}
	c.eventually("a rotation begins", func() error { return c.nodes[0].RotateAuthority(c.ctx()) })
	c.rotated(before)
	stored, plain, err = raftstore.AuthorityKey(c.nodes[0])
	must(t, err)
	if bytes.Contains(stored, plain) {
		t.Error("the key is still in plain")
	}
}
