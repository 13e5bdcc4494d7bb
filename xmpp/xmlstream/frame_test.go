package xmlstream

import (
	"strings"
	"testing"
)

// only feeds one element into an open stream and returns its frame.
func only(t *testing.T, d *Decoder, s string) *Frame {
	t.Helper()
	d.Feed([]byte(s))
	ev, err := d.Next()
	if err != nil || ev.Kind != FrameEvent {
		t.Fatalf("%s: %v, %v", s, ev, err)
	}
	if _, err := d.Next(); err != ErrMore {
		t.Fatalf("%s: %v behind it", s, err)
	}
	return ev.Frame
}

func TestFrame(t *testing.T) {
	f := only(t, openStream(t, Limits{}), "<message to='a@b' xml:lang='de' id='&#x41;&amp;'>\n <body>x &lt; y</body><p:x xmlns:p='urn:p' p:a='1'><y/></p:x><z xmlns=''/></message>")
	if f.Name() != (Name{"jabber:client", "message"}) || f.NS() != "jabber:client" || f.Prefixed() || f.HasText() || f.Decls() != "" {
		t.Errorf("%q %q %t %t %q", f.Name(), f.NS(), f.Prefixed(), f.HasText(), f.Decls())
	}
	if f.Attr("to") != "a@b" || f.Attr("id") != "A&" || f.Attr("lang") != "" || len(f.Attrs()) != 3 {
		t.Errorf("%q", f.Attrs())
	}
	if lang, ok := f.LookupAttr(Name{NSXML, "lang"}); lang != "de" || !ok {
		t.Errorf("xml:lang is %q, %t", lang, ok)
	}
	if _, ok := f.LookupAttr(Name{"", "from"}); ok {
		t.Error("there is no from")
	}
	if body := f.Child("jabber:client", "body"); body.Text() != "x < y" {
		t.Errorf("%q", body)
	}
	if x := f.ChildAt(1); !x.Is("urn:p", "x") || x.Attrs[0] != (Attr{Name{"urn:p", "a"}, "1"}) || !x.First().Is("jabber:client", "y") {
		t.Errorf("%q", x)
	}
	if f.ChildName(2) != (Name{"", "z"}) || f.ChildRaw(2) != "<z xmlns=''/>" || f.HasChild("jabber:client", "z") || f.Child("urn:p", "z") != nil {
		t.Errorf("%q %q", f.ChildName(2), f.ChildRaw(2))
	}
	if !strings.HasPrefix(f.Inner(), "\n <body>") || !strings.HasSuffix(f.Inner(), "<z xmlns=''/>") {
		t.Errorf("%q", f.Inner())
	}
}

// What leans on the stream header, or holds CDATA, is rewritten so that it stands alone.
func TestFrameRewritten(t *testing.T) {
	const head = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='u&apos;&lt;r' xmlns:q='urn:q'>"
	const declP = " xmlns:p='u&apos;&lt;r'"
	for _, c := range []struct{ in, raw, decls string }{
		{"<a/>", "<a/>", ""},
		{"<a p:b='c'/>", "<a" + declP + " p:b='c'/>", declP},
		{"<a><p:b/><q:c/><p:d/></a>", "<a" + declP + " xmlns:q='urn:q'><p:b/><q:c/><p:d/></a>", declP + " xmlns:q='urn:q'"},
		{"<p:a ><b/></p:a\n>", "<p:a" + declP + " ><b/></p:a\n>", declP},
		{"<a xmlns:p='v'><p:b/></a>", "<a xmlns:p='v'><p:b/></a>", " xmlns:p='v'"},
		{"<a><b xmlns:p='v'><p:b/></b><c p:d=''/></a>", "<a" + declP + "><b xmlns:p='v'><p:b/></b><c p:d=''/></a>", declP},
		{"<stream:error/>", "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>", " xmlns:stream='http://etherx.jabber.org/streams'"},
		{"<a><![CDATA[<&>]]]]></a>", "<a>&lt;&amp;&gt;]]</a>", ""},
		{"<a>]]<![CDATA[>]]></a>", "<a>]]&gt;</a>", ""},
		{"<a>]<![CDATA[]]>]></a>", "<a>]]&gt;</a>", ""},
		{"<a b='>'><![CDATA[x\r\ny\rz]]><c d=\"'>\"/>&gt;></a>", "<a b='>'>x\ny\nz<c d=\"'>\"/>&gt;&gt;</a>", ""},
		{"<a><p:b><![CDATA[]]></p:b></a>", "<a" + declP + "><p:b></p:b></a>", declP},
	} {
		d := NewDecoder(Limits{})
		if events, err := read(t, d, head); len(events) != 1 || err != nil {
			t.Fatal(events, err)
		}
		f := only(t, d, c.in)
		if f.Raw() != c.raw || f.Decls() != c.decls {
			t.Errorf("%s became %s with the declarations %s, should be %s with %s", c.in, f.Raw(), f.Decls(), c.raw, c.decls)
		}
		again, err := ParseFrame("<x xmlns='jabber:client'>"+f.Raw()+"</x>", Limits{})
		if err != nil {
			t.Errorf("%s does not stand alone: %v", f.Raw(), err)
		} else if !equal(again.ChildAt(0), f.Element()) {
			t.Errorf("%s is %s elsewhere, should be %s", f.Raw(), again.ChildAt(0), f.Element())
		}
	}
}

// Rewriting does not lead around the limits.
func TestFrameRewrittenLimits(t *testing.T) {
	uri := strings.Repeat("u", 200)
	head := "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='" + uri + "'>"
	l := Limits{Bytes: 400, Attrs: 5}
	for _, c := range []struct{ in, want string }{
		{"<a><p:b/></a>", ""},
		{"<a><p:b/>" + strings.Repeat("x", 400-len("<a xmlns:p=''><p:b/></a>")-len(uri)) + "</a>", ""},
		{"<a><p:b/>" + strings.Repeat("x", 401-len("<a xmlns:p=''><p:b/></a>")-len(uri)) + "</a>", PolicyViolation},
		{"<a b='' c='' d='' e='' f=''/>", ""},
		{"<a b='' c='' d='' e='' p:f=''/>", PolicyViolation},
		{"<a><![CDATA[" + strings.Repeat("&", 70) + "]]></a>", ""},
		{"<a><![CDATA[" + strings.Repeat("&", 100) + "]]></a>", PolicyViolation},
	} {
		_, err := read(t, NewDecoder(l), head+c.in)
		if got := condition(err); got != c.want {
			t.Errorf("%s: %q, should be %q", c.in, got, c.want)
		}
	}
}

func condition(err *Error) string {
	if err == nil {
		return ""
	}
	return err.Condition
}

func TestFramePrefixed(t *testing.T) {
	for in, want := range map[string]bool{
		"<message/>":                            false,
		"<message xmlns='jabber:client'/>":      false,
		"<c:message xmlns:c='jabber:client'/>":  true,
		"<stream:error/>":                       false,
		"<s:error xmlns:s='" + NSStream + "'/>": false,
		"<xml:a/>":                              true,
	} {
		if f := only(t, openStream(t, Limits{}), in); f.Prefixed() != want {
			t.Errorf("%s: Prefixed is %t", in, !want)
		}
	}
}

// Many attributes and children do not fit into the room that a frame has of its own.
func TestFrameSizes(t *testing.T) {
	for attrs := range 10 {
		for kids := range 12 {
			var b strings.Builder
			b.WriteString("<a")
			for i := range attrs {
				b.WriteString(" a" + string(rune('0'+i)) + "='" + string(rune('0'+i)) + "'")
			}
			b.WriteString(">")
			for i := range kids {
				b.WriteString("<k" + string(rune('a'+i)) + " xmlns='" + string(rune('a'+i)) + "'/>")
			}
			b.WriteString("</a>")
			f, err := ParseFrame(b.String(), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Attrs()) != attrs || f.NumChildren() != kids {
				t.Fatalf("%s: %d attributes, %d children", b.String(), len(f.Attrs()), f.NumChildren())
			}
			checkFrame(t, f, parse(t, b.String()))
		}
	}
}

func TestParseFrame(t *testing.T) {
	for in, want := range map[string]string{
		"<a/>":                        "",
		" <a/>\n":                     "",
		"<?xml version='1.0'?>\n<a/>": "",
		"\ufeff<a/>":                  "",
		"":                            NotWellFormed,
		" ":                           NotWellFormed,
		"<a>":                         NotWellFormed,
		"<a":                          NotWellFormed,
		"<":                           NotWellFormed,
		"<a></a":                      NotWellFormed,
		"<a/><b/>":                    NotWellFormed,
		"<a/>b":                       NotWellFormed,
		"b<a/>":                       NotWellFormed,
		"</a>":                        NotWellFormed,
		"<p:a/>":                      NotWellFormed,
		"<?xml version='1.0'":         NotWellFormed,
		"<?xml version='1.0'?><?xml version='1.0'?><a/>": RestrictedXML,
		"<a/><!-- -->":         NotWellFormed,
		"<!-- --><a/>":         RestrictedXML,
		"\xff":                 UnsupportedEncoding,
		"<\x00a\x00/\x00>\x00": UnsupportedEncoding,
		"<a>" + strings.Repeat("x", 100) + "</a>": PolicyViolation,
	} {
		for name, parse := range map[string]func() error{
			"string": func() error { _, err := ParseFrame(in, Limits{Bytes: 100}); return err },
			"bytes":  func() error { _, err := ParseFrame([]byte(in), Limits{Bytes: 100}); return err },
			"tree":   func() error { _, err := Parse(in, Limits{Bytes: 100}); return err },
		} {
			got := ""
			if err := parse(); err != nil {
				got = err.(*Error).Condition
			}
			if got != want {
				t.Errorf("%s of %q: %q, should be %q", name, in, got, want)
			}
		}
	}
	exact := "<a>" + strings.Repeat("x", 93) + "</a>"
	if _, err := ParseFrame(exact, Limits{Bytes: len(exact)}); err != nil {
		t.Error(err)
	}
	if _, err := Parse(exact, Limits{Bytes: len(exact)}); err != nil {
		t.Error(err)
	}
	b := []byte("<a b='c'>d</a>")
	f, err := ParseFrame(b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if f.Raw() != "<a b='c'>d</a>" || f.Attr("b") != "c" || !f.HasText() || f.NS() != "" {
		t.Errorf("%q", f.Raw())
	}
}

// Elements with very many attributes are checked another way, with the same outcome.
func TestManyAttrs(t *testing.T) {
	l := Limits{Attrs: 1000}
	var fill strings.Builder
	for i := range manyAttrs {
		fill.WriteString(" f" + strings.Repeat("x", i) + "=''")
	}
	for in, want := range map[string]string{
		"a='' b='' xml:a='' xmlns='u' xmlns:a='u' xmlns:b='v' a:a='' b:a='' a:b=''": "",
		"a='' a=''":                                       NotWellFormed,
		"xmlns='u' xmlns='v'":                             NotWellFormed,
		"xmlns:a='u' xmlns:a='v'":                         NotWellFormed,
		"xmlns:a='u' a:b='' a:b=''":                       NotWellFormed,
		"xmlns:a='u' xmlns:b='u' a:c='' b:c=''":           NotWellFormed,
		"xmlns:a='u' xmlns:b='&#117;' a:c='' b:c=''":      NotWellFormed,
		"xmlns:a='&#117;' xmlns:b='&#117;' a:c='' b:c=''": NotWellFormed,
		"xml:a='' xml:a=''":                               NotWellFormed,
		"a:b=''":                                          NotWellFormed,
		"xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:a=''": "",
	} {
		for _, s := range []string{"<a " + in + "/>", "<a " + in + fill.String() + "/>", "<a" + fill.String() + " " + in + "/>"} {
			_, err := ParseFrame(s, l)
			got := ""
			if err != nil {
				got = err.(*Error).Condition
			}
			if got != want {
				t.Errorf("%s: %v, should be %q", s, err, want)
			}
		}
	}
}

// A child whose namespace stands nowhere in the bytes as it is.
func TestChildNamespaces(t *testing.T) {
	f, err := ParseFrame("<a xmlns='&amp;'><b/><c xmlns='&lt;'/><xml:d/><e xmlns=''/><f xmlns='g'/></a>", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []Name{{"&", "b"}, {"<", "c"}, {NSXML, "d"}, {"", "e"}, {"g", "f"}} {
		if f.ChildName(i) != want || f.ChildAt(i).Name != want || !f.HasChild(want.Space, want.Local) {
			t.Errorf("%q %q, should be %q", f.ChildName(i), f.ChildAt(i).Name, want)
		}
	}
}
