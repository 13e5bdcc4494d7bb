package interop

import (
	"fmt"
	"testing"
)

// befriend subscribes two to each other's presence, as their software has it.
func befriend(t *testing.T, a, b peer) {
	t.Helper()
	a.Subscribe(t, b.JID())
	if !b.Approve(t, a.JID()) {
		b.Subscribe(t, a.JID())
	}
	a.Approve(t, b.JID())
	a.Sees(t, b.JID(), "online", "")
	b.Sees(t, a.JID(), "online", "")
}

// chat exchanges messages and presence.
func chat(t *testing.T, a, b peer) {
	t.Helper()
	for i, p := range [][2]peer{{a, b}, {b, a}, {a, b}} {
		from, to := p[0], p[1]
		text := fmt.Sprintf("message %d of %s: <b> & 'ünïcode' ✓", i, from)
		from.Send(t, to.JID(), text)
		to.Receive(t, from.JID(), text)
	}
	for _, p := range [][2]peer{{a, b}, {b, a}} {
		from, to := p[0], p[1]
		from.Show(t, "away", "at lunch")
		to.Sees(t, from.JID(), "away", "at lunch")
		from.Show(t, "dnd", "in a meeting")
		to.Sees(t, from.JID(), "dnd", "in a meeting")
		from.Show(t, "online", "back at work")
		to.Sees(t, from.JID(), "online", "back at work")
	}
}

// part removes each other: from then on neither sees the other.
func part(t *testing.T, a, b peer) {
	t.Helper()
	a.Remove(t, b.JID())
	b.Sees(t, a.JID(), "offline", "")
	b.Remove(t, a.JID())
}

// TestPairs lets all clients talk with each other, in both roles: each pair subscribes, sees, chats and parts.
func TestPairs(t *testing.T) {
	w := enter(t)
	b := newBrowser(t, w)
	peers := []peer{
		newSlix(t, w, w.account(t, "amina"), false, nil),
		newProfanity(t, w, w.account(t, "jonas")),
		b.login(t, w, w.account(t, "leila")),
		b.login(t, w, w.account(t, "marco")),
		newSlix(t, w, w.account(t, "zoe"), true, nil),
	}
	for i, a := range peers {
		for _, b := range peers[i+1:] {
			ok := t.Run(a.String()+" and "+b.String(), func(t *testing.T) {
				befriend(t, a, b)
				chat(t, a, b)
				part(t, a, b)
			})
			ok = ok && t.Run(b.String()+" asks "+a.String(), func(t *testing.T) {
				befriend(t, b, a)
				part(t, b, a)
			})
			if !ok {
				return // the two are in the midst of something
			}
		}
	}
	sendxmpp(t, w, peers)
	b.clean(t)
}
