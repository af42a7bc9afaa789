package scenario

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// rotationEvery: in each part of a run of this length the cluster's authority
	// is replaced.
	rotationEvery = 20 * time.Second

	// rotationMax bounds one rotation. It waits for servers that are away.
	rotationMax = 2 * stepMax
)

// assessRotations holds the rotations against what chaos must show.
func (s *session) assessRotations() {
	s.mu.Lock()
	rotations := s.rotations
	s.mu.Unlock()
	s.note("the cluster's authority was replaced %d times", rotations)
	if want := int(s.Duration / rotationEvery); rotations < want {
		s.problem("the cluster's authority was replaced %d times in %v, at least %d were to be shown", rotations, s.Duration, want)
	}
}

// rotator replaces the cluster's authority at random moments, whatever else goes
// on, one rotation after the other.
type rotator struct {
	session *session
	moments []time.Duration // from the beginning
	begun   time.Time
	wg      sync.WaitGroup
}

func newRotator(s *session, begun time.Time) *rotator {
	plan := moments(s.Duration, rotationEvery, rand.New(rand.NewPCG(s.Seed, 2)))
	return &rotator{session: s, moments: plan, begun: begun}
}

// start begins the rotations. Wait for their end with wg.
func (r *rotator) start(ctx context.Context) {
	r.wg.Go(func() { // ends after the last rotation, or with ctx
		for _, at := range r.moments {
			if pause(ctx, time.Until(r.begun.Add(at))) != nil {
				return
			}
			took, err := r.rotate(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				r.session.problem("the cluster's authority was not replaced: %v", err)
				return
			}
			r.session.Display.Printf("      the cluster's authority was replaced in %.1f s", took.Seconds())
			r.session.mu.Lock()
			r.session.rotations++
			r.session.mu.Unlock()
		}
	})
}

// rotate replaces the authority, and waits until nobody trusts the old one.
func (r *rotator) rotate(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, rotationMax)
	defer cancel()
	begun := time.Now()
	r.session.joining.Lock()
	err := r.session.Cluster.RotateAuthority(ctx, r.session.joining.Unlock)
	return time.Since(begun), err
}
