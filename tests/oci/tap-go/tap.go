// Package tap prints the results of tests in the Test Anything Protocol, version 13.
//
// The validation programs of runtime-tools are written against a package of this name and shape, which Debian does
// not have. Here is just what they call, so that they can be built from Debian's packages alone.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// T counts what has been tested and prints a line for each.
type T struct {
	// Writer is where the lines go.
	Writer io.Writer
	count  *counter
	remark string
}

type counter struct {
	sync.Mutex
	value int
}

// New answers a T that prints to standard output.
func New() *T {
	return &T{Writer: os.Stdout, count: &counter{}}
}

// Header begins the output; with a count of 0 the plan comes at the end, by AutoPlan.
func (t *T) Header(count int) {
	fmt.Fprintln(t.Writer, "TAP version 13")
	if count > 0 {
		fmt.Fprintf(t.Writer, "1..%d\n", count)
	}
}

// AutoPlan says how many tests there were.
func (t *T) AutoPlan() {
	fmt.Fprintf(t.Writer, "1..%d\n", t.count.value)
}

// Ok is a test that passed or did not.
func (t *T) Ok(passed bool, description string) {
	t.line(passed, description)
}

// Pass is a test that passed.
func (t *T) Pass(description string) {
	t.line(true, description)
}

// Fail is a test that did not.
func (t *T) Fail(description string) {
	t.line(false, description)
}

// Todo answers the same T for a test that is known not to pass yet.
func (t *T) Todo() *T {
	return &T{Writer: t.Writer, count: t.count, remark: "# TODO "}
}

// Skip is that many tests that were not made.
func (t *T) Skip(count int, description string) {
	for ; count > 0; count-- {
		t.line(true, "# SKIP "+description)
	}
}

// Diagnostic is a remark.
func (t *T) Diagnostic(text string) {
	fmt.Fprintf(t.Writer, "# %s\n", strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n# "))
}

// Diagnosticf is a remark with values in it.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML is what is known about the last test.
func (t *T) YAML(document interface{}) error {
	// JSON is YAML.
	text, err := json.MarshalIndent(document, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Writer, "  ---\n  %s\n  ...\n", text)
	return nil
}

func (t *T) line(passed bool, description string) {
	t.count.Lock()
	defer t.count.Unlock()
	t.count.value++
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	fmt.Fprintf(t.Writer, "%s %d - %s\n", verdict, t.count.value, t.remark+description)
}
