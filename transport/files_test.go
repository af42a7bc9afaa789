package transport_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

func writeFiles(t *testing.T, ca *devca.CA, dir string, id transport.Identity) *transport.Files {
	t.Helper()
	files, err := ca.WriteFiles(dir, id, 100*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// leaf returns the certificate that a node shows now.
func leaf(t *testing.T, c *cluster, node string) *x509.Certificate {
	t.Helper()
	conn := c.stranger(t, node, &tls.Config{NextProtos: []string{transport.Peer.ALPN()}})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func TestCertificatesReloadWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var logged logBuffer
		files := writeFiles(t, c.ca, dir, id("n1"))
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials, cfg.Log = files, logged.logger() })
		n2 := c.start(t, "n2")
		echo(n1, transport.Peer)
		echo(n2, transport.Peer)
		open := dial(t, n1, transport.Peer, "n2")
		first := leaf(t, c, "n1")

		time.Sleep(2 * time.Second)
		writeFiles(t, c.ca, dir, id("n1"))
		second := leaf(t, c, "n1")
		if second.Equal(first) {
			t.Error("the old certificate is still in use")
		}
		wantEcho(t, open)
		wantEcho(t, dial(t, n1, transport.Peer, "n2"))

		for name, breakFiles := range map[string]func(){
			"there is no PEM": func() { os.WriteFile(files.Roots, []byte("no PEM"), 0o600) },
			"key input":       func() { os.WriteFile(files.Key, []byte("no key"), 0o600) },
			"no such file":    func() { os.Remove(files.Certificate) },
			"another node":    func() { writeFiles(t, c.ca, dir, id("n3")) },
			"not trusted": func() {
				writeFiles(t, newCA(t), dir, id("n1"))
				os.WriteFile(files.Roots, rootsPEM(t, c.ca), 0o600)
			},
		} {
			time.Sleep(2 * time.Second)
			breakFiles()
			for range 3 {
				if !leaf(t, c, "n1").Equal(second) {
					t.Errorf("%s: the good certificate is not in use any more", name)
				}
				wantEcho(t, dial(t, n1, transport.Peer, "n2"))
			}
			if n := strings.Count(logged.String(), name); n != 1 {
				t.Errorf("%q is %d times in the log: %s", name, n, &logged)
			}
			time.Sleep(2 * time.Second)
			writeFiles(t, c.ca, dir, id("n1"))
			second = leaf(t, c, "n1")
		}
	})
}

func rootsPEM(t *testing.T, ca *devca.CA) []byte {
	t.Helper()
	files := writeFiles(t, ca, t.TempDir(), id("n1"))
	b, err := os.ReadFile(files.Roots)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFiles_AreReadAtMostOnceASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		files := writeFiles(t, ca, dir, id("n1"))
		load := func() *transport.Bundle {
			b, err := files.Load()
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		first := load()
		writeFiles(t, ca, dir, id("n1"))
		if load() != first {
			t.Error("the files were read again at once")
		}
		time.Sleep(time.Second)
		second := load()
		if second == first {
			t.Error("the files were not read again after a second")
		}
		time.Sleep(time.Second)
		if load() != second {
			t.Error("files that are the same made another bundle")
		}
	})
}

func TestFiles_Errors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(f *transport.Files)
		want  string
	}{
		{"the key is open to all", func(f *transport.Files) { os.Chmod(f.Key, 0o604) }, "0600"},
		{"the key is missing", func(f *transport.Files) { os.Remove(f.Key) }, "node.key"},
		{"the key is of another certificate", func(f *transport.Files) {
			other, err := newCA(t).WriteFiles(t.TempDir(), id("n1"), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			f.Key = other.Key
		}, "node.key"},
		{"the roots are empty", func(f *transport.Files) { os.Truncate(f.Roots, 0) }, "roots.crt"},
		{"a root is no authority", func(f *transport.Files) { f.Roots = f.Certificate }, "no authority"},
		{"a key is among the roots", func(f *transport.Files) { f.Roots = f.Key }, "PRIVATE KEY"},
		{"the certificate is huge", func(f *transport.Files) { os.Truncate(f.Certificate, 400<<20) }, "node.crt"},
		{"the certificate is a directory", func(f *transport.Files) { f.Certificate = t.TempDir() }, "directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := writeFiles(t, newCA(t), t.TempDir(), id("n1"))
			tc.spoil(files)
			_, err := files.Load()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v; want one about %s", err, tc.want)
			}
			if _, again := files.Load(); !errors.Is(again, err) {
				t.Errorf("second error is %v", again)
			}
		})
	}
}

func TestBundle_Identity(t *testing.T) {
	b := issue(t, newCA(t), id("n1"))
	if got, err := b.Identity(); err != nil || got != id("n1") {
		t.Errorf("Identity = %v, %v", got, err)
	}
	if bytes.Contains(b.Certificate.Certificate[0], []byte("raft/c1/n1")) == false {
		t.Error("the certificate does not name the node")
	}
}
