// Command protogen generates Go code from every .proto file below a directory,
// with nothing installed but Go: it compiles the files itself and hands them to
// the protoc-gen-go that this module pins.
//
//	protogen DIR PREFIX
//
// A file DIR/a/b.proto is known to protobuf, and imported by others, as
// PREFIX/a/b.proto: file names are global in a Go program, and the prefix keeps
// them apart from those of other projects. Its code goes to DIR/a/b.pb.go.
// Generated files that have lost their source are removed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// generator is the import path of the plugin; go.mod lists it as a tool.
const generator = "google.golang.org/protobuf/cmd/protoc-gen-go"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: protogen DIR PREFIX")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, prefix string) error {
	sources, err := find(dir, ".proto")
	if err != nil {
		return err
	}
	names := make([]string, len(sources))
	for i, source := range sources {
		names[i] = path.Join(prefix, source)
	}
	code := map[string]string{}
	if len(names) > 0 {
		files, err := compile(ctx, dir, prefix, names)
		if err != nil {
			return err
		}
		if code, err = generate(ctx, files, names); err != nil {
			return err
		}
	}
	return write(dir, prefix, code)
}

// find lists the files below dir with a suffix, in order, relative to dir and
// with forward slashes.
func find(dir, suffix string) ([]string, error) {
	var found []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
		return err
	})
	return found, err
}

func compile(ctx context.Context, dir, prefix string, names []string) (linker.Files, error) {
	open := func(name string) (io.ReadCloser, error) {
		source, ok := strings.CutPrefix(name, prefix+"/")
		if !ok {
			return nil, fmt.Errorf("%s: imports must begin with %s/ or google/protobuf/: %w", name, prefix, fs.ErrNotExist)
		}
		return os.Open(filepath.Join(dir, filepath.FromSlash(source)))
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: open}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments become Go comments
	}
	return compiler.Compile(ctx, names...)
}

// generate runs the plugin and returns the code by file name.
func generate(ctx context.Context, files linker.Files, names []string) (map[string]string, error) {
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      new("paths=source_relative"),
	}
	seen := map[string]bool{}
	for _, file := range files {
		addWithImports(req, seen, file)
	}
	in, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request to %s: %w", generator, err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", generator)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", generator, err)
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &resp); err != nil {
		return nil, fmt.Errorf("decode the response of %s: %w", generator, err)
	}
	if resp.Error != nil {
		return nil, fmt.Errorf("%s: %s", generator, resp.GetError())
	}
	code := make(map[string]string, len(resp.File))
	for _, file := range resp.File {
		code[file.GetName()] = file.GetContent()
	}
	return code, nil
}

// addWithImports adds file to req behind everything that it imports, as the
// plugin demands, and once.
func addWithImports(req *pluginpb.CodeGeneratorRequest, seen map[string]bool, file protoreflect.FileDescriptor) {
	if seen[file.Path()] {
		return
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		addWithImports(req, seen, file.Imports().Get(i).FileDescriptor)
	}
	req.ProtoFile = append(req.ProtoFile, protoutil.ProtoFromFileDescriptor(file))
}

// write puts each file in its place and removes generated files that are not
// among them.
func write(dir, prefix string, code map[string]string) error {
	old, err := find(dir, ".pb.go")
	if err != nil {
		return err
	}
	for name, text := range code {
		target := strings.TrimPrefix(name, prefix+"/")
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(target)), []byte(text), 0o644); err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(o string) bool { return o == target })
	}
	for _, stale := range old {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(stale))); err != nil {
			return err
		}
	}
	return nil
}
