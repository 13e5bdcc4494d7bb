package s2s

import (
	"log/slog"
	"testing"
	"time"

	"sabir/internal/config"
	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func storeServer(d db.DB) *Server {
	def := config.Default()
	return New(Options{DB: d, Log: slog.New(slog.DiscardHandler), Clock: wallClock{}, Settings: Settings{Federation: def.S2S, Limits: def.Limits}})
}

// TestStore keeps messages and blocked domains over a restart, on both engines.
func TestStore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "s2s", Schema)
		s := storeServer(d)
		rows := func() (n int) {
			t.Helper()
			if err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM s2s_outgoing`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		var kept []*item
		for _, id := range []string{"one", "two", "three"} {
			m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "text <"+id+">"))
			m.ID, m.From, m.To = id, jid.MustParse("romeo@a.example/x"), jid.MustParse("juliet@b.example")
			dep, e := s.Accept(t.Context(), m)
			if e != nil {
				t.Fatal(e)
			}
			if err := d.Write(t.Context(), func(tx mod.Tx) error { return dep.Write()(tx) }); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, dep.(*item))
		}
		hint := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(nsHints, "no-store"))
		hint.From, hint.To = jid.MustParse("romeo@a.example/x"), jid.MustParse("juliet@b.example")
		if dep, e := s.Accept(t.Context(), hint); e != nil || dep.Write() != nil {
			t.Errorf("a message with no-store is kept: %v", e)
		}
		s.reaper.done(kept[:1]) // it has left
		s.reaper.flush()
		if n := rows(); n != 2 {
			t.Fatalf("%d messages are kept, want 2", n)
		}
		if err := s.Block(t.Context(), "*.bad.example", true); err != nil {
			t.Fatal(err)
		}
		if err := s.Block(t.Context(), "*.bad.example", true); err != nil {
			t.Errorf("blocking twice: %v", err)
		}

		again := storeServer(d)
		again.ending = true // nobody connects
		if err := again.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer again.reaper.stop()
		l := again.links[pair{jid.MustParse("a.example"), jid.MustParse("b.example")}]
		if l == nil || len(l.waiting) != 2 || l.waiting[0].s.ID != "two" || l.waiting[1].s.Body() != "text <three>" {
			t.Fatalf("after a restart there waits %+v", l)
		}
		if again.nextID() <= kept[2].id {
			t.Error("an id is used again")
		}
		if !again.policy.Load().refuses("x.bad.example") {
			t.Error("after a restart a blocked domain is open")
		}
		if err := again.Block(t.Context(), "*.bad.example", false); err != nil {
			t.Fatal(err)
		}
		if again.policy.Load().refuses("x.bad.example") || len(again.Blocked()) != 0 {
			t.Error("an unblocked domain is closed")
		}
	})
}
