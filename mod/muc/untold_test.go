package muc_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/modtest"
	"sabir/xmpp/stanza"
)

// dying is a database that takes so many writes and then no more, as that of a process that is killed.
type dying struct {
	db.DB
	left atomic.Int64
}

func (d *dying) Write(ctx context.Context, fn func(mod.Tx) error) error {
	if d.left.Add(-1) < 0 {
		return mod.ErrFull
	}
	return d.DB.Write(ctx, fn)
}

// TestToldAgain: what was committed just before a sudden end is told again after the start, in its order and with its id, and once.
func TestToldAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dies := &dying{DB: d}
		dies.left.Store(1 << 30)
		w := start(t, dies)
		w.enter(romeo, "romeo")
		w.configure(romeo, "muc#roomconfig_whois", "anyone")
		w.enter(juliet, "juliet")
		if err := w.say(romeo, "before"); err != nil {
			t.Fatal(err)
		}
		w.command("room list", "{}") // what is to be stored a little later is stored
		dies.left.Store(1)
		if err := w.say(juliet, "last"); err != nil {
			t.Fatal(err)
		}
		said := w.take(romeo)
		id := idBy(said[len(said)-1])

		after := start(t, d)
		after.Hooks.Restored(t.Context())
		for _, who := range []string{romeo, juliet} {
			got := after.take(who)
			if bodies(got) != "last" || idBy(got[0]) != id || got[0].From.Resource() != "juliet" || strings.Contains(got[0].String(), "muc#user") {
				t.Errorf("%s is told %v, not what has the id %s", who, got, id)
			}
		}
		after.Stop()

		after = start(t, d)
		after.Hooks.Restored(t.Context())
		if got := after.take(romeo); len(got) != 0 {
			t.Errorf("romeo is told again and again: %v", got)
		}
		after.Stop()
	})
}

// idBy is the id that a room has given a message.
func idBy(s *stanza.Stanza) string { return s.Child("urn:xmpp:sid:0", "stanza-id").Attr("id") }

// TestOwed: what the sender of a message wants written is written with it, and not without it.
func TestOwed(t *testing.T) {
	w := start(t, dbtest.SQLite(t))
	w.enter(romeo, "romeo")
	w.configure(romeo)
	written := 0
	ctx := mod.Owing(t.Context(), func(_ context.Context, tx mod.Tx) error {
		if tx != nil {
			written++
		}
		return nil
	})
	say := func(who, id string) error {
		s := modtest.Stanza(t, "<message type='groupchat' id='"+id+"' from='"+who+"' to='"+garden+"'><body>"+id+"</body></message>")
		wait, err := w.Hooks.Services[0].Message(ctx, s)
		if err == nil {
			err = wait(ctx)
		}
		return err
	}
	if err := say(romeo, "one"); err != nil || written != 1 {
		t.Errorf("written %d times: %v", written, err)
	}
	if err := say(juliet, "two"); err == nil || written != 1 {
		t.Errorf("a stranger speaks: %v; written %d times", err, written)
	}
	w.Stop()
}
