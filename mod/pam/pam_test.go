package pam

import (
	"context"
	"slices"
	"strings"
	"sync"
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

const romeo, service = "romeo@localhost", "pubsub.example"

// await calls f until it returns true.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// manage has a device of Romeo ask for something, and waits for the result.
func manage(t *testing.T, h *modtest.Host, s *modtest.Session, what string) {
	t.Helper()
	a := h.Set(romeo+"/x", "", "<pam xmlns='urn:xmpp:pam:0' jid='"+service+"'>"+what+"</pam>")
	await(t, "the answer to "+what, func() bool {
		for _, m := range s.Take() {
			if m.Kind == stanza.IQ {
				a = m
			}
		}
		return a != nil
	})
	if a.Type != stanza.TypeResult {
		t.Fatalf("got %v, want a result", a)
	}
}

// kept returns what Romeo's subscriptions have in an attribute.
func kept(h *modtest.Host, attr string) string {
	var out []string
	for x := range h.Get(romeo+"/x", "", "<subscriptions xmlns='urn:xmpp:pam:0'/>").Payload().Elements() {
		out = append(out, x.Attr(attr))
	}
	return strings.Join(out, ", ")
}

// say has the service tell Romeo something.
func say(t *testing.T, h *modtest.Host, event string) {
	t.Helper()
	h.Observe(h.Pass(mod.In, modtest.Stanza(t, "<message from='"+service+"' to='"+romeo+"'><event xmlns='"+pubsub.NSEvent+"'>"+event+"</event></message>")), mod.Delivered)
}

// answers has the service grant what it is asked for, with the SubID that subid returns.
func answers(h *modtest.Host, subid func(node string) string) {
	h.OnAsk(func(q *stanza.Stanza) *stanza.Stanza {
		x := q.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "subscribe")
		if x == nil {
			return q.Result(nil)
		}
		return q.Result(xmlstream.El(pubsub.NS, "pubsub", xmlstream.El(pubsub.NS, "subscription", xmlstream.A("node", x.Attr("node")),
			xmlstream.A("jid", romeo), xmlstream.A("subscription", "subscribed"), xmlstream.A("subid", subid(x.Attr("node"))))))
	})
}

// A service that gives SubIDs takes an unsubscribe without one where it is clear what is meant, and names none when a node ends.
func TestSubID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		s := h.Login(romeo + "/x")
		answers(h, func(node string) string { return "of " + node })
		for _, node := range []string{"a", "b", "c"} {
			manage(t, h, s, "<subscribe xmlns='"+pubsub.NS+"' jid='"+romeo+"' node='"+node+"'/>")
		}
		if got := kept(h, "subid"); got != "of a, of b, of c" {
			t.Fatalf("kept are %q", got)
		}
		manage(t, h, s, "<unsubscribe xmlns='"+pubsub.NS+"' jid='"+romeo+"' node='a'/>")
		if got := kept(h, "subid"); got != "of b, of c" {
			t.Errorf("after the end of one kept are %q", got)
		}
		say(t, h, "<delete node='b'/>")
		await(t, "the end of a node", func() bool { return kept(h, "subid") == "of c" })
	})
}

// What a service says of a subscription changes it in the order in which it is said, and the devices are told in that order.
func TestOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		s := h.Login(romeo + "/x")
		answers(h, func(string) string { return "" })
		manage(t, h, s, "<subscribe xmlns='"+pubsub.NS+"' jid='"+romeo+"' node='n'/>")
		h.Understands(romeo+"/x", ns)
		s.SetPresence(modtest.Stanza(t, "<presence from='"+romeo+"/x'/>"), 0)
		var want, got []string
		for range 50 {
			for _, state := range []string{"pending", "unconfigured", "subscribed"} {
				say(t, h, "<subscription node='n' jid='"+romeo+"' subscription='"+state+"'/>")
				want = append(want, state)
			}
		}
		await(t, "all that was said", func() bool {
			for _, m := range s.Take() {
				got = append(got, m.Child(ns, "notify").First().Attr("subscription"))
			}
			return len(got) >= len(want)
		})
		if !slices.Equal(got, want) {
			t.Errorf("the device was told of %v", got)
		}
		if last := kept(h, "subscription"); last != "subscribed" {
			t.Errorf("kept is %q", last)
		}
	})
}

// Things of one account are done in their order, also behind one that panics; those of others need not wait. Too many are not taken.
func TestOrderly(t *testing.T) {
	var running sync.WaitGroup
	o := newOrderly(func(f func(ctx context.Context)) {
		running.Go(func() {
			defer func() { _ = recover() }() // as the host does
			f(t.Context())
		})
	})
	busy, free := jid.MustParse("romeo@localhost"), jid.MustParse("juliet@localhost")
	hold, other := make(chan struct{}), make(chan struct{})
	var did []int
	o.put(busy, 2, func(context.Context) { <-hold; panic("a test") })
	for i, want := range []bool{true, true, false} {
		if got := o.put(busy, 2, func(context.Context) { did = append(did, i) }); got != want {
			t.Errorf("the thing %d is taken: %v", i, got)
		}
	}
	o.put(busy, 0, func(context.Context) { did = append(did, 3) })
	o.put(free, 2, func(context.Context) { close(other) })
	<-other
	close(hold)
	running.Wait()
	if !slices.Equal(did, []int{0, 1, 3}) {
		t.Errorf("done are %v", did)
	}
	if len(o.lists) != 0 {
		t.Errorf("%d lists are left", len(o.lists))
	}
}

// listed stands for the node of an account that lists its public subscriptions.
type listed struct {
	mod.AccountNodes
	db mod.DB

	mu    sync.Mutex
	items map[string]string // nodes by the ids of the items
}

func (l *listed) Change(ctx context.Context, _ jid.JID, changes []mod.NodeChange, write func(tx mod.Tx) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		if delete(l.items, c.ID); c.Payload != nil {
			l.items[c.ID] = c.Payload.Attr("node")
		}
	}
	return l.db.Write(ctx, write)
}

func (l *listed) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}

// Each public subscription has an item, two to one node as well; who subscribes anew and not publicly takes the node from the list
// (XEP-0465#retrieving_subs, #retracting_public_subs).
func TestPublicSubIDs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		h := modtest.New(t, Info, modtest.WithDB(d, db.Migrate))
		nodes := &listed{db: d, items: make(map[string]string)}
		h.Hooks.AccountNodes = nodes
		s := h.Login(romeo + "/x")
		subid := "0"
		answers(h, func(string) string { return subid })
		subscribe := func(id, node, inner string) {
			t.Helper()
			subid = id
			manage(t, h, s, "<subscribe xmlns='"+pubsub.NS+"' jid='"+romeo+"' node='"+node+"'>"+inner+"</subscribe>")
		}
		const public = "<public xmlns='urn:xmpp:pps:0'/>"
		subscribe("1", "n", public)
		subscribe("2", "n", public)
		subscribe("3", "m", public)
		if n := nodes.len(); n != 3 {
			t.Fatalf("%d items for three public subscriptions", n)
		}
		say(t, h, "<subscription node='n' jid='"+romeo+"' subid='1' subscription='none'/>")
		await(t, "the end of one of two", func() bool { return kept(h, "subid") == "3, 2" })
		if n := nodes.len(); n != 2 {
			t.Errorf("%d items when one of two to a node has ended", n)
		}
		subscribe("4", "n", "")
		if n := nodes.len(); n != 1 {
			t.Errorf("%d items when a node is not public any more", n)
		}
		if got := kept(h, "subid"); got != "3, 2, 4" {
			t.Errorf("kept are %q", got)
		}
	})
}
