package session_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sabir/internal/session"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

func newSession(full string) *session.Session {
	q := session.NewQueue(session.QueueOptions{Write: func([]byte) error { return nil }, Limit: 1000, Done: func() {}})
	return session.New(jid.MustParse(full), q, time.Now(), func(string, string) {})
}

func TestDirectory(t *testing.T) {
	d := session.NewDirectory()
	a, b := newSession("romeo@b/1"), newSession("romeo@b/2")
	for _, s := range []*session.Session{a, b} {
		if _, ok := d.Add(s, 2); !ok {
			t.Fatal("not added")
		}
	}
	if _, ok := d.Add(newSession("romeo@b/3"), 2); ok {
		t.Error("a third resource was let in")
	}
	again := newSession("romeo@b/1")
	if replaced, ok := d.Add(again, 2); !ok || replaced != a {
		t.Error("the newcomer did not take the place of the old one")
	}
	if d.Remove(a) {
		t.Error("the replaced session was still in")
	}
	if d.Find(again.JID()) != again || d.Len() != 2 || len(d.All()) != 2 {
		t.Errorf("found %v of %d", d.Find(again.JID()), d.Len())
	}
	if !d.Remove(again) || !d.Remove(b) || d.Len() != 0 || d.Sessions(b.JID().Bare()) != nil {
		t.Error("something is left")
	}
}

// TestDirectoryRace lets many bind the same resource at once: one is in, and each other was replaced by exactly one.
func TestDirectoryRace(t *testing.T) {
	d := session.NewDirectory()
	var wg sync.WaitGroup
	var mu sync.Mutex
	out := make(map[*session.Session]int)
	for range 100 {
		wg.Go(func() {
			s := newSession("romeo@b/x")
			replaced, ok := d.Add(s, 1)
			if !ok {
				t.Error("refused")
			}
			mu.Lock()
			defer mu.Unlock()
			if replaced != nil {
				out[replaced]++
			}
		})
	}
	wg.Wait()
	if d.Len() != 1 || len(out) != 99 {
		t.Errorf("%d are in, %d were replaced", d.Len(), len(out))
	}
	for s, n := range out {
		if n != 1 {
			t.Error(fmt.Sprint(s.JID(), " was replaced ", n, " times"))
		}
	}
}

func TestFlagsAndDirected(t *testing.T) {
	s := newSession("romeo@b/x")
	s.SetFlag("a", "1")
	s.SetFlag("b", "2")
	s.SetFlag("a", "")
	if s.Flag("a") != "" || s.Flag("b") != "2" {
		t.Error("flags are mixed up")
	}
	to := jid.MustParse("juliet@b")
	for range 2 {
		if !s.Direct(to, true) {
			t.Error("there is no room for directed presence")
		}
	}
	if len(s.Directed()) != 1 {
		t.Error("directed presence is counted twice")
	}
	s.Direct(to, false)
	if len(s.Directed()) != 0 {
		t.Error("directed presence does not end")
	}
	for i := range 1000 {
		s.Direct(jid.MustParse(fmt.Sprintf("u%d@b", i)), true)
	}
	if s.Direct(to, true) {
		t.Error("directed presence has no bound")
	}
}

// TestReached: a session is reached since it became available with a priority that is not negative, whatever it says of itself after that,
// also where that is repeated to all after a restart.
func TestReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession("romeo@b/1")
		p := stanza.New(stanza.Presence, stanza.TypeAvailable)
		if !s.Reached().IsZero() {
			t.Error("without presence it is reached")
		}
		s.SetPresence(p, -1)
		if !s.Reached().IsZero() {
			t.Error("with a negative priority it is reached")
		}
		s.SetPresence(p, 0)
		since := s.Reached()
		if since != time.Now() {
			t.Errorf("it is reached since %v", since)
		}
		time.Sleep(time.Second)
		s.SetPresence(p, 5)
		restored := newSession("romeo@b/1")
		if err := restored.SetState(s.State()); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*session.Session{s, restored} {
			s.Forget()
			if ok, _ := s.Available(); ok || s.Presence() != nil {
				t.Error("it has sent presence")
			}
			s.SetPresence(p, 0)
			if !s.Reached().Equal(since) {
				t.Errorf("it is reached since %v, not %v", s.Reached(), since)
			}
		}
		s.SetPresence(nil, 0)
		s.SetPresence(p, 0)
		if s.Reached() != time.Now() {
			t.Errorf("it was away, and is reached since %v", s.Reached())
		}
	})
}

// TestAwaitGone: whoever comes waits until what those who left held has its places, whether they were removed or replaced.
func TestAwaitGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := session.NewDirectory()
		bare := jid.MustParse("juliet@x.example")
		add := func(resource string) *session.Session {
			full, err := bare.WithResource(resource)
			if err != nil {
				t.Fatal(err)
			}
			s := session.New(full, session.NewQueue(session.QueueOptions{Limit: 1 << 20}), time.Unix(0, 0), nil)
			if _, ok := d.Add(s, 10); !ok {
				t.Fatal("not added")
			}
			return s
		}
		if err := d.AwaitGone(t.Context(), bare); err != nil {
			t.Error(err)
		}
		a, b := add("a"), add("b")
		add("b") // replaces the other
		d.Remove(a)
		var done atomic.Bool
		go func() {
			if err := d.AwaitGone(t.Context(), bare); err != nil {
				t.Error(err)
			}
			done.Store(true)
		}()
		d.Gone(a)
		d.Gone(a)
		synctest.Wait()
		if done.Load() {
			t.Error("nobody waits for the one that was replaced")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.AwaitGone(ctx, bare); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the wait ends with %v", err)
		}
		d.Gone(b)
		synctest.Wait()
		if !done.Load() {
			t.Error("the wait goes on when all have gone")
		}
		if err := d.AwaitGone(t.Context(), bare); err != nil {
			t.Error(err)
		}
	})
}
