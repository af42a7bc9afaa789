// Package report shows what the demo does and what came of it: a live table on
// a terminal or plain lines elsewhere while it runs, and at the end a report in
// words and a JSON object.
package report
