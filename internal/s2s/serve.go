package s2s

import (
	"context"
	"math"
	"slices"
	"time"

	"sabir/internal/incoming"
	"sabir/mod"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// This file is how a sender writes on a connection, and what it makes of the answers.

// oneWrite is about how many bytes go into one write, and oneTurn the least that a link may put into it when others wait.
const (
	oneWrite = 64 << 10
	oneTurn  = 4 << 10
)

// serve writes what waits until the connection ends.
func (s *sender) serve(c carrier) {
	defer s.lost(c)
	every := time.Duration(s.srv.settings().IdleTimeout)
	idle := time.NewTimer(every)
	defer idle.Stop()
	late := time.NewTimer(time.Hour)
	late.Stop()
	defer late.Stop()
	var w writing
	came := s.came()
	for {
		s.bounceLarge(c)
		var err error
		w, err = s.send(c, w.b[:0])
		if err != nil {
			abandon(c)
			return
		}
		if w.due {
			late.Reset(s.answerTime(c))
		}
		if len(w.b) > 0 {
			idle.Reset(every)
			continue
		}
		select {
		case <-s.wake:
		case <-late.C:
			left, dead := s.overdue(c)
			if left > 0 {
				late.Reset(left)
			}
			if dead {
				s.srv.o.Log.Info("a server does not confirm what was sent", "domain", s.remote.Domain(), "from", s.local.Domain())
				abandon(c)
				return
			}
		case <-c.ended():
			c.end(nil)
			return
		case <-idle.C:
			switch now := s.came(); {
			case s.theirs || now != came: // who has opened it ends it
				came = now
				idle.Reset(every)
			case s.busy():
				abandon(c) // it has not acknowledged for so long: it is dead
				return
			default:
				c.end(nil)
				<-c.ended()
				return
			}
		}
	}
}

// came returns how much has come on the stream.
func (s *sender) came() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		return 0
	}
	return s.in.handled()
}

// lost notes that there is a connection no more.
func (s *sender) lost(c carrier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == c {
		s.c = nil
	}
}

// abandon gives a broken stream up, once what has come before the end was read: it may say what was handled.
func abandon(c carrier) {
	t := time.NewTimer(incoming.LingerTimeout)
	defer t.Stop()
	select {
	case <-c.ended():
	case <-t.C:
	}
	c.cut()
	<-c.ended()
}

func (s *sender) bounceLarge(c carrier) {
	most := c.maxBytes()
	if most == 0 {
		return
	}
	for _, l := range s.links() {
		l.bounceLarge(most)
	}
}

// writing is what goes into one write.
type writing struct {
	batch []*item
	first uint32 // the number of its first stanza, where it is in the account
	b     []byte
	due   bool // it has the first question in it after which an answer is due
	kept  bool // the batch is in the account until it is acknowledged
}

// What is not confirmed when a stream breaks that cannot be resumed is sent once more, although the peer may have handled it. So such a
// peer is asked behind each message, by <r/> or by a ping, and gets no more than window stanzas beyond what it has confirmed.
const window = 256

// send writes what may be written now. buf is used again.
func (s *sender) send(c carrier, buf []byte) (writing, error) {
	s.writes.Lock()
	defer s.writes.Unlock()
	w := s.next(buf, c)
	if len(w.b) == 0 {
		return w, nil
	}
	return w, s.write(c, w)
}

// count begins to count what goes out on a connection that is in use: enabled tells the peer.
func (s *sender) count(enabled func() error) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.mu.Lock()
	s.account.uncounted = s.unacked.Count()
	s.mu.Unlock()
	return enabled()
}

// next takes what goes into the next write, of each link in turn, and encodes it with the questions behind it.
func (s *sender) next(buf []byte, c carrier) writing {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := writing{b: buf}
	if s.c != c {
		return w
	}
	asked := len(s.asks)
	w.batch = s.batchLocked()
	w.kept = c.managed() || !s.plain && slices.ContainsFunc(w.batch, (*item).durable)
	if !w.kept {
		for _, i := range w.batch {
			w.b = i.s.AppendServer(w.b)
		}
		return w
	}
	w.first = s.account.sent(w.batch)
	for k, i := range w.batch {
		w.b = i.s.AppendServer(w.b)
		if last := k == len(w.batch)-1; !s.resumableLocked() && (i.durable() || last && !c.managed()) {
			w.b = s.askLocked(w.b, c, i.l, w.first+uint32(k))
		}
	}
	if c.managed() && len(s.asks) == 0 && s.unacked.Len() > 0 {
		w.b = s.askLocked(w.b, c, nil, s.unacked.Count())
	}
	w.due = asked == 0 && len(s.asks) > 0
	return w
}

// resumableLocked tells whether the stream goes on after a loss of its connection.
func (s *sender) resumableLocked() bool { return s.smID != "" || s.rec != nil }

// batchLocked takes what may be written now.
func (s *sender) batchLocked() (batch []*item) {
	room := math.MaxInt // stanzas
	switch {
	case s.rests:
		return nil
	case !s.resumableLocked():
		room = window - s.unacked.Len()
	}
	turn := max(oneTurn, oneWrite/max(1, len(s.riders)))
	for bytes, idle := 0, 0; idle < len(s.riders) && bytes < oneWrite && len(batch) < room; {
		l := s.riders[s.turn%len(s.riders)]
		s.turn++
		some := l.take(turn, room-len(batch))
		if len(some) == 0 {
			idle++
			continue
		}
		idle = 0
		for _, i := range some {
			bytes += i.size - overhead
		}
		batch = append(batch, some...)
	}
	return batch
}

// askLocked asks how far the peer has got, behind the stanza of number n, which is of link l.
func (s *sender) askLocked(b []byte, c carrier, l *link, n uint32) []byte {
	if c.managed() {
		s.account.ask("", n)
		return append(b, sm.Request...)
	}
	ping := stanza.NewIQ(stanza.TypeGet, l.local, l.remote, xmlstream.El("urn:xmpp:ping", "ping"))
	s.account.ask(ping.ID, n)
	return ping.AppendServer(b)
}

// write writes a batch. Where it is not kept it has left then, as far as we can know.
func (s *sender) write(c carrier, w writing) error {
	if w.kept && c.managed() {
		s.note(w)
	}
	err := c.write(w.b)
	if err == nil {
		s.trace(mod.TraceWritten, w.batch)
	}
	if w.kept {
		return err
	}
	if err != nil {
		giveBack(w.batch)
		return err
	}
	release(w.batch)
	s.srv.reaper.done(w.batch)
	return nil
}

// note puts on disk which rows a write has in it, where the stream may be resumed after a restart.
func (s *sender) note(w writing) {
	s.mu.Lock()
	rec := s.rec
	s.mu.Unlock()
	if rec == nil || !slices.ContainsFunc(w.batch, (*item).durable) {
		return
	}
	n := note{id: s.srv.nextID(), last: w.first + uint32(len(w.batch)) - 1}
	if err := rec.note(context.WithoutCancel(s.srv.ctx), n.id, w.first, w.batch); err != nil {
		s.srv.o.Log.Error("what is sent to a server is not noted; after a sudden end it is sent once more", "domain", s.remote.Domain(), "error", err)
		return
	}
	s.mu.Lock()
	s.notes = append(s.notes, n)
	s.mu.Unlock()
}

// barrierTime is how long a peer that does not count may take to answer the first ping behind a batch. Where it does not,
// nothing is known of what becomes of what is sent to it.
const barrierTime = 10 * time.Second

// answerTime is how long the peer may take for its next answer.
func (s *sender) answerTime(c carrier) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.managed() || s.answers {
		return time.Duration(s.srv.settings().AckTimeout)
	}
	return barrierTime
}

// overdue tells whether the stream is dead, since the peer has not given the answer that is due, although it can; or else how long it has left. One
// that has answered no ping yet may be one that never does: what was sent is taken as handled, and no more pings are sent on this stream.
func (s *sender) overdue(c carrier) (left time.Duration, dead bool) {
	patience := s.answerTime(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asks) == 0 {
		return 0, false
	}
	if left = patience - time.Since(s.since); left > 0 {
		return left, false
	}
	if c.managed() || s.answers {
		return 0, true
	}
	s.plain = true
	s.gone(s.account.take())
	s.poke()
	return 0, false
}

// passed tells whether an answer is that to a ping behind what was sent.
func (s *sender) passed(id string) bool {
	s.mu.Lock()
	done, ok := s.account.pong(id)
	s.mu.Unlock()
	if !ok {
		return false
	}
	s.trace(mod.TraceAcked, done)
	s.gone(done)
	s.poke()
	return true
}

// trace notes at messages what has become of them.
func (s *sender) trace(what string, items []*item) {
	if s.srv.o.Trace == nil {
		return
	}
	for _, i := range items {
		s.srv.o.Trace.Note(i.s.Mark, what, i.l.remote.String(), "")
	}
}

// gone forgets items that have arrived.
func (s *sender) gone(items []*item) {
	release(items)
	s.srv.reaper.done(items)
}

// ack notes that the peer has handled h stanzas of the stream. The error is that of the stream where it was not sent as many
// (XEP-0198#acking).
func (s *sender) ack(h uint32) error {
	s.mu.Lock()
	done, over, err := s.account.settle(h)
	s.mu.Unlock()
	if err != nil {
		return sm.AsStream(err)
	}
	s.trace(mod.TraceAcked, done)
	s.gone(done)
	s.srv.reaper.unneeded(over)
	return nil
}

// answered notes an answer to <r/>, so that more may be sent.
func (s *sender) answered() {
	s.mu.Lock()
	s.account.answered("")
	s.mu.Unlock()
	s.poke()
}
