package xmpptest_test

import (
	"testing"
	"time"

	"sabir/internal/xmpptest"
	"sabir/xmpp/jid"
)

// TestSettle: a stream whose reader goes on with another goroutine, again and again, stays what it was, and ends in order.
func TestSettle(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	c := s.Dial(t, s.MustAccount(t, "juliet"), "balcony")
	for range 2 {
		if err := c.Ping(t.Context(), jid.MustParse(xmpptest.Domain)); err != nil {
			t.Fatal(err)
		}
		for start := time.Now(); s.Settle() == 0; time.Sleep(20 * time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatal("the reader of a quiet stream does not settle")
			}
		}
		if n := s.Settle(); n != 0 {
			t.Errorf("%d readers settle that have handled nothing since", n)
		}
	}
	if err := c.Ping(t.Context(), jid.MustParse(xmpptest.Domain)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("closing: %v", err)
	}
}
