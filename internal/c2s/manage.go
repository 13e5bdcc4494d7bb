package c2s

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync"
	"time"

	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Stream management (XEP-0198). A session outlives its stream: a managed one that can be resumed is parked when its stream
// is lost, and another stream takes it over, or its time runs out. This file has the elements, resume.go the life of a
// session between streams.

// hashID returns how the server knows an SM-ID: by its hash, so that what is kept of it resumes nothing.
func hashID(id string) resume.ID { return sha256.Sum256([]byte(id)) }

// manage handles an element of stream management.
func (c *clientStream) manage(x *xmlstream.Element) error {
	switch x.Name.Local {
	case "enable":
		return c.handleEnable(x)
	case "resume":
		return c.handleResume(x)
	case "r", "a":
		if c.managed.Load() == nil {
			return c.reply(sm.Failed(stanza.UnexpectedRequest))
		}
		if x.Name.Local == "r" {
			c.ackDue = true
			return nil
		}
		h, ok := sm.ParseH(x.Attr("h"))
		if !ok {
			return stream.Err(stream.InvalidXML, "an acknowledgement has h, a number")
		}
		return tooHigh(c.session.Load().Queue.Ack(h))
	}
	return stream.Err(stream.UnsupportedStanzaType, "")
}

// tooHigh makes a stream error of an acknowledgement of too much (XEP-0198#errors).
func tooHigh(err error) error {
	var high *sm.TooHigh
	if errors.As(err, &high) {
		return high.Stream()
	}
	return err
}

// reply sends an element that is no stanza: behind the batch and what waits, where there is a queue.
func (c *clientStream) reply(x *xmlstream.Element) error {
	s := c.session.Load()
	if s == nil {
		return c.writeElement(x)
	}
	c.batch.Flush(c.ctx)
	s.Queue.PutRaw(c.text(x))
	return nil
}

// text writes an element as it stands on the stream.
func (c *clientStream) text(x *xmlstream.Element) string {
	ns := stanza.NSClient
	if c.t.framed() {
		ns = ""
	}
	return string(x.Append(nil, ns))
}

// ack answers <r/>. Everything that the stanzas before owe has been committed, and so is that they were handled: a client
// is told the same after a sudden end of the server. Where that cannot be, the answer waits for the next batch.
func (c *clientStream) ack() {
	s := c.session.Load()
	if err := c.managed.Load().progress(c.ctx); err != nil {
		c.srv.o.Log.Error("stanzas cannot be acknowledged", "jid", s.JID().String(), "error", err)
		c.ackDue = true
		return
	}
	c.srv.o.CrashPoint(BeforeAck)
	s.Queue.PutRaw(string(sm.AppendAck(nil, s.Handled())))
}

func (c *clientStream) handleEnable(x *xmlstream.Element) error {
	if c.managed.Load() != nil {
		// XEP-0198#enable: a second attempt fails, and ends the stream.
		if err := c.reply(sm.Failed(stanza.UnexpectedRequest)); err != nil {
			return err
		}
		return stream.Err(stream.PolicyViolation, "stream management is enabled once")
	}
	if c.state != bound {
		return c.writeElement(sm.Failed(stanza.UnexpectedRequest))
	}
	c.batch.Flush(c.ctx)
	answer := c.enable(x, false)
	if c.managed.Load() == nil {
		return c.reply(answer)
	}
	return nil // it is in the queue
}

// enable enables stream management for a stream with a resource (XEP-0198#enable) and returns the answer, <enabled/> or
// <failed/>.
//
// With inline the caller sends the answer within another element, before anything that waits in the session's queue, which
// it has held (session.Queue.Hold): all stanzas in the queue then count as sent after it (XEP-0198#inline-enable). Without,
// <enabled/> has been queued, and the caller sends <failed/> only.
func (c *clientStream) enable(x *xmlstream.Element, inline bool) *xmlstream.Element {
	again, max, bad := sm.ParseEnable(x)
	if bad != nil {
		return sm.Failed(bad.Condition)
	}
	l := c.limits()
	m := &managed{srv: c.srv, s: c.session.Load(), stream: c}
	answer := sm.Enabled("", 0)
	if again && l.ResumeTimeout > 0 {
		m.max = time.Duration(l.ResumeTimeout)
		if want := time.Duration(max) * time.Second; max > 0 && want < m.max {
			m.max = want
		}
		id := newID()
		m.id = hashID(id)
		answer = sm.Enabled(id, uint32(m.max/time.Second))
	}
	m.s.SetHandled(0)
	m.s.Settle() // what came before counts no more
	if err := m.record(c.ctx); err != nil {
		c.srv.o.Log.Error("a session cannot be kept", "error", err)
		return sm.Failed(stanza.InternalServerError)
	}
	m.s.SetCarrier(c.carrier(m.closeWith))
	c.managed.Store(m)
	if m.max > 0 {
		c.srv.manage(m)
	}
	first := ""
	if !inline {
		first = c.text(answer)
	}
	m.s.Queue.Track(first, l.ResumeBytes, m.max > 0)
	if c.ended.Load() {
		m.late(c)
	}
	return answer
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
	m.srv.forget(m)
	if m.rec == nil {
		return
	}
	if err := m.rec.Close(c.ctx); err != nil {
		m.srv.o.Log.Error("a session that is over is not deleted", "jid", m.s.JID().String(), "error", err)
	}
}

// newID returns an SM-ID that nobody can guess.
func newID() string {
	var b [18]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (c *clientStream) handleResume(x *xmlstream.Element) error {
	if c.state != wantBind {
		return c.reply(sm.Failed(stanza.UnexpectedRequest))
	}
	answer, attach, err := c.resume(x)
	switch {
	case err != nil:
		return err
	case attach == nil:
		return c.writeElement(answer) // a resource can be bound now
	}
	return attach(c.text(answer))
}

// resume resumes a session on an authenticated stream that has no resource (XEP-0198#resumption). It returns the answer,
// <resumed/> or <failed/>. After <resumed/> the stream carries the session, but nothing is written until the caller calls
// attach with the bytes that go first: the answer, alone or within another element (XEP-0198#inline-resume). attach is nil
// where resumption failed: the stream stays as it was, and a resource can be bound. err is a *stream.Error.
func (c *clientStream) resume(x *xmlstream.Element) (answer *xmlstream.Element, attach func(first ...string) error, err error) {
	previd, h, bad := sm.ParseResumption(x)
	if bad != nil {
		return sm.Failed(bad.Condition), nil, nil
	}
	m, answer := c.srv.find(hashID(previd), c.principal.JID())
	if m == nil {
		return answer, nil, nil
	}
	if failed, err := m.take(c, h); err != nil || failed != "" {
		return sm.Failed(failed), nil, tooHigh(err)
	}
	s := m.s
	c.session.Store(s)
	c.managed.Store(m)
	c.batch = c.srv.o.Router.NewBatch(s)
	c.state = bound
	c.bound.Store(true)
	c.srv.o.Metrics.Session(c.t.name(), 1)
	c.srv.o.Log.Info("session resumed", "jid", s.JID().String(), "mechanism", c.principal.Mechanism(), "transport", c.t.name(), "address", c.t.addr().String())
	c.srv.o.CrashPoint(BeforeResumed)
	return sm.Resumed(previd, s.Handled()), func(first ...string) error {
		if err := m.attach(c, first); err != nil {
			return err
		}
		c.refresh(m)
		return nil
	}, nil
}

// refresh asks the contacts of a session anew for their presence, where the server ended suddenly since the client last
// heard of them: those that were gone with it have not said so.
func (c *clientStream) refresh(m *managed) {
	p := m.s.Presence()
	if !m.stale || p == nil {
		return
	}
	m.stale = false
	m.s.SetPresence(nil, 0)
	c.batch.Do(c.ctx, p.Clone())
	c.batch.Flush(c.ctx)
}

// managed is a session with stream management. One that can be resumed is in the books of the server until it is over.
type managed struct {
	srv *Server
	s   *session.Session
	id  resume.ID
	rec *resume.Record // nil where it cannot be resumed
	max time.Duration  // how long it waits for its client; 0 where it cannot be resumed

	mu       sync.Mutex
	stream   *clientStream // nil while it is parked
	last     *clientStream // while it is parked: that has carried it, as long as its reader is at work
	parkedAt time.Time
	claimed  bool // a stream is about to take it over
	stale    bool // the server ended suddenly: what the client knows of its contacts may not be so any more
	orphan   bool // it ended while it was claimed, and who claimed it sees to that
	over     bool
}

// ghost is what is known of a session that is over because its client did not come back.
type ghost struct {
	account jid.JID
	handled uint32
	until   time.Time
}
