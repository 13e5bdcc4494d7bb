package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/session"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
)

// TestStopKeepsUnread stops the server while a client without stream management does not read: what it was not sent is in the
// offline store when the server has stopped, all of it and in order.
func TestStopKeepsUnread(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url, Drain: 300 * time.Millisecond})
		r, juliet := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
		stuck := make(chan struct{})
		defer close(stuck)
		cfg := s.ClientConfig("tcp")
		cfg.JID, cfg.Password = juliet.JID, juliet.Password
		cfg.Handle = func(*client.Client, *stanza.Stanza) bool { <-stuck; return true }
		j, err := client.Dial(t.Context(), &cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { abort(t, j) })
		if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		n, queue := 0, queueOf(t, s, j)
		for ; queue.Bytes() < 300_000; n++ { // small ones, so that there is much to do
			m := body(j.JID(), strings.Repeat("x", 2000))
			m.ID = fmt.Sprint(n)
			if err := r.Send(m); err != nil {
				t.Fatal(err)
			}
			if n%50 == 0 {
				flush(t, r)
			}
		}
		flush(t, r)
		held := queue.Held()
		if len(held) < 50 {
			t.Fatalf("%d messages wait: that tests little", len(held))
		}
		s.Close()

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		rows, err := s.DB().Query(t.Context(), `SELECT stanza FROM offline_message ORDER BY id`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var ids []string
		for rows.Next() {
			var wire string
			if err := rows.Scan(&wire); err != nil {
				t.Fatal(err)
			}
			m, err := session.ParseStanza(wire)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, m.ID)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if len(ids) < len(held) {
			t.Errorf("%d messages are stored, %d waited", len(ids), len(held))
		}
		for i, id := range ids {
			if want := fmt.Sprint(n - len(ids) + i); id != want {
				t.Fatalf("message %s is stored where %s is due", id, want)
			}
		}
	})
}

// queueOf waits for the session of a client and returns its queue.
func queueOf(t *testing.T, s *xmpptest.Server, c *client.Client) *session.Queue {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		for _, x := range s.Sessions() {
			if ok, _ := x.Available(); ok && x.JID() == c.JID() {
				return x.Queue
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not available", c.JID())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
