package c2s

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sabir/internal/auth"
	"sabir/internal/host"
	"sabir/internal/incoming"
	"sabir/internal/intake"
	"sabir/internal/session"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// state is how far a stream is.
type state uint8

const (
	wantHeader state = iota // a stream header is due
	wantAuth                // features were sent; TLS or SASL is due
	wantBind                // authenticated; a resource is to be bound
	bound                   // stanzas
)

// errEnd is returned by the handlers when the client has closed the stream or the server has.
var errEnd = incoming.ErrEnd

// clientStream is one client's stream over whatever carries it. The fields without a lock belong to the reader.
type clientStream struct {
	srv *Server
	t   transport
	ctx context.Context

	state     state
	host      atomic.Pointer[host.Host]
	authn     Authenticator
	exchange  *auth.Exchange
	conn      *auth.Conn // until it is authenticated
	offered   []string   // its mechanisms, once they were asked for
	login     *login2    // a login by SASL2 that is under way
	from      jid.JID    // what the client has said that it is, before authentication
	agent     auth.Agent // likewise, of its software
	version   string     // of the features that were sent (XEP-0509)
	failures  int
	principal *auth.Principal
	answered  bool          // our stream header was sent
	lease     *intake.Lease // once it has a session

	session atomic.Pointer[session.Session]
	bound   atomic.Bool
	unbound atomic.Bool // the end of the session was told
	over    atomic.Bool // the session has ended with the stream

	managed atomic.Pointer[managed] // once stream management is enabled
	// lastRead and pinged are unix nanoseconds; pinged is 0 while no ping is out.
	lastRead, pinged atomic.Int64

	// uses are the reader and the writers that have not finished: the stream is in the books as long as one is left.
	uses    atomic.Int32
	endOnce sync.Once
	ended   atomic.Bool
	done    chan struct{} // closed with that
	writeMu sync.Mutex    // before there is a queue
	hold    []byte        // our header, which goes out with what follows it
}

func (s *Server) newStream(ctx context.Context, t transport) *clientStream {
	c := &clientStream{srv: s, t: t, ctx: ctx, done: make(chan struct{})}
	c.lastRead.Store(s.o.Clock.Now().UnixNano())
	return c
}

// begin enters the stream in the books. It returns false, with the connection closed, while the server stops.
func (c *clientStream) begin() bool {
	if !c.srv.add(c) {
		c.t.close()
		return false
	}
	c.uses.Add(1)
	return true
}

// release ends a use of the stream.
func (c *clientStream) release() {
	if c.uses.Add(-1) == 0 {
		c.srv.remove(c)
	}
}

// finish ends the stream after the reader met err.
func (c *clientStream) finish(err error) {
	var se *stream.Error
	switch {
	case errors.As(err, &se):
		c.end(se)
	case errors.Is(err, errEnd):
		c.end(nil)
	default:
		c.t.close() // the connection is broken: nothing can be said any more
		c.lose(nil)
	}
	c.flush() // what came before a panic
	c.release()
}

// hostNow returns the host of the stream, as the newest configuration has it: a reload may have built another.
func (c *clientStream) hostNow() *host.Host {
	was := c.host.Load()
	if h := c.srv.o.Router.Host(was.Domain()); h != nil {
		return h
	}
	return was
}

// write sends bytes that are no stanza before there is a queue.
func (c *clientStream) write(b []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.hold != nil {
		b = append(c.hold, b...)
		c.hold = nil
	}
	return c.t.write(b)
}

func (c *clientStream) writeElement(e *xmlstream.Element) error {
	ns := stanza.NSClient
	if c.t.framed() {
		ns = ""
	}
	return c.write(e.Append(nil, ns))
}

// header handles a stream header, the first or that of a restart (RFC 6120 §4.3, §4.7).
func (c *clientStream) header(h stream.Header, bad *stream.Error) error {
	to := c.srv.hostOf(h.To)
	if bad == nil {
		bad = c.checkHeader(h, to)
	}
	if err := c.answerHeader(h, to); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	if c.principal == nil {
		c.host.Store(to)
		c.t.named(c.limits())
		c.authn, c.offered = c.srv.o.Auth(to.Domain()), nil
		c.from, _ = jid.Parse(h.From)
		c.state = wantAuth
	} else {
		c.state = wantBind
	}
	return c.features()
}

func (c *clientStream) checkHeader(h stream.Header, to *host.Host) *stream.Error {
	switch {
	case h.To == "":
		return stream.Err(stream.ImproperAddressing, "a stream header names its host in `to`")
	case to == nil:
		return stream.Err(stream.HostUnknown, "")
	case c.principal == nil && c.t.secure() && otherDomain(h.From, to):
		return stream.Err(stream.InvalidFrom, "") // XEP-0388#feature, where SASL2 is offered
	case c.principal != nil && to.Domain() != c.host.Load().Domain():
		// Who has logged in on one host is nobody on another (CVE-2018-10847).
		return stream.Err(stream.NotAuthorized, "the host of a stream does not change after authentication")
	}
	return nil
}

// otherDomain tells whether an address is one of another domain than that of the stream.
func otherDomain(from string, to *host.Host) bool {
	j, err := jid.Parse(from)
	return err == nil && j.DomainJID() != to.Domain()
}

// answerHeader sends our header. It is owed before any error too (RFC 6120 §4.9.1.2).
func (c *clientStream) answerHeader(h stream.Header, to *host.Host) error {
	from := c.srv.o.Default
	if to != nil {
		from = to.Domain()
	}
	a := stream.Header{From: from.String(), ID: stream.NewStreamID(), Version: "1.0", Lang: "en", ContentNS: stanza.NSClient}
	// RFC 6120 §4.7.2: `to` is what the client claimed as `from`, where that is an address.
	if j, err := jid.Parse(h.From); err == nil {
		a.To = j.String()
	}
	c.answered = true
	if c.t.framed() {
		return c.write(a.AppendWS(nil))
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.hold = a.AppendTCP(nil) // one TLS record and one system call with the features or the error
	return nil
}

// element handles a top-level element.
func (c *clientStream) element(f *xmlstream.Frame) error {
	if c.ended.Load() {
		return errEnd
	}
	var t *intake.Turn
	if c.lease != nil {
		if t = c.lease.Begin(); t == nil {
			return errEnd // another stream has the session
		}
		defer t.End()
	}
	if f.Name() == (xmlstream.Name{Space: stream.NS, Local: "error"}) {
		return errEnd // RFC 6120 §4.9.1.1: the client's error ends the stream, and is not answered by one
	}
	if f.Prefixed() && f.Name().Space == stanza.NSClient {
		return stream.Err(stream.BadNamespacePrefix, "stanzas have no prefix") // RFC 6120 §4.8.5
	}
	if f.Name().Space == sm.NS {
		return c.manage(t, f.Element())
	}
	if c.state == bound {
		return c.stanza(t, f)
	}
	if c.state == wantBind {
		return c.beforeBind(f)
	}
	if c.login != nil && f.Name().Space != stream.NSSASL2 { // XEP-0388: the server ends at once what is not to come
		return stream.Err(stream.PolicyViolation, "the login is not done")
	}
	switch n := f.Name(); n.Space {
	case stream.NSTLS:
		return c.startTLS(n.Local)
	case stream.NSSASL2:
		return c.sasl2(f)
	case stream.NSSASL:
		return c.sasl(f)
	case stanza.NSClient:
		return c.beforeAuth(f)
	}
	return incoming.Unknown(f, stanza.NSClient)
}

// stanza hands a stanza of a bound client to the batch, stamped with its sender (RFC 6120 §8.1.2.1).
func (c *clientStream) stanza(t *intake.Turn, f *xmlstream.Frame) error {
	s, bad := stanza.FromFrame(f)
	me := c.session.Load()
	if s == nil {
		t.Flush(c.ctx)
		if c.hostNow().Nonza(c.ctx, me, f) {
			return nil
		}
		return incoming.Unknown(f, stanza.NSClient)
	}
	if s.From != me.JID() && s.From != me.JID().Bare() && (!s.From.IsZero() || f.Attr("from") != "") {
		return stream.Err(stream.InvalidFrom, "")
	}
	s.From = me.JID()
	if bad != nil {
		r := s.ErrorReply(bad)
		if r != nil && r.From.IsZero() {
			r.From = me.JID().Bare()
		}
		t.Refuse(c.ctx, r)
		return nil
	}
	t.Handle(c.ctx, s)
	return nil
}

// touch notes that the client has sent something.
func (c *clientStream) touch(now time.Time) {
	c.lastRead.Store(now.UnixNano())
	if s := c.session.Load(); s != nil {
		s.Touch(now)
	}
}

// ping asks a silent client for a sign of life: what it has got (XEP-0198#scenarios-efficient), or by a ping
// (XEP-0199#s2c), whose answer goes nowhere: that it came is enough.
func (c *clientStream) ping() {
	s := c.session.Load()
	if s == nil || s.Queue.Ask(time.Now()) {
		return
	}
	s.Send(stanza.NewIQ(stanza.TypeGet, s.JID().DomainJID(), s.JID(), xmlstream.El("urn:xmpp:ping", "ping")))
}

// end ends the stream, with an error or without, and its session. It does not block on the client, and its second call has
// no effect. The session is out of the directory and its end has been told when it returns.
func (c *clientStream) end(e *stream.Error) { c.stop(e, false) }

// lose is end for a stream whose client may come back: where its session can be resumed it goes on without a stream.
func (c *clientStream) lose(e *stream.Error) { c.stop(e, true) }

func (c *clientStream) stop(e *stream.Error, park bool) {
	c.endOnce.Do(func() {
		last := c.lastBytes(e)
		m := c.managed.Load()
		parked := m != nil && m.leave(c, park, last)
		if !parked {
			c.over.Store(true)
		}
		c.setEnded()
		s := c.session.Load()
		if s == nil {
			// Somebody else may be stuck in a write to a client that does not read: do not wait for it.
			go func() {
				for _, b := range last {
					if err := c.write(b); err != nil {
						c.t.close()
						break
					}
				}
				c.t.finish()
			}()
			return
		}
		if e != nil {
			c.srv.o.Log.Debug("stream ended", "jid", s.JID().String(), "condition", string(e.Condition), "text", e.Text)
		}
		if parked {
			c.srv.parked(c, m)
			return
		}
		c.unbind(s)
		s.Queue.Finish(last...)
		if e != nil { // what the client does not take soon finds another place
			time.AfterFunc(incoming.LingerTimeout, c.t.close)
		}
	})
}

// lastBytes are the stream error and the end of our stream (RFC 6120 §4.4, §4.9.1.1), in one piece for each write.
func (c *clientStream) lastBytes(e *stream.Error) [][]byte {
	if e != nil {
		c.srv.o.Metrics.StreamError(string(e.Condition))
	}
	h := stream.Header{From: c.srv.o.Default.String(), ID: stream.NewStreamID(), Version: "1.0", Lang: "en"}
	if c.t.framed() {
		var all [][]byte
		if !c.answered {
			all = append(all, h.AppendWS(nil))
		}
		if e != nil {
			all = append(all, e.AppendWS(nil))
		}
		return append(all, stream.AppendCloseWS(nil, ""))
	}
	var b []byte
	if !c.answered {
		h.ContentNS = stanza.NSClient
		b = h.AppendTCP(b)
	}
	if e != nil {
		b = e.AppendTCP(b)
	}
	return [][]byte{append(b, stream.CloseTCP...)}
}
