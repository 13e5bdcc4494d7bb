package xmlstream

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// tricky are inputs for the inside of a stream that the catalogue does not hold.
var tricky = []string{
	"<a/>", "<a></a>", "<a></a >", "<a\n>\t</a\r\n>", "<a b='c'/>", `<a b="'" c='"'/>`, "<a b = 'c'/>", "<a b='>'/>", "<a/ >", "<a b='\r'/>", "<a b='x\ry\r\nz\n\tw' c='\t'/>", "<a>x\ry\r\rz\r</a>",
	"<a b='&lt;&gt;&amp;&quot;&apos;&#9;&#xA;\t\r\n x'/>", "<a>&lt;&gt;&amp;&quot;&apos;&#9;&#xA;\t\r\n\r x</a>",
	"<a>&#x000000000000000000000041;</a>", "<a>&#x10FFFF;&#xFFFE;</a>", "<a>&#xD800;</a>", "<a>&#x;</a>", "<a>&#;</a>", "<a>&;</a>", "<a>& </a>",
	"<a>&nbsp;</a>", "<a b='&nbsp;'/>", "<a>&a:b;</a>", "<a>&\u00e9;</a>", "<a>&1\u00e9;</a>", "<a>&amp</a>", "<a>&\xff;</a>",
	"<a>]]&gt;]] ></a>", "<a>]]></a>", "<a><![CDATA[]]]]></a>", "<a><![CDATA[]]]]>></a>", "<a>]<![CDATA[]]>]></a>", "<a>]]<![CDATA[>]]></a>",
	"<a><![CDATA[\r\n\r<b>&amp;]]></a>", "<a><![CDATA[ ]]></a>", "<a><![cdata[x]]></a>", "<a><![CDATA[x]]>y<b/>z<![CDATA[]]></a>", "<![CDATA[x]]>",
	"<a><![CDATA[]]></a>", "<a>\r<![CDATA[\r<]]></a>", "<a><![CDATA[\r]]>\n<![CDATA[\n]]>\r\n</a>", "<a><![CDATA[\x01]]></a>", "<a><![CDATA[\xff]]></a>", "<a><![CDATA[\ufffe]]></a>", "<a><![CDATA[&]]></a>", "<a><![CDATA[<]]></a>", "<a><![CDATA[>]]></a>", "<a><![CDATA[\r]]></a>", "<a><![CDATA[\u20ac]]></a>",
	"<a>&#a;</a>", "<a>&#xg;</a>", "<a>&#xaAfF;</a>", "<a>&#4294967361;</a>", "<a>&#1114112;</a>", "<a>&a</a>", "<a>&#65</a>", "<a>&a\u00b7;</a>", "<a>&\u00b7;</a>", "<a>&#\u00e9;</a>", "<a>&-\u00e9;</a>",
	"<a xmlns='&#117;' xmlns:p='u' xmlns:q='&#117;' xmlns:r='v' p:b='' r:b=''/>", "<a xmlns:p='u' xmlns:q='&#117;' p:b='' q:b=''/>", "<a xmlns:p='&#117;' xmlns:q='&#117;' p:b='' q:b=''/>", "<a xmlns:p='&#117;' xmlns:q='&#118;' p:b='' q:b=''/>",
	"<\u00e9:\u00e9 xmlns:\u00e9='u'/>", "<a\u00d7/>", "<\u00d7a/>", "<a:1/>", "<a></a\u00e9>", "<a></aa>", "<aa></a>", "<a></a/>", "<a></a", "<a/", "<a b", "<a b=", "<a b='", "<a/x>", "<a b='c' / >", "<a b='c'/ >",
	"<a><!-- --></a>", "<a><?b?></a>", "<a><!DOCTYPE b></a>", "<a><!\xc3\xa9></a>", "<a><!\xff></a>",
	"<p:a xmlns:p='u'/>", "<p:a xmlns:p='u'></q:a>", "<p:a/>", "<a p:b=''/>", "<a xml:lang='x'/>", "<xml:a/>", "<xmlns:a/>", "<a xmlns:xml='u'/>",
	"<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
	"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", "<a xmlns:p=''/>", "<a xmlns:p='&#10;'><p:b/></a>", "<a xmlns=''><b/></a>", "<a xmlns='&amp;'><b/></a>",
	"<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>", "<a xmlns:p='u' xmlns:q='v' p:b='' q:b='' b=''/>", "<a b='' b=''/>", "<a xmlns='u' xmlns='u'/>", "<a xmlns:p='u' xmlns:p='v'/>",
	"<a xmlns:p='u'><p:b xmlns:p='v'><p:c/></p:b><p:d/></a>", "<a xmlns:p='u'><p:b xmlns:q='v'/><q:c/></a>", "<stream:a><b stream:c=''/></stream:a>",
	"<a><stream:b/><![CDATA[>]]></a>", "<stream:stream/>", "<a><stream:stream/></a>", "<stream:a xmlns:stream='u'/>", "<a xmlns:stream='u'><stream:b/></a>",
	"<\u00e9\u00b7/>", "<\u00b7/>", "<a \u00e9='x'/>", "<a>\u00e9\u20ac\U0001F600</a>", "<a b='\u00e9\u20ac\U0001F600'/>", "<a>\ufffe</a>", "<a b='\uffff'/>", "<a>\ufeff</a>",
	"<a>\xe2\x82</a>", "<a>\xf0\x9f\x98</a>", "<a>\xed\xa0\x80</a>", "<a>\xf4\x90\x80\x80</a>", "<a>\xc0\x80</a>", "<a b='\xe2\x82'/>", "<a\xe2\x82>", "<a>\x00</a>", "<a b='\x01'/>", "<a>\x7f\u0085</a>",
	"<1a/>", "<-a/>", "<a:/>", "<:a/>", "<a:b:c/>", "<a b/>", "<a b=c/>", "<a b='c'd='e'/>", "<a b='<'/>", "<a <b/>", "< a/>", "<>", "</a>", "<a></b>", "<a></a b>", "<a></ a>", "<a/><b/>",
	"<a>x<b/>y</a>", "<a> <b/> </a>", "<a>&#32;<b/></a>", "<a>&#65;<b/></a>", "x", "\xff", "\x01", "]]>", "&amp;", "\r\n\t ", "</stream:stream>", "</stream:stream >\n", "</stream:stream>x", "</stream:strea>", "</stream:stream x>", "</x>",
	"<a>" + strings.Repeat("<b>", 40) + strings.Repeat("</b>", 40) + "</a>", "<a" + strings.Repeat(" b", 60) + "/>",
	"<a>" + strings.Repeat("x", 400) + "</a>", "<a b='" + strings.Repeat("x", 400) + "'/>", "<a><![CDATA[" + strings.Repeat("&", 150) + "]]></a>",
	"<message to='b@c/d' id='1' type='chat'><body>x</body><x xmlns='jabber:x:oob'><url>y</url></x></message><iq/>",
}

// prologs are inputs for the beginning of a stream.
var prologs = []string{
	"", "<?xml version='1.0'?>", "<?xml version=\"1.1\" encoding='utf-8' standalone='yes' ?>\n", "<?xml version='1.0' standalone='no'?>", "<?xml version='2.0'?>", "<?xml version='1.'?>",
	"<?xml encoding='UTF-8'?>", "<?xml version='1.0' standalone='no' encoding='UTF-8'?>", "<?xml version='1.0' encoding='UTF-16'?>", "<?xml version='1.0' encoding='8'?>", "<?xml?>", "<?xml ?>", "<?xml-stylesheet href=''?>",
	"<?xml version='1.0' encoding='utf_8'?>", "<?xml version='1.0' encoding='Utf-8'?>", "<?xml version='1.0' encoding='_UTF8'?>", "<?xml version='1.0' encoding='UTF 8'?>", "<?xml version='1.0' encoding=''?>", "<?xml version='1.0' encoding='\u00e9'?>", "<?xml version='1.x'?>", "<?xml version='1.0' standalone='maybe'?>", "<?xml version='1.0' encoding='UTF-8' encoding='UTF-8'?>", "<?xml version=1.0?>", "<?xml version='&#49;.0'?>", "<?xml version='1.0' <?>", "<?xml version='1.0'\xff?>", "<?xml version='1.0'?", "<?xml", "<?xml\t?>",
	"<?xml version='1.0'? >", "<?xml version='1.0'>", "<?xml version='1.0' version='1.0'?>", "<?xml version='1.0'encoding='UTF-8'?>", "<?xml version='1.0' a='>'?>", "<?xmm?>", "<?x", "\ufeff", "\ufeff\ufeff", "\ufeff<?xml version='1.0'?>",
	"\n", "\n<?xml version='1.0'?>", "<\x00", "\x00<", "\xff\xfe", "\xfe\xff", "x", "</a>", "<!DOCTYPE a>", "<![CDATA[", "<!--", "<!E", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", "<a xmlns='u'>", "<a xmlns='u'/> ", "<a/>x", "<p:a>", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:q='r'><q:a/>",
}

// seeds returns whole streams.
func seeds() (all []string) {
	for _, s := range tricky {
		all = append(all, streamHead+s)
	}
	for _, s := range prologs {
		all = append(all, s, s+streamHead[len("<?xml version='1.0'?>"):]+"<a/>")
	}
	return all
}

func seedsOf(f testing.TB) []string {
	all := seeds()
	for _, c := range loadCatalogue(f) {
		for _, in := range c.inputs()[:1] {
			s := strings.Join(in, "")
			if c.State != "tcp" {
				s = streamHead + s
			}
			if len(s) < 4<<10 {
				all = append(all, s)
			}
		}
	}
	return all
}

// narrow are limits that small inputs reach.
var narrow = Limits{Bytes: 300, Depth: 20, Attrs: 8, Children: 30, Name: 24}

func cut(s string, seed int64) (pieces []string) {
	r := rand.New(rand.NewSource(seed))
	for most := 1 + r.Intn(40); s != ""; {
		n := min(len(s), 1+r.Intn(most))
		pieces = append(pieces, s[:n])
		s = s[n:]
	}
	return pieces
}

func checkChunking(t *testing.T, s string, seed int64) {
	for _, l := range []Limits{DefaultLimits, narrow} {
		want, wantErr := read(t, NewDecoder(l), s)
		for _, pieces := range [][]string{cut(s, seed), bytewise(s)} {
			got, gotErr := read(t, NewDecoder(l), pieces...)
			if !slices.Equal(got, want) {
				t.Fatalf("%q cut: %q, whole: %q", pieces, got, want)
			}
			if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Fatalf("%q cut: %v, whole: %v", pieces, gotErr, wantErr)
			}
		}
	}
}

// However a stream is cut, it gives the same events and ends with the same error at the same place.
func FuzzChunking(f *testing.F) {
	for i, s := range seedsOf(f) {
		f.Add(s, int64(i))
	}
	f.Fuzz(checkChunking)
}

func checkRoundTrip(t *testing.T, s string) {
	e, err := Parse(s, DefaultLimits)
	frame, frameErr := ParseFrame(s, DefaultLimits)
	if err != nil {
		if frameErr == nil || frameErr.Error() != err.Error() {
			t.Fatalf("Parse: %v, ParseFrame: %v", err, frameErr)
		}
		return
	}
	if again := parse(t, e.String()); !equal(e, again) {
		t.Fatalf("%q became %q", e, again)
	}
	if frameErr != nil {
		if frameErr.(*Error).Condition != PolicyViolation { // CDATA grew beyond the limit
			t.Fatalf("ParseFrame: %v", frameErr)
		}
		return
	}
	if !equal(e, frame.Element()) {
		t.Fatalf("Parse %q, ParseFrame %q", e, frame.Element())
	}
	if again := parse(t, frame.Raw()); !equal(e, again) {
		t.Fatalf("Parse %q, Raw %q", e, again)
	}
	checkFrame(t, frame, e)
}

// checkFrame compares a frame with its tree.
func checkFrame(t *testing.T, f *Frame, e *Element) {
	t.Helper()
	if f.Name() != e.Name || !slices.Equal(f.Attrs(), e.Attrs) {
		t.Fatalf("frame %q %q, tree %q %q", f.Name(), f.Attrs(), e.Name, e.Attrs)
	}
	i, text := 0, false
	for _, n := range e.Nodes {
		if n.El == nil {
			text = text || strings.Trim(n.Text, " \t\r\n") != ""
			continue
		}
		if f.ChildName(i) != n.El.Name || !equal(f.ChildAt(i), n.El) {
			t.Fatalf("child %d is %q %q, should be %q", i, f.ChildName(i), f.ChildAt(i), n.El)
		}
		if !f.HasChild(n.El.Name.Space, n.El.Name.Local) {
			t.Fatalf("child %q is not found", n.El.Name)
		}
		i++
	}
	if i != f.NumChildren() || text != f.HasText() {
		t.Fatalf("%d children, should be %d; HasText %t", f.NumChildren(), i, f.HasText())
	}
	// What Inner and Decls promise: the content stands within another start tag.
	moved := "<m xmlns='" + string(AppendAttr(nil, f.NS())) + "'" + f.Decls() + ">" + f.Inner() + "</m>"
	if m := parse(t, moved); !equal(&Element{Nodes: m.Nodes}, &Element{Nodes: e.Nodes}) {
		t.Fatalf("moved: %q, should be %q", m, e)
	}
}

func parse(t *testing.T, s string) *Element {
	t.Helper()
	e, err := Parse(s, Limits{Bytes: 16 << 20, Depth: 1 << 20, Attrs: 1 << 20, Children: 1 << 20, Name: 1 << 20})
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return e
}

func equal(a, b *Element) bool {
	if a.Name != b.Name || !slices.Equal(a.Attrs, b.Attrs) || len(a.Nodes) != len(b.Nodes) {
		return false
	}
	for i, n := range a.Nodes {
		m := b.Nodes[i]
		if n.Text != m.Text || (n.El == nil) != (m.El == nil) || n.El != nil && !equal(n.El, m.El) {
			return false
		}
	}
	return true
}

// What is read, written and read again is the same, as a tree and as a frame.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range tricky {
		f.Add(s)
		f.Add("<?xml version='1.0'?>" + s)
	}
	for _, s := range prologs {
		f.Add(s + "<a/>")
	}
	f.Add(benchMessage)
	f.Fuzz(checkRoundTrip)
}

// Whatever strings a tree holds, what is written can be read, and holds them but for what XML forbids.
func FuzzWriter(f *testing.F) {
	f.Add("urn:x", "a", "", "b", "c", "text", "")
	f.Add("jabber:client", "message", NSXML, "lang", "'\"<>&\t\r\n", "]]>\r\n\x00\xff\ufffe", "jabber:client")
	f.Add(NSXMLNS, "xmlns", NSXMLNS, "a", "", "", NSXML)
	f.Add(NSXML, "", "\x01", "xmlns", "", "\x02", "x")
	f.Add("a b", "a:b", "", "xmlns", "u", "]]", ">")
	f.Fuzz(func(t *testing.T, space, local, attrSpace, attrLocal, value, text, outside string) {
		inner := El(space, local, Attr{Name{attrSpace, attrLocal}, value}, text)
		e := El(outside, local+"x", Attr{Name{space, attrLocal}, text}, inner, value, El("", "last"), inner)
		e.Attrs = append(e.Attrs, Attr{Name{attrSpace, attrLocal}, value}, Attr{Name{"", local}, local})
		for _, ns := range []string{"", outside, space} {
			place := clean(ns)
			if ns == NSXML || ns == NSXMLNS { // never a default namespace
				ns, place = "", ""
			}
			whole := "<r xmlns='" + string(AppendAttr(nil, ns)) + "'>" + string(e.Append(nil, ns)) + "</r>"
			r := parse(t, whole)
			if r.Name.Space != place || len(r.Nodes) != 1 {
				t.Fatalf("%q", whole)
			}
			got := r.Nodes[0].El
			compareWritten(t, got, e)
			if got.Text() != clean(value) {
				t.Fatalf("text %q, should be %q", got.Text(), clean(value))
			}
			var kids []*Element
			for k := range got.Elements() {
				kids = append(kids, k)
			}
			if len(kids) != 3 || kids[1].Name != (Name{"", "last"}) {
				t.Fatalf("%q", whole)
			}
			compareWritten(t, kids[0], inner)
			compareWritten(t, kids[2], inner)
			if kids[0].Text() != clean(text) {
				t.Fatalf("text %q, should be %q", kids[0].Text(), clean(text))
			}
		}
	})
}

func compareWritten(t *testing.T, got, e *Element) {
	t.Helper()
	space := clean(e.Name.Space)
	if space == NSXMLNS {
		space = ""
	}
	if got.Name != (Name{space, cleanName(e.Name.Local)}) {
		t.Fatalf("name %q, should be %q", got.Name, e.Name)
	}
	seen := map[Name]bool{}
	n := 0
	for _, a := range e.Attrs {
		name := Name{clean(a.Name.Space), cleanName(a.Name.Local)}
		if a.Name.Space == NSXMLNS || a.Name == (Name{"", "xmlns"}) || seen[name] {
			continue
		}
		seen[name] = true
		if n >= len(got.Attrs) || got.Attrs[n] != (Attr{name, clean(a.Value)}) {
			t.Fatalf("attributes %q, should be %q", got.Attrs, e.Attrs)
		}
		n++
	}
	if n != len(got.Attrs) || !utf8.ValidString(got.Name.Local) {
		t.Fatalf("attributes %q, should be %q", got.Attrs, e.Attrs)
	}
}
