package pam

import (
	"strings"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// A service that gives SubIDs takes an unsubscribe without one where it is clear what is meant, and names none when a node ends.
func TestSubID(t *testing.T) {
	const romeo, service = "romeo@localhost", "pubsub.example"
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		s := h.Login(romeo + "/x")
		h.OnAsk(func(q *stanza.Stanza) *stanza.Stanza {
			if x := q.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "subscribe"); x != nil {
				return q.Result(xmlstream.El(pubsub.NS, "pubsub", xmlstream.El(pubsub.NS, "subscription", xmlstream.A("node", x.Attr("node")),
					xmlstream.A("jid", romeo), xmlstream.A("subscription", "subscribed"), xmlstream.A("subid", "of "+x.Attr("node")))))
			}
			return q.Result(nil)
		})
		manage := func(what string) {
			t.Helper()
			a := h.Set(romeo+"/x", "", "<pam xmlns='urn:xmpp:pam:0' jid='"+service+"'><"+what+" jid='"+romeo+"' xmlns='http://jabber.org/protocol/pubsub'/></pam>")
			for end := time.Now().Add(30 * time.Second); a == nil && time.Now().Before(end); time.Sleep(time.Millisecond) { // it is answered in its own time
				if sent := s.Take(); len(sent) > 0 {
					a = sent[0]
				}
			}
			if a == nil || a.Type != stanza.TypeResult {
				t.Fatalf("got %v, want a result", a)
			}
		}
		kept := func() string {
			t.Helper()
			var out []string
			for x := range h.Get(romeo+"/x", "", "<subscriptions xmlns='urn:xmpp:pam:0'/>").Payload().Elements() {
				out = append(out, x.Attr("subid"))
			}
			return strings.Join(out, ", ")
		}
		for _, node := range []string{"a", "b", "c"} {
			manage("subscribe node='" + node + "'")
		}
		if got := kept(); got != "of a, of b, of c" {
			t.Fatalf("kept are %q", got)
		}
		manage("unsubscribe node='a'")
		if got := kept(); got != "of b, of c" {
			t.Errorf("after the end of one kept are %q", got)
		}
		h.Observe(h.Pass(mod.In, modtest.Stanza(t, "<message from='"+service+"' to='"+romeo+"'><event xmlns='"+pubsub.NSEvent+"'><delete node='b'/></event></message>")), mod.Delivered)
		got := kept()
		for end := time.Now().Add(30 * time.Second); got != "of c" && time.Now().Before(end); got = kept() {
			time.Sleep(time.Millisecond)
		}
		if got != "of c" {
			t.Errorf("after the end of a node kept are %q", got)
		}
	})
}
