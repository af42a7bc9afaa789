package main

import (
	"go/ast"
	"go/token"

	"github.com/kisielk/errcheck/errcheck"
	"golang.org/x/tools/go/analysis"
)

// droppedErrors is errcheck without calls of methods named Close. Most of those
// end the use of something that was only read, or follow an error that counts
// more. Where an error of Close means lost data, a test with a failing file
// must show that it is handled.
var droppedErrors = &analysis.Analyzer{
	Name:       errcheck.Analyzer.Name,
	Doc:        errcheck.Analyzer.Doc,
	ResultType: errcheck.Analyzer.ResultType,
	Run: func(pass *analysis.Pass) (any, error) {
		closes := closeCalls(pass.Files)
		filtered := *pass
		filtered.Report = func(d analysis.Diagnostic) {
			if !closes[d.Pos] {
				pass.Report(d)
			}
		}
		return errcheck.Analyzer.Run(&filtered)
	},
}

// closeCalls returns where the calls of Close are reported: at the parenthesis.
func closeCalls(files []*ast.File) map[token.Pos]bool {
	found := map[token.Pos]bool{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fun, ok := call.Fun.(*ast.SelectorExpr); ok && fun.Sel.Name == "Close" {
					found[call.Lparen] = true
				}
			}
			return true
		})
	}
	return found
}
