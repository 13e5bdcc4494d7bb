package s2s_test

import (
	"strings"
	"testing"

	"sabir/internal/config"
	"sabir/internal/wiretest"
	"sabir/xmpp/stanza"
)

// places counts how often a pair was given a place on the stream of another, by the log.
func places(s *sabir) int {
	return strings.Count(s.log.String(), "a pair of domains has a place on the stream of another")
}

// TestShared lets two domains of one server talk with two of another, on as few streams as the policy lets them.
func TestShared(t *testing.T) {
	const dialback = "auth = \"dialback\""
	for _, c := range []struct {
		name      string
		s2s       string
		untrusted bool
		places    bool // some pair rides with another
	}{
		{"dialback, one way", dialback, true, true},
		{"dialback, both ways", dialback, false, true},
		{"certificates of one domain each", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.untrusted = c.untrusted
			a, b := w.start(c.s2s, "a.example", "c.example"), w.start(c.s2s, "b.example", "d.example")
			users := []*user{a.login("romeo@a.example/x"), a.login("nurse@c.example/x"), b.login("juliet@b.example/y"), b.login("tybalt@d.example/y")}
			for _, from := range users[:2] {
				for _, to := range users[2:] {
					talk(t, from, to)
				}
			}
			if n := places(a) + places(b); n > 0 != c.places {
				t.Errorf("%d pairs ride on the streams of others", n)
			}
		})
	}
}

// TestSharedResume cuts the connection of a stream of four pairs again and again: what each of them sends arrives once, in order.
func TestSharedResume(t *testing.T) {
	const n, every = 300, 100
	w := newWorld(t)
	w.untrusted = true
	a, b := w.start("auth = \"dialback\"", "a.example", "c.example"), w.start("auth = \"dialback\"", "b.example", "d.example")
	cut := wiretest.New(t, b.ports[config.S2STLS])
	w.Point(t, "b.example", "", cut.Addr)
	w.Point(t, "d.example", "", cut.Addr)
	from := []*user{a.login("romeo@a.example/x"), a.login("nurse@c.example/x")}
	to := []*user{b.login("juliet@b.example/y"), b.login("tybalt@d.example/y")}
	for _, f := range from { // one after the other, so that each finds the stream of the first
		for _, u := range to {
			f.say(u.jid.String(), "first-"+f.jid.Local())
			u.message("first-" + f.jid.Local())
		}
	}
	if places(a) != 3 {
		t.Errorf("%d pairs ride on the stream of the first, want 3", places(a))
	}
	for i := range n {
		for _, f := range from {
			for _, u := range to {
				f.say(u.jid.String(), f.jid.Local()+itoa(i))
			}
		}
		if i%every == every/2 {
			cut.Cut()
		}
	}
	for _, u := range to {
		for _, f := range from {
			var got []string
			eventually(t, "all messages of "+f.jid.Local()+" arrive", func() bool {
				got = nil
				for _, s := range u.all() {
					if s.Kind == stanza.Message && s.From == f.jid && !strings.HasPrefix(s.ID, "first") {
						got = append(got, s.ID)
					}
				}
				return len(got) >= n
			})
			for i, id := range got {
				if want := f.jid.Local() + itoa(i); id != want {
					t.Errorf("message %d of %s to %s is %s", i, f.jid.Local(), u.jid.Local(), id)
					break
				}
			}
			if len(got) != n {
				t.Errorf("%d of %d messages of %s to %s", len(got), n, f.jid.Local(), u.jid.Local())
			}
		}
	}
}
