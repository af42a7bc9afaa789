package raftstore

import "fmt"

// bodyLimits bound bodies by the method of the peer protocol. Those not named have
// defaultBodyBytesMax.
type bodyLimits map[uint8]int

const defaultBodyBytesMax = 4 << 10

// A message of empty items takes 50 times its length in memory, so that each body
// is bounded before it is read.
var (
	requestBytesMax = bodyLimits{
		methodPropose: 5 << 20, // a transaction of store.TxBytesMax
		methodProbe:   32 << 10,
		methodJoin:    32 << 10,
		methodRenew:   32 << 10,
	}
	answerBytesMax = bodyLimits{
		methodPropose: 1 << 20, // a number for each operation of store.TxOpsMax
		methodProbe:   32 << 10,
		methodJoin:    128 << 10,
		methodRenew:   32 << 10,
	}
)

// check returns an error where a body is longer than any of its method.
func (l bodyLimits) check(method uint8, size int) error {
	limit, ok := l[method]
	if !ok {
		limit = defaultBodyBytesMax
	}
	if size > limit {
		return fmt.Errorf("%d bytes for method %d, the limit is %d", size, method, limit)
	}
	return nil
}

// checkRequest returns errBadRequest where a request is too long.
func checkRequest(method uint8, size int) error {
	if err := requestBytesMax.check(method, size); err != nil {
		return fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return nil
}
