package xmpptest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const nsMUC = "http://jabber.org/protocol/muc"

// enterRoom enters a room and reads up to its subject, which comes last (XEP-0045#order).
func enterRoom(t *testing.T, c *client.Client, room jid.JID, nick string) {
	t.Helper()
	p := stanza.New(stanza.Presence, "", xmlstream.El(nsMUC, "x"))
	var err error
	if p.To, err = room.WithResource(nick); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case s := <-c.Stanzas():
			if s.Kind == stanza.Message && s.Has(stanza.NSClient, "subject") {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s does not get into %s", nick, room)
		}
	}
}

// TestRoomAfterKill stops the server without a word, with messages of a room that an occupant has not got: his connection was
// lost before. Both occupants resume on the next server. They are still in the room, what the sender saw repeated has reached the
// other, in order, and what is said now does, too.
func TestRoomAfterKill(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
		room := jid.MustParse("garden@conference." + romeo.JID.Domain())
		enterRoom(t, r, room, "romeo")
		form := xmlstream.El("jabber:x:data", "x", xmlstream.A("type", "submit"))
		if _, err := r.Request(t.Context(), stanza.TypeSet, room, xmlstream.El(nsMUC+"#owner", "query", form)); err != nil {
			t.Fatal(err)
		}
		enterRoom(t, j, room, "juliet")
		say := func(c *client.Client, text string) {
			t.Helper()
			m := stanza.New(stanza.Message, stanza.TypeGroupchat, xmlstream.El(stanza.NSClient, "body", text))
			m.To, m.ID = room, text
			if err := c.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		say(r, "first")
		for _, c := range []*client.Client{r, j} {
			if got := bodies(t, c, 1); got[0] != "first" {
				t.Fatalf("%s got %v", c.JID(), got)
			}
		}
		flush(t, j)
		abort(t, j)
		<-j.Done()
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i))
			say(r, want[i])
		}
		if got := bodies(t, r, len(want)); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("the sender got %v", got)
		}
		flush(t, r)
		abort(t, r)
		<-r.Done()
		s.Kill()

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		r, j = comeBack(t, s, romeo, r.Managed()), comeBack(t, s, juliet, j.Managed())
		say(r, "last")
		var got []string
		for len(got) == 0 || got[len(got)-1] != "last" {
			got = append(got, bodies(t, j, 1)...)
		}
		// What came before the connection was lost may come again: it may not have been acknowledged.
		fresh := distinct(got)
		fresh = fresh[max(0, slices.Index(fresh, want[0])):]
		if want = append(want, "last"); strings.Join(fresh, " ") != strings.Join(want, " ") {
			t.Errorf("the other got %v", got)
		}
		// By self-ping, a client asks whether it is still in (XEP-0410).
		for nick, c := range map[string]*client.Client{"romeo": r, "juliet": j} {
			to, err := room.WithResource(nick)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Ping(t.Context(), to); err != nil {
				t.Errorf("%s is not in the room: %v", nick, err)
			}
		}
	})
}
