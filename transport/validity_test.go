package transport_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spire-raft/spire-raft/transport"
	"github.com/spire-raft/spire-raft/transport/devca"
)

func TestValidity_IsOfTheNewestCertificate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		files := writeFiles(t, c.ca, dir, id("n1"))
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials = files })
		wants := func(want time.Time) {
			t.Helper()
			_, got, err := n1.Validity()
			if err != nil || !got.Equal(want.Truncate(time.Second)) {
				t.Errorf("valid until %v, %v; want %v", got, err, want)
			}
		}
		wants(time.Now().Add(100 * time.Hour))
		time.Sleep(time.Hour)
		writeFiles(t, c.ca, dir, id("n1"))
		wants(time.Now().Add(100 * time.Hour))
	})
}

// The root may end after the certificate that it vouches for, or before.
func TestAuthorityValidity_IsOfTheRoot(t *testing.T) {
	for _, life := range []time.Duration{time.Hour, 1000 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			ca, err := devca.New(life)
			if err != nil {
				t.Fatal(err)
			}
			end := time.Now().Add(life)
			n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials = issue(t, ca, id("n1")) })
			for range 2 {
				if _, got, err := n1.AuthorityValidity(); err != nil || !got.Equal(end) {
					t.Errorf("%v after its end the root is valid until %v, %v; want %v", time.Since(end), got, err, end)
				}
				time.Sleep(2 * life)
			}
		})
	}
}

// What is shown is the old certificate then, which the new roots don't vouch for.
func TestAuthorityValidity_RootsOfOthers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		files := writeFiles(t, c.ca, dir, id("n1"))
		n1 := c.start(t, "n1", func(cfg *transport.Config) { cfg.Credentials = files })
		if err := os.WriteFile(files.Roots, rootsPEM(t, newCA(t)), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // until the files are read again
		_, _, err := n1.AuthorityValidity()
		wantErrors(t, err, transport.ErrUntrusted)
	})
}
