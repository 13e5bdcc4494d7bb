package pubsub_test

import (
	"fmt"
	"strings"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// asSent returns a stanza as it comes from a stream.
func asSent(t *testing.T, text string) *stanza.Stanza {
	t.Helper()
	f, err := xmlstream.ParseFrame(text, xmlstream.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		t.Fatal(bad)
	}
	return s
}

// What stands by itself is stored, returned and told byte for byte; what leans on its surroundings is written anew.
func TestVerbatim(t *testing.T) {
	const signed = `<entry   xmlns="u" b='2' a="1"><t:c xmlns:t='v' ></t:c>&#x41;<d/></entry >`
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false)
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='n'/>"))
		result(t, set(h, "juliet@localhost/a", "pubsub.localhost", "<subscribe node='n' jid='juliet@localhost'/>"))
		for payload, want := range map[string]string{
			signed:                          signed,
			`<p:x xmlns:p='u'  ><y/></p:x>`: `<x xmlns='u'><y xmlns='http://jabber.org/protocol/pubsub'/></x>`,
			`<item  />`:                     `<item xmlns='http://jabber.org/protocol/pubsub'/>`,
		} {
			h.Routed()
			result(t, h.Do(asSent(t, "<iq xmlns='jabber:client' type='set' id='1' from='romeo@localhost/a' to='pubsub.localhost'><pubsub xmlns='"+ns+
				"'><publish node='n'><item id='i'>"+payload+"</item></publish></pubsub></iq>")))
			if got := result(t, get(h, "juliet@localhost/a", "pubsub.localhost", "<items node='n'><item id='i'/></items>")).String(); !strings.Contains(got, ">"+want+"</item>") {
				t.Errorf("%s is returned as %s", payload, got)
			}
			told := h.Routed()
			if len(told) != 1 || !strings.Contains(told[0].String(), ">"+want+"</item>") {
				t.Errorf("%s is told as %v", payload, told)
			}
		}
	})
}

// Items of the same microsecond have different places in a page.
func TestIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false) // its clock stands still
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='n'/>"))
		for i := range 5 {
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", fmt.Sprintf("<publish node='n'><item id='%d'><x xmlns='u'/></item></publish>", i)))
		}
		for order, first := range map[string]string{"by='creation'": "1", "by='creation' desc='true'": "3", "by='modification'": "1", "by='modification' desc='true'": "3"} {
			after := "0"
			if strings.Contains(order, "desc") {
				after = "4"
			}
			a := result(t, get(h, "romeo@localhost/a", "pubsub.localhost", "<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><max>2</max><after>"+after+
				"</after></set><order xmlns='urn:xmpp:order-by:1' "+order+"/>"))
			if f := a.Child(ns, "pubsub").Child("http://jabber.org/protocol/rsm", "set").Child("http://jabber.org/protocol/rsm", "first"); f.Text() != first || f.Attr("index") != "1" {
				t.Errorf("%s: the page begins with %s at %s, want %s at 1", order, f.Text(), f.Attr("index"), first)
			}
		}
	})
}
