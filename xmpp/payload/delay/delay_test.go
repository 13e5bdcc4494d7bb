package delay

import (
	"testing"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func TestRoundTrip(t *testing.T) {
	d := Delay{From: jid.MustParse("capulet.com"), Stamp: time.Date(2002, 9, 10, 23, 8, 25, 0, time.UTC), Reason: "Offline Storage"}
	x := d.Element()
	if got, want := x.String(), "<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z' from='capulet.com'>Offline Storage</delay>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	back, err := Parse(x)
	if err != nil || !back.Stamp.Equal(d.Stamp) || back.From != d.From || back.Reason != d.Reason {
		t.Errorf("Parse = %+v, %v", back, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, x := range []*xmlstream.Element{
		xmlstream.El(NS, "delay"),
		xmlstream.El(NS, "delay", xmlstream.A("stamp", "yesterday")),
		xmlstream.El(NS, "delay", xmlstream.A("stamp", "2002-09-10T23:08:25Z"), xmlstream.A("from", "@@")),
		xmlstream.El("jabber:x:delay", "x", xmlstream.A("stamp", "20020910T23:08:25")),
	} {
		if d, err := Parse(x); err == nil {
			t.Errorf("Parse(%s) = %+v, want an error", x, d)
		}
	}
}

func TestOf(t *testing.T) {
	room := Delay{From: jid.MustParse("room@muc.example"), Stamp: time.Unix(10, 0)}
	own := Delay{From: jid.MustParse("example.org"), Stamp: time.Unix(20, 0)}
	s := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(NS, "delay"), room.Element(), own.Element())
	if d, ok := Of(s, jid.JID{}); !ok || d.From != room.From {
		t.Errorf("from anybody: %+v, %v", d, ok)
	}
	if d, ok := Of(s, own.From); !ok || !d.Stamp.Equal(own.Stamp) {
		t.Errorf("from the host: %+v, %v", d, ok)
	}
	if _, ok := Of(s, jid.MustParse("nobody.example")); ok {
		t.Error("found one from nobody")
	}
	if _, ok := Of(stanza.New(stanza.Message, stanza.TypeChat), jid.JID{}); ok {
		t.Error("found one in a message without")
	}
}

func TestClaims(t *testing.T) {
	host := jid.MustParse("example.org")
	for from, want := range map[string]bool{"example.org": true, "EXAMPLE.org": true, "a@example.org": false, "": false, "@@": false} {
		if got := Claims(xmlstream.El(NS, "delay", xmlstream.A("from", from)), host); got != want {
			t.Errorf("Claims from %q = %v", from, got)
		}
	}
	if Claims(xmlstream.El("x", "delay", xmlstream.A("from", "example.org")), host) {
		t.Error("another namespace claims")
	}
}
