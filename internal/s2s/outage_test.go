package s2s_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/wiretest"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// TestOutage has a server be away in several ways (reliability, row 24): each message to it is delivered or comes back with the right error,
// never both; what waits is bounded in bytes and in time; and who writes to another server notices nothing.
func TestOutage(t *testing.T) {
	timeout, full := "wait remote-server-timeout", "wait resource-constraint"
	for _, c := range []struct {
		name, s2s string
		away      func(b *sabir, r *wiretest.Relay)
		back      func(b *sabir, r *wiretest.Relay) // nil where it stays away
		n         int
		// want are the errors with which messages may come back; all must occur. Without any, all are delivered.
		want []string
		// delivers says that some are delivered nevertheless.
		delivers bool
	}{
		{"silent for a while", "ack_timeout = \"1s\"\nconnect_timeout = \"1s\"\nqueue_time = \"1m\"", silences, speaks, 100, nil, true},
		{"silent for good", "ack_timeout = \"1s\"\nconnect_timeout = \"1s\"\nqueue_time = \"3s\"", silences, nil, 100, []string{timeout}, false},
		{"stopped, more than fits, and started", "queue_time = \"1m\"\nqueue_bytes = 60000", stops, starts, 200, []string{full}, true},
		{"stopped for good, more than fits", "queue_time = \"2s\"\nqueue_bytes = 60000", stops, nil, 200, []string{timeout, full}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a, b, other := w.start(c.s2s, "a.example"), w.start("", "b.example"), w.start("", "c.example")
			r := wiretest.New(t, b.ports[config.S2S])
			w.Point(t, "b.example", r.Addr, "")
			romeo, juliet, nurse := a.login("romeo@a.example/x"), b.login("juliet@b.example/y"), other.login("nurse@c.example/z")
			talk2(romeo, juliet)
			talk2(romeo, nurse)
			slowest := bystander(t, a.login("benvolio@a.example/x"), "c.example")
			c.away(b, r)
			most := 0
			for i := range c.n {
				romeo.say("juliet@b.example", "m"+itoa(i))
				most = max(most, waiting(a, "b.example"))
			}
			if err := romeo.Ping(t.Context(), romeo.jid.DomainJID()); err != nil { // it was all taken, or has come back
				t.Fatal(err)
			}
			most = max(most, waiting(a, "b.example"))
			if c.back != nil {
				c.back(b, r)
				juliet = b.login("juliet@b.example/y2")
			}
			delivered, bounced := fates(t, c.n, romeo, juliet)
			var both []string
			why := make(map[string]int)
			for id, condition := range bounced {
				if why[condition]++; delivered[id] > 0 {
					both = append(both, id)
				}
			}
			if len(both) > 0 {
				t.Errorf("delivered and back: %v", both)
			}
			for id, k := range delivered {
				if k > 1 {
					t.Errorf("%s is delivered %d times", id, k)
				}
			}
			if len(delivered)+len(bounced) != c.n {
				t.Errorf("of %d sent %d are delivered and %d come back", c.n, len(delivered), len(bounced))
			}
			if got := slices.Sorted(maps.Keys(why)); !slices.Equal(got, c.want) {
				t.Errorf("they come back with %v, want %v", why, c.want)
			}
			if (len(delivered) > 0) != c.delivers {
				t.Errorf("%d are delivered", len(delivered))
			}
			if strings.Contains(c.s2s, "queue_bytes") && most > 60000 {
				t.Errorf("%d bytes waited", most)
			}
			t.Logf("%d sent: %d delivered, back %v; at most %d bytes waited; the slowest ping of another server took %v", c.n, len(delivered), why, most, slowest())
			eventually(t, "nothing waits any more", func() bool { return waiting(a, "b.example") == 0 })
		})
	}
}

func stops(b *sabir, _ *wiretest.Relay)  { b.stop() }
func starts(b *sabir, _ *wiretest.Relay) { b.up() }

// silences has nothing come through any more, on old connections and new ones.
func silences(_ *sabir, r *wiretest.Relay) { r.Silence(true) }

func speaks(_ *sabir, r *wiretest.Relay) { r.Silence(false) }

// waiting returns how many bytes a server keeps for a domain.
func waiting(s *sabir, domain string) (bytes int) {
	for _, st := range s.Backend().Federation().List() {
		if st.Remote == domain && st.Direction != "in" {
			bytes += st.Bytes
		}
	}
	return bytes
}

// bystander has a user ping another server until the function that it returns is called, which tells how long the slowest took.
func bystander(t *testing.T, u *user, domain string) func() time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan time.Duration, 1)
	go func() {
		var slowest time.Duration
		defer func() { ended <- slowest }()
		for ctx.Err() == nil {
			start := time.Now()
			if err := u.Ping(ctx, jid.MustParse(domain)); err != nil {
				if ctx.Err() == nil {
					t.Errorf("%s does not answer: %v", domain, err)
				}
				return
			}
			slowest = max(slowest, time.Since(start))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() time.Duration {
		cancel()
		return <-ended
	}
}

// fates waits until each of n messages m0, m1 … has come to its recipient or back to its sender. It returns how often they were delivered,
// and why they came back.
func fates(t *testing.T, n int, from, to *user) (delivered map[string]int, bounced map[string]string) {
	t.Helper()
	look := func() int {
		delivered, bounced = make(map[string]int), make(map[string]string)
		for _, s := range to.all() {
			if s.Kind == stanza.Message && strings.HasPrefix(s.ID, "m") && s.Type != stanza.TypeError {
				delivered[s.ID]++
			}
		}
		for _, s := range from.all() {
			if s.Kind == stanza.Message && strings.HasPrefix(s.ID, "m") && s.Type == stanza.TypeError {
				bounced[s.ID] = fmt.Sprintf("%s %s", s.Err().Type, s.Err().Condition)
			}
		}
		seen := maps.Clone(bounced)
		for id := range delivered {
			seen[id] = ""
		}
		return len(seen)
	}
	eventually(t, "all messages arrive or come back", func() bool { return look() >= n })
	return delivered, bounced
}
