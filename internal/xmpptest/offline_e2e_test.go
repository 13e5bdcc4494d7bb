package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/xmpptest"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestOfflineFlood fills the offline store beyond its limit and takes everything out again: each message is delivered once
// and in order, or was answered with an error (XEP-0160#flow), and large amounts come in pages at the client's speed.
func TestOfflineFlood(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "large": 20_000} {
		t.Run(name, func(t *testing.T) {
			s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"mod.offline.messages = 1000"}})
			a, err := s.Account(t.Context(), "romeo")
			if err != nil {
				t.Fatal(err)
			}
			b, err := s.Account(t.Context(), "juliet")
			if err != nil {
				t.Fatal(err)
			}
			const n = 1500
			from := s.Dial(t, a, "garden")
			start := time.Now()
			go func() {
				for i := range n {
					m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", fmt.Sprint(i, " ", strings.Repeat("x", size))))
					m.To, m.ID = b.JID, fmt.Sprint(i)
					if err := from.Send(m); err != nil {
						t.Error(err)
						return
					}
				}
				p := stanza.NewIQ(stanza.TypeGet, from.JID(), s.JID(), xmlstream.El("urn:xmpp:ping", "ping"))
				p.ID = "end"
				if err := from.Send(p); err != nil {
					t.Error(err)
				}
			}()
			refused := map[string]bool{}
			for m := range from.Stanzas() {
				if m.ID == "end" {
					break
				}
				if e := m.Err(); e == nil || e.Condition != stanza.ServiceUnavailable {
					t.Fatalf("got %s", m)
				}
				refused[m.ID] = true
			}
			t.Logf("%d stored, %d refused in %v", n-len(refused), len(refused), time.Since(start))
			if len(refused) < n-1000 {
				t.Errorf("%d are stored, more than the limit", n-len(refused))
			}
			start = time.Now()
			to := s.Dial(t, b, "balcony")
			if err := to.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
				t.Fatal(err)
			}
			got := 0
			for i := 0; got < n-len(refused); {
				m := <-to.Stanzas()
				if m == nil {
					t.Fatalf("the stream ended after %d of %d", got, n-len(refused))
				}
				if m.Request() { // the sign of life between two pages
					if err := to.Send(m.Result(nil)); err != nil {
						t.Fatal(err)
					}
				}
				if m.Kind != stanza.Message {
					continue
				}
				for refused[fmt.Sprint(i)] {
					i++
				}
				if m.ID != fmt.Sprint(i) {
					t.Fatalf("message %s comes where %d is due", m.ID, i)
				}
				i++
				got++
			}
			t.Logf("%d delivered in %v", got, time.Since(start))
		})
	}
}
