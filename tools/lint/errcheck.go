package main

import (
	"go/ast"
	"go/token"
	"strings"

	"github.com/kisielk/errcheck/errcheck"
	"golang.org/x/tools/go/analysis"
)

// droppedErrors is errcheck without calls of methods named Close and of
// [fmt.Fprintf] and its like. Most calls of Close end the use of something that
// was only read, or follow an error that counts more; where its error means lost
// data, a test with a failing file must show that it is handled. What is printed
// goes to a person, a hash or a buffer.
var droppedErrors = &analysis.Analyzer{
	Name:       errcheck.Analyzer.Name,
	Doc:        errcheck.Analyzer.Doc,
	ResultType: errcheck.Analyzer.ResultType,
	Run: func(pass *analysis.Pass) (any, error) {
		harmless := harmlessCalls(pass.Files)
		filtered := *pass
		filtered.Report = func(d analysis.Diagnostic) {
			if !harmless[d.Pos] {
				pass.Report(d)
			}
		}
		return errcheck.Analyzer.Run(&filtered)
	},
}

// harmlessCalls returns where errcheck reports calls whose error may be dropped:
// at the parenthesis.
func harmlessCalls(files []*ast.File) map[token.Pos]bool {
	found := map[token.Pos]bool{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fun, ok := call.Fun.(*ast.SelectorExpr); ok && (fun.Sel.Name == "Close" || strings.HasPrefix(fun.Sel.Name, "Fprint")) {
					found[call.Lparen] = true
				}
			}
			return true
		})
	}
	return found
}
