package xmpptest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sabir/internal/db/dbtest"
	"sabir/internal/xmpptest"
	"sabir/mod"
	"sabir/mod/all"
	"sabir/xmpp/client"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// TestStoredComesFirst logs a client in for which several pages of messages wait, while their sender writes on: what one has
// sent comes in order (RFC 6120 §10.1), though old messages come from the offline store and new ones do not.
func TestStoredComesFirst(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url})
		r, a := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
		const stored, live = 40, 100        // together less than is held for a client that acknowledges nothing
		text := strings.Repeat("x", 20_000) // several pages
		for i := range stored {
			m := body(a.JID, fmt.Sprint(i, " ", text))
			m.ID = fmt.Sprint(i)
			if err := r.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, r)
		cfg := managedConfig(t, s, a, "balcony")
		j, err := client.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { abort(t, j) })
		sent := make(chan error, 1)
		go func() {
			for i := range live {
				m := body(a.JID, "new")
				m.ID = fmt.Sprint(stored + i)
				if err := r.Send(m); err != nil {
					sent <- err
					return
				}
				if i%10 == 0 {
					time.Sleep(time.Millisecond) // some while the client comes, some while the pages go
				}
			}
			sent <- nil
		}()
		if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		for due := 0; due < stored+live; {
			select {
			case m, ok := <-j.Stanzas():
				switch {
				case !ok:
					t.Fatalf("the stream ended before message %d: %v", due, j.Err())
				case m.Request():
					if err := j.Send(m.Result(nil)); err != nil {
						t.Fatal(err)
					}
				case m.Kind == stanza.Message:
					if m.ID != fmt.Sprint(due) {
						t.Fatalf("message %s comes where %d is due", m.ID, due)
					}
					due++
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("nothing comes where message %d is due", due)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	})
}

// TestEndedComesFirst logs a client in while what an ended session of the account held is still on its way to the offline store,
// and its sender writes on: what one has sent comes in order.
func TestEndedComesFirst(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		const held, later = 6, 3
		begun, gate := make(chan struct{}, held), make(chan struct{})
		way := mod.Info{Name: "way", Specs: []string{"XEP-0203 2.0"}, Doc: "Holds what comes back from a session that has ended.", New: func(mod.Host, any) (*mod.Hooks, error) {
			return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				if p.Stanza.Has("urn:xmpp:delay", "delay") {
					begun <- struct{}{}
					<-gate
				}
				return nil, nil
			}}}}, nil
		}}
		s := xmpptest.NewServer(t, xmpptest.Options{Database: url, Extensions: append(slices.Clone(all.Extensions), way)})
		r, a := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
		j := managed(t, s, a, "balcony")
		if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		flush(t, j)
		abort(t, j) // it is parked
		<-j.Done()
		send := func(i int) {
			t.Helper()
			m := body(a.JID, fmt.Sprint(i))
			if err := r.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for i := range held {
			send(i)
		}
		flush(t, r)
		for _, x := range s.Sessions() {
			if x.JID() == j.JID() {
				go x.Close("reset", "for a test")
			}
		}
		<-begun
		for i := range later { // they find nobody
			send(held + i)
		}
		flush(t, r)
		next := s.Dial(t, a, "window")
		if err := next.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-next.Stanzas():
			t.Fatalf("%s comes before what the session before has held", m)
		case <-time.After(100 * time.Millisecond): // a mistake would show
		}
		close(gate)
		for i := range held + later {
			if got := bodies(t, next, 1); got[0] != fmt.Sprint(i) {
				t.Fatalf("message %s comes where %d is due", got[0], i)
			}
		}
		send(held + later)
		if got := bodies(t, next, 1); got[0] != fmt.Sprint(held+later) {
			t.Errorf("message %s comes at the end", got[0])
		}
	})
}

// TestTooMuchWhileAway has more come for a session that waits for its client than is held for it: the session ends, what it
// held is in the offline store, once, in order and as the archive knows it, and the client is told how far it had got.
func TestTooMuchWhileAway(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{Config: []string{"limits.resume_bytes = 100000"}})
	r, a := managed(t, s, s.MustAccount(t, "romeo"), "orchard"), s.MustAccount(t, "juliet")
	j := managed(t, s, a, "balcony")
	if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	flush(t, j)
	abort(t, j)
	<-j.Done()
	const n = 200
	for i := range n {
		m := body(a.JID, fmt.Sprint(i, " ", strings.Repeat("x", 1000)))
		m.ID = fmt.Sprint(i)
		if err := r.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, r)
	deadline := time.Now().Add(time.Minute)
	for stored := 0; stored != n; time.Sleep(10 * time.Millisecond) {
		if err := s.DB().QueryRow(t.Context(), `SELECT count(*) FROM offline_message`).Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if stored > n || time.Now().After(deadline) {
			t.Fatalf("%d of %d wait in the offline store", stored, n)
		}
	}
	c := newRacer(t, managedConfig(t, s, a, "balcony"))
	if c.resume(j.Managed().ID(), 0); c.failed == nil || c.failed.Child(stanza.NSStanzas, "item-not-found") == nil || c.failed.Attr("h") != "1" {
		t.Errorf("the resumption is answered with %s", c.failed)
	}
	j = s.Dial(t, a, "window")
	if err := j.Send(stanza.New(stanza.Presence, stanza.TypeAvailable)); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for due := 0; due < n; {
		m := <-j.Stanzas()
		switch {
		case m == nil:
			t.Fatalf("the stream ended before message %d: %v", due, j.Err())
		case m.Kind == stanza.Message:
			if m.ID != fmt.Sprint(due) {
				t.Fatalf("message %s comes where %d is due", m.ID, due)
			}
			ids = append(ids, m.Child("urn:xmpp:sid:0", "stanza-id").Attr("id"))
			due++
		}
	}
	var archived []string
	for len(archived) < n {
		set := xmlstream.El("http://jabber.org/protocol/rsm", "set", xmlstream.El("http://jabber.org/protocol/rsm", "max", "50"))
		if len(archived) > 0 {
			set.Add(xmlstream.El("http://jabber.org/protocol/rsm", "after", archived[len(archived)-1]))
		}
		q := stanza.NewIQ(stanza.TypeSet, j.JID(), a.JID, xmlstream.El("urn:xmpp:mam:2", "query", set))
		if err := j.Send(q); err != nil {
			t.Fatal(err)
		}
		for m := range j.Stanzas() {
			if m.ID == q.ID {
				break
			}
			archived = append(archived, m.Child("urn:xmpp:mam:2", "result").Attr("id"))
		}
	}
	if strings.Join(ids, " ") != strings.Join(archived, " ") {
		t.Errorf("what was stored is known as\n%v, the archive has\n%v", ids, archived)
	}
}
