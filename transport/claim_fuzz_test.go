package transport

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzReadClaim: whatever a peer sends after the handshake is a claim that is
// valid and written the same way again, or an error; nothing behind it is read.
func FuzzReadClaim(f *testing.F) {
	good, err := Claim{Instance: "life-1", Disk: "d", Openings: []Opening{{Number: 7}, {Number: 9}}}.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(bytes.Repeat([]byte{0xff}, claimBytesMax+1))
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := bytes.NewReader(sent)
		claim, err := readClaim(r)
		read := sent[:len(sent)-r.Len()]
		if len(read) > claimBytesMax {
			t.Errorf("it took %d bytes", len(read))
		}
		if err != nil {
			if !errors.Is(err, ErrBadClaim) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again, err := claim.append(nil); err != nil || !bytes.Equal(again, read) {
			t.Errorf("%q was read as %+v, which is written as %q, %v", read, claim, again, err)
		}
	})
}

// FuzzReadAnswer: an answer is a welcome with a claim, or an error.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\x05\x03why"))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		claim, err := readAnswer(bytes.NewReader(sent))
		if err == nil && (sent[0] != welcome || claim.validate() != nil) {
			t.Errorf("%q is taken for a welcome with %+v", sent, claim)
		}
	})
}
