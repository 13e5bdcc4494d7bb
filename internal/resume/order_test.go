package resume_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/mod"
)

// TestOrder kills the server while the offline store hands over what waited in it, and a newer message waits for that. The older one got
// the later place in the journal, and goes to the client first all the same.
func TestOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "resume", resume.Schema)
		s := newSession(t)
		if _, err := resume.New(d, slog.New(slog.DiscardHandler)).Open(t.Context(), s, resume.ID{1}, time.Minute); err != nil {
			t.Fatal(err)
		}
		done := s.CatchUp()
		defer done()
		at := time.Now().Add(-time.Minute)
		send(t, d, s, chat("new"))
		for i, id := range []string{"old", "not so old"} {
			e := s.Entrust(chat(id), at.Add(time.Duration(i)*time.Second))
			if err := d.Write(t.Context(), func(tx mod.Tx) error { return e.Write(t.Context(), tx) }); err != nil {
				t.Fatal(err)
			}
			if !e.Deliver() {
				t.Fatalf("%q is not taken", id)
			}
		}
		v := load(t, d, 1)[0]
		q := session.NewQueue(session.QueueOptions{Limit: 1 << 20, Full: func() {}})
		q.Restore(v.Held, v.Last, v.Acked, !v.Exact)
		var got []string
		for _, k := range q.Unsent() {
			got = append(got, k.Stanza.ID)
		}
		if want := "old, not so old, new"; strings.Join(got, ", ") != want {
			t.Errorf("restored are %s, want %s", strings.Join(got, ", "), want)
		}
	})
}
