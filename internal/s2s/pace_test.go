package s2s_test

import (
	"testing"
	"time"

	"sabir/xmpp/stanza"
)

// TestRatePaces: a domain that sends more stanzas than it may is read more slowly, and loses nothing, on a stream that it has opened and
// on one of ours that goes both ways.
func TestRatePaces(t *testing.T) {
	for _, c := range []struct {
		name string
		ours bool
	}{{"theirs", false}, {"ours", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			near, far := w.start("stanza_rate = 10\nstanza_burst = 20", "near.example"), w.start("", "far.example")
			romeo, juliet := near.login("romeo@near.example"), far.login("juliet@far.example")
			if c.ours {
				romeo.say(juliet.jid.String(), "first")
				juliet.message("first")
			}
			const flood = 60
			start := time.Now()
			for i := range flood {
				juliet.say(romeo.jid.String(), itoa(i))
			}
			romeo.message(itoa(flood - 1))
			juliet.say(romeo.jid.String(), "last")
			romeo.message("last")
			if took := time.Since(start); took < 2*time.Second { // a first pause, which is bounded
				t.Errorf("all came within %v", took)
			}
			n := 0
			for _, s := range romeo.all() {
				if s.Kind == stanza.Message {
					n++
				}
			}
			if n != flood+1 {
				t.Errorf("%d messages came", n)
			}
		})
	}
}
