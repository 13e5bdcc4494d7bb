package c2s

import (
	"context"
	"time"

	"sabir/internal/incoming"
	"sabir/internal/intake"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// endTimeout bounds what is done for a session after its end.
const endTimeout = 30 * time.Second

// beforeBind handles elements between authentication and binding (RFC 6120 §7).
func (c *clientStream) beforeBind(f *xmlstream.Frame) error {
	s, bad := stanza.FromFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSClient)
	}
	n := s.PayloadName()
	if s.Kind != stanza.IQ || n.Space != stream.NSBind || n.Local != "bind" || !s.To.IsZero() && s.To != c.principal.JID().DomainJID() && s.To != c.principal.JID() {
		// RFC 6120 §7.1: a client that has no address yet sends nothing to anybody.
		return stream.Err(stream.NotAuthorized, "bind a resource first")
	}
	switch {
	case bad != nil:
		return c.writeStanza(s.ErrorReply(bad))
	case s.Type != stanza.TypeSet:
		if r := s.ErrorReply(stanza.Err(stanza.BadRequest, "binding is an iq of type set")); r != nil {
			return c.writeStanza(r)
		}
		return nil
	}
	return c.bind(s)
}

// bind binds a resource (RFC 6120 §7.6, §7.7).
func (c *clientStream) bind(s *stanza.Stanza) error {
	want := s.Payload().ChildText(stream.NSBind, "resource")
	full, err := c.fullJID(want)
	if err != nil {
		return c.writeStanza(s.ErrorReply(stanza.Errf(stanza.BadRequest, "resource: %v", err))) // RFC 6120 §7.7.2.1
	}
	me := c.newSession(full)
	// The result is in the queue before anybody can find the session, so that nothing is written before it.
	me.Queue.PutLater(bindResult(s, full), "")
	replaced, ok := c.enter(me)
	if !ok {
		me.Queue.Unsent() // drops it
		// RFC 6120 §7.6.2.1
		return c.writeStanza(s.ErrorReply(stanza.Err(stanza.ResourceConstraint, "this account has too many resources").OfType(stanza.Wait)))
	}
	me.Queue.Start()
	return c.opened(me, replaced)
}

// enter makes a session that of the stream, where everybody finds it. It returns false where the account has too many,
// and the session that had the same resource, if there was one.
func (c *clientStream) enter(me *session.Session) (replaced *session.Session, ok bool) {
	if replaced, ok = c.srv.enter(me); !ok {
		return nil, false
	}
	c.session.Store(me)
	c.lease = intake.New(c.srv.o.Router, c.srv.o.DB, me)
	c.state = bound
	c.bound.Store(true)
	c.srv.o.Metrics.Session(c.t.name(), 1)
	return replaced, true
}

// opened ends the session that was replaced and tells the extensions of the new one, whose client knows of it.
func (c *clientStream) opened(me, replaced *session.Session) error {
	if replaced != nil { // RFC 6120 §7.7.2.2: the newcomer wins
		replaced.Close(string(stream.Conflict), "replaced by a new stream of this resource")
	}
	if c.ended.Load() { // the server is stopping: end has not seen the session
		c.over.Store(true)
		c.unbind(me)
		me.Queue.Finish(c.lastBytes(stream.Err(stream.SystemShutdown, ""))...)
		return errEnd
	}
	if c.authn.Stale(c.principal) {
		c.end(stream.Err(stream.Reset, "the account has changed during the login"))
		return errEnd
	}
	c.hostNow().Bound(c.ctx, me)
	c.srv.o.Log.Info("session opened", "jid", me.JID().String(), "client", me.Agent.ID, "software", me.Agent.Software, "mechanism", c.principal.Mechanism(), "transport", c.t.name(), "address", c.t.addr().String())
	return nil
}

func bindResult(s *stanza.Stanza, full jid.JID) *stanza.Stanza {
	r := s.Result(xmlstream.El(stream.NSBind, "bind", xmlstream.El(stream.NSBind, "jid", full.String())))
	r.From, r.To = jid.JID{}, jid.JID{}
	return r
}

// fullJID returns the address for a wanted resource, or with one of the server's making.
func (c *clientStream) fullJID(want string) (jid.JID, error) {
	if want == "" {
		want = stanza.NewID()
	}
	return c.principal.JID().WithResource(want)
}

func (c *clientStream) newSession(full jid.JID) *session.Session {
	o := c.outlet()
	me := session.New(full, session.NewQueue(session.QueueOptions{
		Write: o.Write, Try: o.Try, NS: o.NS, Done: o.Done, Limit: c.limits().QueueBytes, Gauge: &c.srv.queued, Stats: &c.srv.held,
		Trace: c.srv.o.Router.Trace(), Who: full.String(),
	}), c.srv.o.Clock.Now(), nil)
	me.Agent = c.client()
	me.SetCarrier(c.carrier(func(condition, text string) { c.end(streamError(condition, text)) }))
	return me
}

// outlet is the writing side of the stream, for one queue. It belongs to the reader of the stream.
func (c *clientStream) outlet() session.Outlet {
	c.uses.Add(1)
	o := session.Outlet{Write: c.t.write, Done: c.written}
	if c.t.framed() {
		o.NS = stanza.NSClient
	}
	if t, ok := c.t.(*tcp); ok {
		o.Try = t.Conn.TryWrite
	}
	return o
}

// carrier describes the stream to the session that it carries.
func (c *clientStream) carrier(closeFn func(condition, text string)) session.Carrier {
	return session.Carrier{
		Secure: c.t.secure(), Addr: c.t.addr().String(), Transport: c.t.name(), Close: closeFn,
		Full: func() {
			// The client does not read. Its connection is of no use any more, and nothing can be said on it.
			c.srv.o.Log.Info("session does not read", "jid", c.principal.JID().String())
			c.t.close()
			go c.lose(nil)
		},
	}
}

// streamError is what a session is closed with; nil for no condition.
func streamError(condition, text string) *stream.Error {
	if condition == "" {
		return nil
	}
	return stream.Err(stream.Condition(condition), text)
}

// enter puts a session into the directory. See session.Directory.Add. Where the account has too many, one that waits for
// its client gives way to one that is there.
func (s *Server) enter(me *session.Session) (replaced *session.Session, ok bool) {
	max := s.limitsOf(me.JID().DomainJID()).Resources
	if replaced, ok = s.o.Router.Directory().Add(me, max); ok {
		return replaced, true
	}
	if m := s.sessions.oldestParked(me.JID().Bare()); m != nil {
		m.giveUp()
	}
	return s.o.Router.Directory().Add(me, max)
}

// unbind ends the session of the stream, once: where a stream ends while it binds, both bind and stop want to.
func (c *clientStream) unbind(s *session.Session) {
	if c.unbound.CompareAndSwap(false, true) {
		c.srv.o.Metrics.Session(c.t.name(), -1)
		c.srv.unbind(s)
	}
}

// unbind takes a session out of the directory and tells the extensions.
func (s *Server) unbind(me *session.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	s.o.Router.Directory().Remove(me)
	if h := s.o.Router.Host(me.JID().DomainJID()); h != nil {
		h.Unbound(ctx, me, me.Presence())
	}
	s.o.Log.Info("session closed", "jid", me.JID().String())
}

// redeliver finds new places for what a session that is over held and its client may not have got, and forgets the
// session. m is nil without stream management.
func (s *Server) redeliver(me *session.Session, m *managed) {
	defer s.o.Router.Directory().Gone(me)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	list := me.Queue.Unsent()
	for _, u := range list {
		s.o.Router.Trace().Note(u.Stanza.Mark, mod.TraceReturned, me.JID().String(), "")
	}
	var forget func(mod.Tx) error
	if m != nil && m.rec != nil {
		forget = m.rec.Deletion(ctx)
		defer m.rec.Forget()
	}
	if err := s.o.Router.Redeliver(ctx, list, forget); err != nil {
		s.o.Log.Error("a session that is over is not deleted, and comes back with the next start", "jid", me.JID().String(), "error", err)
	}
}

// written is called by the queue when nothing will be written to the stream any more.
func (c *clientStream) written() {
	defer c.release() // not before what was not written is in its place
	s := c.session.Load()
	if s == nil { // binding was refused; the stream goes on
		return
	}
	if !c.ended.Load() { // a write failed
		c.t.close()
		c.lose(nil)
	}
	c.t.finish()
	if c.over.Load() {
		c.srv.redeliver(s, c.managed.Load())
	}
}

// beforeAuth handles stanzas before authentication: those that an extension answers, such as registration
// (XEP-0077), and none else.
func (c *clientStream) beforeAuth(f *xmlstream.Frame) error {
	s, bad := stanza.FromFrame(f)
	if s == nil {
		return incoming.Unknown(f, stanza.NSClient)
	}
	if s.Kind == stanza.IQ && (c.t.secure() || c.srv.o.Insecure) {
		if bad != nil {
			if r := s.ErrorReply(bad); r != nil {
				return c.writeStanza(r)
			}
			return nil
		}
		if r, ok := c.srv.o.Router.Stream(c.ctx, c.hostNow(), s, c.t.secure(), c.t.addr().String()); ok {
			return c.writeStanza(r)
		}
	}
	return stream.Err(stream.NotAuthorized, "log in first") // RFC 6120 §4.9.3.12
}

func (c *clientStream) writeStanza(s *stanza.Stanza) error {
	if s == nil {
		return nil
	}
	ns := ""
	if c.t.framed() {
		ns = stanza.NSClient
	}
	return c.write(s.Append(nil, ns))
}
