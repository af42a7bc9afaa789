package memnet

import (
	"errors"
	"io"
	"time"
)

// stream is one direction of a connection. Net.mu guards it.
type stream struct {
	net      *Net
	link     link
	segments []segment
	bytes    int       // in segments
	last     time.Time // when the last segment arrives, or arrived
	changed  event
}

// segment is something on its way, or arrived and not yet read: bytes, or the
// end of the stream.
type segment struct {
	data []byte
	end  error     // io.EOF or a reset, which are not read off
	at   time.Time // when it arrives
	held bool      // by a cut: at means nothing
}

// send puts a segment on its way.
func (s *stream) send(seg segment) {
	if s.net.cuts[s.link] != nil {
		seg.held = true
	} else {
		s.schedule(&seg)
	}
	s.segments = append(s.segments, seg)
	s.bytes += len(seg.data)
	s.changed.signal()
}

// schedule draws the time of arrival; nothing overtakes what was sent before.
func (s *stream) schedule(seg *segment) {
	seg.at = time.Now().Add(s.net.delay())
	if seg.at.Before(s.last) {
		seg.at = s.last
	}
	s.last = seg.at
	seg.held = false
}

// hold keeps what has not arrived yet.
func (s *stream) hold() {
	now := time.Now()
	for i := range s.segments {
		if s.segments[i].at.After(now) {
			s.segments[i].held = true
		}
	}
}

// resend sends again what was held.
func (s *stream) resend() {
	s.last = time.Now()
	for i := range s.segments {
		if s.segments[i].held {
			s.schedule(&s.segments[i])
		}
	}
	s.changed.signal()
}

// arrived returns the next segment if it has arrived, or else when to look
// again: at the returned time unless that is zero, and after changed.
func (s *stream) arrived() (*segment, time.Time) {
	if len(s.segments) == 0 || s.segments[0].held {
		return nil, time.Time{}
	}
	if seg := &s.segments[0]; !seg.at.After(time.Now()) {
		return seg, time.Time{}
	}
	return nil, s.segments[0].at
}

// reset tells whether the stream ends in a reset, which may be on its way.
func (s *stream) reset() bool {
	n := len(s.segments)
	return n > 0 && s.segments[n-1].end != nil && !errors.Is(s.segments[n-1].end, io.EOF)
}

// hasArrived tells whether the last segment has arrived. There must be one.
func (s *stream) hasArrived() bool {
	seg := s.segments[len(s.segments)-1]
	return !seg.held && !seg.at.After(time.Now())
}

// consume takes n bytes from the first segment.
func (s *stream) consume(n int) {
	seg := &s.segments[0]
	seg.data = seg.data[n:]
	s.bytes -= n
	if len(seg.data) == 0 {
		s.segments[0] = segment{}
		s.segments = s.segments[1:]
	}
	s.changed.signal()
}

// discard drops everything.
func (s *stream) discard() {
	s.segments, s.bytes = nil, 0
	s.changed.signal()
}
