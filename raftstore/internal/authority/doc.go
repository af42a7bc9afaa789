// Package authority lets a cluster be its own certificate authority. The first
// node makes a [CA], whose key is kept in the replicated state; a node that wants
// to join makes a [Key], and asks with a [Token] that pins the authority; and
// [Credentials] keep what a node was given in its data directory.
//
// Start reading at [CA.Issue].
package authority
