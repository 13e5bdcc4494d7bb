package xmlstream

import (
	"slices"
	"testing"
)

func TestElement(t *testing.T) {
	var none *Element
	e := El("u", "a", nil, none, "x", "", A("k", "1"), El("v", "b", "y"), []*Element{El("u", "b"), El("v", "b", "z")}, A("k", "2"), "w", Attr{Name{NSXML, "k"}, "3"})
	if got, want := e.String(), "<a xmlns='u' k='2' xml:k='3'>x<b xmlns='v'>y</b><b/><b xmlns='v'>z</b>w</a>"; got != want {
		t.Errorf("%s, should be %s", got, want)
	}
	if e.Attr("k") != "2" || e.Attr("none") != "" || e.Text() != "xw" || e.ChildText("v", "b") != "y" || e.ChildText("", "b") != "" {
		t.Errorf("%q %q %q", e.Attr("k"), e.Text(), e.ChildText("v", "b"))
	}
	if v, ok := e.LookupAttr(Name{NSXML, "k"}); v != "3" || !ok {
		t.Errorf("%q, %t", v, ok)
	}
	if !e.First().Is("v", "b") || e.Child("u", "b").Is("v", "b") || e.Child("w", "b") != nil {
		t.Error("a child is not found, or one too many")
	}
	n := 0
	for range e.Elements() {
		if n++; n == 2 {
			break
		}
	}
	c := e.Clone()
	c.SetAttr(Name{"", "k"}, "4")
	c.Add("more")
	if n != 2 || e.Attr("k") != "2" || c.Attr("k") != "4" || len(c.Nodes) != len(e.Nodes)+1 {
		t.Errorf("%s, its clone %s", e, c)
	}
	if none.Attr("k") != "" || none.Child("", "") != nil || none.First() != nil || none.Text() != "" || none.Is("", "") || len(none.Append(nil, "")) != 0 {
		t.Error("nil is not empty")
	}
	defer func() {
		if recover() == nil {
			t.Error("a child of a wrong type does not panic")
		}
	}()
	El("", "a", 1)
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		e        *Element
		ns, want string
	}{
		{El("u", "a"), "", "<a xmlns='u'/>"},
		{El("u", "a"), "u", "<a/>"},
		{El("", "a"), "u", "<a xmlns=''/>"},
		{El("u", "a", El("u", "b", El("v", "c", El("", "d")))), "u", "<a><b><c xmlns='v'><d xmlns=''/></c></b></a>"},
		{El(NSXML, "a", El("u", "b")), "u", "<xml:a><b/></xml:a>"},
		{El(NSXMLNS, "a", El("u", "b")), "u", "<a xmlns=''><b xmlns='u'/></a>"},
		{El("u'&\n", "a"), "", "<a xmlns='u&apos;&amp;&#xA;'/>"},
		{El("", "a", Attr{Name{"u", "b"}, "1"}, Attr{Name{"v", "b"}, "2"}, A("b", "3")), "", "<a xmlns:n0='u' n0:b='1' xmlns:n1='v' n1:b='2' b='3'/>"},
		{El("", "a", A("xmlns", "u"), Attr{Name{NSXMLNS, "p"}, "u"}), "", "<a/>"},
		{El("", "a b", A("1c", "")), "", "<a\ufffdb \ufffdc=''/>"},
		{El("", "", A("a:b", "1"), A("a;b", "2")), "", "<\ufffd a\ufffdb='1'/>"},
		{El("", "a", A("\ufffd", "1"), A("1", "2"), A("c", "3")), "", "<a \ufffd='1' c='3'/>"},
		{El("", "a", A("1", "1"), A("\ufffd", "2"), A("c", "3")), "", "<a \ufffd='1' c='3'/>"},
		{El("", "a", Attr{Name{"\x01", "b"}, "1"}, Attr{Name{"\x02", "b"}, "2"}, Attr{Name{"\x02", "c"}, "3"}), "", "<a xmlns:n0='\ufffd' n0:b='1' xmlns:n2='\ufffd' n2:c='3'/>"},
		{El("", "a", Attr{Name{"u", "1"}, "1"}, Attr{Name{"u", "2"}, "2"}, A("3", "3")), "", "<a xmlns:n0='u' n0:\ufffd='1' \ufffd='3'/>"},
		{El("", "a", A("b", "<>&'\"\t\r\n\x00\xff\ufffe\u00e9")), "", "<a b='&lt;&gt;&amp;&apos;&quot;&#x9;&#xD;&#xA;\ufffd\ufffd\ufffd\u00e9'/>"},
		{El("", "a", "<>&'\"\t\r\n\x00\xff\ufffe\u00e9 and so on"), "", "<a>&lt;&gt;&amp;'\"\t&#xD;\n\ufffd\ufffd\ufffd\u00e9 and so on</a>"},
		{&Element{Name: Name{"", "a"}, Nodes: []Node{{}, {Text: ""}}}, "", "<a/>"},
	} {
		if got := string(c.e.Append([]byte("x"), c.ns)); got != "x"+c.want {
			t.Errorf("%s, should be %s", got, c.want)
		}
	}
}

// The names of XML 1.0 (5th edition) §2.3, production 4 and 4a, but for the colon.
func TestNames(t *testing.T) {
	type span struct{ lo, hi rune }
	start := []span{
		{'A', 'Z'}, {'_', '_'}, {'a', 'z'}, {0xC0, 0xD6}, {0xD8, 0xF6}, {0xF8, 0x2FF}, {0x370, 0x37D}, {0x37F, 0x1FFF}, {0x200C, 0x200D},
		{0x2070, 0x218F}, {0x2C00, 0x2FEF}, {0x3001, 0xD7FF}, {0xF900, 0xFDCF}, {0xFDF0, 0xFFFD}, {0x10000, 0xEFFFF},
	}
	more := []span{{'-', '-'}, {'.', '.'}, {'0', '9'}, {0xB7, 0xB7}, {0x300, 0x36F}, {0x203F, 0x2040}}
	in := func(list []span, r rune) bool {
		return slices.ContainsFunc(list, func(s span) bool { return s.lo <= r && r <= s.hi })
	}
	for r := rune(0); r <= 0x10FFFF; r++ {
		isStart := in(start, r)
		isName := isStart || in(more, r)
		if isNameStart(r) != isStart || isNameChar(r) != isName {
			t.Fatalf("%U: %t %t, should be %t %t", r, isNameStart(r), isNameChar(r), isStart, isName)
		}
		if r >= 0xD800 && r < 0xE000 {
			if isChar(r) {
				t.Fatalf("%U is a character", r)
			}
			continue
		}
		legal := r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r != 0xFFFE && r != 0xFFFF
		if isChar(r) != legal {
			t.Fatalf("%U: isChar is %t", r, !legal)
		}
		if r < ' ' || r > 0x3000 && r%251 != 0 && r < 0xF0000 && r&0xFFFF < 0xFF00 {
			continue
		}
		for s, want := range map[string]bool{string(r): isStart, "a" + string(r): isName} {
			if isNCName(s) != want || isNCName(cleanName(s)) != true {
				t.Fatalf("%U: isNCName(%q) is %t, cleanName %q", r, s, isNCName(s), cleanName(s))
			}
			_, end := qname([]byte(s+"="), 0)
			if r != ':' && (end == len(s)) != want {
				t.Fatalf("%U: qname of %q ends at %d", r, s, end)
			}
		}
	}
}
