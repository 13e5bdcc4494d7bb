package jid

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestParseValid(t *testing.T) {
	long := strings.Repeat("a", MaxPart)
	for _, c := range []struct{ in, local, domain, resource string }{
		{"juliet@example.com", "juliet", "example.com", ""},
		{"juliet@example.com/foo", "juliet", "example.com", "foo"},
		{"juliet@example.com/foo bar", "juliet", "example.com", "foo bar"},
		{"juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"},
		{"juliet@example.com//", "juliet", "example.com", "/"},
		{"example.com/a/b@c//", "", "example.com", "a/b@c//"},
		{"a.example.com/b@example.net", "", "a.example.com", "b@example.net"},
		{"foo\\20bar@example.com", "foo\\20bar", "example.com", ""},
		{"fussball@example.com", "fussball", "example.com", ""},
		{"fu\u00dfball@example.com", "fu\u00dfball", "example.com", ""},
		{"\u03c0@example.com", "\u03c0", "example.com", ""},
		{"\u03a3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c2@example.com/foo", "\u03c2", "example.com", "foo"},
		{"king@example.com/\u265a", "king", "example.com", "\u265a"},
		{"Juliet@Example.COM/Balcony", "juliet", "example.com", "Balcony"},
		{"\uff2a\uff55\uff4c@example.com", "jul", "example.com", ""},
		{"caf\u0065\u0301@example.com/e\u0301", "caf\u00e9", "example.com", "\u00e9"},
		{"a@b/\u2000x\u3000", "a", "b", " x "},
		{"a@b/ ", "a", "b", " "},
		{"example.com.", "", "example.com", ""},
		{"a@example.com./r", "a", "example.com", "r"},
		{"example\u3002com", "", "example.com", ""},
		{"example\uff0ecom\uff61", "", "example.com", ""},
		{"b\u00fccher.example", "", "b\u00fccher.example", ""},
		{"B\u00dcCHER.example", "", "b\u00fccher.example", ""},
		{"bu\u0308cher.example", "", "b\u00fccher.example", ""},
		{"xn--bcher-kva.example", "", "b\u00fccher.example", ""},
		{"XN--BCHER-KVA.Example.", "", "b\u00fccher.example", ""},
		{"\uff45\uff58\uff21.com", "", "exa.com", ""},
		{"stra\u00dfe.example", "", "stra\u00dfe.example", ""},
		{"a.\u05d0\u05d1.\u05d2", "", "a.\u05d0\u05d1.\u05d2", ""},
		{"\u30a2\u30fb\u30a2.example", "", "\u30a2\u30fb\u30a2.example", ""},
		{"\uff71\uff72.example", "", "\u30a2\u30a4.example", ""},
		{"\u13a0\u13a1.example", "", "\u13a0\u13a1.example", ""},
		{"\uab70\u13a1.example", "", "\u13a0\u13a1.example", ""},
		{"l\u00b7l.example", "", "l\u00b7l.example", ""},
		{"\u0915\u094d\u200d\u0937.example", "", "\u0915\u094d\u200d\u0937.example", ""},
		{"192.168.1.1", "", "192.168.1.1", ""},
		{"u@\uff11.2.3.4", "u", "1.2.3.4", ""},
		{"u@[::1]/r", "u", "[::1]", "r"},
		{"u@[2001:0DB8:0:0::1]", "u", "[2001:db8::1]", ""},
		{"[::ffff:192.0.2.1]", "", "[::ffff:192.0.2.1]", ""},
		{"1@2", "1", "2", ""},
		{"a-b@a-b--c.d", "a-b", "a-b--c.d", ""},
		{"!#$%()*+,-.;=?[\\]^_`{|}~@example.com", "!#$%()*+,-.;=?[\\]^_`{|}~", "example.com", ""},
		{long + "@" + "example.com/" + long, long, "example.com", long},
		{strings.Repeat("\uff41", MaxPart) + "@b", long, "b", ""},
		{strings.Repeat("a.", 511) + "a", "", strings.Repeat("a.", 511) + "a", ""},
		{strings.Repeat("a.", 511) + "a.", "", strings.Repeat("a.", 511) + "a", ""},
		{strings.Repeat("a", 63) + ".b", "", strings.Repeat("a", 63) + ".b", ""},
	} {
		j, err := Parse(c.in)
		if err != nil {
			t.Errorf("Parse(%+q): %v", c.in, err)
			continue
		}
		if j.Local() != c.local || j.Domain() != c.domain || j.Resource() != c.resource {
			t.Errorf("Parse(%+q) = %+q, %+q, %+q", c.in, j.Local(), j.Domain(), j.Resource())
		}
		if k := MustParse(j.String()); k != j {
			t.Errorf("Parse(%+q) is not idempotent: %+q", c.in, k)
		}
		if k, err := New(c.local, c.domain, c.resource); err != nil || k != j {
			t.Errorf("New(%+q...) = %+q, %v", c.local, k, err)
		}
	}
}

func TestParseInvalid(t *testing.T) {
	long := strings.Repeat("a", MaxPart)
	for _, c := range []struct {
		in   string
		part Part
	}{
		{"", DomainPart},
		{"@", LocalPart},
		{"/", ResourcePart},
		{"@/", ResourcePart},
		{"@example.com", LocalPart},
		{"@example.com/", ResourcePart},
		{"/foobar", DomainPart},
		{"user@", DomainPart},
		{"user@/resource", DomainPart},
		{"user@example.com/", ResourcePart},
		{"@/resource", LocalPart},
		{"a@b@c", DomainPart},
		{"\"juliet\"@example.com", LocalPart},
		{"a&b@example.com", LocalPart},
		{"a'b@example.com", LocalPart},
		{"a:b@example.com", LocalPart},
		{"a<b@example.com", LocalPart},
		{"a>b@example.com", LocalPart},
		{"foo bar@example.com", LocalPart},
		{" @example.com", LocalPart},
		{"\u2000@example.com", LocalPart},
		{"a\uff20b@example.com", LocalPart},
		{"a\uff0fb@example.com", LocalPart},
		{"a\uff02b@example.com", LocalPart},
		{"henry\u2163@example.com", LocalPart},
		{"\u265a@example.com", LocalPart},
		{"a\u00b7b@example.com", LocalPart},
		{"a\u200db@example.com", LocalPart},
		{"\u05d0a@example.com", LocalPart},
		{"a\x00@example.com", LocalPart},
		{"a\x7f@example.com", LocalPart},
		{"a\xff@example.com", LocalPart},
		{"a\xed\xa0\x80@example.com", LocalPart},
		{long + "a@b", LocalPart},
		{strings.Repeat("\u00fc", 512) + "@b", LocalPart},
		{strings.Repeat("\uff41", MaxPart+1) + "@b", LocalPart},
		{"a@b/" + long + "a", ResourcePart},
		{"a@b/" + strings.Repeat("\u00fc", 512), ResourcePart},
		{"a@b/x\x00y", ResourcePart},
		{"a@b/x\ny", ResourcePart},
		{"a@b/x\u202ey", ResourcePart},
		{"a@b/x\xc3", ResourcePart},
		{"a@b/x\ufdd0", ResourcePart},
		{"a@b c", DomainPart},
		{"a@b_c", DomainPart},
		{"a@-b", DomainPart},
		{"a@b-.c", DomainPart},
		{"a@ab--c.d", DomainPart},
		{"a@.", DomainPart},
		{"a@..", DomainPart},
		{"a@b..", DomainPart},
		{"a@.b", DomainPart},
		{"a@b..c", DomainPart},
		{"a@b\u3002\u3002", DomainPart},
		{"a@b\uff0fc", DomainPart},
		{"a@b\uff20c", DomainPart},
		{"a@b\u2100c", DomainPart},
		{"a@\u2603.example", DomainPart},
		{"a@\u2163.example", DomainPart},
		{"a@\u0301a.example", DomainPart},
		{"a@a\u00b7b.example", DomainPart},
		{"a@a\u200db.example", DomainPart},
		{"a@\u30fb.example", DomainPart},
		{"a@1\u05d0.example", DomainPart},
		{"a@1.\u05d0\u05d1", DomainPart},
		{"a@\u0660\u06f0.example", DomainPart},
		{"a@xn--a", DomainPart},
		{"a@xn--", DomainPart},
		{"a@xn--example-", DomainPart},
		{"a@xn--BCHER-KVA\u00fc", DomainPart},
		{"a@xn--n3h.example", DomainPart}, // a snowman
		{"a@b\xff", DomainPart},
		{"a@" + strings.Repeat("a", 64), DomainPart},
		{"a@" + strings.Repeat("\u00fc", 62), DomainPart},
		{"a@" + strings.Repeat("a.", 512) + "a", DomainPart},
		{"u@" + strings.Repeat("d", 1024), DomainPart},
		{"a@" + strings.Repeat("d.", 1<<20), DomainPart},
		{"a@[::1", DomainPart},
		{"a@[]", DomainPart},
		{"a@[", DomainPart},
		{"a@[1.2.3.4]", DomainPart},
		{"a@[fe80::1%eth0]", DomainPart},
		{"a@[::1].", DomainPart},
		{"a@::1", DomainPart},
		{"a@[v1.x]", DomainPart},
		{"a@b:5222", DomainPart},
	} {
		j, err := Parse(c.in)
		var e *Error
		if !errors.As(err, &e) || e.Part != c.part || !j.IsZero() {
			t.Errorf("Parse(%+.40q) = %+.40q, %v; want an error of the %s", c.in, j, err, c.part)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		in                       string
		zero, bare, full, domain bool
		bareOf, domainOf         string
	}{
		{"", true, false, false, false, "", ""},
		{"d", false, true, false, true, "d", "d"},
		{"d/r", false, false, true, false, "d", "d"},
		{"l@d", false, true, false, false, "l@d", "d"},
		{"l@d/r", false, false, true, false, "l@d", "d"},
	} {
		var j JID
		if c.in != "" {
			j = MustParse(c.in)
		}
		if j.IsZero() != c.zero || j.IsBare() != c.bare || j.IsFull() != c.full || j.IsDomain() != c.domain {
			t.Errorf("%q: zero %v, bare %v, full %v, domain %v", c.in, j.IsZero(), j.IsBare(), j.IsFull(), j.IsDomain())
		}
		if j.Bare().String() != c.bareOf || j.DomainJID().String() != c.domainOf {
			t.Errorf("%q: bare %q, domain %q", c.in, j.Bare(), j.DomainJID())
		}
		if !c.zero && (j.Bare() != MustParse(c.bareOf) || j.DomainJID() != MustParse(c.domainOf)) {
			t.Errorf("%q: Bare or DomainJID is not == to the address of the same text", c.in)
		}
		k, err := j.WithResource("x")
		if c.zero {
			if err == nil {
				t.Errorf("WithResource of the zero JID gave %q", k)
			}
		} else if err != nil || k != MustParse(c.bareOf+"/x") {
			t.Errorf("%q: WithResource gave %q, %v", c.in, k, err)
		}
	}
	for _, r := range []string{"", "\n", "\xff"} {
		if k, err := MustParse("l@d").WithResource(r); err == nil {
			t.Errorf("WithResource(%q) gave %q", r, k)
		}
	}
	if k, err := MustParse("l@d").WithResource("e\u0301"); err != nil || k.Resource() != "\u00e9" {
		t.Errorf("WithResource did not prepare: %+q, %v", k, err)
	}
}

func TestNewRefusesSeparators(t *testing.T) {
	for _, c := range [][3]string{
		{"a/b", "c", ""}, {"a@b", "c", ""}, {"a", "b/c", ""}, {"a", "b@c", ""}, {"a", "", "r"}, {"", "", ""},
	} {
		if j, err := New(c[0], c[1], c[2]); err == nil {
			t.Errorf("New(%q) = %q", c, j)
		}
	}
}

func TestCompare(t *testing.T) {
	want := []string{"a", "a/r", "a@a", "a@a/1", "a@a/2", "b@a", "a@b"}
	js := make([]JID, len(want))
	for i, s := range want {
		js[len(want)-1-i] = MustParse(s)
	}
	slices.SortFunc(js, JID.Compare)
	for i, j := range js {
		if j.String() != want[i] {
			t.Fatalf("sorted as %v", js)
		}
		if j.Compare(j) != 0 || (JID{}).Compare(j) != -1 {
			t.Errorf("Compare of %q with itself or the zero JID", j)
		}
	}
}

func TestText(t *testing.T) {
	type doc struct {
		A, B JID
		M    map[JID]int
	}
	in := doc{A: MustParse("l@d/r"), M: map[JID]int{MustParse("x@y"): 1}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out doc
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if out.A != in.A || !out.B.IsZero() || out.M[MustParse("x@y")] != 1 {
		t.Errorf("%s became %+v", b, out)
	}
	j := in.A
	if err := j.UnmarshalText([]byte("a b@c")); err == nil || j != in.A {
		t.Errorf("UnmarshalText of a bad address: %v, %q", err, j)
	}
	if a, err := in.A.AppendText([]byte("x:")); err != nil || string(a) != "x:l@d/r" {
		t.Errorf("AppendText: %q, %v", a, err)
	}
}

func TestMustParsePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParse("@")
}

func TestEscape(t *testing.T) {
	// The table of XEP-0106#examples-xmpp and the cases of #bizrules-exceptions.
	for _, c := range []struct{ plain, escaped string }{
		{``, ``},
		{`juliet`, `juliet`},
		{`space cadet`, `space\20cadet`},
		{`call me "ishmael"`, `call\20me\20\22ishmael\22`},
		{`at&t guy`, `at\26t\20guy`},
		{`d'artagnan`, `d\27artagnan`},
		{`/.fanboy`, `\2f.fanboy`},
		{`::foo::`, `\3a\3afoo\3a\3a`},
		{`<foo>`, `\3cfoo\3e`},
		{`user@host`, `user\40host`},
		{`c:\net`, `c\3a\net`},
		{`c:\\net`, `c\3a\\net`},
		{`c:\cool stuff`, `c\3a\cool\20stuff`},
		{`c:\5commas`, `c\3a\5c5commas`},
		{`\3and\2is\5cool`, `\5c3and\2is\5c5cool`},
		{`\2plus\2is\4`, `\2plus\2is\4`},
		{`foo\bar`, `foo\bar`},
		{`foob\41r`, `foob\41r`},
		{`\5c`, `\5c5c`},
		{`\5c20`, `\5c5c20`},
		{`\20x\20`, `\5c20x\5c20`},
		{`\3A`, `\3A`},
		{`tr\`, `tr\`},
		{`x\2`, `x\2`},
		{" a  b ", ` a\20\20b `},
		{" ", " "},
	} {
		if e := Escape(c.plain); e != c.escaped {
			t.Errorf("Escape(%q) = %q, want %q", c.plain, e, c.escaped)
		}
		if u := Unescape(c.escaped); u != c.plain {
			t.Errorf("Unescape(%q) = %q, want %q", c.escaped, u, c.plain)
		}
	}
	for in, want := range map[string]string{`\20a`: `\20a`, `a\20`: `a\20`, `\20`: `\20`, `\20a\20b\20`: `\20a b\20`} {
		if u := Unescape(in); u != want {
			t.Errorf("Unescape(%q) = %q, want %q", in, u, want)
		}
	}
	if p, err := PrepareLocal(Escape(" a")); err == nil {
		t.Errorf("a leading space became %q", p)
	}
}

var sink JID

func TestNoAllocation(t *testing.T) {
	j := MustParse("juliet@example.com/balcony")
	for name, f := range map[string]func(){
		"Parse full":   func() { sink = MustParse("juliet@example.com/balcony 1") },
		"Parse bare":   func() { sink = MustParse("juliet@example.com") },
		"Parse domain": func() { sink = MustParse("example.com") },
		"Bare":         func() { sink = j.Bare() },
		"DomainJID":    func() { sink = j.DomainJID() },
		"parts":        func() { _ = j.Local() + j.Domain()[:0] + j.Resource()[:0] },
		"Compare":      func() { _ = j.Compare(j.Bare()) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestClone(t *testing.T) {
	text := "juliet@example.com/gajim"
	j := MustParse(text)
	k := j.Clone()
	if k != j || k.Bare() != j.Bare() || k.Domain() != j.Domain() || unsafe.StringData(k.String()) == unsafe.StringData(text) {
		t.Errorf("%q is no copy of %q", k, j)
	}
	if !(JID{}).Clone().IsZero() {
		t.Error("no address has become one")
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"domain", "example.com"},
		{"bare", "juliet@example.com"},
		{"full", "juliet@example.com/gajim.7QX2M1"},
		{"upper", "Juliet@Example.COM/gajim.7QX2M1"},
		{"unicode", "jülïet@bücher.example/балкон"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j, err := Parse(c.in)
				if err != nil {
					b.Fatal(err)
				}
				sink = j
			}
		})
	}
}

func BenchmarkBare(b *testing.B) {
	b.ReportAllocs()
	j := MustParse("juliet@example.com/gajim.7QX2M1")
	for b.Loop() {
		sink = j.Bare()
	}
}
