package c2s

import (
	"context"
	"time"

	"sabir/internal/session"
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
		return unknown(f)
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
	if replaced, ok = c.srv.o.Router.Directory().Add(me, c.srv.limits().Resources); !ok {
		return nil, false
	}
	c.session.Store(me)
	c.batch = c.srv.o.Router.NewBatch(me)
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
		c.unbind(me)
		me.Queue.Finish(c.lastBytes(stream.Err(stream.SystemShutdown, "")))
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
	o := session.QueueOptions{
		Write: c.t.write,
		Limit: c.srv.limits().QueueBytes,
		Gauge: &c.srv.queued,
		Full: func() {
			// The client does not read. Its connection is of no use any more, and nothing can be said on it.
			c.srv.o.Log.Info("session does not read", "jid", full.String())
			c.t.close()
			go c.end(nil)
		},
		Done: func() { c.written() },
	}
	if c.t.framed() {
		o.NS = stanza.NSClient
	}
	if t, ok := c.t.(*tcp); ok {
		o.Try = t.conn.TryWrite
	}
	me := session.New(full, session.NewQueue(o), c.srv.o.Clock.Now(), func(condition, text string) {
		var e *stream.Error
		if condition != "" {
			e = stream.Err(stream.Condition(condition), text)
		}
		c.end(e)
	})
	me.Secure, me.Addr, me.Agent = c.t.secure(), c.t.addr().String(), c.client()
	return me
}

// unbind takes the session out of the directory and tells the extensions, once: where a stream ends while it binds, both
// bind and end want to.
func (c *clientStream) unbind(s *session.Session) {
	if !c.unbound.CompareAndSwap(false, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	c.srv.o.Router.Directory().Remove(s)
	c.srv.o.Metrics.Session(c.t.name(), -1)
	c.hostNow().Unbound(ctx, s, s.Presence())
	c.srv.o.Log.Info("session closed", "jid", s.JID().String())
}

// written is called by the queue when nothing will be written any more.
func (c *clientStream) written() {
	s := c.session.Load()
	if s == nil { // binding was refused; the stream goes on
		return
	}
	if !c.ended.Load() { // a write failed
		c.t.close()
		c.end(nil)
	}
	c.t.finish()
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, u := range s.Queue.Unsent() {
		c.srv.o.Router.Redeliver(ctx, u)
	}
}

// beforeAuth handles stanzas before authentication: those that an extension answers, such as registration
// (XEP-0077), and none else.
func (c *clientStream) beforeAuth(f *xmlstream.Frame) error {
	s, bad := stanza.FromFrame(f)
	if s == nil {
		return unknown(f)
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
