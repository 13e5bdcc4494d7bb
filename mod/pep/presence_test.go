package pep

import (
	"strings"
	"testing"

	engine "sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/payload/delay"
	"sabir/xmpp/stanza"
)

const capsOf = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:test' ver='x'/>"

// toldTo returns to whom notifications of new items have gone since it was called last. Last items are sent in their own time.
func toldTo(h *modtest.Host) string {
	var to []string
	for _, m := range h.Routed() {
		if m.Kind == stanza.Message && m.Has(engine.NSEvent, "event") && !m.Has(delay.NS, "delay") {
			to = append(to, m.To.String())
		}
	}
	return strings.Join(to, " ")
}

// appear has an address send its presence to Romeo's, with some children.
func appear(t *testing.T, h *modtest.Host, from, to, typ, children string) {
	t.Helper()
	h.Observe(h.Pass(mod.In, modtest.Stanza(t, "<presence from='"+from+"' to='"+to+"'"+typ+">"+children+"</presence>")), mod.Delivered)
}

// publish has Romeo publish to a node of an access model, which is made where it is not there.
func publish(t *testing.T, h *modtest.Host, node, access string) {
	t.Helper()
	a := h.Set(romeo, "", "<pubsub xmlns='"+engine.NS+"'><publish node='"+node+"'><item id='i'><x xmlns='u'/></item></publish><publish-options>"+
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+engine.NS+"#publish-options</value></field>"+
		"<field var='pubsub#access_model'><value>"+access+"</value></field></x></publish-options></pubsub>")
	if a == nil || a.Type != stanza.TypeResult {
		t.Fatalf("got %v, want a result", a)
	}
}

// Who shares its presence with an account, without being subscribed to that of the account, hears of open nodes until that ends
// (XEP-0060#auto-subscribe-directed).
func TestSharedPresence(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		h.Login(romeo)
		const bare, gone = "romeo@localhost", " type='unavailable'"
		const here, there = "juliet@localhost/balcony", "nurse@elsewhere.example/chamber"
		for _, who := range []string{here, there} {
			h.Understands(who, "open+notify", "shut+notify", "friends+notify")
		}
		h.Login(here)
		check := func(want string) {
			t.Helper()
			toldTo(h)
			publish(t, h, "shut", "whitelist")
			publish(t, h, "friends", "presence")
			publish(t, h, "open", "open")
			if got := toldTo(h); got != want {
				t.Errorf("told are %q, want %q", got, want)
			}
		}
		check("")
		appear(t, h, here, bare, "", capsOf)
		check(here)
		appear(t, h, here, bare, gone, "")
		appear(t, h, there, bare, "", capsOf)
		check(there)
		appear(t, h, there, bare, "", "") // it says no more what it understands
		check("")
		appear(t, h, there, romeo, "", capsOf) // to a device, as rooms do
		check("")
		appear(t, h, there, bare, "", strings.Replace(capsOf, "ver='x'", "ver='"+strings.Repeat("x", 5000)+"'", 1))
		check("")
		appear(t, h, there, bare, "", capsOf)
		check(there)
		// The error of a notification is for the service, and ends the subscription.
		e := modtest.Stanza(t, "<message type='error' from='"+there+"' to='"+bare+"'><event xmlns='"+engine.NSEvent+"'><items node='open'/></event>"+
			"<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		if err := h.Admit(h.Pass(mod.In, e)); err == nil {
			t.Error("the error of a notification goes to clients")
		}
		check("")
	})
}

// A contact that is available to the account alone hears of all that it may read, and once.
func TestSharedByContact(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		h.Login(romeo)
		const juliet = "juliet@localhost/balcony"
		s := h.Login(juliet)
		h.SetContact("romeo@localhost", "juliet@localhost", mod.SubBoth)
		h.SetContact("juliet@localhost", "romeo@localhost", mod.SubBoth)
		h.Understands(juliet, "friends+notify")
		publish(t, h, "friends", "presence")
		if got := toldTo(h); got != "" {
			t.Errorf("told are %q of whom one is not available", got)
		}
		appear(t, h, juliet, "romeo@localhost", "", capsOf)
		toldTo(h)
		publish(t, h, "friends", "presence")
		if got := toldTo(h); got != juliet {
			t.Errorf("told are %q", got)
		}
		s.SetPresence(modtest.Stanza(t, "<presence from='"+juliet+"'>"+capsOf+"</presence>"), 0)
		appear(t, h, juliet, "romeo@localhost", "", capsOf)
		toldTo(h)
		publish(t, h, "friends", "presence")
		if got := toldTo(h); got != juliet {
			t.Errorf("told are %q", got)
		}
	})
}
