package store

import "time"

// The limits of the contract, the same for every backend. What goes over one
// ends in [ErrTooLarge] and changes nothing.
const (
	// KeyBytesMax is the length of the longest key and counter name, in bytes.
	// The shortest has 1 byte.
	KeyBytesMax = 16 << 10

	// ValueBytesMax is the length of the longest value, in bytes.
	ValueBytesMax = 1 << 20

	// TxOpsMax bounds the writes of one transaction, counting each key that is
	// put or deleted and each number taken from a sequence.
	TxOpsMax = 1 << 16

	// TxBytesMax bounds the size of one transaction: the keys and values it
	// writes and the keys and ranges it has read.
	TxBytesMax = 4 << 20

	// ScanBytesMax bounds the keys and values that one Get or Scan returns. A
	// larger result is read in pages, with a limit.
	ScanBytesMax = 64 << 20

	// WatchPrefixesMax bounds the prefixes of one watcher.
	WatchPrefixesMax = 64

	// TxDurationMax is how long a transaction may stay open. A longer one ends
	// in [ErrTxExpired], since its snapshot keeps old data from being reused.
	TxDurationMax = 10 * time.Second

	// ProgressIntervalMax is the longest time for which a watcher that is up
	// to date stays silent before its next progress mark.
	ProgressIntervalMax = 5 * time.Second
)
