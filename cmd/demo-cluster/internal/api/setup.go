package api

import "time"

// Setup is the first line that a server reads from its standard input. It goes
// there, and not into arguments or the environment, since it holds secrets
// that other users of the machine could see.
type Setup struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster"`

	// TrustDomain is that of the agents and their entries.
	TrustDomain string `json:"trust_domain"`

	// Dir is the server's data directory. An empty or absent one is
	// initialised.
	Dir string `json:"dir"`

	// CertificateLifetime is that of the certificates that the server issues
	// while it leads. Zero is the default.
	CertificateLifetime time.Duration `json:"certificate_lifetime"`

	// Addresses to listen on. A port that is taken, or 0, is replaced by a
	// free one.
	Addresses Addresses `json:"addresses"`

	// Token is what a client must present. It changes with each run.
	Token string `json:"token"`

	// Seeds are gossip addresses of other servers.
	Seeds []string `json:"seeds"`

	// Bootstrap makes the server the first of a new cluster, and so the
	// authority of all. A JoinToken makes it ask the servers at the addresses of
	// Join for admission and a certificate. A server that belongs to the cluster
	// has neither.
	Bootstrap bool     `json:"bootstrap"`
	Join      []string `json:"join"`
	JoinToken string   `json:"join_token"`
}

// Addresses are where a server listens: host and port each.
type Addresses struct {
	Client string `json:"client"`
	Raft   string `json:"raft"`
	Gossip string `json:"gossip"`
}

// Ready is the line that a server writes to its standard output once it
// serves, or when it can't.
type Ready struct {
	Addresses

	// Error says why the server does not run. The addresses are empty then.
	Error string `json:"error,omitempty"`
}
