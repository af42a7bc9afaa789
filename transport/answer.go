package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"unicode"
)

// The answer of the listening side, the first bytes that it sends: one byte,
// welcome or the number of a reason. Behind a welcome comes the listener's claim;
// behind a reason one byte that gives the length of a text, and the text. The
// numbers are part of the protocol.
const welcome = 0

// answerTextMax is the length of the longest text of an answer.
const answerTextMax = 200

// reasons are the errors that a refusal can carry. The text goes along only
// where the peer has proved to be of this cluster: strangers learn no more than
// the reason.
var reasons = []struct {
	code byte
	err  error
	text bool
	name string // for counting, see Config.OnRefuse
}{
	{11, ErrBadClaim, false, "bad_claim"}, // before what it may be a case of, like 9, 10 and 12
	{1, ErrUntrusted, false, "untrusted"},
	{2, ErrExpired, false, "expired"},
	{3, ErrBadIdentity, false, "bad_identity"},
	{4, ErrOtherCluster, false, "other_cluster"},
	{9, ErrRemovedPeer, true, "removed"},
	{10, ErrOtherInstance, true, "other_instance"},
	{12, ErrOldOpening, true, "old_opening"},
	{5, ErrNotAuthorized, true, "not_authorized"},
	{6, ErrBusy, true, "busy"},
	{7, ErrNotServed, false, "not_served"},
	{8, ErrClosed, false, "closed"},
}

// reasonName is what a refusal because of err is counted as.
func reasonName(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	if errors.Is(err, ErrHandshakeTimeout) {
		return "timeout"
	}
	return "handshake"
}

// writeWelcome tells the peer that it is welcome, and what own claims.
func writeWelcome(w io.Writer, own Claim) error {
	b, err := own.append([]byte{welcome})
	if err != nil {
		return fmt.Errorf("this node's claim: %w", err)
	}
	_, err = w.Write(b)
	return err
}

// writeRefusal tells the peer that err is in its way, unless that is none of the
// reasons.
func writeRefusal(w io.Writer, err error) error {
	for _, r := range reasons {
		if !errors.Is(err, r.err) {
			continue
		}
		var text string
		if r.text {
			text = err.Error()
			text = text[:min(len(text), answerTextMax)]
		}
		_, err := w.Write(append([]byte{r.code, byte(len(text))}, text...))
		return err
	}
	return nil
}

// readAnswer returns the peer's claim if it says welcome, else an ErrRefused or
// what went wrong.
func readAnswer(r io.Reader) (Claim, error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Claim{}, notAnswered(err)
	}
	if b[0] != welcome {
		return Claim{}, readRefusal(r, b[0])
	}
	claim, err := readClaim(r)
	if err != nil {
		return Claim{}, notAnswered(err)
	}
	return claim, nil
}

// readRefusal reads what follows the number of a reason.
func readRefusal(r io.Reader, code byte) error {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return notAnswered(err)
	}
	text := make([]byte, b[0])
	if _, err := io.ReadFull(r, text); err != nil {
		return notAnswered(err)
	}
	for _, reason := range reasons {
		if reason.code != code {
			continue
		}
		if len(text) > 0 {
			return fmt.Errorf("%w: %w: it says %q", ErrRefused, reason.err, printable(text))
		}
		return fmt.Errorf("%w: %w", ErrRefused, reason.err)
	}
	return fmt.Errorf("%w for reason %d, which this version doesn't know: it says %q", ErrRefused, code, printable(text))
}

// notAnswered explains a connection that ended before the answer. An alert of
// the peer's TLS is a refusal too.
func notAnswered(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == tlsRemoteError {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the peer closed the connection without an answer: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// tlsRemoteError is the Op of the errors that package tls makes of alerts.
const tlsRemoteError = "remote error"

// printable keeps a peer's text from playing tricks on a terminal.
func printable(text []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, string(text))
}

// tlsConfig is what both sides have in common. There is no session resumption:
// each connection proves who it is with the certificates of now.
func tlsConfig(b *Bundle) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{b.Certificate},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true, // messages are small or urgent, and never half useful
	}
}
