package storetest

import (
	"testing"

	"github.com/spire-raft/spire-raft/store"
)

// Options is what a test asks of the backend that it opens.
type Options struct {
	// HistoryBytesMax is the budget of the backend's history, in bytes. Zero
	// stands for the backend's default, which must be 16 MiB or more. A budget
	// is met where a test that writes four times as much finds the beginning
	// gone, and the newest fourth of the budget still there.
	HistoryBytesMax int64
}

// Open opens an empty backend and returns one or more handles on its data, such
// as those of a leader and its followers. It registers with tb.Cleanup what
// closes them: tests may have closed some by then. It ends the test with
// tb.Fatal where it can't.
//
// Nobody else may write to the backend.
type Open func(tb testing.TB, opts Options) []store.Store

// conformanceTest is one test of the suite.
type conformanceTest struct {
	name string
	run  func(e *env)
}

// shared tests use one backend, one after the other, each below a prefix of
// its own. They compare revisions with what they found, and take for granted
// that nobody else moves them. The first finds the backend empty, and the last
// leaves it closed.
var shared = []conformanceTest{
	{"EmptyStore", testEmptyStore},
	{"PutGet", testPutGet},
	{"PutSeveral", testPutSeveral},
	{"PutEmptyValue", testPutEmptyValue},
	{"GetSeveralRanges", testGetSeveralRanges},
	{"Delete", testDelete},
	{"DeleteNothing", testDeleteNothing},
	{"DeleteConcurrent", testDeleteConcurrent},
	{"Count", testCount},
	{"KeyOrder", testKeyOrder},
	{"PrefixEdges", testPrefixEdges},
	{"SliceOwnership", testSliceOwnership},
	{"Revisions", testRevisions},

	{"TxReadYourWrites", testTxReadYourWrites},
	{"TxScanMerge", testTxScanMerge},
	{"TxScanPages", testTxScanPages},
	{"TxDeleteRange", testTxDeleteRange},
	{"TxSnapshot", testTxSnapshot},
	{"TxAtomic", testTxAtomic},
	{"TxReadOnly", testTxReadOnly},
	{"TxDone", testTxDone},
	{"TxNothingWritten", testTxNothingWritten},
	{"HugeScan", testHugeScan},

	{"Conflicts", testConflicts},
	{"WriteSkew", testWriteSkew},
	{"LostUpdate", testLostUpdate},
	{"ConflictChangesNothing", testConflictChangesNothing},
	{"InvariantUnderLoad", testInvariantUnderLoad},
	{"Serializable", testSerializable},

	{"SequenceConcurrent", testSequenceConcurrent},
	{"SequenceNotBurnt", testSequenceNotBurnt},
	{"SequenceRaise", testSequenceRaise},
	{"SequencePatches", testSequencePatches},
	{"SequenceInvalid", testSequenceInvalid},

	{"Watch", testWatch},
	{"WatchPrefixes", testWatchPrefixes},
	{"WatchConcurrentCommits", testWatchConcurrentCommits},
	{"WatchResumeEverywhere", testWatchResumeEverywhere},
	{"WatchFromSnapshot", testWatchFromSnapshot},
	{"WatchAhead", testWatchAhead},
	{"WatchProgress", testWatchProgress},
	{"WatchOtherEpoch", testWatchOtherEpoch},
	{"WatchContext", testWatchContext},
	{"WatchClose", testWatchClose},

	{"UpdateParallel", testUpdateParallel},
	{"UpdateError", testUpdateError},
	{"UpdateSeesOtherHandle", testUpdateSeesOtherHandle},

	{"Consistency", testConsistency},
	{"AtLeastWaits", testAtLeastWaits},
	{"CancelledContext", testCancelledContext},

	{"LimitKey", testLimitKey},
	{"LimitValue", testLimitValue},
	{"LimitTxOps", testLimitTxOps},
	{"LimitTxBytes", testLimitTxBytes},
	{"LimitScanBytes", testLimitScanBytes},
	{"LimitWatchPrefixes", testLimitWatchPrefixes},

	{"Close", testClose},
}

// Run checks a backend against the contract of package store.
func Run(t *testing.T, open Open) {
	t.Run("Shared", func(t *testing.T) {
		stores := open(t, Options{})
		for _, test := range shared {
			t.Run(test.name, func(t *testing.T) { test.run(newEnv(t, stores)) })
		}
	})
	t.Run("Compaction", func(t *testing.T) {
		testCompaction(newEnv(t, open(t, Options{HistoryBytesMax: compactionBudget})))
	})
}
