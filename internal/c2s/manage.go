package c2s

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"sabir/internal/intake"
	"sabir/internal/resume"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Stream management (XEP-0198). A session outlives its stream: a managed one that can be resumed is parked when its stream
// is lost, and another stream takes it over, or its time runs out. This file has the elements but for those of
// resumption, which are in resume.go; managed.go has the life of a session between streams, registry.go where it is found.

// hashID returns how the server knows an SM-ID: by its hash, so that what is kept of it resumes nothing.
func hashID(id string) resume.ID { return sha256.Sum256([]byte(id)) }

// manage handles an element of stream management. t is nil while the stream has no resource.
func (c *clientStream) manage(t *intake.Turn, x *xmlstream.Element) error {
	switch x.Name.Local {
	case "enable":
		return c.handleEnable(t, x)
	case "resume":
		return c.handleResume(t, x)
	case "r", "a":
		if c.managed.Load() == nil {
			return c.reply(t, sm.Failed(stanza.UnexpectedRequest))
		}
		if x.Name.Local == "r" {
			t.Ask()
			return nil
		}
		h, err := sm.ParseAck(x.Attr("h"))
		if err != nil {
			return err
		}
		return sm.AsStream(c.session.Load().Queue.Ack(h))
	}
	return stream.Err(stream.UnsupportedStanzaType, "")
}

// reply sends an element that is no stanza: behind the batch and what waits, where there is a queue.
func (c *clientStream) reply(t *intake.Turn, x *xmlstream.Element) error {
	if t == nil {
		return c.writeElement(x)
	}
	t.Flush(c.ctx)
	c.session.Load().Queue.PutRaw(c.text(x))
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

// flush commits what one read has brought, and answers <r/> behind it. Where the count cannot be made durable, the answer waits
// for the next batch.
func (c *clientStream) flush() {
	if c.lease == nil {
		return
	}
	t := c.lease.Begin()
	if t == nil {
		return
	}
	defer t.End()
	h, ok, err := t.Answer(c.ctx)
	if err != nil {
		c.srv.o.Log.Error("stanzas cannot be acknowledged", "jid", c.session.Load().JID().String(), "error", err)
	}
	if ok {
		c.srv.o.CrashPoint(BeforeAck)
		c.session.Load().Queue.PutRaw(string(sm.AppendAck(nil, h)))
	}
}

func (c *clientStream) handleEnable(t *intake.Turn, x *xmlstream.Element) error {
	if c.managed.Load() != nil {
		// XEP-0198#enable: a second attempt fails, and ends the stream.
		if err := c.reply(t, sm.Failed(stanza.UnexpectedRequest)); err != nil {
			return err
		}
		return stream.Err(stream.PolicyViolation, "stream management is enabled once")
	}
	if c.state != bound {
		return c.writeElement(sm.Failed(stanza.UnexpectedRequest))
	}
	t.Flush(c.ctx)
	answer := c.enable(t, x, false)
	if c.managed.Load() == nil {
		return c.reply(t, answer)
	}
	return nil // it is in the queue
}

// enable enables stream management for a stream with a resource (XEP-0198#enable) and returns the answer, <enabled/> or
// <failed/>.
//
// With inline the caller sends the answer within another element, before anything that waits in the session's queue, which
// it has held (session.Queue.Hold): all stanzas in the queue then count as sent after it (XEP-0198#inline-enable). Without,
// <enabled/> has been queued, and the caller sends <failed/> only.
func (c *clientStream) enable(t *intake.Turn, x *xmlstream.Element, inline bool) *xmlstream.Element {
	again, max, bad := sm.ParseEnable(x)
	if bad != nil {
		return sm.Failed(bad.Condition)
	}
	l := c.limits()
	m := &managed{srv: c.srv, s: c.session.Load(), in: c.lease.Intake(), stream: c}
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
	t.Restart() // what came before counts no more
	if err := m.record(c.ctx); err != nil {
		c.srv.o.Log.Error("a session cannot be kept", "error", err)
		return sm.Failed(stanza.InternalServerError)
	}
	m.s.SetCarrier(c.carrier(m.closeWith))
	c.managed.Store(m)
	if m.max > 0 {
		c.srv.sessions.add(m)
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

// newID returns an SM-ID that nobody can guess.
func newID() string {
	var b [18]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
