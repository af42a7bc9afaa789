package keyfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spire-raft/spire-raft/internal/keyfile"
)

func TestRead_ModesAndSizes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, secret := range map[os.FileMode]bool{0o400: true, 0o600: true, 0o640: true, 0o660: true, 0o604: false, 0o602: false, 0o601: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := keyfile.ReadSecret(path, 4)
		if secret && (err != nil || string(got) != "cont") {
			t.Errorf("mode %04o: %q, %v", mode, got, err)
		}
		if !secret && (err == nil || !strings.Contains(err.Error(), path) || got != nil) {
			t.Errorf("mode %04o: %q, %v", mode, got, err)
		}
		if got, err := keyfile.Read(path, 100); err != nil || string(got) != "content" {
			t.Errorf("no secret, mode %04o: %q, %v", mode, got, err)
		}
	}
}
