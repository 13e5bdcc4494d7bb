package forward

import (
	"strings"
	"testing"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func message(t testing.TB, x string) *stanza.Stanza {
	t.Helper()
	f, err := xmlstream.ParseFrame(x, limits)
	if err != nil {
		t.Fatal(err)
	}
	s, bad := stanza.FromFrame(f)
	if s == nil || bad != nil {
		t.Fatalf("%s: %v", x, bad)
	}
	return s
}

func TestMessage(t *testing.T) {
	inner := "<p:x a=\"1\"  xml:lang='de'>&lt;<![CDATA[<]]></p:x><body xmlns='urn:other'/><body>x</body>"
	s := message(t, "<message xmlns='jabber:client' xmlns:p='urn:p' from='a@x/1' to='b@x' id='&quot;i&apos;' type='chat' xml:lang='ar' own='1'>"+inner+"</message>")
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	from := jid.MustParse("b@x")
	m, err := Forwarded{Stanza: s, Delay: &delay.Delay{Stamp: at}}.Message(stanza.TypeChat, from, xmlstream.Name{Space: "urn:mam", Local: "result"}, xmlstream.A("id", "'<1>"))
	if err != nil {
		t.Fatal(err)
	}
	if m.From != from || m.Type != stanza.TypeChat || m.ID != "" || !m.To.IsZero() || m.NumChildren() != 1 {
		t.Errorf("the message is %s", m)
	}
	wire := m.WithTo(jid.MustParse("b@x/2")).String()
	if !strings.HasPrefix(wire, "<message to='b@x/2' from='b@x' type='chat'><result ") {
		t.Errorf("it begins %s", wire)
	}
	if !strings.Contains(wire, "<p:x a=\"1\"  xml:lang='de'>") {
		t.Errorf("the bytes are not kept: %s", wire)
	}
	r := m.Child("urn:mam", "result")
	if r.Attr("id") != "'<1>" {
		t.Errorf("the attribute is %q", r.Attr("id"))
	}
	got, err := Parse(r.Child(NS, "forwarded"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Delay == nil || !got.Delay.Stamp.Equal(at) {
		t.Errorf("the time is %v", got.Delay)
	}
	g := got.Stanza
	if g.From != s.From || g.To != s.To || g.ID != `"i'` || g.Type != s.Type || g.Lang != "ar" || g.Body() != "x" {
		t.Errorf("the stanza is %s", g)
	}
	if x := g.Child("urn:p", "x"); x.Text() != "<<" || x.Attr("a") != "1" || !g.Has("urn:other", "body") || g.NumChildren() != 3 {
		t.Errorf("the children are %s", g)
	}
}

// TestShared checks that all recipients share one encoding.
func TestShared(t *testing.T) {
	s := message(t, "<message xmlns='jabber:client' from='a@x/1' to='b@x'><body>x</body></message>")
	m, err := Forwarded{Stanza: s}.Message(s.Type, jid.MustParse("b@x"), xmlstream.Name{Space: "urn:c", Local: "received"})
	if err != nil {
		t.Fatal(err)
	}
	w := m.Wire()
	if m.WithTo(jid.MustParse("b@x/2")).Wire() != w || m.WithTo(jid.MustParse("b@x/3")).Wire() != w {
		t.Error("each recipient has an encoding of its own")
	}
	want := "<message to='b@x/2' from='b@x'><received xmlns='urn:c'><forwarded xmlns='urn:xmpp:forward:0'>" +
		"<message xmlns='jabber:client' to='b@x' from='a@x/1'><body>x</body></message></forwarded></received></message>"
	if got := m.WithTo(jid.MustParse("b@x/2")).String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	const in = "<message xmlns='jabber:client'/>"
	for _, x := range []string{
		"<forwarded xmlns='urn:xmpp:forward:1'>" + in + "</forwarded>",
		"<forwarded xmlns='urn:xmpp:forward:0'/>",
		"<forwarded xmlns='urn:xmpp:forward:0'><message/></forwarded>",
		"<forwarded xmlns='urn:xmpp:forward:0'>" + in + in + "</forwarded>",
		"<forwarded xmlns='urn:xmpp:forward:0'><query xmlns='jabber:client'/></forwarded>",
		"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='@'/></forwarded>",
		"<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='now'/>" + in + "</forwarded>",
	} {
		e, err := xmlstream.Parse(x, limits)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Parse(e); err == nil {
			t.Errorf("%s: read %v", x, f)
		}
	}
	if _, err := Parse(nil); err == nil {
		t.Error("nothing was read")
	}
}

func BenchmarkMessage(b *testing.B) {
	s := message(b, "<message xmlns='jabber:client' from='romeo@localhost/phone' to='juliet@localhost' type='chat' id='0123456789'><body>"+
		strings.Repeat("x", 80)+"</body><request xmlns='urn:xmpp:receipts'/><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
	from := jid.MustParse("juliet@localhost")
	name := xmlstream.Name{Space: "urn:xmpp:carbons:2", Local: "received"}
	b.ReportAllocs()
	for b.Loop() {
		m, err := Forwarded{Stanza: s}.Message(s.Type, from, name)
		if err != nil {
			b.Fatal(err)
		}
		m.Wire()
	}
}
