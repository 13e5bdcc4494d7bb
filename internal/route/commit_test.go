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

// storingDB keeps what Writes have written, as a database does: all of one or nothing.
type storingDB struct {
	mod.DB
	// answer is asked for the outcome of each Write that could be committed: whether it is, and what its caller is told.
	answer func(n int) (kept bool, err error)
	n      int
	open   []string // of the Write that runs
	stored []string
}

func (d *storingDB) Write(_ context.Context, fn func(mod.Tx) error) error {
	d.open = nil
	if err := fn(nil); err != nil {
		return err
	}
	kept, err := d.answer(d.n)
	d.n++
	if kept {
		d.stored = append(d.stored, d.open...)
	}
	return err
}

// TestCommitFails sends three messages in one batch whose commit fails: whatever has become of it, no message is stored
// twice, and each is either stored and delivered or answered with an error.
func TestCommitFails(t *testing.T) {
	for _, c := range []struct {
		name      string
		answer    func(n int) (bool, error)
		bad       string // the message that cannot be written
		stored    []string
		delivered []string
		condition string // of the others
	}{
		{"not at all", func(int) (bool, error) { return true, nil }, "",
			[]string{"1", "2", "3"}, []string{"1", "2", "3"}, ""},
		// The connection broke after COMMIT was sent: it was kept, but nobody knows. The senders will try again themselves.
		{"kept, but the answer was lost", func(int) (bool, error) { return true, fmt.Errorf("reading the answer: %w", mod.ErrUnavailable) }, "",
			[]string{"1", "2", "3"}, nil, "internal-server-error"},
		{"lost before", func(int) (bool, error) { return false, mod.ErrUnavailable }, "",
			nil, nil, "internal-server-error"},
		{"lost once", func(n int) (bool, error) {
			if n == 0 {
				return false, mod.ErrUnavailable
			}
			return true, nil
		}, "", nil, nil, "internal-server-error"},
		{"no room", func(int) (bool, error) { return false, mod.ErrFull }, "",
			nil, nil, "resource-constraint"},
		{"one bad message", func(int) (bool, error) { return true, nil }, "2",
			[]string{"1", "3"}, []string{"1", "3"}, "internal-server-error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := &storingDB{answer: c.answer}
			w.r.o.DB = d
			w.r.o.Log = slog.New(slog.DiscardHandler)
			info := mod.Info{Name: "keep", New: func(mod.Host, any) (*mod.Hooks, error) {
				return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
					id := p.Stanza.ID
					return func(mod.Tx) error {
						if id == c.bad {
							return errors.New("a constraint is broken")
						}
						d.open = append(d.open, id)
						return nil
					}, nil
				}}}}, nil
			}}
			domain := jid.MustParse("x.example")
			h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: w.r.o.Log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
			if err != nil {
				t.Fatal(err)
			}
			w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
			romeo, juliet := w.bind(t, "romeo@x.example/a"), w.bind(t, "juliet@x.example/a")
			b := w.r.NewBatch(romeo)
			all := []string{"1", "2", "3"}
			for _, id := range all {
				b.Do(t.Context(), chat("romeo@x.example/a", "juliet@x.example/a", stanza.TypeChat, id))
			}
			b.Flush(t.Context())
			if !slices.Equal(d.stored, c.stored) {
				t.Errorf("stored are %v, want %v", d.stored, c.stored)
			}
			got, errs := w.end(juliet), w.end(romeo)
			for _, id := range all {
				delivered := slices.Contains(c.delivered, id)
				if n := strings.Count(got, "id='"+id+"'"); n > 1 || (n == 1) != delivered {
					t.Errorf("message %s was delivered %d times, want it: %v", id, n, delivered)
				}
				if n := strings.Count(errs, "id='"+id+"'"); n > 1 || (n == 1) == delivered {
					t.Errorf("message %s was answered with %d errors: %s", id, n, errs)
				}
			}
			if n := strings.Count(errs, "<"+c.condition+" "); c.condition != "" && n != len(all)-len(c.delivered) {
				t.Errorf("%d errors are %s in %s", n, c.condition, errs)
			}
		})
	}
}

// TestRedeliver moves what a session held, of which one message cannot be written, on a store that works, or fails as a whole:
// all moves in one transaction with the end of the session, in order; a bad message does not take its neighbours with it; what
// its archive or the journal has is not answered with an error.
func TestRedeliver(t *testing.T) {
	works := func(int) (bool, error) { return true, nil }
	fails := func(int) (bool, error) { return false, mod.ErrUnavailable }
	failsOnce := func(n int) (bool, error) { // when "1" was moved alone
		if n == 1 {
			return false, mod.ErrUnavailable
		}
		return true, nil
	}
	for _, c := range []struct {
		name    string
		answer  func(n int) (bool, error)
		bad     string
		journal bool
		there   bool // another session of the account
		writes  int
		stored  []string
		errs    string // ids of messages that were answered
		kept    bool   // the session is in its journal still
	}{
		{"stored", works, "", true, false, 1, []string{"1", "2", "archived", "forget"}, "", false},
		{"stored, without a journal", works, "", false, false, 1, []string{"1", "2", "archived"}, "", false},
		{"to another session", works, "", true, true, 1, []string{"forget"}, "", false},
		{"one is bad", works, "2", true, false, 5, []string{"1", "archived", "forget"}, "", false},
		{"one is bad, without a journal", works, "2", false, false, 4, []string{"1", "archived"}, "2", false},
		{"one is bad, and the store fails later", failsOnce, "2", true, false, 4, []string{"1"}, "", true},
		{"the store fails", fails, "", true, false, 1, nil, "", true},
		{"the store fails, without a journal", fails, "", false, false, 1, nil, "1 2", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			n := 0
			d := &storingDB{answer: func(i int) (bool, error) { return c.answer(i) }}
			w.r.o.DB, w.r.o.Log = countingDB{d, &n}, slog.New(slog.DiscardHandler)
			info := mod.Info{Name: "keep", New: func(mod.Host, any) (*mod.Hooks, error) {
				return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
					id := p.Stanza.ID
					p.Stored = true
					return func(mod.Tx) error {
						if id == c.bad {
							return errors.New("a constraint is broken")
						}
						d.open = append(d.open, id)
						return nil
					}, nil
				}}}}, nil
			}}
			domain := jid.MustParse("x.example")
			h, err := host.New(host.Options{Domain: domain, Clock: clock{}, Log: w.r.o.Log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
			if err != nil {
				t.Fatal(err)
			}
			w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
			romeo := w.bind(t, "romeo@x.example/a")
			var juliet *session.Session
			if c.there {
				juliet = w.bind(t, "juliet@x.example/b")
			}
			var list []session.Kept
			for _, id := range []string{"1", "2", "archived"} {
				m := chat("romeo@x.example/a", "juliet@x.example/gone", stanza.TypeChat, id)
				if id == "archived" {
					m.Add(xmlstream.El("urn:xmpp:sid:0", "stanza-id", xmlstream.A("by", "juliet@x.example"), xmlstream.A("id", "7")))
				}
				list = append(list, session.Kept{Stanza: m, At: clock{}.Now()})
			}
			var forget func(mod.Tx) error
			if c.journal {
				forget = func(mod.Tx) error { d.open = append(d.open, "forget"); return nil }
			}
			if err := w.r.Redeliver(t.Context(), list, forget); (err != nil) != c.kept {
				t.Errorf("the journal: %v", err)
			}
			if !slices.Equal(d.stored, c.stored) || n != c.writes {
				t.Errorf("stored are %v in %d transactions, want %v in %d", d.stored, n, c.stored, c.writes)
			}
			var errs []string
			got := w.end(romeo)
			for _, id := range []string{"1", "2", "archived"} {
				if strings.Contains(got, "id='"+id+"'") {
					errs = append(errs, id)
				}
			}
			if strings.Join(errs, " ") != c.errs {
				t.Errorf("%q were answered, want %q", errs, c.errs)
			}
			if juliet != nil {
				got := w.end(juliet)
				if a, b, c := strings.Index(got, "id='1'"), strings.Index(got, "id='2'"), strings.Index(got, "id='archived'"); a < 0 || b < a || c < b {
					t.Errorf("the other session got %s", got)
				}
			}
		})
	}
}

// countingDB counts transactions.
type countingDB struct {
	*storingDB
	n *int
}

func (d countingDB) Write(ctx context.Context, fn func(mod.Tx) error) error {
	*d.n++
	return d.storingDB.Write(ctx, fn)
}
