package authority

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// wordPrefix keeps a word apart from whatever else the key signs: a certificate
// begins with another byte.
const wordPrefix = "spire-raft word 1\x00"

func wordDigest(word []byte) []byte {
	sum := sha256.Sum256(append([]byte(wordPrefix), word...))
	return sum[:]
}

// SignWord signs what the cluster says, for [CheckWord].
func (ca *CA) SignWord(word []byte) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, ca.key, wordDigest(word))
}

// errNotSigned: a word is of no authority that is trusted.
var errNotSigned = errors.New("the cluster's authority has not signed this")

// CheckWord returns an error unless one of the authorities has signed a word.
func CheckWord(trusted Roots, word, signature []byte) error {
	for _, der := range trusted.Certificates {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate of the authority: %w", err)
		}
		key, ok := cert.PublicKey.(*ecdsa.PublicKey)
		if ok && ecdsa.VerifyASN1(key, wordDigest(word), signature) {
			return nil
		}
	}
	return errNotSigned
}
