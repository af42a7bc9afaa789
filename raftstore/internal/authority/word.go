package authority

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// wordPrefix keeps a word apart from whatever else the key signs: a certificate
// begins with another byte.
const wordPrefix = "spire-raft word 1\x00"

func wordDigest(word []byte) []byte {
	sum := sha256.Sum256(append([]byte(wordPrefix), word...))
	return sum[:]
}

// SignWord signs what the cluster says, for [CA.CheckWord].
func (ca *CA) SignWord(word []byte) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, ca.key, wordDigest(word))
}

// errNotSigned: a word is not of this authority.
var errNotSigned = errors.New("the cluster's authority has not signed this")

// CheckWord returns an error unless the authority has signed a word.
func (ca *CA) CheckWord(word, signature []byte) error {
	if !ecdsa.VerifyASN1(&ca.key.PublicKey, wordDigest(word), signature) {
		return errNotSigned
	}
	return nil
}
