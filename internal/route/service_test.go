package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// hall is an extension that owns hall.x.example and notes what it sees there.
type hall struct {
	h    mod.Host
	seen []string
	wait func(context.Context) error
	owed func(st *stanza.Stanza, write func(context.Context, mod.Tx) error) // gets what mod.Owed returns, where it is set
}

func (s *hall) note(what string, st *stanza.Stanza) { s.seen = append(s.seen, what+" "+st.ID) }

func (s *hall) info(t *testing.T) mod.Info {
	domain, err := mod.ServiceDomain(jid.MustParse("x.example"), "hall")
	if err != nil {
		t.Fatal(err)
	}
	answer := func(place string) func(context.Context, *mod.Request) (*xmlstream.Element, error) {
		return func(_ context.Context, r *mod.Request) (*xmlstream.Element, error) {
			s.note(place, r.Stanza)
			return xmlstream.El("urn:q", "at", place+" "+r.Account.String()), nil
		}
	}
	q := func(at mod.Where, name string) mod.IQHandler {
		return mod.IQHandler{At: at, Space: "urn:q", Local: "q", Type: stanza.TypeGet, Func: answer(name)}
	}
	return mod.Info{Name: "hall", New: func(h mod.Host, _ any) (*mod.Hooks, error) {
		s.h = h
		return &mod.Hooks{
			// The sender's side runs, and no other.
			Admit: []mod.AdmitHook{{When: mod.When{Side: mod.In | mod.Out, Kinds: mod.AllKinds}, Func: func(_ context.Context, p *mod.Pass) error {
				s.note(fmt.Sprint("admit", p.Side), p.Stanza)
				if p.Stanza.ID == "refused" {
					return stanza.Err(stanza.PolicyViolation, "")
				}
				return nil
			}}},
			Services: []*mod.Service{{
				Domain: domain, Name: "The hall",
				IQ: []mod.IQHandler{q(mod.AtHost, "host"), q(mod.AtAccount, "account"), q(mod.AtResource, "resource")},
				Other: func(_ context.Context, st *stanza.Stanza) error {
					s.note("other", st)
					return stanza.Err(stanza.Gone, "")
				},
				Presence: func(_ context.Context, st *stanza.Stanza) error {
					s.note("presence", st)
					if st.ID == "panic" {
						panic("as asked")
					}
					return nil
				},
				Message: func(ctx context.Context, st *stanza.Stanza) (func(context.Context) error, error) {
					s.note("message", st)
					if s.owed != nil {
						s.owed(st, mod.Owed(ctx))
					}
					if st.ID == "no" {
						return nil, stanza.Err(stanza.NotAllowed, "")
					}
					return s.wait, nil
				},
			}},
		}, nil
	}}
}

// withHall is a world with that extension.
func withHall(t *testing.T) (*world, *hall) {
	t.Helper()
	w := &world{dir: session.NewDirectory(), sent: map[string][]byte{}, done: map[string]chan struct{}{}}
	log := slog.New(slog.DiscardHandler)
	w.r = New(Options{Directory: w.dir, Log: log, Clock: clock{}})
	s := &hall{}
	domain := jid.MustParse("x.example")
	h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: s.info(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
	return w, s
}

func to(kind stanza.Kind, typ, addr, id string) *stanza.Stanza {
	s := stanza.New(kind, typ, xmlstream.El("urn:q", "q"))
	s.From, s.To, s.ID = jid.MustParse("romeo@x.example/a"), jid.MustParse(addr), id
	return s
}

// TestService sends to the addresses of a service, and checks who is asked and what comes back.
func TestService(t *testing.T) {
	for _, c := range []struct {
		s      *stanza.Stanza
		seen   string
		answer string
	}{
		{to(stanza.IQ, stanza.TypeGet, "hall.x.example", "1"), "admit1 1, host 1", ">host <"},
		{to(stanza.IQ, stanza.TypeGet, "room@hall.x.example", "2"), "admit1 2, account 2", ">account room@hall.x.example<"},
		{to(stanza.IQ, stanza.TypeGet, "room@hall.x.example/n", "3"), "admit1 3, resource 3", ">resource room@hall.x.example<"},
		{to(stanza.IQ, stanza.TypeSet, "room@hall.x.example", "4"), "admit1 4, other 4", "<gone "},
		{to(stanza.IQ, stanza.TypeResult, "room@hall.x.example/n", "5"), "admit1 5, other 5", ""},
		{to(stanza.Presence, stanza.TypeAvailable, "room@hall.x.example/n", "6"), "admit1 6, presence 6", ""},
		{to(stanza.Presence, stanza.TypeSubscribe, "hall.x.example", "7"), "admit1 7, presence 7", ""},
		{to(stanza.Presence, stanza.TypeAvailable, "room@hall.x.example/n", "panic"), "admit1 panic, presence panic", "<internal-server-error "},
		{to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "8"), "admit1 8, message 8", ""},
		{to(stanza.Message, stanza.TypeError, "room@hall.x.example", "9"), "admit1 9, message 9", ""},
		{to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "no"), "admit1 no, message no", "<not-allowed "},
		{to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "refused"), "admit1 refused", "<policy-violation "},
		{to(stanza.IQ, stanza.TypeGet, "hall.x.example", "refused"), "admit1 refused", "<policy-violation "},
	} {
		t.Run(c.s.Kind.String()+" "+c.s.Type+" "+c.s.ID, func(t *testing.T) {
			w, s := withHall(t)
			romeo := w.bind(t, "romeo@x.example/a")
			b := w.r.NewBatch(romeo)
			b.Do(t.Context(), c.s)
			b.Flush(t.Context())
			if got := strings.Join(s.seen, ", "); got != c.seen {
				t.Errorf("seen: %s, want %s", got, c.seen)
			}
			if got := w.end(romeo); !strings.Contains(got, c.answer) || c.answer == "" && got != "" {
				t.Errorf("answered %q, want %q", got, c.answer)
			}
		})
	}
}

// TestServiceWaits hands over the messages of a batch one after the other and waits for all of them at its end.
func TestServiceWaits(t *testing.T) {
	w, s := withHall(t)
	romeo := w.bind(t, "romeo@x.example/a")
	s.wait = func(context.Context) error {
		s.seen = append(s.seen, "wait")
		if len(s.seen) > 5 {
			return errors.New("lost")
		}
		return nil
	}
	b := w.r.NewBatch(romeo)
	b.Do(t.Context(), to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "1"))
	b.Do(t.Context(), to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "2"))
	b.Flush(t.Context())
	want := []string{"admit1 1", "admit1 2", "message 1", "message 2", "wait", "wait"}
	if !slices.Equal(s.seen, want) {
		t.Errorf("seen %q, want %q", s.seen, want)
	}
	if got := w.end(romeo); strings.Count(got, "<internal-server-error ") != 1 || !strings.Contains(got, "id='2'") {
		t.Errorf("answered %q", got)
	}
}

// TestServiceSends lets a service send to many: those who are here get it, and what bounces comes back to the service.
func TestServiceSends(t *testing.T) {
	w, s := withHall(t)
	romeo, juliet := w.bind(t, "romeo@x.example/a"), w.bind(t, "juliet@x.example/a")
	m := to(stanza.Message, stanza.TypeGroupchat, "room@hall.x.example", "m")
	m.From, m.To = jid.MustParse("room@hall.x.example/n"), jid.JID{}
	s.h.RouteAll(t.Context(), []mod.Fan{{Stanza: m, To: []jid.JID{romeo.JID(), jid.MustParse("romeo@x.example/gone"), juliet.JID()}}})
	if got := strings.Join(s.seen, ", "); got != "admit2 m, admit2 m, admit2 m, message m" && got != "admit2 m, admit2 m, message m, admit2 m" {
		t.Errorf("seen: %s", got)
	}
	for _, x := range []*session.Session{romeo, juliet} {
		if got := w.end(x); !strings.HasPrefix(got, "<message to='"+x.JID().String()+"' from='room@hall.x.example/n'") {
			t.Errorf("%s got %q", x.JID(), got)
		}
	}
}

// remote notes what goes to other servers, and how much of what it has accepted is neither gone nor given up.
type remote struct {
	sent  []string
	held  int
	write func(s *stanza.Stanza) // within the commit; or nil
}

func (r *remote) Send(_ context.Context, s *stanza.Stanza) *stanza.Error {
	r.sent = append(r.sent, s.String())
	return nil
}

func (r *remote) Accept(_ context.Context, s *stanza.Stanza) (Departure, *stanza.Error) {
	r.held++
	return &departure{r: r, s: s}, nil
}

type departure struct {
	r    *remote
	s    *stanza.Stanza
	over bool
}

func (d *departure) Write() func(mod.Tx) error {
	return func(mod.Tx) error {
		if d.r.write != nil {
			d.r.write(d.s)
		}
		return nil
	}
}

func (d *departure) Go() {
	d.r.sent = append(d.r.sent, d.s.String())
	d.Stay()
}

func (d *departure) Stay() {
	if !d.over {
		d.over = true
		d.r.held--
	}
}

// TestDepartures: each message that was accepted for another server goes there after the commit, or stays where that failed.
func TestDepartures(t *testing.T) {
	w := newWorld(t)
	far, db := &remote{}, &oneDB{}
	w.r.o.Remote, w.r.o.DB, w.r.o.Log = far, db, slog.New(slog.DiscardHandler)
	romeo := w.bind(t, "romeo@x.example/a")
	b := w.r.NewBatch(romeo)
	for _, fail := range []error{nil, mod.ErrFull} {
		db.fail = fail
		for _, id := range []string{"m1", "m2"} {
			b.Do(t.Context(), chat("romeo@x.example/a", "juliet@y.example/a", stanza.TypeChat, id))
		}
		if far.held != 2 {
			t.Errorf("%d are accepted", far.held)
		}
		b.Flush(t.Context())
		if far.held != 0 || len(far.sent) != 2 {
			t.Errorf("the commit gives %v: %d were sent, %d are forgotten", fail, len(far.sent), far.held)
		}
	}
	w.end(romeo)
}

// TestServiceSendsAway lets a service send to another server.
func TestServiceSendsAway(t *testing.T) {
	w, s := withHall(t)
	far := &remote{}
	w.r.o.Remote, w.r.o.DB = far, &oneDB{}
	for _, kind := range []stanza.Kind{stanza.Message, stanza.Presence, stanza.IQ} {
		m := to(kind, stanza.TypeError, "juliet@y.example/a", "m")
		m.From = jid.MustParse("room@hall.x.example/n")
		s.h.Route(t.Context(), m)
	}
	if len(far.sent) != 3 || far.held != 0 || !strings.HasPrefix(far.sent[0], "<message to='juliet@y.example/a' from='room@hall.x.example/n'") {
		t.Errorf("sent %q", far.sent)
	}
}

// TestServiceAsks lets a service ask a client.
func TestServiceAsks(t *testing.T) {
	w, s := withHall(t)
	romeo := w.bind(t, "romeo@x.example/a")
	q := to(stanza.IQ, stanza.TypeGet, "romeo@x.example/nobody", "")
	q.From = jid.MustParse("room@hall.x.example")
	var answer *stanza.Stanza
	s.h.Ask(t.Context(), q, func(a *stanza.Stanza) { answer = a })
	if answer == nil || answer.Err() == nil || answer.Err().Condition != stanza.ServiceUnavailable {
		t.Errorf("answered %v", answer)
	}
	w.end(romeo)
}

func TestDomains(t *testing.T) {
	w, s := withHall(t)
	if got := fmt.Sprint(w.r.Domains()); got != "[hall.x.example x.example]" {
		t.Errorf("domains %s", got)
	}
	for d, want := range map[string]bool{"x.example": true, "hall.x.example": true, "y.x.example": false} {
		if got := w.r.Serves(jid.MustParse(d)); got != want {
			t.Errorf("serves %s: %v", d, got)
		}
	}
	if items := w.r.Host(jid.MustParse("x.example")).Disco(mod.AtHost).Items; len(items) != 1 || items[0].Name != "The hall" {
		t.Errorf("items %v", items)
	}
	other, err := host.New(host.Options{Domain: jid.MustParse("hall.x.example"), Log: slog.New(slog.DiscardHandler), Directory: w.dir, Router: w.r})
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[jid.JID]*host.Host{other.Domain(): other, jid.MustParse("x.example"): w.r.Host(jid.MustParse("x.example"))}
	if err := host.Services(hosts); err == nil || !strings.Contains(err.Error(), "hall on x.example") {
		t.Errorf("a service has the domain of a host: %v", err)
	}
	if _, err := host.New(host.Options{Domain: jid.MustParse("x.example"), Log: slog.New(slog.DiscardHandler), Directory: w.dir, Router: w.r,
		Extensions: []host.Enabled{{Info: s.info(t)}, {Info: s.info(t)}}}); err == nil {
		t.Error("two services have the same domain")
	}
	for name, want := range map[string]string{"hall": "hall.x.example", "rooms.example.org": "rooms.example.org", "x.example": "", "a b": ""} {
		if got, err := mod.ServiceDomain(jid.MustParse("x.example"), name); got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
