package s2s

import (
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/xmpp/jid"
)

// stillClock stands still.
type stillClock struct{ now time.Time }

func (c *stillClock) Now() time.Time { return c.now }

// TestRate bounds what is read from a domain, over all of its streams.
func TestRate(t *testing.T) {
	clock := &stillClock{time.Unix(1e9, 0)}
	set := config.Default().S2S
	set.ByteRate, set.ByteBurst, set.StanzaRate, set.StanzaBurst = 1000, 5000, 10, 20
	s := New(Options{Clock: clock, Settings: Settings{Federation: set}})
	b, c := jid.MustParse("b.example"), jid.MustParse("c.example")
	for _, step := range []struct {
		name           string
		domain         jid.JID
		bytes, stanzas int
		want           time.Duration
	}{
		{"the burst", b, 5000, 1, 0},
		{"more", b, 1000, 1, time.Second},
		{"much more, which is waited for in parts", b, 10000, 1, 2 * time.Second},
		{"of another domain", c, 4000, 20, 0},
		{"more stanzas of few bytes", c, 50, 5, time.Second / 2},
	} {
		if got := s.take(step.domain, step.bytes, step.stanzas); got != step.want {
			t.Errorf("%s: waits %v, want %v", step.name, got, step.want)
		}
	}
	clock.now = clock.now.Add(time.Minute)
	if got := s.take(b, 5000, 20); got != 0 {
		t.Errorf("a minute later it waits %v", got)
	}
	clock.now = clock.now.Add(keepLink + time.Second)
	if s.sweep(clock.now); len(s.rates) != 0 {
		t.Errorf("%d domains are remembered", len(s.rates))
	}
}

// TestPlaces bounds the streams that are open in the name of a domain from one address.
func TestPlaces(t *testing.T) {
	set := config.Default().S2S
	set.StreamsPerDomain = 2
	s := New(Options{Settings: Settings{Federation: set}})
	opens := func(domain string) bool {
		c, j := &inStream{srv: s, t: new(tcp)}, jid.MustParse(domain)
		c.t.From = new(listen.Conn)
		c.remote.Store(&j)
		ok := s.mayOpen(c, j)
		if ok {
			s.streams[c] = struct{}{}
		}
		return ok
	}
	for _, want := range []bool{true, true, false} {
		if got := opens("b.example"); got != want {
			t.Errorf("with %d open another may be opened: %v", len(s.streams), got)
		}
	}
	if !opens("c.example") {
		t.Error("the places of one domain are taken by another")
	}
}
