package roster

import (
	"strings"
	"testing"
)

// appendixA is the content of the tables of RFC 6121 appendix A.2 and A.3: the state before, whether the stanza MUST
// (yes) or MUST NOT (no) be routed or delivered, and the state after.
var appendixA = [events]string{
	sentSubscribe: `
		None                     yes  None + Pending Out
		None + Pending Out       yes  None + Pending Out
		None + Pending In        yes  None + Pending Out+In
		None + Pending Out+In    yes  None + Pending Out+In
		To                       yes  To
		To + Pending In          yes  To + Pending In
		From                     yes  From + Pending Out
		From + Pending Out       yes  From + Pending Out
		Both                     yes  Both`,
	sentUnsubscribe: `
		None                     yes  None
		None + Pending Out       yes  None
		None + Pending In        yes  None + Pending In
		None + Pending Out+In    yes  None + Pending In
		To                       yes  None
		To + Pending In          yes  None + Pending In
		From                     yes  From
		From + Pending Out       yes  From
		Both                     yes  From`,
	sentSubscribed: `
		None                     no   None
		None + Pending Out       no   None + Pending Out
		None + Pending In        yes  From
		None + Pending Out+In    yes  From + Pending Out
		To                       no   To
		To + Pending In          yes  Both
		From                     no   From
		From + Pending Out       no   From + Pending Out
		Both                     no   Both`,
	sentUnsubscribed: `
		None                     no   None
		None + Pending Out       no   None + Pending Out
		None + Pending In        yes  None
		None + Pending Out+In    yes  None + Pending Out
		To                       no   To
		To + Pending In          yes  To
		From                     yes  None
		From + Pending Out       yes  None + Pending Out
		Both                     yes  To`,
	gotSubscribe: `
		None                     yes  None + Pending In
		None + Pending Out       yes  None + Pending Out+In
		None + Pending In        no   None + Pending In
		None + Pending Out+In    no   None + Pending Out+In
		To                       yes  To + Pending In
		To + Pending In          no   To + Pending In
		From                     no   From
		From + Pending Out       no   From + Pending Out
		Both                     no   Both`,
	gotUnsubscribe: `
		None                     no   None
		None + Pending Out       no   None + Pending Out
		None + Pending In        yes  None
		None + Pending Out+In    yes  None + Pending Out
		To                       no   To
		To + Pending In          yes  To
		From                     yes  None
		From + Pending Out       yes  None + Pending Out
		Both                     yes  To`,
	gotSubscribed: `
		None                     no   None
		None + Pending Out       yes  To
		None + Pending In        no   None + Pending In
		None + Pending Out+In    yes  To + Pending In
		To                       no   To
		To + Pending In          no   To + Pending In
		From                     no   From
		From + Pending Out       yes  Both
		Both                     no   Both`,
	gotUnsubscribed: `
		None                     no   None
		None + Pending Out       yes  None
		None + Pending In        no   None + Pending In
		None + Pending Out+In    yes  None + Pending In
		To                       yes  None
		To + Pending In          yes  None + Pending In
		From                     no   From
		From + Pending Out       yes  From
		Both                     yes  From`,
}

var nineStates = [...]state{none, noneOut, noneIn, noneOutIn, to, toIn, from, fromOut, both}

func TestTableIsThatOfAppendixA(t *testing.T) {
	for e, text := range appendixA {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if len(lines) != len(nineStates) {
			t.Fatalf("table %d has %d rows", e, len(lines))
		}
		for i, line := range lines {
			before, rest, ok := strings.Cut(line, "  ")
			pass, after, ok2 := strings.Cut(strings.TrimSpace(rest), " ")
			if !ok || !ok2 {
				t.Fatalf("cannot read %q", line)
			}
			if got := nineStates[i].String(); got != strings.TrimSpace(before) {
				t.Errorf("state %d is called %q, want %q", i, got, strings.TrimSpace(before))
			}
			p, then := nineStates[i].on(event(e))
			if p != (pass == "yes") || then.String() != strings.TrimSpace(after) {
				t.Errorf("table %d: %s: got %v, %s; want %s,%s", e, nineStates[i], p, then, pass, after)
			}
		}
	}
}

// TestSidesAgree lets two accounts talk to each other through the table alone: after any sequence of stanzas their states
// mirror each other, as no stanza is lost.
func TestSidesAgree(t *testing.T) {
	type pair struct{ a, b state }
	seen := map[pair]bool{}
	var walk func(p pair)
	walk = func(p pair) {
		if seen[p] {
			return
		}
		seen[p] = true
		if (p.a&bitTo != 0) != (p.b&bitFrom != 0) || (p.a&bitFrom != 0) != (p.b&bitTo != 0) ||
			(p.a&bitOut != 0) != (p.b&bitIn != 0) || (p.a&bitIn != 0) != (p.b&bitOut != 0) {
			t.Errorf("one side is in %q, the other in %q", p.a, p.b)
		}
		for e := range gotSubscribe {
			if pass, a := p.a.on(e); pass {
				_, b := p.b.on(e + gotSubscribe)
				walk(pair{a, b})
			}
			if pass, b := p.b.on(e); pass {
				_, a := p.a.on(e + gotSubscribe)
				walk(pair{a, b})
			}
		}
	}
	walk(pair{none, none})
	if len(seen) != len(nineStates) {
		t.Errorf("%d pairs of states were reached, want each of the %d states once", len(seen), len(nineStates))
	}
}

func TestStateNames(t *testing.T) {
	if got := state(bitIn | bitFrom).String(); got != "no state" {
		t.Errorf("an impossible state is called %q", got)
	}
	if pass, then := state(bitIn | bitFrom).on(gotSubscribe); pass || then != bitIn|bitFrom {
		t.Errorf("an impossible state passes %v and becomes %v", pass, then)
	}
	want := map[state]string{none: "none", noneOutIn: "none", toIn: "to", fromOut: "from", both: "both"}
	for s, sub := range want {
		if got := s.subscription().String(); got != sub {
			t.Errorf("%s shows as %q, want %q", s, got, sub)
		}
	}
}
