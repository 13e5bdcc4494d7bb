package route

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// feed is a service that sends to many, with an extension that refuses and stores for some.
type feed struct {
	*world
	db     *storingDB
	far    *remote
	h      mod.Host
	stores func(*mod.Pass) bool // what is kept before it is delivered
	errors []string             // that came back to the service
	notes  []string
}

// Mark and Note have the feed remember what a trace is told.
func (*feed) Mark() uint64 { return 7 }

func (f *feed) Note(mark uint64, what, who, detail string) {
	if mark != 0 {
		f.notes = append(f.notes, fmt.Sprint(mark, " ", what, " ", who, " ", detail))
	}
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	f := &feed{
		world:  &world{dir: session.NewDirectory(), sent: map[string][]byte{}, done: map[string]chan struct{}{}},
		db:     &storingDB{answer: func(int) (bool, error) { return true, nil }},
		far:    &remote{},
		stores: func(*mod.Pass) bool { return false },
	}
	f.far.write = func(s *stanza.Stanza) { f.db.open = append(f.db.open, s.ID+" to "+s.To.String()) }
	log := slog.New(slog.DiscardHandler)
	f.r = New(Options{Directory: f.dir, Log: log, Clock: clock{}, DB: f.db, Remote: f.far, Trace: f})
	messages := mod.When{Side: mod.In, Kinds: mod.Messages}
	service := &mod.Service{
		Domain: jid.MustParse("feed.x.example"), Name: "The feed",
		Presence: func(context.Context, *stanza.Stanza) error { return nil },
		Message: func(_ context.Context, s *stanza.Stanza) (func(context.Context) error, error) {
			f.errors = append(f.errors, s.From.String()+" "+string(s.Err().Condition))
			return nil, nil
		},
	}
	info := mod.Info{Name: "feed", New: func(h mod.Host, _ any) (*mod.Hooks, error) {
		f.h = h
		return &mod.Hooks{
			Services: []*mod.Service{service},
			Admit: []mod.AdmitHook{{When: messages, Func: func(_ context.Context, p *mod.Pass) error {
				if p.Stanza.To.Resource() == "deaf" {
					return stanza.Err(stanza.NotAcceptable, "")
				}
				return nil
			}}},
			Record: []mod.RecordHook{{When: messages, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				if !f.stores(p) {
					return nil, nil
				}
				p.Stored = true
				what := p.Stanza.ID + " for " + p.Stanza.To.String()
				return func(mod.Tx) error { f.db.open = append(f.db.open, what); return nil }, nil
			}}},
		}, nil
	}}
	domain := jid.MustParse("x.example")
	h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: log, Directory: f.dir, Router: f.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
	if err != nil {
		t.Fatal(err)
	}
	f.r.SetHosts(map[jid.JID]*host.Host{domain: h})
	return f
}

func (f *feed) news(id string, to ...string) mod.Fan {
	s := stanza.New(stanza.Message, stanza.TypeNormal, xmlstream.El("urn:news", "news"))
	s.From, s.ID = jid.MustParse("feed.x.example"), id
	list := make([]jid.JID, len(to))
	for i, j := range to {
		list[i] = jid.MustParse(j)
	}
	return mod.Fan{Stanza: s, To: list}
}

func wanted(to string, ids ...string) (all string) {
	for _, id := range ids {
		all += "<message to='" + to + "' from='feed.x.example' id='" + id + "'><news xmlns='urn:news'/></message>"
	}
	return all
}

// TestFan sends one message to recipients of all kinds: each is treated as if it were the only one, and all that must be
// durable is so by one commit.
func TestFan(t *testing.T) {
	f := newFeed(t)
	f.stores = func(p *mod.Pass) bool { return p.Stanza.To.Local() == "juliet" }
	romeo, other, deaf := f.bind(t, "romeo@x.example/a"), f.bind(t, "romeo@x.example/b"), f.bind(t, "romeo@x.example/deaf")
	fan := f.news("1", "romeo@x.example/a", "away@y.example", "romeo@x.example/deaf", "juliet@x.example", "romeo@x.example/gone",
		"juliet@x.example/c", "nobody@x.example", "romeo@x.example/b", "away@z.example/r")
	before := fan.Stanza.String()
	f.h.RouteAll(t.Context(), []mod.Fan{fan, f.news("none")})
	for s, want := range map[*session.Session]string{
		romeo: wanted("romeo@x.example/a", "1"), other: wanted("romeo@x.example/b", "1"), deaf: "",
	} {
		if got := f.end(s); got != want {
			t.Errorf("%s got %q, want %q", s.JID(), got, want)
		}
	}
	if want := []string{wanted("away@y.example", "1"), wanted("away@z.example/r", "1")}; !slices.Equal(f.far.sent, want) {
		t.Errorf("sent away: %q", f.far.sent)
	}
	if want := []string{"1 to away@y.example", "1 for juliet@x.example", "1 for juliet@x.example/c", "1 to away@z.example/r"}; !slices.Equal(f.db.stored, want) || f.db.n != 1 {
		t.Errorf("stored %q in %d commits", f.db.stored, f.db.n)
	}
	if want := []string{"romeo@x.example/deaf not-acceptable", "romeo@x.example/gone service-unavailable"}; !slices.Equal(f.errors, want) {
		t.Errorf("came back: %q, want %q", f.errors, want)
	}
	if fan.Stanza.String() != before || fan.Stanza.Mark != 0 {
		t.Error("the stanza of the fan was changed")
	}
}

// TestFanFails has the commit of a fan fail: those of whom nothing had to be stored have it, the others bounce.
func TestFanFails(t *testing.T) {
	f := newFeed(t)
	f.db.answer = func(int) (bool, error) { return false, mod.ErrFull }
	f.stores = func(p *mod.Pass) bool { return p.Stanza.To.Local() == "juliet" }
	romeo, juliet := f.bind(t, "romeo@x.example/a"), f.bind(t, "juliet@x.example/a")
	f.h.RouteAll(t.Context(), []mod.Fan{f.news("1", "juliet@x.example/a", "romeo@x.example/a")})
	if got := f.end(romeo); got != wanted("romeo@x.example/a", "1") {
		t.Errorf("romeo got %q", got)
	}
	if got := f.end(juliet); got != "" {
		t.Errorf("juliet got %q", got)
	}
	if want := []string{"juliet@x.example/a resource-constraint"}; !slices.Equal(f.errors, want) {
		t.Errorf("came back: %q, want %q", f.errors, want)
	}
}

// TestFanOrder sends what must be stored and what need not to the same recipient: it comes in the order of sending.
func TestFanOrder(t *testing.T) {
	f := newFeed(t)
	f.stores = func(p *mod.Pass) bool { return p.Stanza.ID == "2" || p.Stanza.ID == "4" }
	romeo, juliet := f.bind(t, "romeo@x.example/a"), f.bind(t, "juliet@x.example/a")
	var list []mod.Fan
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		list = append(list, f.news(id, "romeo@x.example/a", "juliet@x.example/a"))
	}
	p := stanza.New(stanza.Presence, stanza.TypeAvailable)
	p.From = jid.MustParse("feed.x.example")
	list = append(list, mod.Fan{Stanza: p, To: []jid.JID{romeo.JID()}}, f.news("6", "romeo@x.example/a"))
	f.h.RouteAll(t.Context(), list)
	const who = "romeo@x.example/a"
	want := wanted(who, "1", "2", "3", "4", "5") + "<presence to='" + who + "' from='feed.x.example'/>" + wanted(who, "6")
	if got := f.end(romeo); got != want {
		t.Errorf("romeo got %q, want %q", got, want)
	}
	if got, want := f.end(juliet), wanted("juliet@x.example/a", "1", "2", "3", "4", "5"); got != want {
		t.Errorf("juliet got %q, want %q", got, want)
	}
	if f.db.n != 1 {
		t.Errorf("%d commits", f.db.n)
	}
}

// TestFanTrace: a fan is one message, and the trace tells of each recipient what became of it.
func TestFanTrace(t *testing.T) {
	f := newFeed(t)
	f.stores = func(p *mod.Pass) bool { return p.Stanza.To.Local() == "juliet" }
	f.db.answer = func(int) (bool, error) { return false, mod.ErrFull }
	f.bind(t, "romeo@x.example/a")
	f.bind(t, "romeo@x.example/deaf")
	f.h.RouteAll(t.Context(), []mod.Fan{f.news("m", "juliet@x.example", "romeo@x.example/a", "romeo@x.example/deaf", "nobody@x.example", "romeo@x.example/gone")})
	want := []string{
		"7 received feed.x.example 5 addresses",
		"7 known as feed.x.example m",
		"7 stored feed juliet@x.example",
		"7 queued romeo@x.example/a ",
		"7 refused feed romeo@x.example/deaf: not-acceptable",
		"7 dropped route nobody@x.example: no such account",
		"7 bounced feed.x.example romeo@x.example/gone: service-unavailable",
		"7 refused store juliet@x.example: resource-constraint: the server has no room left; try again later",
	}
	if !slices.Equal(f.notes, want) {
		t.Errorf("noted:\n%s\nwant:\n%s", strings.Join(f.notes, "\n"), strings.Join(want, "\n"))
	}
}

// TestFanSlow sends to many of whom some do not read: all others have it none the less.
func TestFanSlow(t *testing.T) {
	f := newFeed(t)
	const n = 300
	free := make(chan struct{})
	var slow []*session.Session
	var fast sync.WaitGroup
	var mu sync.Mutex
	times := make(map[string]int)
	var to []string
	for i := range n {
		full := fmt.Sprintf("romeo@x.example/%d", i)
		to = append(to, full)
		note := func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			times[full] += strings.Count(string(b), "<news ")
		}
		o := session.QueueOptions{Limit: 1 << 20, Full: func() {}, Done: func() {}}
		switch {
		case i%10 == 0: // the socket takes nothing, or not all at once
			o.Write = func(b []byte) error { <-free; note(b); return nil }
			if i%20 == 0 {
				o.Try = func(b []byte) (bool, error) { note(b); return true, nil }
			}
		default:
			fast.Add(1)
			o.Write = func(b []byte) error { note(b); fast.Done(); return nil }
			if i%2 == 0 {
				o.Try = func(b []byte) (bool, error) { return false, o.Write(b) }
			}
		}
		s := session.New(jid.MustParse(full), session.NewQueue(o), clock{}.Now(), func(string, string) {})
		if _, ok := f.dir.Add(s, n); !ok {
			t.Fatalf("%s is not bound", full)
		}
		if i%10 == 0 {
			slow = append(slow, s)
		}
	}
	f.h.RouteAll(t.Context(), []mod.Fan{f.news("m", to...)})
	fast.Wait() // while the slow ones are as slow as ever
	close(free)
	for _, s := range slow {
		s.Queue.Drain(0)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(times) != n {
		t.Errorf("%d of %d have it", len(times), n)
	}
	for full, k := range maps.All(times) {
		if k != 1 {
			t.Errorf("%s has it %d times", full, k)
		}
	}
}

// TestPresenceDelivery sends presence to addresses of an account (RFC 6121 §4.2.3, §8.5.2.1.2, §8.5.3): its `to` stays as it is.
func TestPresenceDelivery(t *testing.T) {
	for _, c := range []struct {
		to   string
		gets []string // by resource
	}{
		{"juliet@x.example", []string{"a", "b"}},
		{"juliet@x.example/b", []string{"b"}},
		{"juliet@x.example/bound", []string{"bound"}},
		{"juliet@x.example/gone", nil},
		{"nobody@x.example", nil},
		{"x.example", nil},
	} {
		for _, typ := range []string{stanza.TypeAvailable, stanza.TypeUnavailable, stanza.TypeError} {
			f := newFeed(t)
			all := map[string]*session.Session{}
			for _, r := range []string{"a", "b", "bound"} {
				all[r] = f.bind(t, "juliet@x.example/"+r)
			}
			all["b"].SetPresence(stanza.New(stanza.Presence, stanza.TypeAvailable), -5)
			all["bound"].SetPresence(nil, 0)
			p := stanza.New(stanza.Presence, typ)
			p.From, p.To = jid.MustParse("x@y.example/r"), jid.MustParse(c.to)
			f.r.Route(t.Context(), p)
			for r, s := range all {
				want := ""
				if slices.Contains(c.gets, r) {
					want = p.String()
				}
				if got := f.end(s); got != want {
					t.Errorf("%s: %s got %q", p, r, got)
				}
			}
			if len(f.far.sent) > 0 {
				t.Errorf("%s is answered: %q", p, f.far.sent)
			}
		}
	}
}
