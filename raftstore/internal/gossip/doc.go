// Package gossip finds out where the members of a cluster are and whether they
// are up, with memberlist.
//
// What it tells is a hint, never authority: who holds the gossip key can say
// anything about anyone. Callers dial the addresses it gives over
// authenticated streams and decide about membership elsewhere.
//
// Packets and streams are encrypted with the cluster's key and labelled with
// its id, so those of strangers and of other clusters are dropped unread. Where
// the key is the cluster's own, the label names its instance too, and the key is
// replaced while it runs; with a key from elsewhere, nodes say what instance they
// are of, once they know. The
// transport bounds what a stranger can make a server hold: the number of
// streams, the bytes and the time of each, and the size of a packet. A holder
// of the key is bounded less: memberlist 0.6 trusts what it has decrypted and
// can be made to panic by it. So the key deserves the care of a private key.
package gossip
