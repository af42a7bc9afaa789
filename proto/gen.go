// Package proto holds the protobuf sources of what the servers write down and
// send to each other, one directory for each proto package and version, with
// the Go code generated from them. Run "go generate ./proto" after changing a
// .proto file and commit the result.
//
// A file proto/fsm/v1/fsm.proto is imported by others as
// spireraft/fsm/v1/fsm.proto and has the proto package spireraft.fsm.v1.
package proto

//go:generate go -C ../tools run ./protogen ../proto spireraft
