package modtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Any stands in the XML of Expect for any value of an attribute and any text.
const Any = "{any}"

// Expect compares a stanza with the XML that is wanted. The stanza itself may have attributes beyond those of want; inside
// of it all attributes and all children count, these in order. White space between elements does not.
func Expect(t testing.TB, got *stanza.Stanza, want string) {
	t.Helper()
	if got == nil {
		t.Errorf("got no stanza, want %s", want)
		return
	}
	w := XML(t, want)
	g := tree(t, got)
	if diff := compare(g, w, true); diff != "" {
		t.Errorf("%s\n got %s\nwant %s", diff, g, w)
	}
}

// ExpectAll compares a list of stanzas with the XML that is wanted, in order.
func ExpectAll(t testing.TB, got []*stanza.Stanza, want ...string) {
	t.Helper()
	for i, s := range got {
		if i >= len(want) {
			t.Errorf("got one more: %s", s)
			continue
		}
		Expect(t, s, want[i])
	}
	for _, w := range want[min(len(got), len(want)):] {
		t.Errorf("missing: %s", w)
	}
}

// ExpectError checks that the stanza is an error of this type and condition.
func ExpectError(t testing.TB, got *stanza.Stanza, typ stanza.ErrorType, c stanza.Condition) {
	t.Helper()
	if got == nil {
		t.Errorf("got no stanza, want the error %s", c)
		return
	}
	e := got.Err()
	if e == nil {
		t.Errorf("got %s, want the error %s", got, c)
		return
	}
	if e.Condition != c || e.Type != typ {
		t.Errorf("got the error %s (%s), want %s (%s)", e, e.Type, c, typ)
	}
}

// tree returns a stanza as the recipient's parser sees it.
func tree(t testing.TB, s *stanza.Stanza) *xmlstream.Element {
	t.Helper()
	return XML(t, s.String())
}

// compare returns "" where got is as wanted, otherwise where they part.
func compare(got, want *xmlstream.Element, lax bool) string {
	if got.Name != want.Name {
		return fmt.Sprintf("element {%s}%s, want {%s}%s", got.Name.Space, got.Name.Local, want.Name.Space, want.Name.Local)
	}
	if diff := compareAttrs(got, want, lax); diff != "" {
		return diff
	}
	gk, wk := slices.Collect(got.Elements()), slices.Collect(want.Elements())
	for i := range min(len(gk), len(wk)) {
		if diff := compare(gk[i], wk[i], false); diff != "" {
			return "in " + want.Name.Local + ": " + diff
		}
	}
	if len(gk) != len(wk) {
		return fmt.Sprintf("%s has %d children, want %d", got.Name.Local, len(gk), len(wk))
	}
	gt, wt := strings.TrimSpace(got.Text()), strings.TrimSpace(want.Text())
	if gt != wt && wt != Any {
		return fmt.Sprintf("text of %s is %q, want %q", got.Name.Local, gt, wt)
	}
	return ""
}

func compareAttrs(got, want *xmlstream.Element, lax bool) string {
	for _, a := range want.Attrs {
		v, ok := got.LookupAttr(a.Name)
		if !ok {
			return fmt.Sprintf("%s lacks the attribute %s", got.Name.Local, a.Name.Local)
		}
		if v != a.Value && a.Value != Any {
			return fmt.Sprintf("attribute %s of %s is %q, want %q", a.Name.Local, got.Name.Local, v, a.Value)
		}
	}
	if lax {
		return ""
	}
	for _, a := range got.Attrs {
		if _, ok := want.LookupAttr(a.Name); !ok {
			return fmt.Sprintf("%s has an attribute %s=%q too many", got.Name.Local, a.Name.Local, a.Value)
		}
	}
	return ""
}

// ExpectFailed checks that got is the answer of a command that was given rightly and failed for a reason (XEP-0050#impl-commands), of which
// why is a part.
func ExpectFailed(t testing.TB, got *stanza.Stanza, why string) {
	t.Helper()
	const ns = "http://jabber.org/protocol/commands"
	c := got.Child(ns, "command")
	note := c.Child(ns, "note")
	if c.Attr("status") != "completed" || note.Attr("type") != "error" || !strings.Contains(note.Text(), why) {
		t.Errorf("got %s, want a command that has failed: %s", got, why)
	}
}
