package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sabir/internal/disk"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // of the key; 1 and 1 where something is missing altogether
	Column  int    `json:"column"`
	Key     string `json:"key"`     // such as "limits.resources" or "host[0].domain"; "" for the syntax
	Problem string `json:"problem"` // what is wrong
	Cure    string `json:"cure"`    // what to do; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Key != "" {
		s += e.Key + ": "
	}
	s += e.Problem
	if e.Cure != "" {
		s += " (" + e.Cure + ")"
	}
	return s
}

// Errors are all that is wrong with a configuration, in the order of the file.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors one by one.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

// reader collects what is wrong while a file is read.
type reader struct {
	file   string
	files  disk.FS
	at     positions
	errors Errors
}

// problem notes that something is wrong with the value of a key.
func (r *reader) problem(key, cure, format string, args ...any) {
	p := r.at.find(key)
	r.errors = append(r.errors, &Error{File: r.file, Line: p.line, Column: p.column, Key: key, Problem: fmt.Sprintf(format, args...), Cure: cure})
}

// err returns what was found, or nil.
func (r *reader) err() error {
	if len(r.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.errors
}

// unknown notes a key that does not exist and offers the one that was probably meant.
func (r *reader) unknown(key, name string, known []string, what string) {
	cure := ""
	if best := nearest(name, known); best != "" {
		cure = fmt.Sprintf("did you mean %s?", best)
	} else if len(known) == 0 {
		cure = "remove it"
	} else {
		known = slices.Clone(known)
		slices.Sort(known)
		cure = "known here: " + strings.Join(known, ", ")
	}
	r.problem(key, cure, "unknown %s", what)
}

// nearest returns the name that is at most a third of its letters away, or "".
func nearest(name string, known []string) string {
	best, least := "", len(name)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with the next to get from a to b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
