package pubsub_test

import (
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Nobody is named as a public subscriber whose time is over, whose address is gone, or whose account was removed; and the others stay.
func TestFollowers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newService(t, d, false)
		at := jid.MustParse("pubsub.localhost")
		result(t, set(h, "romeo@localhost/a", at.String(), "<create node='n'/>"))
		subscribe := func(who, options string) {
			t.Helper()
			result(t, set(h, who+"@localhost/x", at.String(), "<subscribe node='n' jid='"+who+"@localhost'><public xmlns='urn:xmpp:pps:0'/></subscribe>"+options))
		}
		followers := func() string {
			t.Helper()
			return ids(result(t, get(h, "romeo@localhost/a", at.String(), "<items node='urn:xmpp:pps:subscribers:0/n'/>")))
		}
		until := h.Clock().Now().Add(time.Minute).UTC().Format(time.RFC3339)
		subscribe("lease", "<options>"+form("subscribe_options", field("expire", until))+"</options>")
		subscribe("stays", "")
		if got := followers(); got != "stays@localhost lease@localhost" {
			t.Fatalf("got %q", got)
		}
		h.Advance(2 * time.Minute)
		if err := s.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := followers(); got != "stays@localhost" {
			t.Errorf("when a lease has ended: %q", got)
		}
		subscribe("removed", "")
		if err := d.Write(t.Context(), func(tx mod.Tx) error { return s.AccountRemoved(t.Context(), tx, jid.MustParse("removed@localhost")) }); err != nil {
			t.Fatal(err)
		}
		if got := followers(); got != "stays@localhost" {
			t.Errorf("when an account was removed: %q", got)
		}
		subscribe("gone", "")
		m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(pubsub.NSEvent, "event", xmlstream.El(pubsub.NSEvent, "items", xmlstream.A("node", "n"))))
		m.From, m.To = at, jid.MustParse("gone@localhost")
		if err := s.Bounced(t.Context(), at, m.ErrorReply(stanza.Err(stanza.Gone, "")).Add(m.Child(pubsub.NSEvent, "event"))); err != nil {
			t.Fatal(err)
		}
		got := followers()
		for end := time.Now().Add(20 * time.Second); got != "stays@localhost" && time.Now().Before(end); got = followers() {
			time.Sleep(5 * time.Millisecond) // it is done in its own time
		}
		if got != "stays@localhost" {
			t.Errorf("when an address is gone: %q", got)
		}
	})
}
