package session_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// patient judges by the id: p… is patient, r… can be replaced by one of the same sender, all else is urgent.
func patient(s *stanza.Stanza) (mod.Urgency, uint8) {
	switch s.ID[0] {
	case 'p':
		return mod.Patient, 0
	case 'r':
		return mod.Replaceable, 1
	}
	return mod.Urgent, 0
}

func from(id, who string) *stanza.Stanza {
	m := message(id)
	m.From = jid.MustParse(who)
	return m
}

func holding(limit int) (*socket, *session.Queue, *session.HoldStats, *atomic.Int64) {
	s, stats, gauge := &socket{}, new(session.HoldStats), new(atomic.Int64)
	q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: limit, Full: func() {}, Done: func() {}, Gauge: gauge, Stats: stats})
	q.HoldBack(patient)
	return s, q, stats, gauge
}

func TestHoldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q, stats, gauge := holding(1 << 20)
		put := func(ids ...string) {
			for _, id := range ids {
				id, who, _ := strings.Cut(id, "@")
				if !q.Put(from(id, who+"@b/c"), "x@y/z") {
					t.Fatal("not taken")
				}
			}
			synctest.Wait()
		}
		put("r1@a", "p1@a", "r2@b", "r3@a", "r4@b")
		if s.text() != "" || gauge.Load() == 0 || int(gauge.Load()) != q.Bytes() {
			t.Fatalf("written %q; %d and %d bytes wait", s.text(), gauge.Load(), q.Bytes())
		}
		put("u1@a")
		if got := ids(s.text()); got != "p1 r3 r4 u1" {
			t.Errorf("written %s", got)
		}
		put("r5@a", "p2@b")
		q.HoldBack(nil) // the user looks
		synctest.Wait()
		put("r6@a")
		if got := ids(s.text()); got != "p1 r3 r4 u1 r5 p2 r6" {
			t.Errorf("written %s", got)
		}
		if stats.Held.Load() != 7 || stats.Flushes.Load() != 2 || stats.Saved.Load() == 0 || gauge.Load() != 0 || q.Bytes() != 0 {
			t.Errorf("held %d, flushed %d, saved %d; %d bytes wait", stats.Held.Load(), stats.Flushes.Load(), stats.Saved.Load(), q.Bytes())
		}
	})
}

// What is held back is bounded: in number, in bytes, and in the places of what was replaced.
func TestHoldBackBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q, stats, gauge := holding(10 << 20)
		for i := range 10_000 {
			q.Put(from("r"+fmt.Sprint(i), "a@b/c"), "")
		}
		synctest.Wait()
		if s.text() != "" || stats.Saved.Load() == 0 {
			t.Error("one sender's states are sent")
		}
		for i := range 3000 {
			q.Put(from("p"+fmt.Sprint(i), "a@b/c"), "")
		}
		synctest.Wait()
		if q.Bytes() > 256<<10 || s.text() == "" {
			t.Errorf("%d bytes are held back", q.Bytes())
		}
		q.HoldBack(nil)
		synctest.Wait()
		got := strings.Fields(ids(s.text()))
		if len(got) != 3001 || got[0] != "r9999" || got[3000] != "p2999" || gauge.Load() != 0 {
			t.Errorf("%d are written, first %s last %s, %d bytes left", len(got), got[0], got[len(got)-1], gauge.Load())
		}
	})
}

// The end of a stream, in order or not, loses nothing of what was held back.
func TestHoldBackEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q, _, _ := holding(1 << 20)
		q.Put(from("p1", "a@b/c"), "")
		q.Finish([]byte("</end>"))
		synctest.Wait()
		if got := s.text(); ids(got) != "p1" || !strings.HasSuffix(got, "</end>") {
			t.Errorf("written %s", got)
		}
	})
	_, q, _, gauge := holding(1 << 20)
	q.Put(from("p1", "a@b/c"), "")
	q.Put(from("r1", "a@b/c"), "")
	q.Detach()
	if q.HoldsBack() {
		t.Error("without a stream there is nobody who does not look")
	}
	q.Put(from("p2", "a@b/c"), "")
	var left []string
	for _, k := range q.Unsent() {
		left = append(left, k.Stanza.ID)
	}
	if strings.Join(left, " ") != "p1 r1 p2" || gauge.Load() != 0 {
		t.Errorf("left %v, %d bytes", left, gauge.Load())
	}
}

// However many put at once while it is switched to and fro, nothing is lost and nothing comes twice.
func TestHoldBackRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q, _, gauge := holding(10 << 20)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 200 {
					kind := "p"
					if i%10 == 0 {
						kind = "u"
					}
					q.Put(from(fmt.Sprintf("%s%d.%d", kind, g, i), "a@b/c"), "")
				}
			})
		}
		wg.Go(func() {
			for range 100 {
				q.HoldBack(nil)
				q.HoldBack(patient)
			}
		})
		wg.Wait()
		q.HoldBack(nil)
		synctest.Wait()
		last := map[string]int{}
		n := 0
		for _, id := range strings.Fields(ids(s.text())) {
			var g string
			var i int
			if _, err := fmt.Sscanf(id[1:], "%1s.%d", &g, &i); err != nil {
				t.Fatal(err)
			}
			if was, ok := last[g]; ok && i <= was {
				t.Fatalf("%s comes after %d", id, was)
			}
			last[g] = i
			n++
		}
		if n != 800 || gauge.Load() != 0 {
			t.Errorf("%d of 800 are written, %d bytes left", n, gauge.Load())
		}
	})
}
