package check

import "fmt"

// problemsMax bounds the problems of one kind of check that are told in words.
// All are counted.
const problemsMax = 20

// problems are what is wrong, in words.
type problems struct {
	list  []string
	count int
}

func (p *problems) report(format string, args ...any) {
	p.count++
	if len(p.list) < problemsMax {
		p.list = append(p.list, fmt.Sprintf(format, args...))
	}
}
