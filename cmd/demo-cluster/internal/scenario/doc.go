// Package scenario is what the demo does to a cluster: the story, which shows
// one thing after the other, chaos, which disturbs it at random, and serve,
// which leaves it alone. All end in the same checks.
package scenario
