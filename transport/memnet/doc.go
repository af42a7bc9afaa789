// Package memnet is a network in memory that fails on demand, for tests. Its
// hosts implement transport.Network.
//
// It waits on channels and timers only, never on the system, so that in a
// bubble of testing/synctest whole clusters run in fake time.
//
// Connections behave like TCP's. Bytes arrive in order or not at all. While a
// link is cut, what is sent over it is kept and arrives after it heals; when a
// link stays cut for UnackedMax its connections die at both ends, as they do by
// TCP_USER_TIMEOUT and keepalive. Until then neither end notices anything: they
// are half open. Dialing over a cut link waits. Reset breaks connections, and
// what is on the way is lost.
//
// A writer blocks only while BufferBytes are on the way. In a bubble, beware of
// a second writer that waits for the first one's mutex then: fake time stands
// still while anything waits for a mutex.
package memnet
