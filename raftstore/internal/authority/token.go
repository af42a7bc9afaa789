package authority

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// tokenVersion begins the text of a token.
const tokenVersion = "v2"

// Token is what a node joins with: v2/<cluster>/<pin>/<secret>, pin and secret
// in unpadded base64url.
type Token struct {
	Cluster string

	// Pin is the authority that the secret may be sent to, nil where the
	// cluster's certificates come from elsewhere.
	Pin *Pin

	Secret [32]byte
}

// NewToken returns a token with a random secret, and no pin yet.
func NewToken(cluster string) Token {
	t := Token{Cluster: cluster}
	_, _ = rand.Read(t.Secret[:]) // never fails, see its documentation
	return t
}

// Hash is what the cluster keeps of the token.
func (t Token) Hash() [sha256.Size]byte { return sha256.Sum256(t.Secret[:]) }

// Text is the token as it is handed on. It is no String method: a token must not
// get into a log by accident.
func (t Token) Text() string {
	pin := ""
	if t.Pin != nil {
		pin = base64.RawURLEncoding.EncodeToString(t.Pin[:])
	}
	return strings.Join([]string{tokenVersion, t.Cluster, pin, base64.RawURLEncoding.EncodeToString(t.Secret[:])}, "/")
}

// ParseToken returns the token for cluster that Text has made. Errors don't tell
// the secret.
func ParseToken(text, cluster string) (t Token, err error) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 || parts[0] != tokenVersion {
		return t, fmt.Errorf("it is not of the form %s/<cluster>/<authority>/<secret>: copy the whole token", tokenVersion)
	}
	if parts[1] != cluster {
		return t, fmt.Errorf("it is for cluster %q, this is cluster %q: create one on a node of this cluster", parts[1], cluster)
	}
	t.Cluster = cluster
	if parts[2] != "" {
		pin, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
		if err != nil || len(pin) != len(Pin{}) {
			return t, errors.New("its authority is damaged: copy the whole token")
		}
		t.Pin = (*Pin)(pin)
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(secret) != len(t.Secret) {
		return t, errors.New("its secret is damaged: copy the whole token")
	}
	t.Secret = [32]byte(secret)
	return t, nil
}
