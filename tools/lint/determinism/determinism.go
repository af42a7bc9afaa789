// Package determinism finds code in the replicated machine whose result could
// differ between servers that apply the same log.
package determinism

import (
	"go/ast"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Analyzer reports, in package fsm and those below it, tests aside: ranging
// over a map, and the use of the clock, random numbers or the environment.
var Analyzer = &analysis.Analyzer{
	Name: "determinism",
	Doc:  "report what may differ between replicas: map order, clock, random numbers, environment",
	Run:  run,
}

// machine is the import path of the packages that this is about.
const machine = "github.com/spire-raft/spire-raft/fsm"

// forbidden maps functions to what to do instead.
var forbidden = map[string]string{
	"time.Now":     "take the time from the command",
	"time.Since":   "take the time from the command",
	"time.Until":   "take the time from the command",
	"os.Getenv":    "take it from the configuration",
	"os.LookupEnv": "take it from the configuration",
	"os.Environ":   "take it from the configuration",
	"maps.Keys":    "sort what it yields with slices.Sorted",
	"maps.Values":  "go through sorted keys",
	"maps.All":     "go through sorted keys",
}

func run(pass *analysis.Pass) (any, error) {
	if path := pass.Pkg.Path(); path != machine && !strings.HasPrefix(path, machine+"/") {
		return nil, nil
	}
	for _, file := range pass.Files {
		if strings.HasSuffix(pass.Fset.Position(file.Package).Filename, "_test.go") {
			continue
		}
		sorted := map[ast.Node]bool{} // arguments of slices.Sorted
		ast.Inspect(file, func(n ast.Node) bool {
			check(pass, n, sorted)
			return true
		})
	}
	return nil, nil
}

func check(pass *analysis.Pass, n ast.Node, sorted map[ast.Node]bool) {
	switch n := n.(type) {
	case *ast.RangeStmt:
		if _, ok := pass.TypesInfo.TypeOf(n.X).Underlying().(*types.Map); ok {
			pass.Reportf(n.Pos(), "the order of a map differs between replicas: go through sorted keys")
		}
	case *ast.CallExpr:
		callee := callee(pass, n)
		if callee == "slices.Sorted" || callee == "slices.SortedFunc" {
			sorted[n.Args[0]] = true
		}
		if callee == "maps.Keys" && sorted[n] {
			return
		}
		if instead, ok := forbidden[callee]; ok {
			pass.Reportf(n.Pos(), "%s differs between replicas: %s", callee, instead)
		}
		if path, _, _ := strings.Cut(callee, "."); path == "rand" {
			pass.Reportf(n.Pos(), "random numbers differ between replicas: take them from the command")
		}
	}
}

// callee returns the package and name of the function that call calls, or ""
// where it is a method or not known.
func callee(pass *analysis.Pass, call *ast.CallExpr) string {
	fun := call.Fun
	if index, ok := fun.(*ast.IndexExpr); ok {
		fun = index.X
	}
	selector, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	fn, ok := pass.TypesInfo.Uses[selector.Sel].(*types.Func)
	if !ok || fn.Pkg() == nil || fn.Signature().Recv() != nil {
		return ""
	}
	return fn.Pkg().Name() + "." + fn.Name()
}
