package c2s

import (
	"context"
	"math"
	"time"

	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// keepGhosts is how long it is known how far a session got that timed out (XEP-0198#resumption), and maxGhosts of how many.
const (
	keepGhosts = 24 * time.Hour
	maxGhosts  = 20000
)

// manage enters a session in the books.
func (s *Server) manage(m *managed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.managed[m.id] = m
}

// forget takes a session out of the books.
func (s *Server) forget(m *managed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.managed[m.id] == m {
		delete(s.managed, m.id)
	}
}

func (s *Server) allManaged() []*managed {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*managed, 0, len(s.managed))
	for _, m := range s.managed {
		all = append(all, m)
	}
	return all
}

// find returns the session of an SM-ID, or the answer that there is none. That of another account is unknown.
func (s *Server) find(id resume.ID, account jid.JID) (*managed, *xmlstream.Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.managed[id]; m != nil && m.s.JID().Bare() == account {
		return m, nil
	}
	if g, ok := s.gone[id]; ok && g.account == account {
		return nil, sm.FailedAt(stanza.ItemNotFound, g.handled)
	}
	return nil, sm.Failed(stanza.ItemNotFound)
}

// take lets a stream take the session over from none or from another, which ends with a conflict. Of several that try at
// once one does: until attach is called no other can. failed says why not; err is a *sm.TooHigh, and the session stays
// where it was.
func (m *managed) take(c *clientStream, h uint32) (failed stanza.Condition, err error) {
	m.mu.Lock()
	if m.over {
		m.mu.Unlock()
		return stanza.ItemNotFound, nil
	}
	if m.claimed {
		m.mu.Unlock()
		return stanza.Conflict, nil
	}
	if ok, err := m.s.Queue.Covers(h); !ok {
		m.mu.Unlock()
		return stanza.ItemNotFound, err
	}
	m.claimed = true
	old, last := m.stream, m.last
	m.mu.Unlock()
	switch {
	case old != nil:
		old.takeOver()
	case last != nil: // who writes to it may have noticed its end before who reads from it
		last.settle()
	}
	behind := m.progress(c.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over: // by another, who sees to it
		m.claimed = false
		return stanza.ItemNotFound, nil
	case m.orphan || m.s.Queue.Ended(): // ended meanwhile, and left to us
		m.over, m.claimed = true, false
		m.srv.later(m.finish)
		return stanza.ItemNotFound, nil
	case behind != nil:
		m.srv.o.Log.Error("a session cannot be resumed", "jid", m.s.JID().String(), "error", behind)
		m.claimed = false
		m.park()
		return stanza.InternalServerError, nil
	}
	if err := m.s.Queue.Rewind(h); err != nil {
		m.claimed = false
		m.park()
		return stanza.ItemNotFound, err
	}
	m.stream = c
	m.s.SetCarrier(c.carrier(m.closeWith))
	return "", nil
}

// progress makes durable how many stanzas were handled, before a client is told: after a sudden end of the server it is told
// the same.
func (m *managed) progress(ctx context.Context) error {
	a := m.s.Advance(false)
	if a == nil {
		return nil
	}
	err := m.srv.o.DB.Write(ctx, func(tx mod.Tx) error { return a.Write(ctx, tx) })
	a.Done(err == nil)
	return err
}

// attach lets the session be written to the stream that took it, first of all what the stream has to say. It returns errEnd
// where the session or the stream has ended meanwhile.
func (m *managed) attach(c *clientStream, first []string) error {
	m.mu.Lock()
	m.claimed = false
	if m.stream == c && !m.over && !m.orphan {
		m.s.Queue.Attach(c.outlet(), first...)
		m.mu.Unlock()
		return nil
	}
	over := m.over
	m.over = over || m.orphan
	orphan := m.orphan
	m.mu.Unlock()
	switch {
	case orphan && !over:
		m.finish()
	case over:
		m.srv.redeliver(m.s, m)
	}
	c.endOnce.Do(func() { c.setEnded() })
	for _, b := range c.lastBytes(stream.Err(stream.Reset, "the session has ended")) {
		if err := c.write(b); err != nil {
			return err
		}
	}
	c.t.finish()
	return errEnd
}

// park leaves the session without a stream. m.mu is held.
func (m *managed) park() {
	m.stream, m.parkedAt = nil, m.srv.o.Clock.Now()
	m.s.SetCarrier(session.Carrier{Close: m.closeWith, Full: m.overflow})
}

// overflow ends a session that waits for its client, and for which more has come than is held (XEP-0198#acking): its messages
// find other places, and a client that comes back is told how many of its stanzas were handled.
func (m *managed) overflow() {
	m.srv.later(func() {
		m.srv.o.Log.Info("session has waited for too much", "jid", m.s.JID().String())
		m.srv.haunt(m, m.srv.o.Clock.Now()) // before anybody can ask
		m.close(nil)
	})
}

// takeOver ends a stream whose session goes on with another (XEP-0198#resumption). When it returns, all that the client
// sent and the server read has been handled, and nothing more will be.
func (c *clientStream) takeOver() {
	c.endOnce.Do(func() {
		c.setEnded()
		c.srv.o.Metrics.Session(c.t.name(), -1)
		last := c.lastBytes(stream.Err(stream.Conflict, "resumed on another stream"))
		c.session.Load().Queue.Detach(last...)
	})
	c.settle()
}

// settle commits what the client has sent over a stream that has lost its session, or is about to, and the server has read.
// Nothing that comes there is handled any more, nor does the end of the stream say anything of the session.
func (c *clientStream) settle() {
	c.setEnded()
	c.busy.Lock()
	defer c.busy.Unlock()
	if c.batch != nil {
		c.batch.Flush(c.ctx)
		c.batch = nil
	}
}

// leave is called when a stream ends that carried the session, with its last bytes. It tells whether the session goes on
// without it.
func (m *managed) leave(c *clientStream, park bool, last [][]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stream != c || m.over: // it is another's business by now
	case park && m.max > 0:
		m.s.Queue.Detach(last...) // before another stream can take the session over
		m.park()
		m.last = c
		return true
	default:
		m.over = true
		m.srv.forget(m)
		return false
	}
	return true
}

// left says that the reader of a stream that has carried the session has handled all it will.
func (m *managed) left(c *clientStream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == c {
		m.last = nil
	}
}

// parked sees to a session whose stream was lost.
func (s *Server) parked(c *clientStream, m *managed) {
	s.o.Metrics.Session(c.t.name(), -1)
	s.o.Log.Info("session waits for its client", "jid", m.s.JID().String())
	if m.s.Queue.Ended() {
		m.close(nil)
		return
	}
	account := m.s.JID().Bare()
	for range s.parkedOf(account) - s.limitsOf(account.DomainJID()).ResumeSessions {
		if oldest := s.oldestParked(account); oldest != nil {
			oldest.giveUp()
		}
	}
	s.tellParked(m)
}

// tellParked tells the extensions that a session waits for its client.
func (s *Server) tellParked(m *managed) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if h := s.o.Router.Host(m.s.JID().DomainJID()); h != nil {
		h.Parked(ctx, m.s, m.s.Queue.Held())
	}
}

func (m *managed) closeWith(condition, text string) { m.close(streamError(condition, text)) }

// close ends the session, with its stream where it has one.
func (m *managed) close(e *stream.Error) {
	m.mu.Lock()
	c, parked := m.stream, m.stream == nil && !m.over && !m.claimed
	if m.claimed && !m.over {
		m.orphan, c = true, nil // take sees to it
	}
	m.over = m.over || parked
	m.mu.Unlock()
	switch {
	case parked:
		m.finish()
	case c != nil:
		c.end(e)
	}
}

// giveUp ends a session that still has no stream. It returns false where its client came back.
func (m *managed) giveUp() bool {
	m.mu.Lock()
	if m.stream != nil || m.claimed || m.over {
		m.mu.Unlock()
		return false
	}
	m.over = true
	m.mu.Unlock()
	m.finish()
	return true
}

// finish ends a session that has no stream: what its client has not acknowledged finds other places.
func (m *managed) finish() {
	m.srv.forget(m)
	m.srv.unbind(m.s)
	m.srv.redeliver(m.s, m)
}

// record begins to keep a session that can be resumed.
func (m *managed) record(ctx context.Context) (err error) {
	if m.max > 0 && m.srv.o.Resume != nil {
		m.rec, err = m.srv.o.Resume.Open(ctx, m.s, m.id, m.max)
	}
	return err
}

// Restore brings back the sessions that were there when the server stopped, however it did. They wait for their clients
// from now on. It is called once, before the first stream.
func (s *Server) Restore(ctx context.Context) error {
	list, err := s.o.Resume.Load(ctx)
	if err != nil {
		return err
	}
	for _, v := range list {
		ok, err := s.restore(ctx, v)
		if err == nil && !ok {
			err = s.o.Resume.Discard(ctx, v)
		}
		if err != nil {
			return err
		}
	}
	if len(list) > 0 {
		s.o.Log.Info("sessions wait for their clients", "sessions", len(list))
	}
	return nil
}

// restore brings back a session. It returns false where its account is gone.
func (s *Server) restore(ctx context.Context, v *resume.Saved) (bool, error) {
	h := s.o.Router.Host(v.JID.DomainJID())
	if h == nil {
		return false, nil
	}
	if ok, err := h.Accounts().Exists(ctx, v.JID.Local()); err != nil || !ok {
		return false, err
	}
	q := session.NewQueue(session.QueueOptions{Limit: s.limits().ResumeBytes, Gauge: &s.queued, Stats: &s.held, Trace: s.o.Router.Trace(), Who: v.JID.String()})
	for _, k := range v.Held {
		s.remember(k.Stanza, v.JID)
	}
	q.Restore(v.Held, v.Last, v.Acked, !v.Exact)
	me := session.New(v.JID, q, s.o.Clock.Now(), nil)
	if err := me.SetState(v.State); err != nil {
		s.o.Log.Error("the presence of a session is lost", "jid", v.JID.String(), "error", err)
	}
	me.SetHandled(v.Handled)
	me.Settle()
	m := &managed{srv: s, s: me, id: v.ID, max: v.Max, stale: !v.Exact}
	m.rec = s.o.Resume.Adopt(v, me)
	m.park()
	s.manage(m)
	if replaced, ok := s.o.Router.Directory().Add(me, math.MaxInt); ok && replaced != nil {
		replaced.Close("", "") // the process ended between its end and the last commit
	}
	s.tellParked(m)
	return true, nil
}

// remember notes that a message was kept for a session over a restart.
func (s *Server) remember(m *stanza.Stanza, by jid.JID) {
	if m.Kind != stanza.Message || m.ID == "" || m.Mark != 0 {
		return
	}
	t := s.o.Router.Trace()
	m.Mark = t.Mark()
	t.Note(m.Mark, mod.TraceID, m.From.String(), m.ID)
	t.Note(m.Mark, mod.TraceTaken, "stream management", by.String())
}

// expire ends the sessions whose clients have not come back in time.
func (s *Server) expire(now time.Time) {
	for _, m := range s.allManaged() {
		if at, ok := m.waits(); ok && now.Sub(at) > m.max {
			s.haunt(m, now) // before anybody can ask
			if !m.giveUp() {
				s.mu.Lock()
				delete(s.gone, m.id)
				s.mu.Unlock()
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, g := range s.gone {
		if now.After(g.until) {
			delete(s.gone, id)
		}
	}
}

// haunt remembers how far a session has got.
func (s *Server) haunt(m *managed, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.gone) < maxGhosts {
		s.gone[m.id] = ghost{m.s.JID().Bare(), m.s.Handled(), now.Add(keepGhosts)}
	}
}

// waits tells since when the session has waited for its client.
func (m *managed) waits() (since time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.parkedAt, m.stream == nil && !m.over && !m.claimed
}

// parkedOf counts the sessions of an account that wait for their client.
func (s *Server) parkedOf(account jid.JID) int {
	n := 0
	for _, t := range s.o.Router.Directory().Sessions(account) {
		if t.Carrier().Transport == "" {
			n++
		}
	}
	return n
}

// oldestParked returns the session of an account that has waited longest for its client, or nil.
func (s *Server) oldestParked(account jid.JID) *managed {
	var oldest *managed
	var since time.Time
	for _, m := range s.allManaged() {
		if m.s.JID().Bare() != account {
			continue
		}
		if at, ok := m.waits(); ok && (oldest == nil || at.Before(since)) {
			oldest, since = m, at
		}
	}
	return oldest
}
