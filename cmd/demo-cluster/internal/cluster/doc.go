// Package cluster starts, stops, kills and pauses the server processes of the
// demo, and sees to it that neither a process nor a file outlives the run,
// however it ends.
//
// Three things keep processes from staying behind. Each server ends when its
// standard input does, which the operating system closes with the parent. On
// Linux the kernel kills it with its parent, paused or not. Elsewhere a paused
// server is in a process group of its own, which POSIX sends SIGHUP and SIGCONT
// when the parent's death leaves it orphaned and stopped.
//
// All files are in one directory with a lock that the parent and its servers
// hold. The directory of a parent that was killed has no holder; the next run
// removes it.
package cluster
