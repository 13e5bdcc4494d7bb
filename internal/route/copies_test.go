package route

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// accounts are romeo and juliet.
type accounts struct{ mod.Accounts }

func (accounts) Exists(_ context.Context, local string) (bool, error) {
	return local == "romeo" || local == "juliet", nil
}

type clock struct{}

func (clock) Now() time.Time { return time.Unix(1e9, 0) }

// world is a router with one host and one extension that notes for which sides of which messages Fork runs.
type world struct {
	r     *Router
	dir   *session.Directory
	forks []string
	copy  mod.Session // gets a copy of the message "copied"; nil for none

	mu   sync.Mutex
	sent map[string][]byte // by full JID
	done map[string]chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: session.NewDirectory(), sent: map[string][]byte{}, done: map[string]chan struct{}{}}
	log := slog.New(slog.DiscardHandler)
	w.r = New(Options{Directory: w.dir, Log: log, Clock: clock{}})
	fork := func(_ context.Context, p *mod.Pass) []mod.Copy {
		side := "in"
		if p.Side == mod.Out {
			side = "out"
		}
		w.forks = append(w.forks, fmt.Sprintf("%s %s %d", p.Stanza.ID, side, len(p.Targets)))
		if w.copy != nil && p.Stanza.ID == "copied" {
			return []mod.Copy{{To: w.copy, Stanza: p.Stanza.Clone()}}
		}
		return nil
	}
	info := mod.Info{Name: "fork", New: func(mod.Host, any) (*mod.Hooks, error) {
		return &mod.Hooks{Fork: []mod.ForkHook{{When: mod.When{Side: mod.In | mod.Out, Kinds: mod.Messages}, Func: fork}}}, nil
	}}
	domain := jid.MustParse("x.example")
	h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
	if err != nil {
		t.Fatal(err)
	}
	w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
	return w
}

// bind adds a session whose client notes what comes.
func (w *world) bind(t *testing.T, full string) *session.Session {
	t.Helper()
	done := make(chan struct{})
	w.done[full] = done
	write := func(b []byte) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent[full] = append(w.sent[full], b...)
		return nil
	}
	q := session.NewQueue(session.QueueOptions{Write: write, Limit: 1 << 20, Full: func() {}, Done: func() { close(done) }})
	s := session.New(jid.MustParse(full), q, clock{}.Now(), func(string, string) {})
	s.SetPresence(stanza.New(stanza.Presence, stanza.TypeAvailable), 0)
	if _, ok := w.dir.Add(s, 10); !ok {
		t.Fatalf("%s is not bound", full)
	}
	return s
}

// end ends a session and returns what it was sent.
func (w *world) end(s *session.Session) string {
	s.Queue.Finish(nil)
	<-w.done[s.JID().String()]
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.sent[s.JID().String()])
}

func chat(from, to, typ, id string) *stanza.Stanza {
	s := stanza.New(stanza.Message, typ, xmlstream.El(stanza.NSClient, "body", "x"))
	s.From, s.To, s.ID = jid.MustParse(from), jid.MustParse(to), id
	return s
}

// TestForkRuns checks for which messages the Fork hooks run (see mod.ForkHook).
func TestForkRuns(t *testing.T) {
	w := newWorld(t)
	b := w.r.NewBatch(w.bind(t, "romeo@x.example/a"))
	w.bind(t, "juliet@x.example/a")
	for _, c := range []struct {
		to, typ string
		want    []string
	}{
		{"juliet@x.example/a", stanza.TypeChat, []string{"in 1", "out 0"}},
		{"juliet@x.example", stanza.TypeChat, []string{"in 1", "out 0"}},
		// Neither delivered nor answered.
		{"juliet@x.example/gone", stanza.TypeError, []string{"in 0", "out 0"}},
		{"juliet@x.example/gone", stanza.TypeHeadline, []string{"in 0", "out 0"}},
		{"nobody@x.example", stanza.TypeChat, []string{"out 0"}},
		// Answered with an error.
		{"juliet@x.example/gone", stanza.TypeNormal, nil},
		{"juliet@x.example", stanza.TypeGroupchat, nil},
		{"x.example", stanza.TypeChat, nil},
		{"y.example", stanza.TypeChat, nil},
	} {
		t.Run(c.typ+" to "+c.to, func(t *testing.T) {
			w.forks = nil
			b.Do(t.Context(), chat("romeo@x.example/a", c.to, c.typ, "m"))
			b.Flush(t.Context())
			var want []string
			for _, f := range c.want {
				want = append(want, "m "+f)
			}
			if !slices.Equal(w.forks, want) {
				t.Errorf("Fork ran for %q, want %q", w.forks, want)
			}
		})
	}
}

// TestRedeliverOwn checks that what an account sent to one of its sessions, such as a carbon copy, is for that one alone:
// when the session ends before it was written, nobody else gets it (XEP-0280#bizrules-errors).
func TestRedeliverOwn(t *testing.T) {
	w := newWorld(t)
	other := w.bind(t, "juliet@x.example/other")
	romeo := w.bind(t, "romeo@x.example/a")
	for _, typ := range []string{stanza.TypeChat, stanza.TypeNormal} {
		if err := w.r.Redeliver(t.Context(), []session.Kept{
			{Stanza: chat("juliet@x.example", "juliet@x.example/gone", typ, "copy")},
			{Stanza: chat("romeo@x.example/a", "juliet@x.example/gone", typ, typ)},
		}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for s, want := range map[*session.Session]string{other: stanza.TypeChat, romeo: stanza.TypeNormal} {
		if got := w.end(s); strings.Count(got, "<message ") != 1 || !strings.Contains(got, " id='"+want+"'") {
			t.Errorf("%s got %q, want the message %s alone", s.JID(), got, want)
		}
	}
}

// TestRedeliverCopied: of a message to a session that has ended, a session gets what it has no copy of, and did not send itself.
func TestRedeliverCopied(t *testing.T) {
	w := newWorld(t)
	other := w.bind(t, "juliet@x.example/other")
	w.copy = other
	if err := w.r.Redeliver(t.Context(), []session.Kept{
		{Stanza: chat("romeo@x.example/a", "juliet@x.example/gone", stanza.TypeChat, "copied")},
		{Stanza: chat("juliet@x.example/other", "juliet@x.example/gone", stanza.TypeChat, "own")},
		{Stanza: chat("romeo@x.example/a", "juliet@x.example/gone", stanza.TypeChat, "not-copied")},
	}, nil); err != nil {
		t.Fatal(err)
	}
	if got := w.end(other); strings.Count(got, "<message ") != 1 || !strings.Contains(got, " id='not-copied'") {
		t.Errorf("the other session got %q", got)
	}
}

// TestRedeliverToLater: who was bound when a message came, and became available after it, has not got it.
func TestRedeliverToLater(t *testing.T) {
	w := newWorld(t)
	other := w.bind(t, "juliet@x.example/other")
	at := other.Reached()
	kept := func(at time.Time, id string) []session.Kept {
		return []session.Kept{{Stanza: chat("romeo@x.example/a", "juliet@x.example", stanza.TypeChat, id), At: at}}
	}
	for _, k := range [][]session.Kept{kept(at.Add(-time.Second), "before"), kept(at.Add(time.Second), "after"), kept(time.Time{}, "untold")} {
		if err := w.r.Redeliver(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.end(other); strings.Count(got, "<message ") != 1 || !strings.Contains(got, " id='before'") {
		t.Errorf("the other session got %q", got)
	}
}
