package pubsub

import (
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Domains with which there are streams are named where they agree, as long as they do, and asked no more often than need be.
func TestServerInfo(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithDB(dbtest.SQLite(t), db.Migrate), modtest.WithConfig(func(c *Config) { c.ServerInfo = true }))
	about := h.Hooks.Instance.(*pubsub).about
	agree := map[string]bool{"agrees.example": true, "late.example": false}
	asked := make(map[string]int)
	h.OnAsk(func(q *stanza.Stanza) *stanza.Stanza {
		asked[q.To.Domain()]++
		agrees, there := agree[q.To.Domain()]
		if !there {
			return nil
		}
		x := xmlstream.El(wire.NSInfo, "query", xmlstream.El(wire.NSInfo, "feature", xmlstream.A("var", "urn:other")))
		if agrees {
			x.Add(xmlstream.El(wire.NSInfo, "feature", xmlstream.A("var", nsServerInfo)))
		}
		return q.Result(x)
	})
	told := func() string {
		about.refresh(t.Context())
		a := h.Get("romeo@localhost/x", "pubsub.localhost", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='serverinfo'/></pubsub>")
		return a.Payload().First().First().First().String()
	}
	const open, end = "<serverinfo xmlns='urn:xmpp:serverinfo:0'><domain name='localhost'", "</domain></serverinfo>"
	expect := func(what, want string) {
		t.Helper()
		if got := told(); got != want {
			t.Errorf("%s: got  %s\nwant %s", what, got, want)
		}
	}
	expect("no peers", open+"/></serverinfo>")
	peer := func(name string, in, out, both int) mod.Peer {
		return mod.Peer{Domain: jid.MustParse(name), In: in, Out: out, Both: both}
	}
	h.SetPeers(peer("silent.example", 1, 0, 0), peer("late.example", 0, 0, 1), peer("agrees.example", 1, 2, 0))
	named := "<remote-domain name='agrees.example'><connection type='incoming'/><connection type='outgoing'/><connection type='outgoing'/></remote-domain>"
	expect("one agrees", open+"><federation>"+named+"</federation>"+end)
	expect("again", open+"><federation>"+named+"</federation>"+end)
	if asked["agrees.example"] != 1 || asked["silent.example"] != 1 {
		t.Errorf("asked %v", asked)
	}
	agree["late.example"], agree["agrees.example"] = true, false
	h.Advance(25 * time.Hour)
	expect("another agrees", open+"><federation><remote-domain name='late.example'><connection type='bidi'/></remote-domain></federation>"+end)
	h.SetPeers()
	expect("streams have ended", open+"/></serverinfo>")
}

// A server that tells nothing any more takes back what it has told, and leaves the node of a user alone.
func TestServerInfoWithdrawn(t *testing.T) {
	d := dbtest.SQLite(t)
	modtest.New(t, Info, modtest.WithDB(d, db.Migrate), modtest.WithConfig(func(c *Config) { c.ServerInfo = true }))
	h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
	a := h.Get("romeo@localhost/x", "pubsub.localhost", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='serverinfo'/></pubsub>")
	if a.Type != stanza.TypeResult || a.Payload().First().First() != nil {
		t.Errorf("got %s", a)
	}
	other := modtest.New(t, Info, modtest.WithDB(dbtest.SQLite(t), db.Migrate))
	if a := other.Set("romeo@localhost/x", "pubsub.localhost", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='serverinfo'><item id='current'><x xmlns='u'/></item></publish></pubsub>"); a.Type != stanza.TypeResult {
		t.Fatal(a)
	}
	if err := other.Hooks.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := other.Get("romeo@localhost/x", "pubsub.localhost", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='serverinfo'/></pubsub>"); !strings.Contains(a.String(), "<x xmlns='u'/>") {
		t.Errorf("got %s", a)
	}
}
