// Package tools is the module of the programs that build and check the project.
// It has a go.mod of its own so that what they need stays out of the main
// module: protogen generates the code in package proto with the protoc-gen-go
// that is pinned there, and lint is staticcheck with more checks. Keep
// protoc-gen-go at the version of google.golang.org/protobuf in the main go.mod.
package tools
