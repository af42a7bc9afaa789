package imports_test

import (
	"fmt"
	"strings"
)

const module = "github.com/spire-raft/spire-raft"

// rule says what the packages in a folder may import besides the standard
// library and each other. The rule with the longest folder counts. A trailing
// "/..." takes in the packages below.
type rule struct {
	folder string
	allow  []string // "/x" is a folder of this module
	deny   []string // goes before allow, and before the standard library
	why    string
}

var rules = []rule{
	{
		folder: "store",
		why:    "the contract must not draw in any backend or library",
	},
	{
		folder: "store/txn",
		allow:  []string{"/store", "github.com/tidwall/btree"},
		why:    "backends share it, whatever they are built on",
	},
	{
		folder: "store/memstore",
		allow:  []string{"/store", "/store/txn", "github.com/tidwall/btree"},
		why:    "the reference must not share code with what it is compared to",
	},
	{
		folder: "store/storetest",
		allow:  []string{"/store", "/store/memstore", "/store/txn", "pgregory.net/rapid", "go.uber.org/goleak"},
		why:    "the suite knows the contract, not the backends that run it",
	},
	{
		folder: "keys",
		why:    "tools read keys without a store",
	},
	{
		folder: "proto/...",
		allow:  []string{"/proto/...", "google.golang.org/protobuf/..."},
		why:    "messages are data",
	},
	{
		folder: "records",
		allow:  []string{"/keys", "/proto/...", "google.golang.org/protobuf/...", "pgregory.net/rapid"},
		why:    "datastore and cache share the layout of objects, and tools read it without a store",
	},
	{
		folder: "datastore/...",
		allow: []string{
			"/store/...", "/keys", "/records", "/cache", "/proto/...", "google.golang.org/protobuf/...",
			"google.golang.org/grpc/codes", "google.golang.org/grpc/status",
			"github.com/spiffe/go-spiffe/v2/...", "pgregory.net/rapid", "go.uber.org/goleak",
		},
		why: "it runs on any store, and knows of gRPC only the errors",
	},
	{
		folder: "cache",
		allow: []string{
			"/store", "/store/memstore", "/keys", "/records", "/proto/...", "google.golang.org/protobuf/...",
			"github.com/spiffe/go-spiffe/v2/spiffeid", "github.com/prometheus/client_golang/...",
			"pgregory.net/rapid", "go.uber.org/goleak",
		},
		why: "it follows any store, and the datastore reads through it, never the other way",
	},
	{
		folder: "fsm/...",
		allow: []string{
			"/store", "/store/txn", "/proto/...", "/internal/boltfile", "/internal/filelock",
			"go.etcd.io/bbolt/...", "google.golang.org/protobuf/...", "github.com/tidwall/btree",
		},
		deny: []string{"net/...", "math/rand/...", "crypto/rand"},
		why:  "the machine is a function of its log: it knows neither raft nor network nor chance",
	},
	{
		folder: "transport/...",
		allow:  []string{"/internal/keyfile", "golang.org/x/sys/..."},
		why:    "streams know nothing of what flows through them",
	},
	{
		folder: "raftstore/...",
		allow: []string{
			"/store/...", "/proto/...", "/fsm/...", "/transport/...", "/keys", "/internal/boltfile", "/internal/filelock",
			"/internal/keyfile", "/internal/ownfile", "/raftstore/internal/raftnet",
			"github.com/hashicorp/...", "github.com/prometheus/...", "go.etcd.io/bbolt/...",
			"google.golang.org/protobuf/...", "golang.org/x/...", "github.com/tidwall/btree",
		},
		why: "the node binds the parts together, and nothing below cmd knows of it",
	},
	{
		folder: "raftstore/internal/raftnet",
		allow: []string{
			"/proto/raft/v1", "/raftstore/internal/identity", "/transport/memnet", "github.com/hashicorp/raft",
			"google.golang.org/protobuf/...", "go.uber.org/goleak",
		},
		why: "it knows neither who may open a stream nor what entries mean: both are given to it",
	},
	{
		folder: "cmd/...",
		allow:  []string{"..."},
		deny:   []string{"github.com/hashicorp/..."},
		why:    "programs use the node's interface; raft and memberlist stay within raftstore",
	},
	{
		folder: "testdata",
		why:    "fixtures are data",
	},
	{
		folder: "internal/boltfile",
		allow:  []string{"/store"},
		why:    "it must know of bbolt's files what is right, not what bbolt takes for right",
	},
	{
		folder: "internal/filelock",
		allow:  []string{"/internal/ownfile", "golang.org/x/sys/..."},
		why:    "a lock knows nothing of what it guards",
	},
	{
		folder: "internal/keyfile",
		why:    "a file of a key is bytes and a mode",
	},
	{
		folder: "internal/ownfile",
		allow:  []string{"golang.org/x/sys/..."},
		why:    "how a file is opened has nothing to do with what is in it",
	},
	{
		folder: "internal/imports",
		why:    "it only holds a test",
	},
}

// violation explains why the package in folder must not import path, or
// returns "".
func violation(folder, path string) string {
	r := ruleOf(folder)
	if r == nil {
		return fmt.Sprintf("%s has no rule: add one in internal/imports/rules_test.go", folder)
	}
	name, inside := strings.CutPrefix(path, module+"/")
	if inside {
		name = "/" + name
	}
	std := !inside && !strings.Contains(strings.SplitN(path, "/", 2)[0], ".")
	switch {
	case matchesAny(r.deny, name):
	case std, matchesAny(r.allow, name), inside && ruleOf(name[1:]) == r:
		return ""
	}
	return fmt.Sprintf("%s must not import %s: %s", folder, path, r.why)
}

func ruleOf(folder string) *rule {
	var found *rule
	for i, r := range rules {
		if matches(r.folder, folder) && (found == nil || len(r.folder) > len(found.folder)) {
			found = &rules[i]
		}
	}
	return found
}

func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matches(pattern, name) {
			return true
		}
	}
	return false
}

// matches tells whether pattern stands for name, as the patterns of the go
// command do: "a/..." for a and everything below it, "..." for everything.
func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	parent, below := strings.CutSuffix(pattern, "/...")
	return name == parent || below && strings.HasPrefix(name, parent+"/")
}
