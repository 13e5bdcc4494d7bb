package route

import (
	"context"
	"slices"
	"testing"
	"time"

	"sabir/internal/host"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// ticking is a clock that is never asked twice at the same time.
type ticking struct{ now time.Time }

func (c *ticking) Now() time.Time {
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

// TestEndsWithinBatch: a session ends between two messages of one batch. The first was meant for it, and comes to the store behind the
// second, as what it does not take any more or as what it held; by the time at which the server took it in it is before.
func TestEndsWithinBatch(t *testing.T) {
	for _, name := range []string{"takes no more", "takes it and ends"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			clock := &ticking{now: time.Now().Add(-time.Hour)}
			w.r.o.Clock, w.r.o.DB = clock, &storingDB{answer: func(int) (bool, error) { return true, nil }}
			at := map[string]time.Time{}
			var order []string
			info := mod.Info{Name: "keep", New: func(mod.Host, any) (*mod.Hooks, error) {
				return &mod.Hooks{Record: []mod.RecordHook{{When: mod.When{Side: mod.In, Kinds: mod.Messages}, Func: func(_ context.Context, p *mod.Pass) (func(mod.Tx) error, error) {
					if len(p.Targets) > 0 {
						return nil, nil
					}
					p.Stored = true
					at[p.Stanza.ID] = p.At
					order = append(order, p.Stanza.ID)
					return func(mod.Tx) error { return nil }, nil
				}}}}, nil
			}}
			domain := jid.MustParse("x.example")
			h, err := host.New(host.Options{Domain: domain, Clock: clock, Log: w.r.o.Log, Directory: w.dir, Router: w.r, Accounts: accounts{}, Extensions: []host.Enabled{{Info: info}}})
			if err != nil {
				t.Fatal(err)
			}
			w.r.SetHosts(map[jid.JID]*host.Host{domain: h})
			romeo, juliet := w.bind(t, "romeo@x.example/a"), w.bind(t, "juliet@x.example/a")
			juliet.Queue.Track("", 1<<20, false) // her client acknowledges nothing
			b := w.r.NewBatch(romeo)
			b.Do(t.Context(), chat("romeo@x.example/a", "juliet@x.example", stanza.TypeChat, "1"))
			w.dir.Remove(juliet)
			if name == "takes no more" {
				w.end(juliet)
			}
			b.Do(t.Context(), chat("romeo@x.example/a", "juliet@x.example", stanza.TypeChat, "2"))
			b.Flush(t.Context())
			if err := w.r.Redeliver(t.Context(), juliet.Queue.Unsent(), nil); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(order, []string{"2", "1"}) {
				t.Fatalf("stored were %v", order)
			}
			if !at["1"].Before(at["2"]) {
				t.Errorf("the first was taken in at %v, the second at %v", at["1"], at["2"])
			}
		})
	}
}
