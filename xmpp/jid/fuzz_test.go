package jid

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// FuzzJID checks what an address must keep to whatever is read: no panic, preparation is idempotent, the parts obey the lengths
// and make up the whole, and the local- and resourcepart are what PRECIS says, the ASCII shortcut included.
func FuzzJID(f *testing.F) {
	for _, s := range []string{
		"", "a", "a@b", "a@b/c", "A@B/C", "a@b/@/c", "@b", "a@", "a@b/", "xn--bcher-kva.example", "a@\u00fc.example./\u2000",
		"\uff21@\uff42\uff0ec", "[::1]", "[::ffff:1.2.3.4]/x", "a@b..", "\u03c3\u03c2\u03a3@\u03a3", "\u0130@\u0130", "\u13a0@\uab70",
		"\u05d0@\u05d0.a", "l\u00b7l@l\u00b7l", "\u0660@x", "\u1e9e@\u1e9e", "\uff71\uff9e@x", "a\xff@b", "\u1100\u1161\u11a8@b",
		"\u00b5@\u2126", "\u01c5@\u01c5", "x/\u0344\u0390", "xn--a-0ca.x", "\u3131@\uffa1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rest, res, hasRes := strings.Cut(s, "/")
		local, _, hasLocal := strings.Cut(rest, "@")
		j, err := Parse(s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || !j.IsZero() {
				t.Fatalf("Parse(%+q) = %+q, %v", s, j, err)
			}
			if e.Part == LocalPart && hasLocal {
				agree(t, LocalPart, precis.UsernameCaseMapped, local, "", err)
			}
			if e.Part == ResourcePart && hasRes {
				agree(t, ResourcePart, precis.OpaqueString, res, "", err)
			}
			return
		}
		if k, err := Parse(j.String()); err != nil || k != j {
			t.Fatalf("Parse(%+q) = %+q, and that is %+q, %v", s, j, k, err)
		}
		if k, err := New(j.Local(), j.Domain(), j.Resource()); err != nil || k != j {
			t.Fatalf("New of the parts of %+q = %+q, %v", j, k, err)
		}
		for _, p := range []string{j.Local(), j.Domain(), j.Resource()} {
			if len(p) > MaxPart || !utf8.ValidString(p) {
				t.Fatalf("%+q has the part %+q", s, p)
			}
		}
		if j.Domain() == "" || (j.Local() != "") != hasLocal || (j.Resource() != "") != hasRes {
			t.Fatalf("%+q has the parts %+q, %+q, %+q", s, j.Local(), j.Domain(), j.Resource())
		}
		if strings.ContainsAny(j.Local(), "\"&'/:<>@ ") || strings.ContainsAny(j.Domain(), "/@ <>&'\"") || strings.HasSuffix(j.Domain(), ".") {
			t.Fatalf("%+q has the parts %+q, %+q", s, j.Local(), j.Domain())
		}
		if hasLocal {
			agree(t, LocalPart, precis.UsernameCaseMapped, local, j.Local(), nil)
		}
		if hasRes {
			agree(t, ResourcePart, precis.OpaqueString, res, j.Resource(), nil)
		}
		if j.Bare().Compare(j) > 0 || j.DomainJID().Compare(j.Bare()) > 0 || (j.Compare(j.Bare()) == 0) != j.IsBare() {
			t.Fatalf("%+q is not in order", j)
		}
		if u := Unescape(Escape(s)); u != s {
			t.Fatalf("Unescape(Escape(%+q)) = %+q", s, u)
		}
	})
}

// agree compares the preparation of a part, got or err, with that of PRECIS and the rules that XMPP adds to it.
func agree(t *testing.T, part Part, p *precis.Profile, in, got string, err error) {
	t.Helper()
	want, perr := p.String(in)
	again, aerr := p.String(want)
	ok := perr == nil && aerr == nil && again == want && want != "" && len(want) <= MaxPart && len(in) <= maxRaw && utf8.ValidString(in)
	if part == LocalPart {
		ok = ok && !strings.ContainsAny(want, "\"&'/:<>@")
	}
	if ok != (err == nil) || ok && want != got {
		t.Fatalf("%s %+q: got %+q, %v; PRECIS says %+q, %v", part, in, got, err, want, perr)
	}
}
