package xmpptest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestBookmarksMove stores bookmarks in private storage while accounts have no nodes. Once they have, clients of the newer kind find them
// at the node, beside those that they have published, without a client of the older kind doing anything.
func TestBookmarksMove(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		parse := func(s string) *xmlstream.Element {
			x, err := xmlstream.Parse(s, xmlstream.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		store := "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='old@rooms.example' name='Old'/><conference jid='both@rooms.example' name='Here'/><url url='https://x.example/'/></storage></query>"
		publish := "<pubsub xmlns='" + nsPubsub + "'><publish node='urn:xmpp:bookmarks:1'><item id='both@rooms.example'><conference xmlns='urn:xmpp:bookmarks:1' name='There'><extensions><x xmlns='urn:x'/></extensions></conference></item></publish>" +
			"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" + nsPubsub + "#publish-options</value></field><field var='pubsub#max_items'><value>max</value></field><field var='pubsub#access_model'><value>whitelist</value></field></x></publish-options></pubsub>"
		without := func(name string) []mod.Info {
			return slices.DeleteFunc(slices.Clone(all.Extensions), func(x mod.Info) bool { return x.Name == name })
		}
		var account transcript.Account
		ask := func(srv *xmpptest.Server, typ, payload string) *xmlstream.Element {
			t.Helper()
			c := srv.Dial(t, account, "")
			a, err := c.Request(t.Context(), typ, jid.JID{}, parse(payload))
			if err != nil {
				t.Fatal(err)
			}
			return a
		}

		srv := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: without("pep")})
		account = srv.MustAccount(t, "romeo")
		ask(srv, stanza.TypeSet, store)
		srv.Close()
		srv = xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: without("private")})
		ask(srv, stanza.TypeSet, publish)
		srv.Close()

		srv = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		names := func() string {
			var out []string
			items := ask(srv, stanza.TypeGet, "<pubsub xmlns='"+nsPubsub+"'><items node='urn:xmpp:bookmarks:1'/></pubsub>").First()
			for i := range items.Elements() {
				out = append(out, i.Attr("id")+" "+i.First().Attr("name"))
			}
			slices.Sort(out)
			return strings.Join(out, ", ")
		}
		const want = "both@rooms.example There, old@rooms.example Old"
		got := names()
		for end := time.Now().Add(30 * time.Second); got != want && time.Now().Before(end); got = names() {
			time.Sleep(20 * time.Millisecond) // they move in their own time
		}
		if got != want {
			t.Fatalf("the node has %s, want %s", got, want)
		}
		list := ask(srv, stanza.TypeGet, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")
		if s := list.String(); strings.Count(s, "<conference ") != 2 || strings.Count(s, "<url ") != 1 || strings.Contains(s, "Here") {
			t.Errorf("private storage has %s", s)
		}
		var n int
		if err := srv.DB().QueryRow(t.Context(), `SELECT COUNT(*) FROM private_xml`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows stay (%v)", n, err)
		}
	})
}

// TestBookmarksStay: bookmarks that are too large for the node stay in private storage, where clients of the older kind have them as before.
func TestBookmarksStay(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		ask := func(c *client.Client, typ, payload string) *xmlstream.Element {
			t.Helper()
			x, err := xmlstream.Parse(payload, xmlstream.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.Request(t.Context(), typ, jid.JID{}, x)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		srv := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: slices.DeleteFunc(slices.Clone(all.Extensions), func(x mod.Info) bool { return x.Name == "pep" })})
		account := srv.MustAccount(t, "romeo")
		ask(srv.Dial(t, account, ""), stanza.TypeSet, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'><conference jid='old@rooms.example' name='"+strings.Repeat("x", 2000)+"'/></storage></query>")
		srv.Close()
		srv = xmpptest.NewServer(t, xmpptest.Options{Database: url, Config: []string{"mod.pep.payload = 1000"}})
		list := ask(srv.Dial(t, account, ""), stanza.TypeGet, "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>")
		if s := list.String(); !strings.Contains(s, "old@rooms.example") {
			t.Errorf("private storage has %s", s)
		}
	})
}
