package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestUnacknowledgedIsNoBacklog lets a client with stream management take much and acknowledge it late: it is read all the
// while, or its acknowledgement would never be.
func TestUnacknowledgedIsNoBacklog(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	from, a := s.Dial(t, s.MustAccount(t, "romeo"), "garden"), s.MustAccount(t, "juliet")
	cfg := s.ClientConfig("tcp")
	cfg.JID, cfg.Password = a.JID, a.Password
	c, err := client.Open(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	late := time.AfterFunc(30*time.Second, func() { c.Conn.Close() })
	defer late.Stop()
	if err := c.Authenticate(t.Context()); err != nil {
		t.Fatal(err)
	}
	full, err := c.Bind(t.Context(), "balcony")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendElement(xmlstream.El(sm.NS, "enable")); err != nil {
		t.Fatal(err)
	}
	// next returns the next stanza, without acknowledging anything.
	next := func() *stanza.Stanza {
		t.Helper()
		for {
			f, err := c.Next()
			if err != nil {
				t.Fatalf("the server does not read on: %v", err)
			}
			if f.Name().Space == sm.NS {
				continue
			}
			st, _ := stanza.FromFrame(f)
			return st
		}
	}
	const n, size = 5, 100_000 // more than the part of queue_bytes that answers may fill
	for i := range n {
		if err := from.Send(body(full, fmt.Sprint(i, strings.Repeat("x", size)))); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if m := next(); m.Kind != stanza.Message {
			t.Fatalf("got %s", m)
		}
	}
	for range 3 {
		p := stanza.NewIQ(stanza.TypeGet, full, s.JID(), xmlstream.El("urn:xmpp:ping", "ping"))
		if err := c.Send(p); err != nil {
			t.Fatal(err)
		}
		if r := next(); r.ID != p.ID {
			t.Fatalf("got %s, want the answer to a ping", r)
		}
	}
}
