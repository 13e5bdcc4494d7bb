package xmlstream

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"
)

func TestHeader(t *testing.T) {
	d := NewDecoder(Limits{})
	d.Feed([]byte("\ufeff<?xml version=\"1.0\" encoding='utf-8'?>\r\n<stream:stream to='a.example' version='1.0' xml:lang='de' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'>"))
	ev, err := d.Next()
	if err != nil || ev.Kind != StreamStart || ev.Frame != nil {
		t.Fatal(ev, err)
	}
	h := ev.Header
	if h.Name != (Name{NSStream, "stream"}) || h.Prefix != "stream" || h.DefaultNS != "jabber:client" {
		t.Errorf("%+v", h)
	}
	if h.Attr("to") != "a.example" || h.Attr("version") != "1.0" || h.Attr("lang") != "" || len(h.Attrs) != 3 || h.Attrs[2] != (Attr{Name{NSXML, "lang"}, "de"}) {
		t.Errorf("%q", h.Attrs)
	}
	if len(h.Decls) != 2 || h.Decls[1] != (Decl{"db", "jabber:server:dialback"}) {
		t.Errorf("%q", h.Decls)
	}
	f := only(t, d, "<db:result/>")
	if f.Name() != (Name{"jabber:server:dialback", "result"}) {
		t.Errorf("%q", f.Name())
	}
}

func TestSelfClosedHeader(t *testing.T) {
	events, err := read(t, NewDecoder(Limits{}), "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", " \n")
	if err != nil || len(events) != 2 || events[1] != "end" {
		t.Errorf("%q, %v", events, err)
	}
}

func TestAfterEnd(t *testing.T) {
	for _, s := range []string{"x", "<a/>", "</stream:stream>", "<!-- -->", "<"} {
		events, err := read(t, openStream(t, Limits{}), "</stream:stream>\n", "\n"+s)
		if len(events) != 1 || condition(err) != NotWellFormed {
			t.Errorf("%q: %q, %v", s, events, err)
		}
	}
}

// An error is final, and says where.
func TestErrorIsFinal(t *testing.T) {
	d := openStream(t, Limits{})
	d.Feed([]byte("<a/> <b><c></b>"))
	if ev, err := d.Next(); err != nil || ev.Frame.Name().Local != "a" {
		t.Fatal(ev, err)
	}
	_, err := d.Next()
	var e *Error
	if !errors.As(err, &e) || e.Offset != int64(len(streamHead)+len("<a/> <b><c>")) || !strings.Contains(e.Error(), e.Condition) {
		t.Fatal(err)
	}
	d.Restart()
	d.Feed([]byte(streamHead))
	if _, again := d.Next(); again != err {
		t.Errorf("then %v", again)
	}
	if !d.Idle() || d.Buffered() != 0 {
		t.Error("input is kept")
	}
}

// SASL success makes both sides start anew (RFC 6120 §6.4.6). The peer may have ended its last element with a newline.
func TestRestart(t *testing.T) {
	for _, pieces := range [][]string{{"\n", streamHead + "<a/>"}, {streamHead, "<a/>"}, {"\r\n <", streamHead[1:] + "<a/>"}} {
		d := openStream(t, Limits{})
		d.Feed([]byte("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + pieces[0]))
		if ev, err := d.Next(); err != nil || ev.Kind != FrameEvent {
			t.Fatal(ev, err)
		}
		if d.Buffered() != len(pieces[0]) {
			t.Errorf("%d bytes are buffered, should be %d", d.Buffered(), len(pieces[0]))
		}
		d.Restart()
		var kinds []EventKind
		for {
			ev, err := d.Next()
			if err == ErrMore {
				if len(pieces) == 1 {
					break
				}
				pieces = pieces[1:]
				d.Feed([]byte(pieces[0]))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, ev.Kind)
		}
		if len(kinds) != 2 || kinds[0] != StreamStart || kinds[1] != FrameEvent {
			t.Errorf("%v", kinds)
		}
	}
}

// What was kept as an incomplete element of the old stream is read as the beginning of the new one.
func TestRestartRereads(t *testing.T) {
	d := openStream(t, Limits{})
	if _, err := read(t, d, "<stream:strea"); err != nil {
		t.Fatal(err)
	}
	d.Restart()
	if _, err := d.Next(); err != ErrMore {
		t.Fatal(err)
	}
	events, err := read(t, d, "m xmlns:stream='"+NSStream+"' xmlns='jabber:server'>", "<a/>")
	if err != nil || len(events) != 2 || !strings.Contains(events[1], `ns "jabber:server"`) {
		t.Errorf("%q, %v", events, err)
	}
	d.Restart()
	if events, err = read(t, d, "<a/>"); err != nil || len(events) != 2 {
		t.Errorf("%q, %v", events, err)
	}
}

// STARTTLS: what came in plaintext behind it must be seen, and can be thrown away (RFC 6120 §5.4.3.3).
func TestDiscard(t *testing.T) {
	for _, more := range []string{"<iq/>", "<iq><x", " "} {
		d := openStream(t, Limits{})
		d.Feed([]byte("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + more))
		if _, err := d.Next(); err != nil {
			t.Fatal(err)
		}
		if d.Buffered() != len(more) || d.Idle() {
			t.Errorf("%d bytes are buffered, idle %t", d.Buffered(), d.Idle())
		}
		if strings.HasSuffix(more, "x") { // once more with the beginning of an element
			if _, err := d.Next(); err != ErrMore || d.Buffered() != len(more) || d.Idle() {
				t.Errorf("%v, %d bytes are buffered, idle %t", err, d.Buffered(), d.Idle())
			}
		}
		d.Discard()
		d.Restart()
		if d.Buffered() != 0 || !d.Idle() {
			t.Error("input is kept")
		}
		events, err := read(t, d, streamHead+"<a/>")
		if err != nil || len(events) != 2 {
			t.Errorf("%q, %v", events, err)
		}
	}
}

func TestFeedTwice(t *testing.T) {
	d := NewDecoder(Limits{})
	d.Feed([]byte("<a>"))
	defer func() {
		if recover() == nil {
			t.Error("Feed does not panic though input is left")
		}
	}()
	d.Feed([]byte("<b>"))
}

// New limits hold from the next element on.
func TestSetLimits(t *testing.T) {
	d := openStream(t, Limits{Bytes: 200})
	big := "<a>" + strings.Repeat("x", 300) + "</a>"
	if _, err := read(t, d, "<a>"); err != nil {
		t.Fatal(err)
	}
	d.SetLimits(Limits{Bytes: 400})
	events, err := read(t, d, "</a>", big)
	if err != nil || len(events) != 2 {
		t.Fatalf("%q, %v", events, err)
	}
	d = openStream(t, Limits{Bytes: 200})
	if _, err := read(t, d, "<a>"); err != nil {
		t.Fatal(err)
	}
	d.SetLimits(Limits{Bytes: 400})
	if _, err := read(t, d, big[3:]); condition(err) != PolicyViolation {
		t.Errorf("%v", err)
	}
}

// Each limit holds to the unit: what is at it passes, what is over it is a policy violation.
func TestLimits(t *testing.T) {
	l := Limits{Bytes: 120, Depth: 4, Attrs: 3, Children: 5, Name: 8}
	for _, c := range []struct{ at, over string }{
		{"<a>" + strings.Repeat("x", 113) + "</a>", "<a>" + strings.Repeat("x", 114) + "</a>"},
		{"<a b='" + strings.Repeat("x", 111) + "'/>", "<a b='" + strings.Repeat("x", 112) + "'/>"},
		{"<a><![CDATA[" + strings.Repeat("x", 101) + "]]></a>", "<a><![CDATA[" + strings.Repeat("x", 102) + "]]></a>"},
		{"<a><a><a><a/></a></a></a>", "<a><a><a><a><a/></a></a></a></a>"},
		{"<a b='' c='' xmlns='u'/>", "<a b='' c='' d='' xmlns='u'/>"},
		{"<a><b c='' d='' e=''/></a>", "<a><b c='' d='' e='' f=''/></a>"},
		{"<a><b/><b><b/></b><b><b/></b></a>", "<a><b/><b><b/></b><b><b/></b><b/></a>"},
		{"<abcdefgh/>", "<abcdefghi/>"},
		{"<a abcdefgh=''/>", "<a abcdefghi=''/>"},
		{"<xml:abcd/>", "<xml:abcde/>"},
	} {
		d := openStream(t, DefaultLimits)
		d.SetLimits(l)
		if events, err := read(t, d, c.at); err != nil || len(events) != 1 {
			t.Errorf("%s: %q, %v", c.at, events, err)
		}
		if _, err := read(t, d, c.over); condition(err) != PolicyViolation {
			t.Errorf("%s: %v", c.over, err)
		}
	}
	for n, want := range map[int]string{maxEscaped: "", maxEscaped + 1: PolicyViolation} {
		in := "<a>" + strings.Repeat("<b xmlns='&amp;'/>", n) + "</a>"
		if _, err := read(t, openStream(t, DefaultLimits), in); condition(err) != want {
			t.Errorf("%d escaped declarations: %v, should be %q", n, err, want)
		}
	}
	header := "<a xmlns='" + strings.Repeat("u", 108) + "'>"
	if events, err := read(t, NewDecoder(l), header); err != nil || len(events) != 1 {
		t.Errorf("%q, %v", events, err)
	}
	if _, err := read(t, NewDecoder(l), " "+header[:12]+"u"+header[12:]); condition(err) != PolicyViolation {
		t.Errorf("%v", err)
	}
}

// A condition comes as soon as it is decided, not when the tag or element is complete.
func TestEarly(t *testing.T) {
	for in, want := range map[string]string{
		"<?":                       RestrictedXML,
		"<!-":                      RestrictedXML,
		"<!D":                      RestrictedXML,
		"<a><?":                    RestrictedXML,
		"<a><!-":                   RestrictedXML,
		"<a><!D":                   RestrictedXML,
		"<a><!E":                   NotWellFormed,
		"<![":                      BadFormat,
		"x":                        BadFormat,
		"\u20ac":                   BadFormat,
		"\xff":                     UnsupportedEncoding,
		"\xe2\x28":                 UnsupportedEncoding,
		"<a>\xff":                  UnsupportedEncoding,
		"<a>\xe2\x28":              UnsupportedEncoding,
		"<a\xff":                   UnsupportedEncoding,
		"<a b='\xed\xa0":           UnsupportedEncoding,
		"<a b='\xc3<":              UnsupportedEncoding,
		"<a>&\xc0":                 UnsupportedEncoding,
		"<a><![CDATA[\xf5":         UnsupportedEncoding,
		"<a <":                     NotWellFormed,
		"<a b='<":                  NotWellFormed,
		"<a></a<":                  NotWellFormed,
		"<a>\x00":                  NotWellFormed,
		"<a>\uffff":                NotWellFormed,
		"<a>& ":                    NotWellFormed,
		"<a>]]>":                   NotWellFormed,
		"<a>&nbsp;":                RestrictedXML,
		"<a></b>":                  NotWellFormed,
		"</x>":                     NotWellFormed,
		"<stream:stream xmlns=''>": UnsupportedStanzaType,
	} {
		for _, pieces := range [][]string{{in}, bytewise(in)} {
			if _, err := read(t, openStream(t, Limits{}), pieces...); condition(err) != want {
				t.Errorf("%q: %v, should be %s", in, err, want)
			}
		}
	}
}

// An idle connection holds next to nothing.
func TestIdle(t *testing.T) {
	if size := unsafe.Sizeof(Decoder{}); size > 144 {
		t.Errorf("a decoder has %d bytes", size)
	}
	d := openStream(t, Limits{})
	if !d.Idle() || d.in != nil || d.s != nil || d.scope != commonScopes[0] {
		t.Error("an idle decoder keeps something")
	}
	for _, s := range []string{"<a>", "<", "\xe2"} {
		d := openStream(t, Limits{})
		if _, err := read(t, d, s); err != nil || d.Idle() || d.Buffered() != len(s) {
			t.Errorf("%q: %v, idle %t, %d bytes", s, err, d.Idle(), d.Buffered())
		}
	}
	if _, err := d.Next(); err != ErrMore || errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// The XML declaration (XML 1.0 §2.8) may stand at the very start only (RFC 6120 §11.5), and says UTF-8 if anything.
func TestDeclaration(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"<?xml version='1.0'?>":                  "",
		"<?xml version=\"1.0\"?>\r\n\t ":         "",
		"\ufeff<?xml version='1.0'?>":            "",
		"<?xml\tversion = '1.0'\n?>":             "",
		"<?xml version='1.10'?>":                 "",
		"<?xml version='1.0' encoding='UTF-8'?>": "",
		"<?xml version='1.0' encoding=\"utf-8\" standalone='yes'?>": "",
		"<?xml version='1.0' standalone='no' ?>":                    "",
		"<?xml version='2.0'?>":                                     NotWellFormed,
		"<?xml version='1.'?>":                                      NotWellFormed,
		"<?xml version='1.a'?>":                                     NotWellFormed,
		"<?xml version='1'?>":                                       NotWellFormed,
		"<?xml version='&#49;.0'?>":                                 NotWellFormed,
		"<?xml version=1.0?>":                                       NotWellFormed,
		"<?xml version='1.0'>":                                      NotWellFormed,
		"<?xml version='1.0'? >":                                    NotWellFormed,
		"<?xml version='1.0'??>":                                    NotWellFormed,
		"<?xml version='1.0' <":                                     NotWellFormed,
		"<?xml?>":                                                   NotWellFormed,
		"<?xml ?>":                                                  NotWellFormed,
		"<?xml encoding='UTF-8'?>":                                  NotWellFormed,
		"<?xml version='1.0' version='1.0'?>":                       NotWellFormed,
		"<?xml version='1.0'encoding='UTF-8'?>":                     NotWellFormed,
		"<?xml version='1.0' encoding='UTF-8'standalone='no'?>":     NotWellFormed,
		"<?xml version='1.0' standalone='no' encoding='UTF-8'?>":    NotWellFormed,
		"<?xml version='1.0' standalone='no' standalone='no'?>":     NotWellFormed,
		"<?xml version='1.0' standalone='maybe'?>":                  NotWellFormed,
		"<?xml version='1.0' other=''?>":                            NotWellFormed,
		"<?xml version='1.0' encoding=''?>":                         NotWellFormed,
		"<?xml version='1.0' encoding='8'?>":                        NotWellFormed,
		"<?xml version='1.0' encoding='UTF 8'?>":                    NotWellFormed,
		"<?xml version='1.0' encoding='\u00e9'?>":                   NotWellFormed,
		"<?xml version='1.0' encoding='_8'?>":                       NotWellFormed,
		"<?xml version='1.0' encoding='UTF8'?>":                     UnsupportedEncoding,
		"<?xml version='1.0' encoding='UTF-16'?>":                   UnsupportedEncoding,
		"<?xml version='1.0' encoding='utf_8'?>":                    UnsupportedEncoding,
		"<?xml version='1.0' encoding='UTF-7'?>":                    UnsupportedEncoding,
		"<?xml version='1.0'\xff":                                   UnsupportedEncoding,
		"<?xml version='1.0'?><?":                                   RestrictedXML,
		" <?":                                                       RestrictedXML,
		"\ufeff <?":                                                 RestrictedXML,
		"<?xmk":                                                     RestrictedXML,
		"<?xml-":                                                    RestrictedXML,
		"<?a":                                                       RestrictedXML,
		"<!D":                                                       RestrictedXML,
		"<!-":                                                       RestrictedXML,
		"<!a":                                                       NotWellFormed,
		"<![":                                                       NotWellFormed,
		"</":                                                        NotWellFormed,
		"x":                                                         NotWellFormed,
		"\u00e9":                                                    NotWellFormed,
		"\ufeff\ufeff":                                              NotWellFormed,
		"<?xml version='1.0'?>\ufeff":                               NotWellFormed,
		"\x01":                                                      NotWellFormed,
		"\ufffe":                                                    NotWellFormed,
		"\xfe\xff":                                                  UnsupportedEncoding,
		"\xff\xfe":                                                  UnsupportedEncoding,
		"\x00":                                                      UnsupportedEncoding,
		"<\x00":                                                     UnsupportedEncoding,
	} {
		s := in
		if want == "" {
			s += streamHead[len("<?xml version='1.0'?>"):]
		}
		for _, pieces := range [][]string{{s}, bytewise(s)} {
			events, err := read(t, NewDecoder(Limits{}), pieces...)
			if condition(err) != want || len(events) == 0 && want == "" {
				t.Errorf("%q: %q, %v, should be %q", in, events, err, want)
			}
		}
	}
}

// wideRun goes as far as UTF-8 and XML allow, for every sequence of three bytes, and of four at the edges.
func TestWideRun(t *testing.T) {
	check := func(p []byte) {
		end, f := wideRun(p, 0)
		want, i := okay, 0
		for i < len(p) && p[i] >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(p[i:])
			if r == utf8.RuneError && n == 1 {
				if want = faultUTF8; !utf8.FullRune(p[i:]) {
					want = short
				}
				break
			}
			if !isChar(r) {
				want = faultChar
				break
			}
			i += n
		}
		if end != i || f != want {
			t.Fatalf("%x: %d %d, should be %d %d", p, end, f, i, want)
		}
	}
	for n := range 1 << 23 {
		check([]byte{byte(0x80 | n>>16), byte(n >> 8), byte(n)})
	}
	edges := []byte{0x00, 'x', 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBE, 0xBF, 0xC0, 0xE1, 0xFF}
	for lead := 0xEE; lead < 0x100; lead++ {
		for _, b := range edges {
			for _, c := range edges {
				for _, e := range edges {
					check([]byte{byte(lead), b, c, e})
					check([]byte{0xC3, 0xA9, byte(lead), b, c, e, 'x'})
				}
			}
		}
	}
}
