package route

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"sabir/internal/host"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// oneDB runs each Write at once, or fails it.
type oneDB struct {
	mod.DB
	fail error
}

func (d *oneDB) Write(_ context.Context, fn func(mod.Tx) error) error {
	if err := fn(nil); err != nil {
		return err
	}
	return d.fail
}

// TestSettle checks when Settle runs: after the commit, for each side with what that side's Record hook wrote, and before
// anybody gets the message; not where the commit failed. The change for one side is not seen on the other.
func TestSettle(t *testing.T) {
	w := newWorld(t)
	db := &oneDB{}
	w.r.o.DB = db
	w.r.o.Log = slog.New(slog.DiscardHandler)
	when := mod.When{Side: mod.In | mod.Out, Kinds: mod.Messages}
	settled := 0
	info := mod.Info{Name: "keep", New: func(mod.Host, any) (*mod.Hooks, error) {
		return &mod.Hooks{
			Record: []mod.RecordHook{{When: when, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
				a := &mod.Archived{By: p.Account}
				p.Archived = a
				return func(mod.Tx) error { a.ID = "id of " + a.By.Local(); return nil }, nil
			}}},
			Settle: []mod.SettleHook{{When: when, Func: func(_ context.Context, p *mod.Pass) {
				settled++
				s := p.Stanza.Clone()
				s.Add(xmlstream.El("urn:x", "at", xmlstream.A("id", p.Archived.ID)))
				p.Stanza = s
			}}},
			Fork: []mod.ForkHook{{When: mod.When{Side: mod.Out, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) []mod.Copy {
				other := w.dir.Find(jid.MustParse("romeo@x.example/b"))
				return []mod.Copy{{To: other, Stanza: p.Stanza}}
			}}},
		}, nil
	}}
	domain := jid.MustParse("x.example")
	h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: w.r.o.Log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
	if err != nil {
		t.Fatal(err)
	}
	w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
	sessions := map[string]*session.Session{}
	for _, full := range []string{"romeo@x.example/a", "romeo@x.example/b", "juliet@x.example/a"} {
		sessions[full] = w.bind(t, full)
	}
	b := w.r.NewBatch(sessions["romeo@x.example/a"])
	send := func(id string) {
		b.Do(t.Context(), chat("romeo@x.example/a", "juliet@x.example/a", stanza.TypeChat, id))
		b.Flush(t.Context())
	}
	send("kept")
	if settled != 2 {
		t.Errorf("Settle ran %d times, want once a side", settled)
	}
	db.fail = mod.ErrFull
	send("failed")
	if settled != 2 {
		t.Error("Settle ran for a message that was not committed")
	}
	for full, want := range map[string]string{"juliet@x.example/a": "id of juliet", "romeo@x.example/b": "id of romeo"} {
		got := w.end(sessions[full])
		if strings.Count(got, "<at ") != 1 || !strings.Contains(got, want) || strings.Contains(got, "failed") {
			t.Errorf("%s got %q, want it with %s alone", full, got, want)
		}
	}
	if got := w.end(sessions["romeo@x.example/a"]); !strings.Contains(got, "id='failed'") || !strings.Contains(got, "resource-constraint") || !strings.Contains(got, "'wait'") {
		t.Errorf("the sender of the message that was not kept got %q", got)
	}
}
