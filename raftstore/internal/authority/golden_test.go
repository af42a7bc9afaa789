package authority

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The file is durable: one that an older version wrote must be read.
func TestOpen_GoldenFile(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", FileName))
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, FileName), golden, 0o600))
	c, err := Open(dir)
	must(t, err)
	bundle, err := c.Load()
	must(t, err)
	id, err := bundle.Identity()
	must(t, err)
	const pin = "791da048c98db0a66348925b77a508353619b80aa28c7b689bcb71c8d44178ff"
	if id != node1 || c.Issuer().String() != pin || len(c.Roots()) != 1 || c.Roots()[0] != c.Issuer() || c.TrustIndex() != 7 {
		t.Errorf("got %v, issuer %s, roots %v of index %d", id, c.Issuer(), c.Roots(), c.TrustIndex())
	}
	if f := c.Founding(); f == nil || f.Instance != "0123abcd" || string(f.Key) != "sealed:golden" || len(f.Certificate) == 0 {
		t.Errorf("got founding %+v", f)
	}
	must(t, c.Save())
	if data, err := os.ReadFile(filepath.Join(dir, FileName)); err != nil || !bytes.Equal(data, golden) {
		t.Errorf("wrote %q, %v, want %q", data, err, golden)
	}
}
