package s2s_test

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	nsPubSub = "http://jabber.org/protocol/pubsub"
	nsMood   = "http://jabber.org/protocol/mood"
	nsInfo   = "http://jabber.org/protocol/disco#info"
)

// pubsub sends a request, written as it stands in text, and returns the answer, which ok says to be a result or an error.
func (u *user) pubsub(typ, to, text string, ok bool) *stanza.Stanza {
	u.t.Helper()
	id := stanza.NewID()
	if err := u.SendRaw(fmt.Appendf(nil, "<iq type='%s' id='%s' to='%s'>%s</iq>", typ, id, to, text)); err != nil {
		u.t.Fatal(err)
	}
	a := u.wait("the answer to "+text, func(s *stanza.Stanza) bool { return s.Kind == stanza.IQ && s.ID == id })
	if (a.Type == stanza.TypeResult) != ok {
		u.t.Fatalf("%s asks %s and gets %s", u.jid, text, a)
	}
	return a
}

func request(inner string) string { return "<pubsub xmlns='" + nsPubSub + "'>" + inner + "</pubsub>" }

// event waits for a notification from an address whose items hold this text.
func (u *user) event(from, text string) *stanza.Stanza {
	u.t.Helper()
	return u.wait("an event with "+text, func(s *stanza.Stanza) bool {
		return s.Kind == stanza.Message && s.From.String() == from && s.Has(nsPubSub+"#event", "event") && strings.Contains(s.String(), text)
	})
}

const openNode = "<configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + nsPubSub +
	"#node_config</value></field><field var='pubsub#publish_model'><value>open</value></field><field var='pubsub#access_model'><value>open</value></field></x></configure>"

// TestPubSub: a node of one server is subscribed to and published to from another one. The payload crosses byte for byte.
func TestPubSub(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	w.Point(t, "pubsub.a.example", a.ports[config.S2S], a.ports[config.S2STLS])
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	const service = "pubsub.a.example"
	juliet.pubsub(stanza.TypeSet, service, request("<create node='hers'/>"), false)
	romeo.pubsub(stanza.TypeSet, service, request("<create node='n'/>"+openNode), true)
	juliet.pubsub(stanza.TypeSet, service, request("<subscribe node='n' jid='juliet@b.example'/>"), true)
	romeo.pubsub(stanza.TypeSet, service, request("<subscribe node='n' jid='romeo@a.example'/>"), true)

	const entry = `<entry   xmlns="urn:example:entry" b='2' a="1"><s:signed xmlns:s='urn:example:s' ></s:signed>&#x41;</entry >`
	romeo.pubsub(stanza.TypeSet, service, request("<publish node='n'><item id='1'>"+entry+"</item></publish>"), true)
	e := juliet.event(service, "id='1'")
	if got := e.Inside(xmlstream.Name{Space: nsPubSub + "#event", Local: "event"}, xmlstream.Name{Space: nsPubSub + "#event", Local: "items"},
		xmlstream.Name{Space: nsPubSub + "#event", Local: "item"}, xmlstream.Name{Space: "urn:example:entry", Local: "entry"}); got != entry {
		t.Errorf("the payload arrives as %s", got)
	}
	juliet.pubsub(stanza.TypeSet, service, request("<publish node='n'><item id='2'><x xmlns='urn:example'/></item></publish>"), true)
	romeo.event(service, "publisher='juliet@b.example'")
	juliet.event(service, "publisher='juliet@b.example'")
	if got := juliet.pubsub(stanza.TypeGet, service, request("<items node='n'/>"), true).String(); !strings.Contains(got, "id='2' publisher='juliet@b.example'") || !strings.Contains(got, entry) {
		t.Errorf("the items are %s", got)
	}
	juliet.pubsub(stanza.TypeSet, service, request("<retract node='n' notify='1'><item id='1'/></retract>"), false) // it is not hers
	juliet.pubsub(stanza.TypeSet, service, request("<retract node='n' notify='1'><item id='2'/></retract>"), true)
	romeo.event(service, "retract id='2'")
}

// mooded is presence whose capabilities say that its client wants moods. The form makes the hash one that no two clients share.
func mooded() *stanza.Stanza {
	ver := sha1.Sum([]byte("client/pc//<" + nsInfo + "<" + nsMood + "+notify<urn:zzz<"))
	return stanza.New(stanza.Presence, "", xmlstream.El("http://jabber.org/protocol/caps", "c", xmlstream.A("hash", "sha-1"),
		xmlstream.A("node", "urn:test"), xmlstream.A("ver", base64.StdEncoding.EncodeToString(ver[:]))))
}

// answerInfo answers the question of a server or account what its client understands.
func (u *user) answerInfo(from string) {
	u.t.Helper()
	q := u.wait("a question of "+from, func(s *stanza.Stanza) bool {
		return s.Kind == stanza.IQ && s.Type == stanza.TypeGet && s.From.String() == from && s.Has(nsInfo, "query")
	})
	field := xmlstream.El("jabber:x:data", "field", xmlstream.A("var", "FORM_TYPE"), xmlstream.A("type", "hidden"), xmlstream.El("jabber:x:data", "value", "urn:zzz"))
	u.send(q.Result(xmlstream.El(nsInfo, "query", xmlstream.A("node", q.Child(nsInfo, "query").Attr("node")),
		xmlstream.El(nsInfo, "identity", xmlstream.A("category", "client"), xmlstream.A("type", "pc")),
		xmlstream.El(nsInfo, "feature", xmlstream.A("var", nsInfo)), xmlstream.El(nsInfo, "feature", xmlstream.A("var", nsMood+"+notify")),
		xmlstream.El("jabber:x:data", "x", xmlstream.A("type", "result"), field))))
}

// TestPEP: contacts on another server hear of what their clients announce, read what is for contacts, and publish where they
// may; strangers there do not.
func TestPEP(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	romeo, juliet := a.login("romeo@a.example/x"), b.connect("juliet@b.example/y")
	stranger := b.login("mercutio@b.example/z")
	juliet.arrive()
	talk(t, romeo, juliet)
	p := mooded()
	juliet.send(p)
	juliet.answerInfo("romeo@a.example")
	mood := func(item, is string) string {
		return request("<publish node='" + nsMood + "'><item id='" + item + "'><mood xmlns='" + nsMood + "'><" + is + "/></mood></item></publish>")
	}
	// The answer crosses on one stream and the publication is behind it on no other: the question is when it has come.
	eventually(t, "juliet's client is known", func() bool {
		romeo.pubsub(stanza.TypeSet, "romeo@a.example", mood("current", "happy"), true)
		for _, s := range juliet.all() {
			if s.Has(nsPubSub+"#event", "event") && s.From.String() == "romeo@a.example" {
				return true
			}
		}
		return false
	})
	if e := juliet.event("romeo@a.example", "<happy/>"); e.Type != stanza.TypeHeadline || e.To != juliet.jid {
		t.Errorf("the notification is %s", e)
	}
	items := request("<items node='" + nsMood + "'/>")
	if got := juliet.pubsub(stanza.TypeGet, "romeo@a.example", items, true).String(); !strings.Contains(got, "<happy/>") {
		t.Errorf("juliet reads %s", got)
	}
	if got := stranger.pubsub(stanza.TypeGet, "romeo@a.example", items, false); !strings.Contains(got.String(), "presence-subscription-required") {
		t.Errorf("a stranger gets %s", got)
	}
	juliet.pubsub(stanza.TypeSet, "romeo@a.example", mood("current", "sad"), false)

	// Another client of hers gets the last item when it comes.
	phone := b.connect("juliet@b.example/phone")
	phone.send(mooded())
	phone.answerInfo("romeo@a.example")
	if e := phone.event("romeo@a.example", "<happy/>"); !e.Has("urn:xmpp:delay", "delay") {
		t.Errorf("the last item is %s", e)
	}

	// A node of comments, to which all may publish (XEP-0277).
	const comments = "urn:xmpp:microblog:0:comments/1"
	romeo.pubsub(stanza.TypeSet, "romeo@a.example", request("<create node='"+comments+"'/>"+openNode), true)
	stranger.pubsub(stanza.TypeSet, "romeo@a.example", request("<publish node='"+comments+"'><item id='c'><x xmlns='urn:example'/></item></publish>"), true)
	if got := romeo.pubsub(stanza.TypeGet, "romeo@a.example", request("<items node='"+comments+"'/>"), true).String(); !strings.Contains(got, "<item id='c' publisher='mercutio@b.example'>") {
		t.Errorf("the comments are %s", got)
	}
	// An explicit subscription from elsewhere.
	stranger.pubsub(stanza.TypeSet, "romeo@a.example", request("<subscribe node='"+comments+"' jid='mercutio@b.example'/>"), true)
	romeo.pubsub(stanza.TypeSet, "romeo@a.example", request("<publish node='"+comments+"'><item id='d'><x xmlns='urn:example'/></item></publish>"), true)
	stranger.event("romeo@a.example", "id='d'")
}
