package raftstore

import (
	"context"
	"iter"
)

// answers asks nodes, all at once, and yields who answers what as it comes. When
// the caller has heard enough the context of the calls that are under way ends;
// nobody waits for them.
func answers[T any](ctx context.Context, nodes []string, ask func(ctx context.Context, node string) T) iter.Seq2[string, T] {
	type answer struct {
		node string
		said T
	}
	return func(yield func(string, T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		all := make(chan answer, len(nodes))
		for _, node := range nodes {
			go func() { all <- answer{node, ask(ctx, node)} }()
		}
		for range nodes {
			if a := <-all; !yield(a.node, a.said) {
				return
			}
		}
	}
}
