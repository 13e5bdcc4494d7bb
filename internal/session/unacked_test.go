package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sabir/internal/session"
	"sabir/xmpp/sm"
)

// tracking returns a queue that tracks and parks, on a socket.
func tracking(s *socket, limit int) *session.Queue {
	q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Done: func() {}, Full: func() {}})
	q.Track("<enabled/>", limit, true)
	return q
}

func put(t *testing.T, q *session.Queue, names ...string) {
	t.Helper()
	for _, n := range names {
		if !q.Put(message(n), "a@b") {
			t.Fatalf("%s is not taken", n)
		}
	}
}

// TestQueueResumes loses a stream and goes on with another: what was acknowledged does not come again, the rest does, once
// and in order, and with its time.
func TestQueueResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &socket{}, &socket{}
		q := tracking(a, 1<<20)
		put(t, q, "1", "2", "3")
		synctest.Wait()
		if got := a.text(); ids(got) != "1 2 3" || !strings.HasPrefix(got, "<enabled/>") || !strings.Contains(got, sm.Request) {
			t.Fatalf("written %s", got)
		}
		if err := q.Ack(1); err != nil {
			t.Fatal(err)
		}
		q.Detach([]byte("</end>"))
		put(t, q, "4")
		synctest.Wait()
		if got := a.text(); !strings.HasSuffix(got, "</end>") || strings.Contains(got, "id='4'") {
			t.Errorf("the lost stream got %s", got)
		}
		if ok, err := q.Covers(4); ok || err == nil {
			t.Error("4 of 3 are covered")
		}
		if ok, err := q.Covers(0); ok || err != nil {
			t.Error("what was acknowledged is still there")
		}
		if err := q.Rewind(2); err != nil {
			t.Fatal(err)
		}
		q.Attach(session.Outlet{Write: b.write, Done: func() {}}, "<resumed/>")
		put(t, q, "5")
		synctest.Wait()
		if got := b.text(); ids(got) != "3 4 5" || !strings.HasPrefix(got, "<resumed/>") || strings.Count(got, "urn:xmpp:delay") != 2 {
			t.Errorf("written %s", got)
		}
		if err := q.Ack(5); err != nil || q.Bytes() != 0 {
			t.Errorf("%v, and %d bytes are held", err, q.Bytes())
		}
		if left := q.Unsent(); len(left) > 0 {
			t.Errorf("%d are left", len(left))
		}
	})
}

// TestQueueFailedWrite keeps what a broken stream did not take, and ends at its limit when there is none.
func TestQueueFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &socket{broken: errors.New("gone")}
		q := tracking(a, 3000)
		put(t, q, "1")
		synctest.Wait()
		taken := 0
		for i := range 20 {
			if q.Put(message(fmt.Sprint(i+2)), "a@b") {
				taken++
			}
		}
		if taken == 0 || taken == 20 || !q.Ended() {
			t.Errorf("%d of 20 were taken", taken)
		}
		if left := q.Unsent(); len(left) != taken+1 || left[0].Stanza.ID != "1" || !left[0].Sent || left[1].Sent || left[0].At.IsZero() {
			t.Errorf("%d are left of %d", len(left), taken+1)
		}
	})
}

// TestQueueGivesUpSlowStream parks a session whose client does not read.
func TestQueueGivesUpSlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &socket{gate: make(chan struct{})}
		full := 0
		q := session.NewQueue(session.QueueOptions{Write: a.write, Limit: 1000, Done: func() {}, Full: func() { full++ }})
		q.Track("", 2000, true)
		n := 0
		for full == 0 {
			put(t, q, fmt.Sprint(n))
			n++
		}
		close(a.gate)
		synctest.Wait()
		if q.Ended() {
			t.Fatal("the queue has ended with its stream")
		}
		b := &socket{}
		if err := q.Rewind(0); err != nil {
			t.Fatal(err)
		}
		q.Attach(session.Outlet{Write: b.write, Done: func() {}})
		synctest.Wait()
		if got := strings.Fields(ids(b.text())); len(got) != n || got[n-1] != fmt.Sprint(n-1) {
			t.Errorf("of %d came %v", n, got)
		}
	})
}

// TestQueueWraps counts across 2^32.
func TestQueueWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := session.NewQueue(session.QueueOptions{Limit: 1 << 20, Full: func() {}})
		q.Restore([]session.Kept{
			{Stanza: message("1"), Row: 7, Sent: true, At: time.Now()}, {Stanza: message("2"), Row: 9, Sent: true}, {Stanza: message("3"), Row: 10},
		}, 12, 1<<32-1, false)
		if ok, err := q.Covers(2); ok || err == nil {
			t.Error("more than was sent is covered")
		}
		if ok, _ := q.Covers(1); !ok {
			t.Fatal("2^32-1 and two more are not 1")
		}
		if err := q.Rewind(0); err != nil {
			t.Fatal(err)
		}
		if q.Done() != 8 {
			t.Errorf("the journal is done with up to %d, want 8", q.Done())
		}
		s := &socket{}
		q.Attach(session.Outlet{Write: s.write, Done: func() {}})
		synctest.Wait()
		if got := ids(s.text()); got != "2 3" {
			t.Errorf("written %s", got)
		}
		if err := q.Ack(2); err != nil || q.Done() != 12 {
			t.Errorf("%v, done with up to %d", err, q.Done())
		}
	})
}

// TestQueueLoose lets the client say what it has, where the server does not know.
func TestQueueLoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := session.NewQueue(session.QueueOptions{Limit: 1 << 20, Full: func() {}})
		q.Restore([]session.Kept{{Stanza: message("1"), Row: 1}, {Stanza: message("2"), Row: 2}}, 2, 0, true)
		if ok, err := q.Covers(1000); !ok || err != nil {
			t.Fatal(err)
		}
		if err := q.Rewind(1000); err != nil {
			t.Fatal(err)
		}
		s := &socket{}
		q.Attach(session.Outlet{Write: s.write, Done: func() {}})
		synctest.Wait()
		if got := ids(s.text()); got != "1 2" {
			t.Errorf("written %s", got)
		}
		if err := q.Ack(1002); err != nil {
			t.Error(err)
		}
		if err := q.Ack(1003); err == nil {
			t.Error("1003 of 1002")
		}
	})
}

// TestQueueRestoredFull restores what is more than the limit, since the journal has also what the client had acknowledged: there is room
// for as much as ever.
func TestQueueRestoredFull(t *testing.T) {
	for _, loose := range []bool{true, false} {
		q := session.NewQueue(session.QueueOptions{Limit: 1000, Full: func() {}})
		var list []session.Kept
		for i := range int64(20) {
			list = append(list, session.Kept{Stanza: message("old"), Row: i + 1})
		}
		q.Restore(list, 20, 0, loose)
		before := q.Bytes()
		if before <= 2000 {
			t.Fatalf("%d bytes are no test", before)
		}
		for q.Put(message("new"), "") {
		}
		switch more := q.Bytes() - before; {
		case loose && (more < 500 || more > 1000), !loose && more != 0:
			t.Errorf("loose is %v: there is room for %d bytes", loose, more)
		}
	}
}
