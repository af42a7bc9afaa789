package main

import (
	"go/ast"
	"go/token"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// outsideTests is analyzer a without what it finds in tests, which may compare
// an error's identity and drop errors that would show elsewhere.
func outsideTests(a *analysis.Analyzer) *analysis.Analyzer {
	return filter(a, func(pass *analysis.Pass) func(token.Pos) bool {
		return func(pos token.Pos) bool {
			return strings.HasSuffix(pass.Fset.Position(pos).Filename, "_test.go")
		}
	})
}

// exceptHarmless is errcheck without calls of methods named Close and of
// [fmt.Fprintf] and its like. Most calls of Close end the use of something that
// was only read, or follow an error that counts more; where its error means lost
// data, a test with a failing file must show that it is handled. What is printed
// goes to a person, a hash or a buffer.
func exceptHarmless(errcheck *analysis.Analyzer) *analysis.Analyzer {
	return filter(errcheck, func(pass *analysis.Pass) func(token.Pos) bool {
		harmless := map[token.Pos]bool{}
		for _, file := range pass.Files {
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				fun, ok := call.Fun.(*ast.SelectorExpr)
				if ok && (fun.Sel.Name == "Close" || strings.HasPrefix(fun.Sel.Name, "Fprint")) {
					harmless[call.Lparen] = true // where errcheck reports a call
				}
				return true
			})
		}
		return func(pos token.Pos) bool { return harmless[pos] }
	})
}

// filter is analyzer a without the findings at positions that drop, made for
// each package, returns true for.
func filter(a *analysis.Analyzer, drop func(*analysis.Pass) func(token.Pos) bool) *analysis.Analyzer {
	filtered := *a
	filtered.Run = func(pass *analysis.Pass) (any, error) {
		dropped, quiet := drop(pass), *pass
		quiet.Report = func(d analysis.Diagnostic) {
			if !dropped(d.Pos) {
				pass.Report(d)
			}
		}
		return a.Run(&quiet)
	}
	return &filtered
}
