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

// TestRate bounds what is read from a domain, over all of its streams; who has proved no domain is bounded otherwise.
func TestRate(t *testing.T) {
	clock := &stillClock{time.Unix(1e9, 0)}
	set := config.Default().S2S
	set.ByteRate, set.ByteBurst = 1000, 5000
	s := New(Options{Clock: clock, Settings: Settings{Federation: set}})
	of := func(domain string, proved bool) *inStream {
		c, j := new(inStream), jid.MustParse(domain)
		c.remote.Store(&j)
		c.trusted.Store(proved)
		return c
	}
	one, two, other, stranger := of("b.example", true), of("b.example", true), of("c.example", true), of("b.example", false)
	for _, step := range []struct {
		name string
		c    *inStream
		n    int
		want time.Duration
	}{
		{"the burst", one, 5000, 0},
		{"more, on another stream", two, 1000, time.Second},
		{"much more, which is waited for in parts", one, 10000, 2 * time.Second},
		{"of another domain", other, 5000, 0},
		{"of a stranger", stranger, 1 << 20, 0},
	} {
		if got := s.take(step.c, step.n); got != step.want {
			t.Errorf("%s: waits %v, want %v", step.name, got, step.want)
		}
	}
	clock.now = clock.now.Add(time.Minute)
	if got := s.take(one, 5000); got != 0 {
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
