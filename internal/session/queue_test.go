package session_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"sabir/internal/session"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// socket is what a queue writes to.
type socket struct {
	mu     sync.Mutex
	b      strings.Builder
	writes int
	broken error
	gate   chan struct{} // where not nil, each write waits for it
}

func (s *socket) write(b []byte) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	s.writes++
	s.b.Write(b)
	return nil
}

func (s *socket) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func message(id string) *stanza.Stanza {
	m := stanza.New(stanza.Message, stanza.TypeChat, xmlstream.El(stanza.NSClient, "body", strings.Repeat("x", 100)))
	m.ID = id
	return m
}

func ids(text string) string {
	var out []string
	for _, part := range strings.Split(text, "id='")[1:] {
		id, _, _ := strings.Cut(part, "'")
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func TestQueueKeepsOrderAndGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &socket{gate: make(chan struct{})}
		var gauge atomic.Int64
		q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Done: func() {}, Gauge: &gauge})
		for i := range 10 {
			if !q.Put(message(fmt.Sprint(i)), "a@b") {
				t.Fatal("the queue is not open")
			}
		}
		if gauge.Load() == 0 || q.Bytes() == 0 {
			t.Error("nothing waits")
		}
		close(s.gate)
		synctest.Wait()
		if got := ids(s.text()); got != "0 1 2 3 4 5 6 7 8 9" {
			t.Errorf("order %s", got)
		}
		if s.writes > 2 {
			t.Errorf("%d writes for what was ready at once", s.writes)
		}
		if gauge.Load() != 0 || q.Bytes() != 0 {
			t.Errorf("%d and %d bytes wait in an empty queue", gauge.Load(), q.Bytes())
		}
	})
}

func TestQueueOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &socket{gate: make(chan struct{})}
		full := 0
		var gauge atomic.Int64
		q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1000, Full: func() { full++ }, Done: func() {}, Gauge: &gauge})
		taken := 0
		for i := range 20 {
			if q.Put(message(fmt.Sprint(i)), "") {
				taken++
			}
		}
		if taken == 0 || taken == 20 || full != 1 {
			t.Errorf("%d of 20 were taken, and full was called %d times", taken, full)
		}
		s.mu.Lock()
		s.broken = errors.New("gone")
		s.mu.Unlock()
		close(s.gate)
		synctest.Wait()
		if n := len(q.Unsent()); n != taken {
			t.Errorf("%d of the %d that were taken are returned", n, taken)
		}
		if gauge.Load() != 0 {
			t.Errorf("%d bytes are still counted", gauge.Load())
		}
	})
}

func TestQueueFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &socket{}
		done := 0
		q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Done: func() { done++ }})
		q.Put(message("1"), "")
		q.Finish([]byte("</end>"))
		q.Finish([]byte("again"))
		if q.Put(message("2"), "") {
			t.Error("a queue that ends takes more")
		}
		synctest.Wait()
		if got := s.text(); !strings.HasSuffix(got, "</end>") || ids(got) != "1" || done != 1 {
			t.Errorf("written %s, done %d times", got, done)
		}
	})
}

// TestQueueStart shows that what the socket leaves is written by another goroutine, in order.
func TestQueueStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &socket{gate: make(chan struct{})}
		var kept []byte
		try := func(b []byte) (bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			half := len(b) / 2
			s.b.Write(b[:half])
			kept = append(kept, b[half:]...)
			return true, nil
		}
		write := func(b []byte) error {
			rest := kept
			kept = nil
			return s.write(append(rest, b...))
		}
		q := session.NewQueue(session.QueueOptions{Write: write, Try: try, Limit: 1 << 20, Done: func() {}})
		taken, start := q.PutLater(message("1"), "")
		if !taken || !start {
			t.Fatalf("taken %v, start %v", taken, start)
		}
		if _, again := q.PutLater(message("2"), ""); again {
			t.Error("the second asks for a start too")
		}
		if s.text() != "" {
			t.Error("written before Start")
		}
		q.Start()
		q.Put(message("3"), "")
		close(s.gate)
		synctest.Wait()
		if got := ids(s.text()); got != "1 2 3" || strings.Count(s.text(), "</message>") != 3 {
			t.Errorf("written %s", s.text())
		}
	})
}

// TestHold: what comes before Release is written after what Release is given, and nothing before it.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s socket
		var gauge atomic.Int64
		q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Done: func() {}, Gauge: &gauge})
		q.Hold()
		q.Put(message("1"), "a@b/c")
		if taken, start := q.PutLater(message("2"), "a@b/c"); !taken || start {
			t.Errorf("taken %v, start %v", taken, start)
		}
		synctest.Wait()
		if s.text() != "" {
			t.Errorf("written before Release: %q", s.text())
		}
		q.Release("<first/>", "<second/>")
		synctest.Wait()
		if got := s.text(); !strings.HasPrefix(got, "<first/><second/><message") || ids(got) != "1 2" {
			t.Errorf("written: %q", got)
		}
		q.Put(message("3"), "a@b/c")
		synctest.Wait()
		if got := ids(s.text()); got != "1 2 3" || gauge.Load() != 0 || q.Bytes() != 0 {
			t.Errorf("written %q, %d bytes left, %d by the gauge", got, q.Bytes(), gauge.Load())
		}
	})
}

// TestHoldFinish: a queue that ends while it is held writes everything in order all the same.
func TestHoldFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s socket
		done := make(chan struct{})
		q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Done: func() { close(done) }})
		q.Hold()
		q.Put(message("1"), "a@b/c")
		q.Finish([]byte("</end>"))
		q.Release("<first/>")
		<-done
		if got := s.text(); !strings.HasPrefix(got, "<first/><message") || !strings.HasSuffix(got, "</end>") {
			t.Errorf("written: %q", got)
		}
	})
}

// TestQueueDrain shows what a reader that waits for room waits for: that its client takes what was written, and nothing that
// the client says only once it is read again.
func TestQueueDrain(t *testing.T) {
	for _, c := range []struct {
		name string
		free func(s *socket, q *session.Queue) // what ends the wait
	}{
		{"it was written", func(s *socket, _ *session.Queue) { close(s.gate) }},
		{"the stream ends", func(_ *socket, q *session.Queue) { q.Finish() }},
		{"the stream is lost", func(_ *socket, q *session.Queue) { q.Detach() }},
		{"the session ends", func(_ *socket, q *session.Queue) { q.Unsent() }},
		{"a write fails", func(s *socket, _ *session.Queue) { s.broken = errors.New("gone"); close(s.gate) }},
	} {
		for _, track := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", tracked ", track), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &socket{gate: make(chan struct{})}
					q := session.NewQueue(session.QueueOptions{Write: s.write, Limit: 1 << 20, Full: func() {}, Done: func() {}})
					if track {
						q.Track("", 1<<20, true)
					}
					q.Drain(0) // nothing waits
					for i := range 10 {
						q.Put(message(fmt.Sprint(i)), "a@b")
					}
					q.Drain(1 << 20)
					var drained atomic.Bool
					go func() { q.Drain(0); drained.Store(true) }()
					synctest.Wait()
					if drained.Load() {
						t.Fatal("it does not wait")
					}
					c.free(s, q)
					synctest.Wait()
					if !drained.Load() {
						t.Error("it waits on")
					}
					select {
					case <-s.gate:
					default:
						close(s.gate)
					}
					synctest.Wait()
				})
			})
		}
	}
}

// TestQueueLight: a crowd of presence does not take the room of messages, as long as there is a stream; without one everything is
// measured together.
func TestQueueLight(t *testing.T) {
	const limit = 20_000
	for _, connected := range []bool{true, false} {
		q := session.NewQueue(session.QueueOptions{Limit: limit, Full: func() {}})
		q.Track("", limit, true)
		s := &socket{gate: make(chan struct{})}
		if connected {
			q.Attach(session.Outlet{Write: s.write, Done: func() {}})
		}
		presence, messages := 0, 0
		for i := range 100 {
			p := stanza.New(stanza.Presence, stanza.TypeAvailable)
			p.ID = fmt.Sprint(i)
			if q.Put(p, "") {
				presence++
			}
		}
		room := q.Room()
		for i := range 10 {
			if q.Put(message(fmt.Sprint(i)), "") {
				messages++
			}
		}
		if connected && (presence != 100 || messages != 10 || room != limit) {
			t.Errorf("a client that is there gets %d presences and %d messages; there was room for %d bytes", presence, messages, room)
		}
		if !connected && (presence > 40 || messages > 0) {
			t.Errorf("a session without a stream holds %d presences and %d messages", presence, messages)
		}
		close(s.gate)
		q.Unsent()
		if n := q.Bytes(); n != 0 {
			t.Errorf("%d bytes are counted in an empty queue", n)
		}
	}
}

// TestStartEnds: for one who is always being sent more, Start gives the writing to a goroutine after a few rounds.
func TestStartEnds(t *testing.T) {
	const n = 50
	var sock socket
	var q *session.Queue
	tries, next, done := 0, 1, make(chan struct{})
	more := func() { // while the last is being written
		if next < n {
			q.Put(message(fmt.Sprint(next)), "a@b/c")
			next++
		}
	}
	q = session.NewQueue(session.QueueOptions{
		Write: func(b []byte) error { more(); return sock.write(b) },
		Try:   func(b []byte) (bool, error) { tries++; more(); return false, sock.write(b) },
		Limit: 1 << 20, Full: func() {}, Done: func() { close(done) },
	})
	if _, start := q.PutLater(message("0"), "a@b/c"); !start {
		t.Fatal("nobody has to start")
	}
	q.Start()
	if tries == 0 || tries > 10 {
		t.Errorf("the caller of Start has written %d times", tries)
	}
	q.Drain(0)
	q.Finish()
	<-done
	if got := strings.Count(sock.text(), "<message "); got != n {
		t.Errorf("%d of %d were written: %s", got, n, ids(sock.text()))
	}
}
