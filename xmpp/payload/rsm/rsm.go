// Package rsm owns the notation of result set management (XEP-0059): which page of a long answer is asked for, and which one
// was given.
package rsm

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"sabir/xmpp/xmlstream"
)

// NS is the namespace of <set/>.
const NS = "http://jabber.org/protocol/rsm"

// Request asks for a page.
type Request struct {
	// Max is how many items there may be, -1 where the request does not say. 0 asks for the count alone (XEP-0059#count).
	Max int
	// After and Before are ids of items which the page follows or precedes, or "".
	After, Before string
	// Last asks for the last page: an empty <before/> (XEP-0059#last).
	Last bool
	// Index is the position of the first item, -1 where the request does not say (XEP-0059#jump).
	Index int
}

// All asks for the first page, as large as the answering side likes.
func All() Request { return Request{Max: -1, Index: -1} }

// Parse reads a <set/> of a request. An element that is there twice, and a number that is none, are errors, as are the
// combinations without a meaning: before with after, and an index with either. An empty <after/> asks for the first page.
func Parse(x *xmlstream.Element) (Request, error) {
	r := All()
	if !x.Is(NS, "set") {
		return r, fmt.Errorf("rsm: not a <set/> of %s", NS)
	}
	seen := [4]bool{}
	for e := range x.Elements() {
		if e.Name.Space != NS {
			continue
		}
		var i int
		var err error
		switch e.Name.Local {
		case "max":
			r.Max, err = number(e)
		case "after":
			i, r.After = 1, e.Text()
		case "before":
			i, r.Before = 2, e.Text()
			r.Last = r.Before == ""
		case "index":
			i = 3
			r.Index, err = number(e)
		default:
			continue
		}
		if err != nil {
			return r, err
		}
		if seen[i] {
			return r, fmt.Errorf("rsm: <%s/> is there twice", e.Name.Local)
		}
		seen[i] = true
	}
	if seen[2] && r.After != "" || seen[3] && (seen[2] || r.After != "") {
		return r, fmt.Errorf("rsm: before, after and index exclude each other")
	}
	return r, nil
}

// number reads a number that is not negative. What no int32 holds is the largest one.
func number(e *xmlstream.Element) (int, error) {
	s := strings.TrimSpace(e.Text())
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("rsm: <%s/> holds no number", e.Name.Local)
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil { // digits alone: it is too large
		return math.MaxInt32, nil
	}
	return int(n), nil
}

// Element returns the request as a <set/>.
func (r Request) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "set")
	if r.Max >= 0 {
		x.Add(xmlstream.El(NS, "max", strconv.Itoa(r.Max)))
	}
	if r.After != "" {
		x.Add(xmlstream.El(NS, "after", r.After))
	}
	switch {
	case r.Last:
		x.Add(xmlstream.El(NS, "before"))
	case r.Before != "":
		x.Add(xmlstream.El(NS, "before", r.Before))
	}
	if r.Index >= 0 {
		x.Add(xmlstream.El(NS, "index", strconv.Itoa(r.Index)))
	}
	return x
}

// Answer tells which page was given.
type Answer struct {
	// First and Last are the ids of the first and the last item in the order of the set; "" where the page is empty.
	First, Last string
	// Index is the position of the first item in the set, -1 where it is not known.
	Index int64
	// Count is how many items the set has, -1 where it is not known.
	Count int64
}

// Element returns the answer as a <set/>.
func (a Answer) Element() *xmlstream.Element {
	x := xmlstream.El(NS, "set")
	if a.First != "" {
		first := xmlstream.El(NS, "first", a.First)
		if a.Index >= 0 {
			first.Add(xmlstream.A("index", strconv.FormatInt(a.Index, 10)))
		}
		x.Add(first, xmlstream.El(NS, "last", a.Last))
	}
	if a.Count >= 0 {
		x.Add(xmlstream.El(NS, "count", strconv.FormatInt(a.Count, 10)))
	}
	return x
}
