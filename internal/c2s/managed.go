package c2s

import (
	"context"
	"sync"
	"time"

	"sabir/internal/intake"
	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

// managed is a session with stream management. One that can be resumed is in the registry until it is over. It is carried by a
// stream, or parked, or claimed by a stream that takes it over.
type managed struct {
	srv *Server
	s   *session.Session
	in  *intake.Intake
	id  resume.ID
	rec *resume.Record // nil where it cannot be resumed
	max time.Duration  // how long it waits for its client; 0 where it cannot be resumed

	stale bool // the server ended suddenly: what the client knows of its contacts may not be so any more; belongs to a turn of in

	mu       sync.Mutex
	stream   *clientStream // nil while it is parked
	parkedAt time.Time
	claimed  bool // a stream is about to take it over
	orphan   bool // it ended while it was claimed, and who claimed it sees to that
	over     bool
}

// take lets a stream take the session over from none or from another, which ends with a conflict. Of several that try at
// once one does: until attach is called no other can. When it returns, all that the client sent and the server read before is
// handled, and the count of it durable. failed says why not; err is a *sm.TooHigh, and the session stays where it was.
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
	old := m.stream
	m.mu.Unlock()
	if old != nil {
		old.giveWay()
	}
	lease, behind := m.in.TakeOver(c.ctx)
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
	m.stream, c.lease = c, lease
	m.s.SetCarrier(c.carrier(m.closeWith))
	return "", nil
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
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		m.in.Close(ctx)                              // what the client is told was handled is committed
		m.srv.sessions.haunt(m, m.srv.o.Clock.Now()) // before anybody can ask
		m.close(nil)
	})
}

// giveWay ends a stream whose session goes on with another (XEP-0198#resumption).
func (c *clientStream) giveWay() {
	c.endOnce.Do(func() {
		c.setEnded()
		c.srv.o.Metrics.Session(c.t.name(), -1)
		last := c.lastBytes(stream.Err(stream.Conflict, "resumed on another stream"))
		c.session.Load().Queue.Detach(last...)
	})
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
		return true
	default:
		m.over = true
		m.srv.sessions.remove(m)
		return false
	}
	return true
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
		if oldest := s.sessions.oldestParked(account); oldest != nil {
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
	m.srv.sessions.remove(m)
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

// waits tells since when the session has waited for its client.
func (m *managed) waits() (since time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.parkedAt, m.stream == nil && !m.over && !m.claimed
}

// late forgets a session whose stream ended while stream management was being enabled, and did not know of it.
func (m *managed) late(c *clientStream) {
	m.mu.Lock()
	mine := m.stream == c && !m.over
	m.over = m.over || mine
	m.mu.Unlock()
	if !mine {
		return
	}
	m.srv.sessions.remove(m)
	if m.rec == nil {
		return
	}
	if err := m.rec.Close(c.ctx); err != nil {
		m.srv.o.Log.Error("a session that is over is not deleted", "jid", m.s.JID().String(), "error", err)
	}
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
