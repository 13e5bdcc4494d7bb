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
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
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
