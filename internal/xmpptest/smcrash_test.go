package xmpptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// comeBack resumes a session on another server.
func comeBack(t *testing.T, s *xmpptest.Server, a transcript.Account, m *client.Managed) *client.Client {
	t.Helper()
	cfg := managedConfig(t, s, a, m.JID().Resource())
	c, err := client.Resume(t.Context(), cfg, m)
	if err != nil {
		t.Fatalf("%s is not resumed: %v", m.JID(), err)
	}
	t.Cleanup(func() { abort(t, c) })
	return c
}

// distinct drops what was seen before, by the id.
func distinct(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, x := range list {
		if !seen[x] {
			out = append(out, x)
		}
		seen[x] = true
	}
	return out
}

// TestResumeAfterKill stops the server without a word, with messages that were acknowledged to their sender and not by
// their recipient, who is connected and does not acknowledge. Both resume on the next server: the sender is told that
// everything was handled, the recipient gets it, in order (reliability.md, row 1).
func TestResumeAfterKill(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
		if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		flush(t, j)
		const n = 50
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(i))
			to := j.JID()
			if i%2 == 0 {
				to = to.Bare()
			}
			if err := r.Send(body(to, want[i])); err != nil {
				t.Fatal(err)
			}
			if i == n/2 {
				bodies(t, j, 10)
				flush(t, j)
				abort(t, j) // what comes from here on waits without a stream
			}
		}
		flush(t, r)
		abort(t, r)
		<-r.Done()
		<-j.Done()
		s.Kill()

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		if got := len(s.Sessions()); got != 2 {
			t.Fatalf("%d sessions are back", got)
		}
		for _, x := range s.Sessions() {
			if available := x.Presence() != nil; available != (x.JID() == j.JID()) {
				t.Errorf("%s is available: %v", x.JID(), available)
			}
		}
		r2 := comeBack(t, s, romeo, r.Managed())
		if left := r2.Managed().Unacked(); len(left) > 0 {
			t.Errorf("%d messages were sent again", len(left))
		}
		j2 := comeBack(t, s, juliet, j.Managed())
		if err := r2.Send(body(j.JID(), "end")); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(got) == 0 || got[len(got)-1] != "end" {
			got = append(got, bodies(t, j2, 1)...)
		}
		seen := int(j.Managed().Handled()) // presence included
		t.Logf("before %d stanzas, after %d messages", seen, len(got))
		got = distinct(got)
		if tail := want[n-len(got)+1:]; strings.Join(got, " ") != strings.Join(append(tail, "end"), " ") || len(got) <= n/2-11 {
			t.Errorf("got %v", got)
		}
		flush(t, j2)
	})
}

// TestResumeAfterStop stops the server in good order: everything goes on exactly, presence included.
func TestResumeAfterStop(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
		flush(t, j)
		abort(t, j)
		<-j.Done()
		send := func(i int) {
			st := body(j.JID(), fmt.Sprint(i))
			if i%3 == 0 {
				st = stanza.New(stanza.Presence, stanza.TypeAvailable)
				st.To, st.ID = j.JID(), fmt.Sprint(i)
			}
			if err := r.Send(st); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			send(i)
		}
		flush(t, r)
		s.Close()
		<-r.Done()

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		r = comeBack(t, s, romeo, r.Managed())
		j = comeBack(t, s, juliet, j.Managed())
		send(20)
		for i := range 21 {
			select {
			case st := <-j.Stanzas():
				if st.ID != fmt.Sprint(i) {
					t.Fatalf("got %s, want %d", st, i)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("nothing came after %d stanzas", i)
			}
		}
		flush(t, j)
		flush(t, r)
	})
}

// TestKilledTwice kills the server that has just brought a session back: it is still there, with what it held.
func TestKilledTwice(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
		flush(t, j)
		abort(t, j)
		<-j.Done()
		var want []string
		for i := range 4 {
			want = append(want, fmt.Sprint(i))
			if err := r.Send(body(j.JID(), want[i])); err != nil {
				t.Fatal(err)
			}
			flush(t, r)
			abort(t, r)
			<-r.Done()
			if i%2 == 0 {
				s.Kill()
			} else {
				s.Close()
			}
			s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
			r = comeBack(t, s, romeo, r.Managed())
		}
		j = comeBack(t, s, juliet, j.Managed())
		if got := bodies(t, j, 4); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestKillAfterOffline kills the server when messages from the offline store were sent to a client that had not
// acknowledged them: they are in no archive.
func TestKillAfterOffline(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		o := xmpptest.Options{Database: url, Config: []string{`mod.mam.default = "never"`}}
		s := xmpptest.NewServer(t, o)
		romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
		r := managed(t, s, romeo, "orchard")
		for i := range 3 {
			if err := r.Send(body(juliet.JID, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, r)
		cfg := managedConfig(t, s, juliet, "balcony")
		cfg.Buffer = 1
		j, err := client.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, j, 1); got[0] != "0" {
			t.Fatalf("got %v", got)
		}
		abort(t, j)
		<-j.Done()
		s.Kill()

		s = xmpptest.NewServer(t, o)
		j = comeBack(t, s, juliet, j.Managed())
		var got []string
		for len(got) == 0 || got[len(got)-1] != "2" {
			got = append(got, bodies(t, j, 1)...)
		}
		if got = distinct(got); strings.Join(got, " ") != "0 1 2" && strings.Join(got, " ") != "1 2" {
			t.Errorf("got %v", got)
		}
	})
}

// TestResumedIsDurable resumes a session after stanzas that leave nothing in the database, and kills the server at once: what
// <resumed/> has said to be handled is so after the restart as well.
func TestResumedIsDurable(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		a := s.MustAccount(t, "juliet")
		j := managed(t, s, a, "balcony")
		const n = 20
		for range n {
			if err := j.Ping(t.Context(), jid.JID{}); err != nil {
				t.Fatal(err)
			}
		}
		abort(t, j)
		<-j.Done()
		told := func(s *xmpptest.Server) uint32 {
			t.Helper()
			c := newRacer(t, managedConfig(t, s, a, "balcony"))
			if err := c.s.SendElement(sm.Resume(j.Managed().ID(), n)); err != nil {
				t.Fatal(err)
			}
			f, err := c.s.Next()
			if err != nil {
				t.Fatal(err)
			}
			h, ok := sm.ParseH(f.Element().Attr("h"))
			if f.Name().Local != "resumed" || !ok {
				t.Fatalf("the resumption is answered with %s", f.Raw())
			}
			return h
		}
		before := told(s)
		s.Kill()
		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		if after := told(s); before < n || after < before {
			t.Errorf("%d were handled, and %d after the restart, of %d", before, after, n)
		}
	})
}

// TestCountsWrap resumes a session whose counts are about to reach 2^32, in both directions: they go on from 0 (XEP-0198#acking).
func TestCountsWrap(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		a := s.MustAccount(t, "juliet")
		j := managed(t, s, a, "balcony")
		flush(t, j)
		abort(t, j)
		<-j.Done()
		s.Close()
		const high = 1<<32 - 2
		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		if err := s.DB().Write(t.Context(), func(tx mod.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE resume_session SET handled = ?, acked = ?, exact = ?`, int64(high), int64(high), true)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s.Kill() // so that it does not write what it knows

		s = xmpptest.NewServer(t, xmpptest.Options{Database: url})
		c := newRacer(t, managedConfig(t, s, a, "balcony"))
		defer c.s.Conn.Close()
		next := func(name string) *xmlstream.Frame {
			t.Helper()
			for {
				f, err := c.s.Next()
				if err != nil {
					t.Fatal(err)
				}
				if f.Name().Local == name {
					return f
				}
			}
		}
		if err := c.s.SendElement(sm.Resume(j.Managed().ID(), high)); err != nil {
			t.Fatal(err)
		}
		if h := next("resumed").Attr("h"); h != fmt.Sprint(high) {
			t.Fatalf("resumed at %s", h)
		}
		for i := range 4 { // each is one in, and its answer one out
			p := stanza.NewIQ(stanza.TypeGet, jid.JID{}, s.JID(), xmlstream.El("urn:xmpp:ping", "ping"))
			if err := c.s.Send(p); err != nil {
				t.Fatal(err)
			}
			next("iq")
			h := uint32(high) + uint32(i) + 1
			if err := c.s.SendElement(xmlstream.El(sm.NS, "a", xmlstream.A("h", fmt.Sprint(h)))); err != nil {
				t.Fatal(err)
			}
			if err := c.s.SendElement(xmlstream.El(sm.NS, "r")); err != nil {
				t.Fatal(err)
			}
			if got := next("a").Attr("h"); got != fmt.Sprint(h) {
				t.Fatalf("%s were handled, want %d", got, h)
			}
		}
		for _, x := range s.Sessions() {
			if left := x.Queue.Held(); len(left) > 0 {
				t.Errorf("%d stanzas are not acknowledged", len(left))
			}
		}
	})
}
