package xmpptest_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// between are nodes of accounts that another device writes just when one of them has been read for a change that depends on it.
type between struct {
	mod.AccountNodes
	*meanwhile
}

// meanwhile does something once, when a node has been read.
type meanwhile struct {
	node  string
	once  sync.Once
	armed chan struct{} // closed when there is somebody to do it
	do    func()
	done  chan struct{}
}

// read waits until the other device is done, or for a while: it may have to wait for the change itself.
func (m *meanwhile) read(node string) {
	if node != m.node {
		return
	}
	m.once.Do(func() {
		<-m.armed
		go func() {
			defer close(m.done)
			m.do()
		}()
		select {
		case <-m.done:
		case <-time.After(200 * time.Millisecond):
		}
	})
}

func (b between) Item(ctx context.Context, account jid.JID, node, id string) (string, *xmlstream.Element, error) {
	item, x, err := b.AccountNodes.Item(ctx, account, node, id)
	b.read(node)
	return item, x, err
}

func (b between) NodeItems(ctx context.Context, account, who jid.JID, node string) ([]mod.DiscoItem, bool, error) {
	list, ok, err := b.AccountNodes.NodeItems(ctx, account, who, node)
	b.read(node)
	return list, ok, err
}

// interrupted returns the extensions, with nodes of accounts that others write meanwhile.
func interrupted(m *meanwhile) []mod.Info {
	list := slices.Clone(all.Extensions)
	at := slices.IndexFunc(list, func(x mod.Info) bool { return x.Name == "pep" })
	make := list[at].New
	list[at].New = func(h mod.Host, cfg any) (*mod.Hooks, error) {
		hooks, err := make(h, cfg)
		if err == nil {
			hooks.AccountNodes = between{hooks.AccountNodes, m}
		}
		return hooks, err
	}
	return list
}

// asking returns what makes requests of an account and wants them answered with a result.
func asking(t *testing.T, c *client.Client) func(typ, payload string) *xmlstream.Element {
	return func(typ, payload string) *xmlstream.Element {
		x, err := xmlstream.Parse(payload, xmlstream.DefaultLimits)
		if err != nil {
			t.Error(err)
			return nil
		}
		a, err := c.Request(t.Context(), typ, jid.JID{}, x)
		if err != nil {
			t.Errorf("%s: %v", payload, err)
		}
		return a
	}
}

func publishing(node, id, payload string) string {
	return "<pubsub xmlns='" + nsPubsub + "'><publish node='" + node + "'><item id='" + id + "'>" + payload + "</item></publish></pubsub>"
}

// TestBookmarksMoveMeanwhile: a bookmark that another device publishes while those of private storage move to the node is not lost, and
// neither are those that move.
func TestBookmarksMoveMeanwhile(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		srv := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: slices.DeleteFunc(slices.Clone(all.Extensions), func(x mod.Info) bool { return x.Name == "pep" })})
		account := srv.MustAccount(t, "romeo")
		asking(t, srv.Dial(t, account, ""))(stanza.TypeSet, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='old@rooms.example'/></storage></query>")
		srv.Close()

		const node = "urn:xmpp:bookmarks:1"
		m := &meanwhile{node: node, armed: make(chan struct{}), done: make(chan struct{})}
		srv = xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: interrupted(m)}) // they move by themselves
		other := asking(t, srv.Dial(t, account, "other"))
		private := "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" + nsPubsub + "#publish-options</value></field>" +
			"<field var='pubsub#max_items'><value>max</value></field><field var='pubsub#access_model'><value>whitelist</value></field></x></publish-options></pubsub>"
		m.do = func() {
			other(stanza.TypeSet, strings.Replace(publishing(node, "new@rooms.example", "<conference xmlns='"+node+"'/>"), "</pubsub>", private, 1))
		}
		close(m.armed)
		<-m.done
		list := asking(t, srv.Dial(t, account, ""))(stanza.TypeGet, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")
		items := other(stanza.TypeGet, "<pubsub xmlns='"+nsPubsub+"'><items node='"+node+"'/></pubsub>")
		for _, room := range []string{"old@rooms.example", "new@rooms.example"} {
			if !strings.Contains(list.String(), room) || !strings.Contains(items.String(), room) {
				t.Errorf("%s is not in both of %s and %s", room, list, items)
			}
		}
	})
}

// TestVCardMeanwhile: whichever of a vCard and a vCard4 that two devices write at the same moment is the last, the other says the same.
func TestVCardMeanwhile(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		const node, ns4 = "urn:xmpp:vcard4", "urn:ietf:params:xml:ns:vcard-4.0"
		m := &meanwhile{node: node, armed: make(chan struct{}), done: make(chan struct{})}
		srv := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: interrupted(m)})
		account := srv.MustAccount(t, "romeo")
		one, other := asking(t, srv.Dial(t, account, "one")), asking(t, srv.Dial(t, account, "other"))
		card := "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>"
		publish := func(name string) string {
			return strings.Replace(publishing(node, "current", "<vcard xmlns='"+ns4+"'><fn><text>"+name+"</text></fn></vcard>"), "</pubsub>",
				"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>"+nsPubsub+"#publish-options</value></field>"+
					"<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>", 1)
		}
		other(stanza.TypeSet, publish("Romeo")) // so that the vCard changes nothing at the node
		m.do = func() { other(stanza.TypeSet, publish("Romeo Montague")) }
		close(m.armed)
		one(stanza.TypeSet, card)
		<-m.done
		old := one(stanza.TypeGet, "<vCard xmlns='vcard-temp'/>")
		now := one(stanza.TypeGet, "<pubsub xmlns='"+nsPubsub+"'><items node='"+node+"'/></pubsub>")
		if name := old.ChildText("vcard-temp", "FN"); !strings.Contains(now.String(), "<text>"+name+"</text>") {
			t.Errorf("the vCard has %s and the node %s", old, now)
		}
	})
}
