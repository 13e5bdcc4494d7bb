package route

import (
	"context"
	"errors"
	"slices"
	"testing"

	"sabir/mod"
	"sabir/xmpp/stanza"
)

// diary notes what becomes of the progress of a sender.
type diary struct{ lines []string }

func (d *diary) Write(context.Context, mod.Tx) error {
	d.lines = append(d.lines, "counted")
	return nil
}

func (d *diary) Done(committed bool) {
	if committed {
		d.lines = append(d.lines, "kept")
	} else {
		d.lines = append(d.lines, "not kept")
	}
}

// TestDebt: how far a sender has got is on disk not before what the sender has sent to a service, and where that can be, with it.
func TestDebt(t *testing.T) {
	lost := errors.New("lost")
	for _, c := range []struct {
		name   string
		to     []string // for each message; its id is its number
		writes bool     // the service writes what it is asked to
		err    error    // from waiting
		want   []string
	}{
		{"one", []string{"room@hall.x.example"}, true, nil, []string{"said 1", "counted", "kept"}},
		{"a room", []string{"room@hall.x.example", "room@hall.x.example"}, true, nil, []string{"said 1", "said 2", "counted", "kept"}},
		{"not committed", []string{"room@hall.x.example"}, true, lost, []string{"said 1", "counted", "not kept"}},
		{"not written", []string{"room@hall.x.example"}, false, nil, []string{"said 1", "not kept"}},
		{"two rooms", []string{"room@hall.x.example", "den@hall.x.example"}, true, nil, []string{"said 1", "said 2", "counted", "kept"}},
		{"a room and a user", []string{"room@hall.x.example", "juliet@x.example/b"}, true, nil, []string{"said 1", "counted", "kept"}},
		{"refused", []string{"no"}, true, nil, []string{"not kept"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, s := withHall(t)
			w.r.o.DB = &oneDB{}
			w.bind(t, "romeo@x.example/a")
			w.bind(t, "juliet@x.example/b")
			d := &diary{}
			var due []func() error
			s.owed = func(st *stanza.Stanza, write func(context.Context, mod.Tx) error) {
				due = append(due, func() error {
					d.lines = append(d.lines, "said "+st.ID)
					if write != nil && c.writes {
						return write(t.Context(), nil)
					}
					return nil
				})
			}
			s.wait = func(context.Context) error {
				next := due[0]
				due = due[1:]
				return errors.Join(next(), c.err)
			}
			b := w.r.NewBatchFrom(func() Progress { return d })
			for i, to1 := range c.to {
				id := string(rune('1' + i))
				if to1 == "no" {
					id, to1 = "no", "room@hall.x.example"
				}
				b.Do(t.Context(), to(stanza.Message, stanza.TypeGroupchat, to1, id))
			}
			b.Flush(t.Context())
			if !slices.Equal(d.lines, c.want) {
				t.Errorf("%q, want %q", d.lines, c.want)
			}
		})
	}
}
