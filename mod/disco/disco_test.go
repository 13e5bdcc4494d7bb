package disco

import (
	"testing"

	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/disco"
	"sabir/xmpp/stanza"
)

const (
	info  = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
	romeo = "romeo@localhost/garden"
)

func infoNode(node string) string {
	return "<query xmlns='http://jabber.org/protocol/disco#info' node='" + node + "'/>"
}

func itemsNode(node string) string {
	return "<query xmlns='http://jabber.org/protocol/disco#items' node='" + node + "'/>"
}

func TestHost(t *testing.T) {
	h := modtest.New(t, Info)
	modtest.Expect(t, h.Get(romeo, "localhost", info), "<iq type='result' from='localhost' to='romeo@localhost/garden'>"+
		"<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im' name='Sabir'/>"+
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/></query></iq>")
	modtest.Expect(t, h.Get("capulet.example", "localhost", items), "<iq type='result'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>")
	h.SetDisco(mod.AtHost, mod.Disco{Items: []mod.DiscoItem{{JID: jid.MustParse("muc.localhost"), Name: "Rooms"}}})
	modtest.Expect(t, h.Get(romeo, "localhost", items),
		"<iq type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item jid='muc.localhost' name='Rooms'/></query></iq>")
}

func TestHostNodes(t *testing.T) {
	h := modtest.New(t, Info)
	for _, payload := range []string{infoNode("x"), infoNode("#"), infoNode("http://x#y"), infoNode("urn:xmpp:caps#sha-256"), itemsNode("x")} {
		modtest.ExpectError(t, h.Get(romeo, "localhost", payload), stanza.Cancel, stanza.ItemNotFound)
	}
	own := h.Disco(mod.AtHost).Info("")
	ver, err := own.Ver("sha-1")
	if err != nil {
		t.Fatal(err)
	}
	hash, err := own.Hash("sha-256")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []wire.Caps{{Node: "https://example.org/sabir", Algo: "sha-1", Hash: ver}, {Algo: "sha-256", Hash: hash}} {
		answer := h.Get(romeo, "localhost", infoNode(c.Query()))
		if answer.Type != stanza.TypeResult {
			t.Fatalf("%s: %s", c.Query(), answer)
		}
		got, err := wire.ParseInfo(answer.Payload(), "")
		if err != nil || got.Node != c.Query() || !c.Verify(got) {
			t.Errorf("%s: %+v, %v", c.Query(), got, err)
		}
	}
}

func TestContacts(t *testing.T) {
	h := modtest.New(t, Info, modtest.WithConfig(func(c *Config) {
		c.Admin = []string{"mailto:admin@localhost", "xmpp:admin@localhost"}
		c.Abuse = []string{"mailto:abuse@localhost"}
	}))
	modtest.Expect(t, h.Get(romeo, "localhost", info), "<iq type='result'><query xmlns='http://jabber.org/protocol/disco#info'>"+
		"<identity category='server' type='im' name='Sabir'/>"+
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>"+
		"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>"+
		"<field var='abuse-addresses' type='list-multi'><value>mailto:abuse@localhost</value></field>"+
		"<field var='admin-addresses' type='list-multi'><value>mailto:admin@localhost</value><value>xmpp:admin@localhost</value></field></x></query></iq>")
	if err := (&Config{Support: []string{"help@localhost"}}).Validate(); err == nil {
		t.Error("an address without a scheme was taken")
	}
	if err := (&Config{Status: []string{"http://[::1"}}).Validate(); err == nil {
		t.Error("a broken URI was taken")
	}
}

func TestAccount(t *testing.T) {
	h := modtest.New(t, Info)
	h.SetContact("juliet@localhost", "romeo@localhost", mod.SubBoth)
	h.Online("juliet@localhost/balcony", 0)
	h.Login("juliet@localhost/silent")
	const account = "<iq type='result' from='juliet@localhost'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='account' type='registered'/>" +
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/></query></iq>"
	modtest.Expect(t, h.Get(romeo, "juliet@localhost", info), account)
	modtest.Expect(t, h.Get("juliet@localhost/balcony", "juliet@localhost", info), account)
	modtest.Expect(t, h.Get(romeo, "juliet@localhost", items),
		"<iq type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item jid='juliet@localhost/balcony'/></query></iq>")
	modtest.Expect(t, h.Get("juliet@localhost/silent", "", items),
		"<iq type='result'><query xmlns='http://jabber.org/protocol/disco#items'><item jid='juliet@localhost/balcony'/><item jid='juliet@localhost/silent'/></query></iq>")
	modtest.ExpectError(t, h.Get(romeo, "juliet@localhost", infoNode("x")), stanza.Cancel, stanza.ItemNotFound)
	modtest.ExpectError(t, h.Get(romeo, "juliet@localhost", itemsNode("x")), stanza.Cancel, stanza.ItemNotFound)
}

// Strangers learn neither whether an account exists nor whether it is online (XEP-0030#security).
func TestNoLeak(t *testing.T) {
	h := modtest.New(t, Info)
	h.Online("juliet@localhost/balcony", 0)
	h.SetContact("juliet@localhost", "nurse@localhost", mod.SubTo) // she sees the nurse, not the other way round
	for _, from := range []string{romeo, "nurse@localhost/hall", "x@capulet.example/y"} {
		for _, to := range []string{"juliet@localhost", "nobody@localhost"} {
			for _, node := range []string{"", "x"} {
				in, it := info, items
				want := "<iq type='result' from='" + to + "'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
				if node != "" {
					in, it = infoNode(node), itemsNode(node)
					want = "<iq type='result' from='" + to + "'><query xmlns='http://jabber.org/protocol/disco#items' node='x'/></iq>"
				}
				modtest.ExpectError(t, h.Get(from, to, in), stanza.Cancel, stanza.ServiceUnavailable)
				modtest.Expect(t, h.Get(from, to, it), want)
			}
		}
	}
}
