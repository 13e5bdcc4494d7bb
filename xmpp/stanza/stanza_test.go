package stanza_test

import (
	"strings"
	"testing"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// read reads a stanza as it stands on a client's stream.
func read(t testing.TB, text string) (*stanza.Stanza, *stanza.Error) {
	t.Helper()
	text = strings.Replace(text, " ", " xmlns='jabber:client' ", 1)
	f, err := xmlstream.ParseFrame(text, xmlstream.DefaultLimits)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return stanza.FromFrame(f)
}

func TestFromFrame(t *testing.T) {
	for in, want := range map[string]stanza.Condition{
		"<message to='a@b'/>":                             "",
		"<message to='a@b' type='bogus'/>":                "", // RFC 6121 §5.2.2: as normal
		"<message to='@b'/>":                              stanza.JIDMalformed,
		"<message to='a@b/'/>":                            stanza.JIDMalformed,
		"<presence type='subscribe' to='a@b'/>":           "",
		"<presence type='available' to='a@b'/>":           stanza.BadRequest,
		"<iq type='get' id='1'><q xmlns='x'/></iq>":       "",
		"<iq type='get' id='1'/>":                         stanza.BadRequest,
		"<iq type='get' id='1'><a/><b/></iq>":             stanza.BadRequest,
		"<iq type='set'><q xmlns='x'/></iq>":              stanza.BadRequest,
		"<iq type='result' id='1'/>":                      "",
		"<iq type='result' id='1'><a/><b/></iq>":          stanza.BadRequest,
		"<iq type='error' id='1'/>":                       "",
		"<iq type='subscribe' id='1'><q xmlns='x'/></iq>": stanza.BadRequest,
		"<iq id='1'><q xmlns='x'/></iq>":                  stanza.BadRequest,
	} {
		s, err := read(t, in)
		if s == nil {
			t.Errorf("%s is no stanza", in)
			continue
		}
		var got stanza.Condition
		if err != nil {
			got = err.Condition
		}
		if got != want {
			t.Errorf("%s gives %q, want %q", in, got, want)
		}
	}
	if s, err := read(t, "<other />"); s != nil || err != nil {
		t.Errorf("<other/> gives %v and %v", s, err)
	}
}

// TestWire shows that a stanza leaves as it came, with another sender and recipient.
func TestWire(t *testing.T) {
	s, bad := read(t, `<message to='juliet@b/x' type='chat' id='a&apos;1' xml:lang='de'><body>a &amp; b</body><x xmlns='urn:x' y="z"/></message>`)
	if bad != nil {
		t.Fatal(bad)
	}
	s.From = jid.MustParse("romeo@b/o'rchard")
	want := `<message to='juliet@b/x' from='romeo@b/o&apos;rchard' id='a&apos;1' type='chat' xml:lang='de'><body>a &amp; b</body><x xmlns='urn:x' y="z"/></message>`
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	other := s.WithTo(jid.MustParse("nurse@b"))
	if other.Wire() != s.Wire() {
		t.Error("the encoded form is not shared between recipients")
	}
	if got := other.String(); got != strings.Replace(want, "juliet@b/x", "nurse@b", 1) {
		t.Errorf("for another recipient: %s", got)
	}
	if got := string(s.Wire().Append(nil, "juliet@b/x", stanza.NSClient)); !strings.HasPrefix(got, "<message xmlns='jabber:client' to=") {
		t.Errorf("as a frame of its own: %s", got)
	}
}

func TestCloneAndChange(t *testing.T) {
	s, _ := read(t, `<message to='a@b'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='forged'/><y xmlns='urn:y'/></message>`)
	before := s.String()
	c := s.Clone()
	if n := c.Remove(func(n xmlstream.Name) bool { return n.Space == "urn:xmpp:sid:0" }); n != 1 {
		t.Fatalf("%d children were removed", n)
	}
	c.Add(xmlstream.El("urn:z", "z"))
	if got, want := c.String(), `<message to='a@b'><body>x</body><y xmlns='urn:y'/><z xmlns='urn:z'/></message>`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s.String() != before || s.Has("urn:z", "z") || !s.Has("urn:xmpp:sid:0", "stanza-id") {
		t.Error("changing the clone has changed the stanza")
	}
	if c.Body() != "x" || c.Child("urn:z", "z") == nil || c.Child("urn:xmpp:sid:0", "stanza-id") != nil {
		t.Error("the clone's children are not what was made of them")
	}
}

func TestErrorReply(t *testing.T) {
	q, _ := read(t, "<iq type='get' id='1' to='b' from='a@b/c'><q xmlns='x'/></iq>")
	e := stanza.Err(stanza.ItemNotFound, "no such <thing>").With(xmlstream.El("urn:app", "why"))
	r := q.ErrorReply(e)
	want := `<iq to='a@b/c' from='b' id='1' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no such &lt;thing&gt;</text><why xmlns='urn:app'/></error></iq>`
	if got := r.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back := r.Err()
	if back == nil || back.Condition != stanza.ItemNotFound || back.Type != stanza.Cancel || back.Text != "no such <thing>" || !back.App.Is("urn:app", "why") {
		t.Errorf("read back: %+v", back)
	}
	// RFC 6120 §8.3.1, §8.2.3: an error and a result are not answered.
	if r.ErrorReply(e) != nil {
		t.Error("an error was answered")
	}
	if res := q.Result(nil); res.ErrorReply(e) != nil {
		t.Error("a result was answered")
	}
}

func TestPriority(t *testing.T) {
	for in, want := range map[string]struct {
		n  int8
		ok bool
	}{
		"<presence />": {0, true},
		"<presence ><priority>-128</priority></presence>":  {-128, true},
		"<presence ><priority> 127 </priority></presence>": {127, true},
		"<presence ><priority>128</priority></presence>":   {0, false},
		"<presence ><priority>high</priority></presence>":  {0, false},
		"<presence ><priority/></presence>":                {0, false},
	} {
		s, _ := read(t, in)
		n, ok := s.Priority()
		if ok != want.ok || ok && n != want.n {
			t.Errorf("%s gives %d and %v", in, n, ok)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	text := `<message xmlns='jabber:client' to='juliet@localhost/balcony' type='chat' id='` + stanza.NewID() + `'><body>` + strings.Repeat("x", 100) + `</body></message>`
	from := jid.MustParse("romeo@localhost/orchard")
	b.ReportAllocs()
	for b.Loop() {
		f, err := xmlstream.ParseFrame(text, xmlstream.DefaultLimits)
		if err != nil {
			b.Fatal(err)
		}
		s, bad := stanza.FromFrame(f)
		if bad != nil {
			b.Fatal(bad)
		}
		s.From = from
		if s.Wire().Size() == 0 {
			b.Fatal("empty")
		}
	}
}
