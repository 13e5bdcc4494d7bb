package c2s

import (
	"context"
	"math"

	"sabir/internal/intake"
	"sabir/internal/resume"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

func (c *clientStream) handleResume(t *intake.Turn, x *xmlstream.Element) error {
	if c.state != wantBind {
		return c.reply(t, sm.Failed(stanza.UnexpectedRequest))
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
	m, answer := c.srv.sessions.find(hashID(previd), c.principal.JID())
	if m == nil {
		return answer, nil, nil
	}
	if failed, err := m.take(c, h); err != nil || failed != "" {
		return sm.Failed(failed), nil, sm.AsStream(err)
	}
	s := m.s
	c.session.Store(s)
	c.managed.Store(m)
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
	t := c.lease.Begin()
	if t == nil {
		return // another stream has the session, and does so
	}
	defer t.End()
	p := m.s.Presence()
	if !m.stale || p == nil {
		return
	}
	m.stale = false
	m.s.Forget()
	t.Repeat(c.ctx, p.Clone())
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
	q := session.NewQueue(session.QueueOptions{Limit: s.limitsOf(v.JID.DomainJID()).ResumeBytes, Gauge: &s.queued, Stats: &s.held, Trace: s.o.Router.Trace(), Who: v.JID.String()})
	for _, k := range v.Held {
		s.remember(k.Stanza, v.JID)
	}
	q.Restore(v.Held, v.Last, v.Acked, !v.Exact)
	me := session.New(v.JID, q, s.o.Clock.Now(), nil)
	if err := me.SetState(v.State); err != nil {
		s.o.Log.Error("the presence of a session is lost", "jid", v.JID.String(), "error", err)
	}
	m := &managed{srv: s, s: me, in: intake.Restored(s.o.Router, s.o.DB, me, v.Handled), id: v.ID, max: v.Max, stale: !v.Exact}
	m.rec = s.o.Resume.Adopt(v, me)
	m.park()
	s.sessions.add(m)
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
