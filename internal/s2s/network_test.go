package s2s_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/wiretest"
	"sabir/xmpp/stanza"
)

// TestHalfOpen has the connection to another server swallow everything, without an end that either side would see. It is found
// out within the time that an answer may take; what was not confirmed arrives once, in order, on a new connection, or comes back
// where there is none.
func TestHalfOpen(t *testing.T) {
	if d := time.Duration(config.Default().S2S.AckTimeout); d > 80*time.Second { // reliability, row 11: it is found out within 90 s
		t.Errorf("an answer may take %v where nothing else is said", d)
	}
	for _, c := range []struct {
		name        string
		there, back bool // which direction is lost
		forGood     bool // and there is no other connection
	}{{"both", true, true, false}, {"there", true, false, false}, {"back", false, true, false}, {"for good", true, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			wait := "25s"
			if c.forGood {
				wait = "3s"
			}
			a, b := w.start("ack_timeout = \"2s\"\nqueue_time = \""+wait+"\"", "a.example"), w.start("", "b.example")
			r := wiretest.New(t, b.ports[config.S2S])
			w.Point(t, "b.example", r.Addr, "")
			romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
			halfOpen(t, r, c.there, c.back, c.forGood, romeo, juliet)
		})
	}
}

func halfOpen(t *testing.T, r *wiretest.Relay, there, back, forGood bool, romeo, juliet *user) {
	t.Helper()
	talk2(romeo, juliet)
	if forGood {
		r.Shut(true)
	}
	r.Swallow(there, back)
	var want []string
	for i := range 20 {
		want = append(want, "m"+itoa(i))
		romeo.say(juliet.jid.String(), want[i])
	}
	comes := func(u *user, typ string) []string {
		var ids []string
		for _, s := range u.all() {
			if s.Kind == stanza.Message && s.Type == typ && slices.Contains(want, s.ID) {
				ids = append(ids, s.ID)
			}
		}
		return ids
	}
	who, typ := juliet, stanza.TypeChat
	if forGood {
		who, typ = romeo, stanza.TypeError
	}
	eventually(t, "all messages arrive or come back", func() bool { return len(comes(who, typ)) >= len(want) })
	if got := comes(who, typ); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := len(comes(juliet, stanza.TypeChat)) + len(comes(romeo, stanza.TypeError)); n != len(want) {
		t.Errorf("of %d messages %d are delivered or come back", len(want), n)
	}
}

// TestSlowNetwork has a network between two servers that passes on a few bytes at a time.
func TestSlowNetwork(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("", "a.example"), w.start("", "b.example")
	r := wiretest.New(t, b.ports[config.S2S])
	w.Point(t, "b.example", r.Addr, "")
	romeo, juliet := a.login("romeo@a.example/x"), b.login("juliet@b.example/y")
	talk2(romeo, juliet)
	r.Slow(time.Millisecond, 100)
	var want []string
	for i := range 200 {
		want = append(want, "m"+itoa(i))
		romeo.say("juliet@b.example", want[i])
	}
	var got []string
	eventually(t, "all messages arrive", func() bool {
		got = got[:0]
		for _, s := range juliet.all() {
			if s.Kind == stanza.Message && slices.Contains(want, s.ID) {
				got = append(got, s.ID)
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestPeersHalfOpen is TestHalfOpen with the servers of others: one that counts what comes and one that does not.
func TestPeersHalfOpen(t *testing.T) {
	if os.Getenv(envPeers) == "" {
		t.Skip("scripts/s2s-peers.sh runs it")
	}
	for _, name := range []string{"prosody", "ejabberd"} {
		t.Run(name, func(t *testing.T) {
			w := newWorldAt(t, "127.0.53.53:53")
			ours, theirs := w.start("ack_timeout = \"2s\"\nqueue_time = \"25s\"", "ours.example"), w.foreign(name, "theirs.example", false)
			r := wiretest.New(t, theirs.ports[config.S2S])
			w.Point(t, "theirs.example", r.Addr, "")
			romeo, juliet := ours.login("romeo@ours.example/x"), theirs.arrive("juliet")("y")
			halfOpen(t, r, true, false, false, romeo, juliet)
		})
	}
}
