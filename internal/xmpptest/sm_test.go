package xmpptest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/transcript"
	"sabir/internal/xmpptest"
	"sabir/xmpp/client"
	"sabir/xmpp/jid"
	"sabir/xmpp/sasl"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// managed logs in with stream management.
func managed(t *testing.T, s *xmpptest.Server, a transcript.Account, resource string) *client.Client {
	t.Helper()
	cfg := managedConfig(t, s, a, resource)
	c, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { abort(t, c) })
	return c
}

func managedConfig(t *testing.T, s *xmpptest.Server, a transcript.Account, resource string) *client.Config {
	t.Helper()
	cfg := s.ClientConfig("tcp")
	full, err := a.JID.WithResource(resource)
	if err != nil {
		t.Fatal(err)
	}
	cfg.JID, cfg.Password, cfg.Manage, cfg.Buffer = full, a.Password, true, 1000
	return &cfg
}

func abort(t *testing.T, c *client.Client) {
	t.Helper()
	if err := c.Abort(); err != nil {
		t.Error(err)
	}
}

// body is a chat message.
func body(to jid.JID, text string) *stanza.Stanza {
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", text))
	m.To, m.ID = to, text
	return m
}

// bodies reads messages until as many came, or none comes any more.
func bodies(t *testing.T, c *client.Client, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		select {
		case s, ok := <-c.Stanzas():
			if !ok {
				t.Fatalf("the stream ended after %v: %v", got, c.Err())
			}
			if s.Kind == stanza.Message {
				got = append(got, s.Body())
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing came after %v", got)
		}
	}
	return got
}

func flush(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		t.Fatalf("not acknowledged: %v", err)
	}
}

// TestResume loses a connection with stanzas under way in both directions: each arrives once, in order
// (XEP-0198#resumption).
func TestResume(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
	var want []string
	send := func(i int) {
		text := fmt.Sprint(i)
		want = append(want, text)
		if err := r.Send(body(j.JID(), text)); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	bodies(t, j, 1)
	flush(t, j) // and so j has answered the server's request
	abort(t, j)
	<-j.Done()
	for i := 1; i < 20; i++ {
		send(i)
	}
	flush(t, r)
	j2, err := client.Resume(t.Context(), managedConfig(t, s, juliet, "balcony"), j.Managed())
	if err != nil {
		t.Fatal(err)
	}
	defer abort(t, j2)
	send(20)
	if got := bodies(t, j2, 20); strings.Join(got, " ") != strings.Join(want[1:], " ") {
		t.Errorf("got %v, want %v", got, want[1:])
	}
	if j2.JID() != j.JID() {
		t.Errorf("resumed as %s", j2.JID())
	}
	flush(t, j2)
}

var races = flag.Int("races", 1000, "how often two connections race for one session")

// TestResumeRace has two connections resume one session at once, again and again: it goes on on one of them, which gets the
// queue once; the other is refused or ends with a conflict (reliability.md, row 22).
func TestResumeRace(t *testing.T) {
	n := *races
	if testing.Short() {
		n = 30
	}
	s := xmpptest.NewServer(t, xmpptest.Options{})
	romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	r, j := managed(t, s, romeo, "orchard"), managed(t, s, juliet, "balcony")
	cfg := managedConfig(t, s, juliet, "balcony")
	cfg.Mechanisms = []string{sasl.ScramSHA1}
	id, full := j.Managed().ID(), j.JID()
	abort(t, j)
	<-j.Done()
	h := uint32(0)
	conflicts, refusals := 0, 0
	for i := range n {
		text, end := fmt.Sprint(i), fmt.Sprint("end ", i)
		if err := r.Send(body(full, text)); err != nil {
			t.Fatal(err)
		}
		flush(t, r)
		var racers [2]*racer
		for k := range racers {
			racers[k] = newRacer(t, cfg)
		}
		var wg sync.WaitGroup
		for _, x := range racers {
			wg.Go(func() { x.resume(id, h) })
		}
		wg.Wait()
		if err := r.Send(body(full, end)); err != nil {
			t.Fatal(err)
		}
		for _, x := range racers {
			wg.Go(func() { x.read(end) })
		}
		wg.Wait()
		winners := 0
		for _, x := range racers {
			switch {
			case x.ended:
				winners++
				if strings.Join(x.got, ", ") != text+", "+end {
					t.Fatalf("round %d: the winner got %q", i, x.got)
				}
			case x.failed != nil:
				refusals++
			case x.err != nil && x.err.Condition == stream.Conflict:
				conflicts++
			default:
				t.Fatalf("round %d: one got %q and ended with %v", i, x.got, x.last)
			}
			if err := x.s.Conn.Close(); err != nil {
				t.Log(err) // the server has closed the losers' already
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d have won", i, winners)
		}
		h += 2
	}
	t.Logf("of %d races the losers saw %d conflicts and %d refusals", n, conflicts, refusals)
}

// racer is a connection that wants a session.
type racer struct {
	s      *client.Stream
	failed *xmlstream.Element // the answer, where it is <failed/>
	got    []string           // bodies
	ended  bool               // the last body came
	err    *stream.Error
	last   error
}

func newRacer(t *testing.T, cfg *client.Config) *racer {
	t.Helper()
	s, err := client.Open(t.Context(), cfg)
	if err == nil {
		err = s.Authenticate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return &racer{s: s}
}

func (r *racer) resume(id string, h uint32) {
	if r.last = r.s.SendElement(sm.Resume(id, h)); r.last == nil {
		r.next()
	}
}

// next reads an element and returns the body of a message.
func (r *racer) next() string {
	f, err := r.s.Next()
	if err != nil {
		r.last = err
		errors.As(err, &r.err)
		return ""
	}
	if f.Name().Space == sm.NS && f.Name().Local == "failed" {
		r.failed = f.Element()
	}
	if st, _ := stanza.FromFrame(f); st != nil {
		return st.Body()
	}
	return ""
}

func (r *racer) read(end string) {
	for r.last == nil && r.failed == nil && !r.ended {
		if text := r.next(); text != "" {
			r.got = append(r.got, text)
			r.ended = text == end
		}
	}
}

// TestRunResumes loses connections under client.Run: it comes back to its session, and where that is over it says what may
// be lost.
func TestRunResumes(t *testing.T) {
	s := xmpptest.NewServer(t, xmpptest.Options{})
	romeo, juliet := s.MustAccount(t, "romeo"), s.MustAccount(t, "juliet")
	j := managed(t, s, juliet, "balcony")
	cfg := managedConfig(t, s, romeo, "orchard")
	ctx, cancel := context.WithCancel(t.Context())
	ended := errors.New("the test is over")
	n := 0
	err := client.Run(ctx, cfg, client.Backoff{Min: time.Millisecond, Max: time.Millisecond}, func(_ context.Context, c *client.Client) error {
		n++
		if resumed := n == 2; c.Resumed() != resumed {
			t.Errorf("session %d is resumed: %v", n, c.Resumed())
		}
		switch n {
		case 1: // what is sent into a dead connection is sent again
			abort(t, c)
			<-c.Done()
			if err := c.Send(body(j.JID(), "1")); err == nil {
				t.Error("a dead connection took a message")
			}
		case 2:
			if got := bodies(t, j, 1); got[0] != "1" {
				t.Errorf("got %v", got)
			}
			flush(t, c)
			for _, x := range s.Sessions() {
				if x.JID() == c.JID() {
					x.Close("reset", "for a test")
				}
			}
			<-c.Done()
			if err := c.Send(body(j.JID(), "2")); err == nil {
				t.Error("a session that is over took a message")
			}
		case 3:
			if lost := c.Lost(); len(lost) != 1 || lost[0].ID != "2" {
				t.Errorf("lost are %v", lost)
			}
			return ended
		}
		return nil
	})
	cancel()
	if !errors.Is(err, ended) || n != 3 {
		t.Errorf("after %d sessions: %v", n, err)
	}
}
