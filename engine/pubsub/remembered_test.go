package pubsub_test

import (
	"fmt"
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

// What is remembered of many subscriptions is what there is, however one of them ends or begins.
func TestRemembered(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newServiceOf(t, d, false, pubsub.Limits{Items: 10, Payload: 1000, Nodes: 3, Subscriptions: 200})
		at := jid.MustParse(service)
		result(t, set(h, "romeo@localhost/a", service, "<create node='n'/>"))
		who := func(i int) string { return fmt.Sprintf("user%d@b.example", i) }
		subscribe := func(i int, options string) {
			t.Helper()
			result(t, set(h, who(i)+"/a", service, "<subscribe node='n' jid='"+who(i)+"'/>"+options))
		}
		for i := range 60 {
			subscribe(i, "")
		}
		told := func(step string, want int) {
			t.Helper()
			h.Routed()
			result(t, set(h, "romeo@localhost/a", service, "<publish node='n'><item><x xmlns='u'/></item></publish>"))
			if got := len(h.Routed()); got != want {
				t.Errorf("%s: %d are told, want %d", step, got, want)
			}
		}
		told("at first", 60)
		told("again", 60)
		subscribe(60, "<options>"+form("subscribe_options", field("expire", h.Clock().Now().Add(time.Hour).UTC().Format(time.RFC3339)))+"</options>")
		told("with one more", 61)
		h.Advance(2 * time.Hour)
		told("when a lease is over", 60)
		result(t, set(h, who(0)+"/a", service, "<unsubscribe node='n' jid='"+who(0)+"'/>"))
		told("without who has left", 59)
		result(t, set(h, who(1)+"/a", service, "<options node='n' jid='"+who(1)+"'>"+form("subscribe_options", field("deliver", "0"))+"</options>"))
		told("without who wants nothing", 58)
		if err := d.Write(t.Context(), func(tx mod.Tx) error { return s.AccountRemoved(t.Context(), tx, jid.MustParse(who(2))) }); err != nil {
			t.Fatal(err)
		}
		told("without a removed account", 57)
		m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(pubsub.NSEvent, "event", xmlstream.El(pubsub.NSEvent, "items", xmlstream.A("node", "n"))))
		m.From, m.To = at, jid.MustParse(who(3))
		if err := s.Bounced(t.Context(), at, m.ErrorReply(stanza.Err(stanza.Gone, "")).Add(m.Child(pubsub.NSEvent, "event"))); err != nil {
			t.Fatal(err)
		}
		told("without who is gone", 56)
		result(t, h.IQ(stanza.TypeSet, "romeo@localhost/a", service, "<pubsub xmlns='"+ns+"#owner'><affiliations node='n'><affiliation jid='"+who(4)+"' affiliation='outcast'/></affiliations></pubsub>"))
		told("without who is kept out", 55)
	})
}
