package muc_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/mod/muc"
)

// many stores rooms, each with an owner and two members.
func many(t testing.TB, d db.DB, from, to int) {
	t.Helper()
	ctx := context.Background()
	for from < to {
		next := min(to, from+5000)
		err := d.Write(ctx, func(tx mod.Tx) error {
			for i := from; i < next; i++ {
				r := fmt.Sprintf("room%d@conference.localhost", i)
				name := fmt.Sprint("Room ", i)
				_, err := tx.Exec(ctx, `INSERT INTO muc_room (room, service, creator, created, name, hidden, persistent, config, subject, name_key, description_key)
					VALUES (?, 'conference.localhost', 'romeo@localhost', 1, ?, 0, 1, ?, '', ?, 'roses')`,
					r, name, fmt.Sprintf(`{"name":%q,"description":"Roses","persistent":true,"invites":true,"history":20}`, name), name)
				for n, who := range []string{"romeo@localhost", "juliet@localhost", "nurse@localhost"} {
					if err == nil {
						_, err = tx.Exec(ctx, `INSERT INTO muc_affiliation (room, jid, affiliation, nick, reason) VALUES (?, ?, ?, '', '')`, r, who, max(1, 3-2*n))
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		from = next
	}
}

// unloaded waits until so many rooms are in memory: each lets go in its own time.
func (w *world) unloaded(want int) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); muc.Loaded(w.Hooks) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d rooms are in memory, not %d", muc.Loaded(w.Hooks), want)
		}
	}
}

// TestIdle: rooms are in memory from when somebody turns to them until they are idle, and those in which somebody is stay.
func TestIdle(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		start(t, d).Stop() // makes the tables
		many(t, d, 0, 50)
		w := start(t, d)
		if n := muc.Loaded(w.Hooks); n != 0 {
			t.Errorf("%d rooms are in memory after the start", n)
		}
		for i := range 20 {
			w.must(romeo, fmt.Sprintf("<presence to='room%d@conference.localhost/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i))
		}
		for i := 1; i < 20; i++ {
			w.must(romeo, fmt.Sprintf("<presence type='unavailable' to='room%d@conference.localhost/romeo'/>", i))
			w.settle(fmt.Sprintf("room%d@conference.localhost", i))
		}
		muc.Sweep(w.Hooks)
		if n := muc.Loaded(w.Hooks); n != 20 {
			t.Errorf("%d rooms are in memory, though 20 were just used", n)
		}
		w.Advance(time.Hour)
		muc.Sweep(w.Hooks)
		w.unloaded(1)
		clear(w.sent)
		w.must(juliet, "<presence to='room0@conference.localhost/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		w.settle("room0@conference.localhost")
		if len(w.sent[romeo]) != 1 {
			t.Errorf("romeo, who is still in a room, is told %v", w.sent[romeo])
		}
		w.Get(juliet, "room7@conference.localhost", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
		w.unloaded(2)
		w.Stop()
	})
}

// BenchmarkManyRooms is what 100,000 persistent rooms cost that nobody is in: at the start, in memory, and to whom looks for one.
func BenchmarkManyRooms(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const rooms = 100_000
	d := dbtest.SQLite(b)
	start(b, d).Stop()
	many(b, d, 0, rooms)
	var pages, size int64
	for what, to := range map[string]*int64{"page_count": &pages, "page_size": &size} {
		if err := d.QueryRow(b.Context(), "PRAGMA "+what).Scan(to); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		before, at := heap(), time.Now()
		w := start(b, d)
		b.ReportMetric(float64(time.Since(at).Microseconds())/1000, "ms/start")
		b.ReportMetric(float64(int64(heap())-int64(before))/1024, "KB/start")
		b.ReportMetric(float64(pages*size)/rooms, "B/room-on-disk")
		at = time.Now()
		w.Get(juliet, service, "<query xmlns='http://jabber.org/protocol/disco#items'/>")
		b.ReportMetric(float64(time.Since(at).Microseconds())/1000, "ms/list")
		at = time.Now()
		if rooms, _, err := w.find("", "q", "99999", "key", "{urn:xmpp:channel-search:0:order}address"); err != nil || rooms != "room99999" {
			b.Fatal(rooms, err)
		}
		b.ReportMetric(float64(time.Since(at).Microseconds())/1000, "ms/search")
		at = time.Now()
		w.enterRoom("room77777@conference.localhost")
		b.ReportMetric(float64(time.Since(at).Microseconds())/1000, "ms/first-entry")
		if n := muc.Loaded(w.Hooks); n != 1 {
			b.Fatalf("%d rooms are in memory", n)
		}
		w.must(juliet, "<presence type='unavailable' to='room77777@conference.localhost/juliet'/>")
		w.Stop()
	}
}

func (w *world) enterRoom(r string) {
	w.t.Helper()
	w.must(juliet, "<presence to='"+r+"/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}
