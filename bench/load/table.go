package load

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Cell is the median of what the repetitions gave.
type Cell struct {
	Result
	// Low and High are the extremes, Runs how many there were.
	Low, High float64
	Runs      int
}

// median reduces repetitions to one cell. Each figure is the median of its own.
func median(results []Result) Cell {
	values := make([]float64, len(results))
	rates := make([]float64, len(results))
	p50 := make([]time.Duration, len(results))
	p99 := make([]time.Duration, len(results))
	for i, r := range results {
		values[i], rates[i], p50[i], p99[i] = r.Value, r.PerSecond, r.P50, r.P99
	}
	slices.Sort(values)
	slices.Sort(rates)
	slices.Sort(p50)
	slices.Sort(p99)
	mid := len(results) / 2
	return Cell{
		Result: Result{Value: values[mid], PerSecond: rates[mid], P50: p50[mid], P99: p99[mid], Done: results[0].Done},
		Low:    values[0], High: values[len(values)-1], Runs: len(results),
	}
}

// Table holds what was measured, by row key and server name.
type Table struct {
	Rows    []Row
	Servers []string
	results map[string]map[string][]Result
	errors  map[string]map[string]error
}

// Add notes one measurement.
func (t *Table) Add(row, server string, r Result) {
	if t.results == nil {
		t.results = make(map[string]map[string][]Result)
	}
	if t.results[row] == nil {
		t.results[row] = make(map[string][]Result)
	}
	t.results[row][server] = append(t.results[row][server], r)
}

// Fail notes that one could not be taken.
func (t *Table) Fail(row, server string, err error) {
	if t.errors == nil {
		t.errors = make(map[string]map[string]error)
	}
	if t.errors[row] == nil {
		t.errors[row] = make(map[string]error)
	}
	t.errors[row][server] = err
}

// Cell returns the median of a row for a server, ok false where there is none.
func (t *Table) Cell(row, server string) (Cell, bool) {
	rs := t.results[row][server]
	if len(rs) == 0 {
		return Cell{}, false
	}
	return median(rs), true
}

// subject is whose figures are compared with everyone else's.
const subject = "sabir"

// Write prints the table as Markdown: each server's figures, then what they are
// in relation to Sabir's, then the threshold and whether it holds.
func (t *Table) Write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| work |")
	for _, s := range t.Servers {
		fmt.Fprintf(&b, " %s |", s)
	}
	b.WriteString(" must | aim | verdict |\n|---|" + strings.Repeat("---|", len(t.Servers)+3) + "\n")
	for _, row := range t.Rows {
		own, measured := t.Cell(row.Key, subject)
		fmt.Fprintf(&b, "| %s |", row.Title)
		for _, s := range t.Servers {
			fmt.Fprintf(&b, " %s |", t.show(row, s, own, measured))
		}
		must, aim := "≤ "+row.Unit.Format(row.Must), row.Unit.Format(row.Aim)
		if row.MustShare > 0 {
			must, aim = fmt.Sprintf("≤ %.2f of the best other", row.MustShare), "-"
		}
		if row.MustP99 > 0 {
			must += ", p99 ≤ " + millis(row.MustP99)
		}
		fmt.Fprintf(&b, " %s | %s | %s |\n", must, aim, t.verdict(row, own, measured))
	}
	for _, row := range t.Rows {
		for _, s := range t.Servers {
			if err := t.errors[row.Key][s]; err != nil {
				fmt.Fprintf(&b, "\n%s, %s: %v\n", row.Key, s, err)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// show writes one cell: the value, latencies, spread, and the ratio to Sabir's.
func (t *Table) show(row Row, server string, own Cell, measured bool) string {
	c, ok := t.Cell(row.Key, server)
	if !ok {
		if t.errors[row.Key][server] != nil {
			return "failed"
		}
		return "-"
	}
	text := row.Unit.Format(c.Value)
	if c.P99 > 0 {
		text += "; " + millis(c.P50) + ", " + millis(c.P99)
	}
	if measured && server != subject && own.Value > 0 {
		text += fmt.Sprintf(" (×%.1f)", c.Value/own.Value)
	}
	return text
}

func (t *Table) verdict(row Row, own Cell, measured bool) string {
	if row.MustShare > 0 {
		best, found := t.best(row.Key)
		switch {
		case !measured || !found:
			return "-"
		case own.Value > row.MustShare*best:
			return "misses"
		}
		return "holds"
	}
	switch {
	case !measured:
		return "-"
	case own.Value > row.Must || row.MustP99 > 0 && own.P99 > row.MustP99:
		return "misses"
	case own.Value > row.Aim:
		return "holds"
	}
	return "aim reached"
}

// best returns the least that any other server takes.
func (t *Table) best(row string) (v float64, found bool) {
	for _, s := range t.Servers {
		if c, ok := t.Cell(row, s); ok && s != subject && (!found || c.Value < v) {
			v, found = c.Value, true
		}
	}
	return v, found
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// All returns every measurement, by row key and server name.
func (t *Table) All() map[string]map[string][]Result { return t.results }
