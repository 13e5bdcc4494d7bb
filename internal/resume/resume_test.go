package resume_test

import (
	"log/slog"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func newSession(t *testing.T) *session.Session {
	t.Helper()
	q := session.NewQueue(session.QueueOptions{Limit: 1 << 20, Full: func() {}})
	q.Track("", 1<<20, true)
	return session.New(jid.MustParse("juliet@x.example/balcony"), q, time.Unix(1e9, 0), func(string, string) {})
}

func chat(id string) *stanza.Stanza {
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", "O & <"+id))
	m.ID, m.From = id, jid.MustParse("romeo@x.example/orchard")
	return m
}

// send keeps a message and queues it, as routing does.
func send(t *testing.T, d db.DB, s *session.Session, m *stanza.Stanza) {
	t.Helper()
	var row int64
	if err := d.Write(t.Context(), func(tx mod.Tx) (err error) {
		row, err = s.Keep(t.Context(), tx, m, time.Time{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if taken, _ := s.DeliverLater(m, row, time.Time{}); !taken {
		t.Fatalf("%s is not taken", m.ID)
	}
}

func load(t *testing.T, d db.DB, want int) []*resume.Saved {
	t.Helper()
	list, err := resume.New(d, slog.New(slog.DiscardHandler)).Load(t.Context())
	if err != nil || len(list) != want {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	return list
}

// TestStore follows a session through the store: what is kept, what a sudden end leaves, what a good one saves, and that
// nothing remains.
func TestStore(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "resume", resume.Schema)
		st := resume.New(d, slog.New(slog.DiscardHandler))
		s, id := newSession(t), resume.ID{1, 2, 3}
		rec, err := st.Open(t.Context(), s, id, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		send(t, d, s, chat("1"))
		typing := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El("http://jabber.org/protocol/chatstates", "composing"))
		secret := chat("secret").Add(xmlstream.El("urn:xmpp:hints", "no-store"))
		for _, m := range []*stanza.Stanza{typing, secret} {
			send(t, d, s, m)
		}
		send(t, d, s, chat("2"))
		c := s.Counter()
		c.Set(1<<32 - 1)
		s.SetFlag("carbons.enabled", "1")
		s.SetPresence(stanza.New(stanza.Presence, stanza.TypeAvailable), -3)
		s.Direct(jid.MustParse("nurse@y.example"), true)
		a := c.Advance()
		err = d.Write(t.Context(), func(tx mod.Tx) error { return a.Write(t.Context(), tx) })
		a.Done(err == nil)
		if err != nil || s.Advance() != nil {
			t.Fatalf("%v, or there is more to write", err)
		}

		v := load(t, d, 1)[0] // as after SIGKILL
		if v.ID != id || v.JID != s.JID() || v.Max != time.Minute || v.Handled != 1<<32-1 || v.Exact || v.Last != 2 {
			t.Errorf("the session is %+v", v)
		}
		if len(v.Held) != 2 || v.Held[0].Stanza.ID != "1" || v.Held[1].Stanza.Body() != "O & <2" || v.Held[1].To != s.JID().String() {
			t.Errorf("it holds %+v", v.Held)
		}
		back := newSession(t)
		if err := back.SetState(v.State); err != nil {
			t.Fatal(err)
		}
		if ok, prio := back.Available(); !ok || prio != -3 || back.Flag("carbons.enabled") != "1" || len(back.Directed()) != 1 || !back.Since.Equal(s.Since) {
			t.Errorf("the state is %+v", v.State)
		}

		s.Send(stanza.New(stanza.Presence, stanza.TypeUnavailable))
		if err := st.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Deliver(chat("3")) {
			t.Error("a session that was saved takes more")
		}
		v = load(t, d, 1)[0]
		if !v.Exact || len(v.Held) != 5 || v.Held[4].Stanza.Kind != stanza.Presence {
			t.Errorf("saved as %+v", v)
		}
		if v = load(t, d, 1)[0]; v.Exact || len(v.Held) != 4 || v.Last != 5 {
			t.Errorf("read a second time it is %+v", v)
		}
		if err := rec.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		load(t, d, 0)
		var left int
		if err := d.QueryRow(t.Context(), `SELECT count(*) FROM resume_stanza`).Scan(&left); err != nil || left > 0 {
			t.Errorf("%d stanzas are left, %v", left, err)
		}
	})
}

// TestPrune deletes what was acknowledged, whatever the order in which it was queued.
func TestPrune(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "resume", resume.Schema)
		st := resume.New(d, slog.New(slog.DiscardHandler))
		s := newSession(t)
		if _, err := st.Open(t.Context(), s, resume.ID{9}, time.Minute); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		stop := make(chan struct{})
		go func() { st.Run(ctx); close(stop) }()
		t.Cleanup(func() { <-stop })
		for _, id := range []string{"1", "2", "3"} {
			send(t, d, s, chat(id))
		}
		out := make(chan []byte, 10)
		s.Queue.Attach(session.Outlet{Write: func(b []byte) error { out <- append([]byte(nil), b...); return nil }, Done: func() {}})
		<-out
		if err := s.Queue.Ack(2); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for left := 3; left != 1; {
			if err := d.QueryRow(ctx, `SELECT count(*) FROM resume_stanza`).Scan(&left); err != nil {
				t.Fatal(err)
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d stanzas are left, want the one that was not acknowledged", left)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if v := load(t, d, 1)[0]; len(v.Held) != 1 || v.Held[0].Stanza.ID != "3" {
			t.Errorf("left is %+v", v.Held)
		}
	})
}
