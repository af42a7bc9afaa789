package raftnet

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/spire-raft/spire-raft/raftstore/internal/identity"
)

// CheckConfiguration refuses what is not a configuration as this program
// writes it: raft panics where it can't decode one, and leads nobody with one
// that has no voter.
func CheckConfiguration(data []byte) error {
	if len(data) > configurationBytesMax {
		return fmt.Errorf("a configuration has %d bytes, the limit is %d", len(data), configurationBytesMax)
	}
	c, err := parseConfiguration(data)
	if err != nil {
		return err
	}
	if len(c.Servers) > serversMax {
		return fmt.Errorf("a configuration has %d servers, the limit is %d", len(c.Servers), serversMax)
	}
	voters := 0
	seen := make(map[raft.ServerID]bool, len(c.Servers))
	for _, s := range c.Servers {
		if err := identity.CheckID(string(s.ID)); err != nil {
			return fmt.Errorf("a configuration: %w", err)
		}
		if string(s.Address) != string(s.ID) {
			return fmt.Errorf("a configuration has server %s under another address, %.100q", s.ID, s.Address)
		}
		if seen[s.ID] {
			return fmt.Errorf("a configuration has server %s twice", s.ID)
		}
		seen[s.ID] = true
		switch s.Suffrage {
		case raft.Voter:
			voters++
		case raft.Nonvoter:
		default:
			return fmt.Errorf("a configuration has server %s with suffrage %d", s.ID, s.Suffrage)
		}
	}
	if voters == 0 {
		return fmt.Errorf("a configuration has no voter among %d servers", len(c.Servers))
	}
	return nil
}

// parseConfiguration reads what [raft.EncodeConfiguration] writes: MessagePack,
// a map with one list of servers, in which every map has the same three keys. A
// decoder of MessagePack must not see it before: raft's panics, takes other
// forms too, and skips what claims to have some gigabytes byte by byte.
func parseConfiguration(data []byte) (raft.Configuration, error) {
	r := packed{rest: data}
	r.word("\x81\xa7Servers")
	n := r.count(0x90, 15, 0xdc)
	if n > serversMax {
		return raft.Configuration{}, fmt.Errorf("a configuration has %d servers, the limit is %d", n, serversMax)
	}
	var c raft.Configuration
	for range n {
		var s raft.Server
		r.word("\x83\xa7Address")
		s.Address = raft.ServerAddress(r.text())
		r.word("\xa2ID")
		s.ID = raft.ServerID(r.text())
		r.word("\xa8Suffrage")
		s.Suffrage = raft.ServerSuffrage(r.take(1)[0])
		if r.bad {
			break
		}
		c.Servers = append(c.Servers, s)
	}
	// That both agree makes the form certain, and with it what raft reads.
	if r.bad || !bytes.Equal(raft.EncodeConfiguration(c), data) {
		return c, fmt.Errorf("a configuration of %d bytes is not in raft's form", len(data))
	}
	return c, nil
}

// packed reads MessagePack. Once it has met what it doesn't expect, it reads zeros.
type packed struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes.
func (p *packed) take(n int) []byte {
	if p.bad || n > len(p.rest) {
		p.bad = true
		return make([]byte, min(n, 2)) // what numbers need
	}
	var b []byte
	b, p.rest = p.rest[:n], p.rest[n:]
	return b
}

// word demands what is the same in every configuration.
func (p *packed) word(w string) {
	if string(p.take(len(w))) != w {
		p.bad = true
	}
}

// count reads a length: short+n up to shortMax, else long and two bytes.
func (p *packed) count(short byte, shortMax int, long byte) int {
	b := p.take(1)[0]
	if b == long {
		return int(binary.BigEndian.Uint16(p.take(2)))
	}
	if n := int(b) - int(short); n >= 0 && n <= shortMax {
		return n
	}
	p.bad = true
	return 0
}

func (p *packed) text() string { return string(p.take(p.count(0xa0, 31, 0xda))) }
