package s2s

import (
	"errors"
	"math"
	"testing"
	"time"

	"sabir/internal/db"
	"sabir/internal/db/dbtest"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// keep puts a message to b.example on disk, as a batch does.
func keep(t *testing.T, s *Server, d db.DB, id string) *item {
	t.Helper()
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", id))
	m.ID, m.From, m.To = id, jid.MustParse("romeo@a.example/x"), jid.MustParse("juliet@b.example")
	dep, e := s.Accept(t.Context(), m)
	if e != nil {
		t.Fatal(e)
	}
	if err := d.Write(t.Context(), func(tx mod.Tx) error { return dep.Write()(tx) }); err != nil {
		t.Fatal(err)
	}
	return dep.(*item)
}

// restart returns a server that finds what another has left when it was killed, and connects to nobody.
func restart(t *testing.T, d db.DB) *Server {
	t.Helper()
	s := storeServer(d)
	s.ending = true
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.reaper.stop)
	return s
}

func rows(t *testing.T, d db.DB, table string) (n int) {
	t.Helper()
	if err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRevive ends a server between two writes of a stream of ours: what the peer has got goes nowhere any more, the rest once, in order.
func TestRevive(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "s2s", Schema)
		s := storeServer(d)
		a, b, c, e := keep(t, s, d, "a"), keep(t, s, d, "b"), keep(t, s, d, "c"), keep(t, s, d, "e")
		p, volatile := a.l.pair, &item{volatile: true}
		rec, err := s.newRecord(t.Context(), stored{pair: p, ours: true, id: "sm-1"})
		if err != nil {
			t.Fatal(err)
		}
		// b was written, lost, and written again behind requests of which nothing is noted.
		const first = math.MaxUint32
		err = errors.Join(rec.note(t.Context(), s.nextID(), first, []*item{a, b}), rec.note(t.Context(), s.nextID(), 5, []*item{b, volatile, c}))
		if err != nil {
			t.Fatal(err)
		}

		again := restart(t, d)
		l := again.links[p]
		if l == nil || l.on == nil || len(l.waiting) != 1 || l.waiting[0].id != e.id {
			t.Fatalf("after a restart the link is %+v", l)
		}
		snd := l.on
		if id, h := snd.resumable(); id != "sm-1" || h != 0 {
			t.Errorf("it resumes %q at %d", id, h)
		}
		want := []numbered{{first, a}, {5, b}, {7, c}}
		for k, n := range snd.loose {
			if k >= len(want) || n.n != want[k].n || n.i.id != want[k].i.id {
				t.Errorf("number %d is %d, message %s", k, n.n, n.i.s.ID)
			}
		}
		if len(snd.loose) != len(want) || snd.owed() != 3 || snd.of(l) != 3 {
			t.Errorf("%d messages are owed, want 3", snd.owed())
		}
		if err := snd.rewind(5); err != nil { // the peer has got a and b, and nothing behind
			t.Fatal(err)
		}
		if len(l.waiting) != 2 || l.waiting[0].id != c.id || l.waiting[1].id != e.id || snd.owed() != 0 || snd.unacked.Count() != 5 {
			t.Errorf("there wait %v, %d are owed, %d were sent", l.waiting, snd.owed(), snd.unacked.Count())
		}
		if n, m := rows(t, d, "s2s_outgoing"), rows(t, d, "s2s_sent"); n != 2 || m != 0 {
			t.Errorf("%d messages and %d notes are kept, want 2 and none", n, m)
		}
		var se *stream.Error
		if err := snd.ack(6); !errors.As(err, &se) {
			t.Errorf("6 of 5 stanzas were acknowledged: %v", err)
		}
	})
}

// TestReviveTheirs ends a server to which a peer has a stream that goes both ways.
func TestReviveTheirs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "s2s", Schema)
		s := storeServer(d)
		a := keep(t, s, d, "a")
		rec, err := s.newRecord(t.Context(), stored{pair: a.l.pair, bothWays: true, id: hashID("sm-2")})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(rec.note(t.Context(), s.nextID(), 3, []*item{a}),
			d.Write(t.Context(), func(tx mod.Tx) error { return rec.progress(t.Context(), tx, math.MaxUint32) }))
		if err != nil {
			t.Fatal(err)
		}

		again := restart(t, d)
		if again.takeResumable(hashID("sm-2"), []pair{pairOf("c.example", "b.example")}) != nil {
			t.Error("another pair gets the stream")
		}
		r := again.takeResumable(hashID("sm-2"), []pair{pairOf("c.example", "b.example"), a.l.pair})
		if r == nil || r.in.handled() != math.MaxUint32 || !r.resumes(again.o.Clock.Now()) {
			t.Fatalf("the stream is %+v", r)
		}
		if ok, err := r.snd.covers(4); !ok || err != nil {
			t.Errorf("it cannot be resumed: %v", err)
		}
		if err := r.snd.ack(4); err != nil || again.reaper.flush() != nil {
			t.Errorf("4 stanzas were acknowledged: %v", err)
		}
		if n := rows(t, d, "s2s_outgoing"); n != 0 {
			t.Errorf("%d messages are kept", n)
		}
		again.keepResumable(hashID("sm-2"), r)
		again.endResumable(hashID("sm-2"), false)
		again.sweep(again.o.Clock.Now().Add(rememberTime / 2))
		if len(again.resume) != 1 || again.resume[hashID("sm-2")].resumes(again.o.Clock.Now().Add(resumeTime)) {
			t.Error("how much has come is forgotten too early, or the stream is kept too long")
		}
		again.sweep(again.o.Clock.Now().Add(2 * rememberTime))
		if err := again.reaper.flush(); err != nil || rows(t, d, "s2s_stream") != 0 {
			t.Errorf("a stream is known for ever: %v", err)
		}
	})
}

// TestWithdraw takes out of a count what was answered meanwhile: the numbers of the others stay.
func TestWithdraw(t *testing.T) {
	l, m := &link{}, &link{}
	var a account
	one, two, three := &item{l: l}, &item{l: m}, &item{l: l}
	if n := a.sent([]*item{one, two, three}); n != 1 {
		t.Errorf("the first is number %d", n)
	}
	a.notes = []note{{1, 2}, {2, 3}}
	if out := a.withdraw(func(i *item) bool { return i.l == m }); len(out) != 1 || a.owed() != 2 || a.of(m) != 0 {
		t.Errorf("%d were taken out, %d are owed", len(out), a.owed())
	}
	done, over, err := a.settle(2)
	if err != nil || len(done) != 1 || done[0] != one || len(over) != 1 || over[0] != 1 {
		t.Errorf("done are %v, not needed %v, %v", done, over, err)
	}
	if left := a.take(); len(left) != 1 || left[0] != three {
		t.Errorf("left is %v", left)
	}
}

// TestGoesOn: while a stream of ours may be resumed on which something is not acknowledged, its links go over to none of the peer, who may
// just have been started again; then they do.
func TestGoesOn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		dbtest.Migrate(t, d, "s2s", Schema)
		s := storeServer(d)
		a := keep(t, s, d, "a")
		p := a.l.pair
		rec, err := s.newRecord(t.Context(), stored{pair: p, ours: true, id: "sm-3"})
		if err != nil {
			t.Fatal(err)
		}
		if err := rec.note(t.Context(), s.nextID(), 1, []*item{a}); err != nil {
			t.Fatal(err)
		}

		again := restart(t, d)
		l := again.links[p]
		ours, theirs := l.on, newTheirSender(again, p)
		before := ours.others()
		theirs.comes = &arrival{}
		l.offer(theirs)
		if ours.pause(time.Hour, before); l.other() != theirs { // the peer has come, so that it does not last
			t.Fatal("the link does not know of the stream of the peer")
		}
		now := again.o.Clock.Now()
		if !ours.goesOn(100, now.Add(-peerTime/2)) || l.on != ours {
			t.Error("what may have arrived goes out on another stream")
		}
		if ours.goesOn(2, now.Add(-2*peerTime)) || l.on != theirs {
			t.Error("it waits for a stream that nobody resumes")
		}
	})
}

// TestGivesBack: what was not acknowledged on a stream that does not carry its link, as after a sudden end of the server while there were two, goes
// out on the one that does, as soon as it can be resumed no more.
func TestGivesBack(t *testing.T) {
	s := storeServer(nil)
	s.ending = true
	l := newLink(s, pairOf("a.example", "b.example"))
	i := &item{l: l}
	carries, other := newSender(l), newSender(l)
	l.on, other.riders = carries, nil
	other.loose = []numbered{{1, i}}
	other.begin(nil, nil)
	select {
	case <-carries.wake:
	default:
		t.Error("nobody is told")
	}
	if len(l.waiting) != 1 || l.waiting[0] != i || l.on != carries {
		t.Errorf("there wait %v", l.waiting)
	}
}

// TestResumedEnds: a stream of ours that goes both ways is connected anew where it has broken, for the peer; where it has ended in order, it is not, also
// where it had broken before.
func TestResumedEnds(t *testing.T) {
	s := storeServer(nil)
	l := newLink(s, pairOf("a.example", "b.example"))
	snd, o := newSender(l), new(outStream)
	snd.begun, snd.smID, snd.in = true, "sm-4", newReceiver(s)
	now := s.o.Clock.Now()
	snd.use(o)
	snd.breaks(o)
	snd.lost(o)
	if !snd.goesOn(0, now) {
		t.Error("what the peer has not got rid of is lost")
	}
	if err := snd.resumed(o, 0); err != nil {
		t.Fatal(err)
	}
	snd.lost(o)
	if snd.goesOn(0, now) {
		t.Error("a stream that has ended is resumed")
	}
}

// TestClosed: of a stream that its peer has closed in order, as idle ones are, nothing is known for longer than it may be resumed.
func TestClosed(t *testing.T) {
	s := storeServer(nil)
	s.keepResumable("broken", &resumable{in: newReceiver(s)})
	s.keepResumable("closed", &resumable{in: newReceiver(s)})
	s.endResumable("broken", false)
	s.endResumable("closed", true)
	now := s.o.Clock.Now()
	s.sweep(now.Add(resumeTime / 2))
	if len(s.resume) != 2 {
		t.Errorf("%d of 2 streams may be resumed", len(s.resume))
	}
	s.sweep(now.Add(2 * resumeTime))
	if len(s.resume) != 1 || s.resume["broken"] == nil {
		t.Errorf("then are known %v", s.resume)
	}
}
