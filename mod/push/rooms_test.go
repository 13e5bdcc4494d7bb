package push

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const garden = "garden@conference.localhost"

// groupchat is a message that a room sends to one of Juliet's clients.
func groupchat(nick, id, resource, body, more string) string {
	return "<message type='groupchat' from='" + garden + "/" + nick + "' to='" + juliet + "/" + resource + "' id='" + id + "'><body>" + body + "</body>" + more + "</message>"
}

// deliver takes copies of a room's messages through the phases, all before any of them is delivered, as one batch does.
func (w *world) deliver(copies ...string) {
	w.t.Helper()
	var passes []*mod.Pass
	for _, xml := range copies {
		p, err := w.Run(mod.In, modtest.Stanza(w.t, xml))
		if err != nil {
			w.t.Fatal(err)
		}
		passes = append(passes, p)
	}
	for _, p := range passes {
		w.Observe(p, mod.Delivered)
	}
}

// A user may be in a room with several clients, each of which gets a copy: a device that sleeps is told of one.
func TestCopiesOfRooms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		given := "<stanza-id xmlns='urn:xmpp:sid:0' by='" + garden + "' id='7'/>"
		w.deliver(groupchat("Romeo", "1", "desk", "a", given), groupchat("Romeo", "1", "couch", "a", given), groupchat("Nurse", "1", "desk", "b", ""), groupchat("Nurse", "1", "couch", "b", ""))
		got := w.published()
		w.expect(got, publish("n", "message-count", "2"))
		answer(got[0], nil)
		w.round()
		w.Advance(time.Hour)
		w.expect(w.published())
	})
}

// What a user says in a room comes back to its clients, and tells none of its devices; another's message of the same id does.
func TestOwnWords(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	desk := w.Online(juliet+"/desk", 0)
	out := modtest.Stanza(t, "<message type='groupchat' from='"+juliet+"/desk' to='"+garden+"' id='x1'><body>Hi</body></message>")
	if _, err := w.Run(mod.Out, out, desk); err != nil {
		t.Fatal(err)
	}
	given := func(n string) string {
		return "<stanza-id xmlns='urn:xmpp:sid:0' by='" + garden + "' id='" + n + "'/>"
	}
	w.deliver(groupchat("Juliet", "x1", "desk", "Hi", given("1")), groupchat("Juliet", "x1", "couch", "Hi", given("1")))
	w.expect(w.published())
	w.deliver(groupchat("Paris", "x1", "desk", "Ho", given("2")))
	w.expect(w.published(), publish("n", "message-count", "1"))
}

// A client that enters a room gets its past, which is no news to the others.
func TestHistoryIsNoNews(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	w.deliver(groupchat("Romeo", "1", "desk", "a", "<delay xmlns='urn:xmpp:delay' from='"+garden+"' stamp='2026-02-01T10:00:00Z'/>"))
	w.expect(w.published())
	w.deliver(groupchat("Romeo", "2", "desk", "a", "<delay xmlns='urn:xmpp:delay' from='conference.example' stamp='2026-02-01T10:00:00Z'/>")) // it waited on its way
	w.expect(w.published(), publish("n", "message-count", "1"))
}

// A message that comes anew, because the session ended that had got it, is not counted and told of a second time; one that was
// taken for delivered is.
func TestComesAnew(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	w.enable("jid='push.example' node='n'", "")
	s := w.Online(phone, 0)
	chat := func(mark uint64) *stanza.Stanza {
		st := modtest.Stanza(t, "<message type='chat' from='romeo@localhost/x' to='juliet@localhost' id='1'><body>b</body></message>")
		st.Mark = mark
		return st
	}
	pass := func(st *stanza.Stanza, o mod.Outcome, to ...mod.Session) {
		t.Helper()
		p, err := w.Run(mod.In, st, to...)
		if err != nil {
			t.Fatal(err)
		}
		w.Observe(p, o)
	}
	pass(chat(1), mod.Delivered, s)
	pass(chat(2), mod.Delivered, s)
	w.Park(s, chat(1), chat(2))
	got := w.published()
	w.expect(got, publish("n", "message-count", "2"))
	answer(got[0], nil)
	w.round()
	w.Advance(time.Hour)
	w.Logout(s)
	pass(chat(1), mod.Stored)
	pass(chat(2), mod.Stored)
	w.expect(w.published())

	s = w.Online(phone, 0)
	pass(chat(3), mod.Delivered, s)
	w.Logout(s) // without a word
	pass(chat(3), mod.Stored)
	w.expect(w.published(), publish("n", "message-count", "1"))
}

// nodes is a store of bookmarks that counts how often it is asked.
type nodes struct {
	mod.AccountNodes
	asked  int
	notify string
}

func (n *nodes) Item(_ context.Context, _ jid.JID, _, id string) (string, *xmlstream.Element, error) {
	n.asked++
	x, err := xmlstream.Parse("<conference xmlns='urn:xmpp:bookmarks:1'><nick>Juli</nick><extensions><notify xmlns='urn:xmpp:notification-settings:1'>"+n.notify+"</notify></extensions></conference>", xmlstream.DefaultLimits)
	return id, x, err
}

// The setting of a chat is read once, and again after it was changed.
func TestSettingsAreRemembered(t *testing.T) {
	n := &nodes{notify: "<never/>"}
	w := newWorld(t, dbtest.SQLite(t))
	w.Hooks.AccountNodes = n
	w.chat("nobody has enabled anything")
	if n.asked != 0 {
		t.Errorf("asked %d times about an account that has no service", n.asked)
	}
	w.enable("jid='push.example' node='n'", "")
	for range 3 {
		w.chat("x")
	}
	w.expect(w.published())
	if n.asked != 1 {
		t.Errorf("asked %d times for three messages, want once", n.asked)
	}
	n.notify = "<always/>"
	w.NodeChanged(jid.MustParse("romeo@localhost"), bookmarks)
	w.NodeChanged(jid.MustParse(juliet), "urn:xmpp:avatar:data")
	w.chat("x")
	w.expect(w.published())
	w.NodeChanged(jid.MustParse(juliet), bookmarks)
	w.chat("x")
	w.expect(w.published(), publish("n", "message-count", "1"))
	if n.asked != 2 {
		t.Errorf("asked %d times, want twice", n.asked)
	}
}

// Those who are away from a room are told as they have chosen for it, and where they have not, as the room does.
func TestNotifyAbsent(t *testing.T) {
	const call, talk = "Juli, come!", "Hello"
	for _, c := range []struct {
		chosen, body string
		absent       mod.Absent
		told         bool
	}{
		{"", talk, mod.Absent{}, true},
		{"", talk, mod.Absent{OnMention: true}, false},
		{"", call, mod.Absent{OnMention: true}, true},
		{"", talk, mod.Absent{OnMention: true, Mentioned: true}, true},
		{"<always/>", talk, mod.Absent{OnMention: true}, true},
		{"<on-mention/>", talk, mod.Absent{}, false},
		{"<on-mention/>", call, mod.Absent{}, true},
		{"<on-mention/>", talk, mod.Absent{Mentioned: true}, true},
		{"<never/>", call, mod.Absent{Mentioned: true}, false},
		{"<never identity-category='client' identity-type='web'/>", talk, mod.Absent{OnMention: true}, false},
	} {
		t.Run(fmt.Sprintf("%s %s %+v", c.chosen, c.body, c.absent), func(t *testing.T) {
			w := newWorld(t, dbtest.SQLite(t))
			w.Hooks.AccountNodes = &nodes{notify: c.chosen}
			w.enable("jid='push.example' node='n'", "")
			c.absent.Account = jid.MustParse(juliet)
			st := modtest.Stanza(t, "<message type='groupchat' from='"+garden+"/Romeo' id='1'><body>"+c.body+"</body></message>")
			notify(t, w, st, c.absent, mod.Absent{Account: jid.MustParse("nurse@localhost")})
			if got := len(w.published()) == 1; got != c.told {
				t.Errorf("told: %v", got)
			}
		})
	}
}

// notify does what a room does.
func notify(t *testing.T, w *world, st *stanza.Stanza, to ...mod.Absent) {
	t.Helper()
	count, tell := w.p.Notify(w.Context(), st, to)
	if count == nil {
		return
	}
	if err := w.DB().Write(w.Context(), count); err != nil {
		t.Fatal(err)
	}
	tell()
}

// A device whose client is there is not told, nor of what is no news; a crash before the notification loses none.
func TestNotifyAbsentOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		w.enable("jid='push.example' node='n'", "")
		who := mod.Absent{Account: jid.MustParse(juliet)}
		s := w.Online(phone, 0)
		say := func(id, inner string) *stanza.Stanza {
			return modtest.Stanza(t, "<message type='groupchat' from='"+garden+"/Romeo' id='"+id+"'>"+inner+"</message>")
		}
		notify(t, w, say("1", "<body>a</body>"), who)
		w.expect(w.published())
		w.Logout(s)
		notify(t, w, say("2", "<active xmlns='http://jabber.org/protocol/chatstates'/>"), who)
		w.expect(w.published())
		back := say("3", "<body>a</body><stanza-id xmlns='urn:xmpp:sid:0' by='"+garden+"' id='8'/>")
		notify(t, w, back, who)
		notify(t, w, back, who) // it came back from each of two clients

		again := newWorld(t, d)
		again.p.sweep(again.Context())
		again.expect(again.published(), publish("n", "message-count", "1"))
	})
}

// BenchmarkNotifyAbsent is what a message in a room costs whose members are away, all with a device that sleeps.
func BenchmarkNotifyAbsent(b *testing.B) {
	for _, members := range []int{10, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			w := newWorld(b, dbtest.SQLite(b))
			var all []mod.Absent
			for i := range members {
				name := fmt.Sprintf("user%d@localhost", i)
				modtest.Expect(b, w.Set(name+"/phone", "", "<enable xmlns='urn:xmpp:push:0' jid='push.example' node='n'/>"), ok)
				all = append(all, mod.Absent{Account: jid.MustParse(name)})
			}
			n := 0
			for b.Loop() {
				n++
				st := modtest.Stanza(b, fmt.Sprintf("<message type='groupchat' from='"+garden+"/Romeo' id='%d'><body>a</body></message>", n))
				count, tell := w.p.Notify(w.Context(), st, all)
				if err := w.DB().Write(w.Context(), count); err != nil {
					b.Fatal(err)
				}
				tell()
			}
		})
	}
}
