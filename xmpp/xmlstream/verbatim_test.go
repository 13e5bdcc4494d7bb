package xmlstream

import "testing"

func TestVerbatim(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{`<x xmlns="u"  b='2'  a="1" ><y></y>&#65;&gt;</x >`, `<p xmlns='c'><x xmlns="u"  b='2'  a="1" ><y></y>&#65;&gt;</x ></p>`},
		{`<a:x xmlns:a='u'><a:y/></a:x>`, `<p xmlns='c'><a:x xmlns:a='u'><a:y/></a:x></p>`},
		// These would read otherwise within <p/>.
		{`<x/>`, `<p xmlns='c'><x xmlns=''/></p>`},
		{`<a:x xmlns:a='u'><y/></a:x>`, `<p xmlns='c'><x xmlns='u'><y xmlns=''/></x></p>`},
		{`<?xml version='1.0'?><x xmlns='u'></x>`, `<p xmlns='c'><x xmlns='u'/></p>`},
		{" <x xmlns='u'></x>\n", `<p xmlns='c'><x xmlns='u'/></p>`},
	} {
		n, err := Verbatim(c.data, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		e := El("c", "p", n)
		if got := e.String(); got != c.want {
			t.Errorf("%s is written as %s, want %s", c.data, got, c.want)
		}
		if back, err := Parse(e.String(), Limits{}); err != nil || !back.First().Equal(n.El) {
			t.Errorf("%s is read back as %v (%v)", e, back, err)
		}
	}
	if _, err := Verbatim(`<a:x/>`, Limits{}); err == nil {
		t.Error("an unbound prefix was accepted")
	}
}

func TestVerbatimRescope(t *testing.T) {
	n, err := Verbatim(`<body  xmlns='c'>x</body>`, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := Verbatim(`<x  xmlns='u'>x</x>`, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := El("c", "m", n, o).Rescope("c", "s").String(), `<m xmlns='s'><body>x</body><x  xmlns='u'>x</x></m>`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestInside(t *testing.T) {
	f, err := ParseFrame(`<iq xmlns='c' xmlns:p='u'><p:q><p:z/><p:i><x  xmlns="v">&lt;</x ><p:y  /></p:i><p:i><x xmlns='v'/></p:i></p:q></iq>`, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	q, i := Name{"u", "q"}, Name{"u", "i"}
	for _, c := range []struct {
		path []Name
		want string
	}{
		{[]Name{q, i, {"v", "x"}}, `<x  xmlns="v">&lt;</x >`},
		{[]Name{q, i, {"u", "y"}}, `<p:y  />`},
		{[]Name{q, {"u", "z"}}, `<p:z/>`},
		{[]Name{q, {"u", "z"}, i}, ``},
		{[]Name{i}, ``},
		{nil, ``},
	} {
		if got := f.Inside(c.path...); got != c.want {
			t.Errorf("%v: got %s, want %s", c.path, got, c.want)
		}
	}
}

func TestEqual(t *testing.T) {
	tree := func(s string) *Element {
		e, err := Parse(s, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	a := tree(`<x xmlns='u' a='1' b='2'>t<y/></x>`)
	if b := tree(`<p:x xmlns:p='u' b='2' a='1'>t<p:y></p:y></p:x>`); !a.Equal(b) {
		t.Error("two forms of one tree differ")
	}
	for _, s := range []string{`<x xmlns='v' a='1' b='2'>t<y/></x>`, `<x xmlns='u' a='1'>t<y/></x>`, `<x xmlns='u' a='1' b='3'>t<y/></x>`,
		`<x xmlns='u' a='1' b='2'>s<y/></x>`, `<x xmlns='u' a='1' b='2'>t<z/></x>`, `<x xmlns='u' a='1' b='2'>t</x>`, `<x xmlns='u' a='1' b='2'><y/>t</x>`} {
		if a.Equal(tree(s)) {
			t.Errorf("%s is equal", s)
		}
	}
	if a.Equal(nil) || !(*Element)(nil).Equal(nil) {
		t.Error("nil")
	}
}
