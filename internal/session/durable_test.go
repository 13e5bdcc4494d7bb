package session

import (
	"context"
	"testing"
	"time"

	"sabir/mod"
	"sabir/xmpp/jid"
)

// notebook is a Journal that remembers what was written last.
type notebook struct{ handled uint32 }

func (n *notebook) Keep(context.Context, mod.Tx, int64, Kept) error { return nil }

func (n *notebook) Progress(_ context.Context, _ mod.Tx, handled uint32, _ *State) error {
	n.handled = handled
	return nil
}

// TestAdvance: whoever writes progress beside the reader goes as far only as nothing waits in a batch, and never back.
func TestAdvance(t *testing.T) {
	s := New(jid.MustParse("romeo@example.test/orchard"), NewQueue(QueueOptions{Limit: 1 << 20}), time.Unix(0, 0), func(string, string) {})
	var n notebook
	s.SetJournal(&n, s.Progress())
	c := s.Counter()
	write := func(a *Advance) (wrote bool) {
		t.Helper()
		if a == nil {
			return false
		}
		if err := a.Write(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		a.Done(true)
		return true
	}
	for range 3 { // they wait in the batch
		c.Add()
	}
	if write(s.Advance()) {
		t.Errorf("%d were written that are not committed", n.handled)
	}
	c.Settle()
	if !write(s.Advance()) || n.handled != 3 {
		t.Errorf("%d were written, 3 are settled", n.handled)
	}
	c.Add()
	c.Add()
	if !write(c.Advance()) || n.handled != 5 { // with their batch
		t.Errorf("%d were written by the reader, which has handled 5", n.handled)
	}
	if write(s.Advance()) { // between the commit of the batch and its end
		t.Errorf("the progress went back to %d", n.handled)
	}
	c.Set(2) // the number wraps: 2 is behind 2^32-1
	s.durable.Load().written.Handled = 1<<32 - 1
	if !write(s.Advance()) || n.handled != 2 {
		t.Errorf("%d were written after the number has wrapped", n.handled)
	}
}
