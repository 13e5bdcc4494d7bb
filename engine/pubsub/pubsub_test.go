package pubsub_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"sabir/engine/pubsub"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// newService returns a fake host with one service in it: that of its accounts with pep, else pubsub.localhost.
func newService(t *testing.T, d db.DB, pep bool) (*modtest.Host, *pubsub.Service) {
	t.Helper()
	return newServiceOf(t, d, pep, pubsub.Limits{Items: 10, Payload: 1000, Nodes: 3, Subscriptions: 2, Stored: 2500, Total: 5})
}

// newServiceOf is newService with limits of its own.
func newServiceOf(t *testing.T, d db.DB, pep bool, limits pubsub.Limits) (*modtest.Host, *pubsub.Service) {
	t.Helper()
	var s *pubsub.Service
	h := modtest.New(t, mod.Info{
		Name: pubsub.Module, Engines: []mod.Engine{{Name: pubsub.Module, Schema: pubsub.Schema}},
		New: func(h mod.Host, _ any) (*mod.Hooks, error) {
			if pep {
				s = pubsub.New(h, pubsub.Options{PEP: true, Limits: limits})
				return &mod.Hooks{IQ: s.Handlers(mod.AtAccount)}, nil
			}
			s = pubsub.New(h, pubsub.Options{
				Domain: jid.MustParse("pubsub.localhost"), Limits: limits,
				MayCreate: func(who jid.JID) bool { return who.Domain() == "localhost" },
			})
			return &mod.Hooks{Services: []*mod.Service{{Domain: jid.MustParse("pubsub.localhost"), IQ: s.Handlers(mod.AtHost)}}}, nil
		},
	}, modtest.WithDB(d, db.Migrate), modtest.WithAccounts("romeo", "juliet", "nurse", "a", "b", "c", "gone", "lease", "removed", "stays"))
	return h, s
}

const ns = "http://jabber.org/protocol/pubsub"

func set(h *modtest.Host, from, to, inner string) *stanza.Stanza {
	return h.IQ(stanza.TypeSet, from, to, "<pubsub xmlns='"+ns+"'>"+inner+"</pubsub>")
}

func get(h *modtest.Host, from, to, inner string) *stanza.Stanza {
	return h.IQ(stanza.TypeGet, from, to, "<pubsub xmlns='"+ns+"'>"+inner+"</pubsub>")
}

func form(typ, fields string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" + ns + "#" + typ + "</value></field>" + fields + "</x>"
}

func field(name, value string) string {
	return "<field var='pubsub#" + name + "'><value>" + value + "</value></field>"
}

func result(t *testing.T, a *stanza.Stanza) *stanza.Stanza {
	t.Helper()
	if a == nil || a.Type != stanza.TypeResult {
		t.Fatalf("got %v, want a result", a)
	}
	return a
}

func refused(t *testing.T, a *stanza.Stanza, c stanza.Condition, app string) {
	t.Helper()
	if a == nil || a.Err() == nil || a.Err().Condition != c || app != "" && !strings.Contains(a.String(), "<"+app+" ") {
		t.Fatalf("got %v, want the error %s with %s", a, c, app)
	}
}

func ids(a *stanza.Stanza) string {
	var out []string
	for i := range a.Child(ns, "pubsub").Child(ns, "items").Elements() {
		out = append(out, i.Attr("id"))
	}
	return strings.Join(out, " ")
}

// Items of a node that expires are gone when their time is over, at once for readers and later from the disk.
func TestExpire(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newService(t, d, false)
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='n'/><configure>"+form("node_config", field("item_expire", "60"))+"</configure>"))
		publish := func(id string) {
			t.Helper()
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<publish node='n'><item id='"+id+"'><x xmlns='u'/></item></publish>"))
		}
		publish("a")
		h.Advance(40 * time.Second)
		publish("b")
		h.Advance(30 * time.Second)
		if got := ids(result(t, get(h, "romeo@localhost/a", "pubsub.localhost", "<items node='n'/>"))); got != "b" {
			t.Errorf("read %q", got)
		}
		page := result(t, h.IQ(stanza.TypeGet, "romeo@localhost/a", "pubsub.localhost", "<pubsub xmlns='"+ns+"'><items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><max>5</max></set></pubsub>"))
		if !strings.Contains(page.String(), "<count>1</count>") {
			t.Errorf("got the page %s", page)
		}
		if err := s.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM pubsub_item`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d items are stored (%v), want 1", n, err)
		}
	})
}

// What is not bounded by a quota is bounded by itself.
func TestBounds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, true)
		const romeo = "romeo@localhost/a"
		owner := func(inner string) *stanza.Stanza {
			return h.IQ(stanza.TypeSet, romeo, "romeo@localhost", "<pubsub xmlns='"+ns+"#owner'>"+inner+"</pubsub>")
		}
		long := field("description", strings.Repeat("x", 17_000))
		refused(t, set(h, romeo, "romeo@localhost", "<create node='n'/><configure>"+form("node_config", long)+"</configure>"), stanza.NotAcceptable, "")
		refused(t, set(h, romeo, "romeo@localhost", "<publish node='n'><item><x xmlns='u'/></item></publish><publish-options>"+form("publish-options", long)+"</publish-options>"), stanza.NotAcceptable, "")
		result(t, set(h, romeo, "romeo@localhost", "<create node='n'/>"))
		refused(t, owner("<configure node='n'>"+form("node_config", long)+"</configure>"), stanza.NotAcceptable, "")

		member := func(who string) string { return "<affiliation jid='" + who + "' affiliation='member'/>" }
		refused(t, owner("<affiliations node='n'>"+member("a@b.example")+member("c@b.example")+"</affiliations>"), stanza.PolicyViolation, "")
		result(t, owner("<affiliations node='n'>"+member("a@b.example")+"</affiliations>"))
		result(t, owner("<affiliations node='n'><affiliation jid='a@b.example' affiliation='outcast'/></affiliations>"))

		for _, node := range []string{"n", "o", "p", "q"} {
			if node != "n" {
				result(t, set(h, romeo, "romeo@localhost", "<create node='"+node+"'/>"))
			}
			if a := owner("<delete node='" + node + "'><redirect uri='xmpp:x@y.example?;node=z'/></delete>"); node == "q" {
				refused(t, a, stanza.PolicyViolation, "")
			} else {
				result(t, a)
			}
		}
		result(t, owner("<delete node='q'/>"))
	})
}

// An answer has as many items as one stanza should have, and says that there are more.
func TestLargeAnswers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newServiceOf(t, d, false, pubsub.Limits{Items: 10, Payload: 100_100, Nodes: 3, Subscriptions: 2})
		const romeo = "romeo@localhost/a"
		result(t, set(h, romeo, service, "<create node='n'/>"))
		named := ""
		for _, id := range []string{"1", "2", "3", "4", "5"} {
			result(t, set(h, romeo, service, "<publish node='n'><item id='"+id+"'><x xmlns='u'>"+strings.Repeat("x", 100_000)+"</x></item></publish>"))
			named += strings.Repeat("<item id='"+id+"'/>", 20)
		}
		for _, c := range []struct{ node, set, want, count string }{
			{"", "", "5 4", "5"},
			{"", "<max>1</max>", "5", "5"},
			{"", "<max>4</max><after>4</after>", "3 2", "5"},
			{"", "<before>2</before>", "4 3", "5"},
			{"", "<before/>", "2 1", "5"},
			{named, "", "1 2", "5"},
			{"<item id='3'/><item id='3'/>", "", "3", ""},
		} {
			q := "<items node='n'>" + c.node + "</items>"
			if c.set != "" {
				q += "<set xmlns='http://jabber.org/protocol/rsm'>" + c.set + "</set>"
			}
			a := result(t, get(h, romeo, service, q))
			count := a.Child(ns, "pubsub").Child("http://jabber.org/protocol/rsm", "set").ChildText("http://jabber.org/protocol/rsm", "count")
			if got := ids(a); got != c.want || count != c.count {
				t.Errorf("%.60s: got %s of %s, want %s of %s", q, got, count, c.want, c.count)
			}
		}
	})
}

// The limits of a service hold.
func TestLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false)
		for _, n := range []string{"1", "2", "3"} {
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='"+n+"'/>"))
		}
		refused(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='4'/>"), stanza.PolicyViolation, "max-nodes-exceeded")
		refused(t, set(h, "a@elsewhere.example/a", "pubsub.localhost", "<create node='5'/>"), stanza.Forbidden, "")
		for _, who := range []string{"a", "b"} {
			result(t, set(h, who+"@localhost/x", "pubsub.localhost", "<subscribe node='1' jid='"+who+"@localhost'/>"))
		}
		refused(t, set(h, "c@localhost/x", "pubsub.localhost", "<subscribe node='1' jid='c@localhost'/>"), stanza.PolicyViolation, "too-many-subscriptions")
		// What ended makes room.
		result(t, set(h, "a@localhost/x", "pubsub.localhost", "<unsubscribe node='1' jid='a@localhost'/>"))
		result(t, set(h, "c@localhost/x", "pubsub.localhost", "<subscribe node='1' jid='c@localhost'/>"))
		refused(t, set(h, "a@localhost/x", "pubsub.localhost", "<subscribe node='1' jid='a@localhost'/>"), stanza.PolicyViolation, "too-many-subscriptions")
		refused(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<publish node='1'><item><x xmlns='u'>"+strings.Repeat("x", 1000)+"</x></item></publish>"),
			stanza.NotAcceptable, "payload-too-big")
		for range 12 {
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<publish node='1'><item><x xmlns='u'/></item></publish>"))
		}
		if got := ids(result(t, get(h, "romeo@localhost/a", "pubsub.localhost", "<items node='1'/>"))); strings.Count(got, " ") != 9 {
			t.Errorf("a node with room for 10 has %q", got)
		}
	})
}

// A name that looks like one of those that the service makes is no way around the limit.
func TestLimitOfNodes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false)
		for _, n := range []string{"urn:xmpp:pps:x", "URN:XMPP:PPS:SUBSCRIBERS:0/x", "urn:xmpp:pubsub-attachments:x"} {
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='"+n+"'/>"))
		}
		refused(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='4'/>"), stanza.PolicyViolation, "max-nodes-exceeded")
	})
}

// The node of its subscribers is not one that its creator has made.
func TestLimitWithSubscribers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false)
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='1'/>"))
		result(t, set(h, "juliet@localhost/a", "pubsub.localhost", "<subscribe node='1' jid='juliet@localhost'><public xmlns='urn:xmpp:pps:0'/></subscribe>"))
		for _, n := range []string{"2", "3"} {
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='"+n+"'/>"))
		}
		refused(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='4'/>"), stanza.PolicyViolation, "max-nodes-exceeded")
	})
}

// What one creator keeps is bounded in all, and what it deletes makes room; and so are the nodes of a service.
func TestQuota(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, _ := newService(t, d, false)
		publish := func(who, node, id string, size int) *stanza.Stanza {
			return set(h, who+"@localhost/a", "pubsub.localhost", "<publish node='"+node+"'><item id='"+id+"'><x xmlns='u'>"+strings.Repeat("ä", size)+"</x></item></publish>")
		}
		for i := range 5 {
			result(t, publish("romeo", strconv.Itoa(i%2), strconv.Itoa(i), 450))
		}
		refused(t, publish("romeo", "0", "5", 450), stanza.ResourceConstraint, "")
		result(t, publish("juliet", "j", "5", 450)) // another one's
		result(t, publish("romeo", "0", "0", 200))  // in place of a larger one
		result(t, publish("romeo", "0", "6", 200))
		refused(t, publish("romeo", "0", "7", 200), stanza.ResourceConstraint, "")
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<retract node='1'><item id='1'/></retract>"))
		result(t, publish("romeo", "0", "7", 200))
		result(t, h.IQ(stanza.TypeSet, "romeo@localhost/a", "pubsub.localhost", "<pubsub xmlns='"+pubsub.NSOwner+"'><purge node='1'/></pubsub>"))
		result(t, publish("romeo", "0", "8", 450))
		for _, n := range []string{"k", "l"} {
			result(t, set(h, "nurse@localhost/a", "pubsub.localhost", "<create node='"+n+"'/>"))
		}
		refused(t, set(h, "nurse@localhost/a", "pubsub.localhost", "<create node='m'/>"), stanza.PolicyViolation, "max-nodes-exceeded")
	})
}

// A contact elsewhere hears of what its client announces, while it is available and the account shows itself to it.
func TestRemoteContact(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newService(t, d, true)
		romeo, juliet := jid.MustParse("romeo@localhost"), "juliet@elsewhere.example/balcony"
		h.SetContact("romeo@localhost", "juliet@elsewhere.example", mod.SubBoth)
		h.Understands(juliet, "urn:mood+notify")
		presence := stanza.New(stanza.Presence, stanza.TypeAvailable)
		presence.From = jid.MustParse(juliet)
		if !s.RemotePresence(romeo, presence) || s.RemotePresence(romeo, presence) {
			t.Error("the first presence is news, and the second is not")
		}
		publish := func(node string) int {
			t.Helper()
			result(t, set(h, "romeo@localhost/a", "romeo@localhost", "<publish node='"+node+"'><item id='i'><x xmlns='u'/></item></publish>"))
			n := 0
			for _, m := range h.Routed() {
				if m.Kind == stanza.Message && m.To.String() == juliet && m.From == romeo {
					n++
				}
			}
			return n
		}
		if n := publish("urn:mood"); n != 1 {
			t.Errorf("%d notifications of a node that is announced", n)
		}
		if n := publish("urn:other"); n != 0 {
			t.Errorf("%d notifications of another", n)
		}
		if err := s.RemoteOnline(t.Context(), romeo, presence.From, []string{"urn:mood+notify"}, h.Clock().Now()); err != nil {
			t.Fatal(err)
		}
		if last := h.Routed(); len(last) != 1 || !last[0].Has("urn:xmpp:delay", "delay") {
			t.Errorf("coming online brings %v", last)
		}
		// Of what was published since it was known to want it, it has been told.
		if err := s.RemoteOnline(t.Context(), romeo, presence.From, []string{"urn:mood+notify"}, h.Clock().Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if last := h.Routed(); len(last) != 0 {
			t.Errorf("an item that is new is sent again: %v", last)
		}
		gone := stanza.New(stanza.Presence, stanza.TypeUnavailable)
		gone.From = presence.From
		s.RemotePresence(romeo, gone)
		if n := publish("urn:mood"); n != 0 {
			t.Errorf("%d notifications after it went", n)
		}
	})
}

// Items that go with their publisher's presence do so, and nobody else's.
func TestPurgeOffline(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newService(t, d, false)
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='n'/><configure>"+
			form("node_config", field("purge_offline", "1")+field("publish_model", "open"))+"</configure>"))
		for _, who := range []string{"romeo", "juliet"} {
			result(t, set(h, who+"@localhost/a", "pubsub.localhost", "<publish node='n'><item id='"+who+"'><x xmlns='u'/></item></publish>"))
		}
		if err := s.Offline(t.Context(), jid.MustParse("juliet@localhost")); err != nil {
			t.Fatal(err)
		}
		if got := ids(result(t, get(h, "romeo@localhost/a", "pubsub.localhost", "<items node='n'/>"))); got != "romeo" {
			t.Errorf("what is left is %q", got)
		}
	})
}

// An address that is gone gets no more notifications; one that cannot be reached today does.
func TestBounce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h, s := newService(t, d, false)
		at := jid.MustParse("pubsub.localhost")
		result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<create node='n'/>"))
		result(t, set(h, "juliet@localhost/a", "pubsub.localhost", "<subscribe node='n' jid='juliet@localhost'/>"))
		for _, c := range []struct {
			condition stanza.Condition
			left      int
		}{{stanza.RemoteServerNotFound, 1}, {stanza.ItemNotFound, 0}} {
			m := stanza.New(stanza.Message, stanza.TypeHeadline, xmlstream.El(pubsub.NSEvent, "event", xmlstream.El(pubsub.NSEvent, "items", xmlstream.A("node", "n"))))
			m.From, m.To = at, jid.MustParse("juliet@localhost")
			if err := s.Bounced(t.Context(), at, m.ErrorReply(stanza.Err(c.condition, "")).Add(m.Child(pubsub.NSEvent, "event"))); err != nil {
				t.Fatal(err)
			}
			h.Routed()
			result(t, set(h, "romeo@localhost/a", "pubsub.localhost", "<publish node='n'><item><x xmlns='u'/></item></publish>"))
			if got := h.Routed(); len(got) != c.left {
				t.Errorf("after %s %d notifications, want %d", c.condition, len(got), c.left)
			}
		}
	})
}
