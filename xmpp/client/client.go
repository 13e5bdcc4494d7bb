package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// Errors of a Client, to be tested with errors.Is.
var (
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("the session was closed")
	// ErrDead says that the server did not answer a ping.
	ErrDead = errors.New("the server does not answer")
)

// Client is a session with a bound resource. Its methods may be called by any goroutine.
type Client struct {
	cfg     *Config
	s       *Stream
	m       *Managed // nil without stream management
	resumed bool
	lost    []*stanza.Stanza
	stanzas chan *stanza.Stanza
	done    chan struct{}
	quit    chan struct{} // closed when nobody wants stanzas any more
	quitter sync.Once

	mu      sync.Mutex
	pending map[string]*request // by id; nil after the end
	err     error               // why it ended
	ending  bool                // Close was called

	last   atomic.Int64 // when something came, in Unix nanoseconds
	pinged atomic.Bool
	timer  *time.Timer // of the ping, or nil
}

// request is one Ask that waits.
type request struct {
	to    jid.JID
	reply chan *stanza.Stanza
}

// Dial connects, logs in, binds and starts reading. ctx bounds that only.
func Dial(ctx context.Context, cfg *Config) (*Client, error) {
	s, err := open(ctx, &Stream{cfg: cfg}, true)
	if err != nil {
		return nil, err
	}
	m, err := s.session(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, quietClose(s.Conn))
	}
	return newClient(cfg, s, m, false), nil
}

// session logs in and binds, or resumes, by what the server has. It returns the state of stream management, or nil.
func (s *Stream) session(ctx context.Context, resume *Managed) (*Managed, error) {
	if s.sent != nil || s.cfg.Login != nil && s.Features.SASL2 != nil && s.Conn.TLS() != nil {
		m, err := s.LogIn(ctx, resume)
		if err != nil || s.jid.IsFull() {
			return m, err
		}
	} else if err := s.Authenticate(ctx); err != nil {
		return nil, err
	}
	if resume != nil {
		return resume, s.Resume(ctx, resume)
	}
	if _, err := s.Bind(ctx, s.cfg.JID.Resource()); err != nil {
		return nil, err
	}
	if !s.cfg.Manage {
		return nil, nil
	}
	m, err := s.EnableSM(ctx, true)
	if errors.Is(err, ErrNoSM) {
		return nil, nil
	}
	return m, err
}

// quietClose closes what may be closed already, and what the other side has: TLS cannot take leave of it then.
func quietClose(c io.Closer) error {
	err := c.Close()
	var op *net.OpError
	if errors.Is(err, net.ErrClosed) || errors.As(err, &op) && op.Op == "write" {
		return nil
	}
	return err
}

func newClient(cfg *Config, s *Stream, m *Managed, resumed bool) *Client {
	c := &Client{cfg: cfg, s: s, m: m, resumed: resumed, done: make(chan struct{}), quit: make(chan struct{}), pending: make(map[string]*request)}
	if cfg.Handle == nil {
		n := cfg.Buffer
		if n == 0 {
			n = defaultBuffer
		}
		c.stanzas = make(chan *stanza.Stanza, n)
	}
	c.last.Store(time.Now().UnixNano())
	if cfg.PingInterval > 0 {
		c.mu.Lock()
		c.timer = time.AfterFunc(cfg.PingInterval, c.watch)
		c.mu.Unlock()
	}
	go c.read()
	return c
}

// JID returns the full JID.
func (c *Client) JID() jid.JID { return c.s.jid }

// Stream returns the stream below, for what it says of itself. Only the Client reads from it.
func (c *Client) Stream() *Stream { return c.s }

// Stanzas returns what came, in order, where Config.Handle is nil. It is closed at the end.
func (c *Client) Stanzas() <-chan *stanza.Stanza { return c.stanzas }

// Done is closed when the session has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the session lasts. Then: ErrClosed, a *stream.Error of the server, io.EOF where the server
// closed the stream, or what befell the connection.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Send sends a stanza. It returns when the connection has taken it.
//
// With Config.Manage a stanza is kept until the server has acknowledged it, also where the error says that the connection
// failed: Resume sends it again.
func (c *Client) Send(s *stanza.Stanza) error {
	if c.m != nil {
		return c.m.Send(c.s, s)
	}
	return c.s.Send(s)
}

// SendElement sends any top-level element.
func (c *Client) SendElement(e *xmlstream.Element) error {
	if c.m == nil || e.Name.Space != stanza.NSClient {
		return c.s.SendElement(e)
	}
	f, err := xmlstream.ParseFrame(e.Append(nil, ""), xmlstream.DefaultLimits)
	if err != nil {
		return err
	}
	st, bad := stanza.FromFrame(f)
	if bad != nil {
		return bad
	}
	if st == nil {
		return c.s.SendElement(e)
	}
	return c.Send(st)
}

// SendRaw sends bytes as they are: for tests, and for load that was encoded before.
func (c *Client) SendRaw(p []byte) error { return c.s.Conn.Write(p) }

// Ask sends an iq of type get or set and waits for its answer, which may be of type error: see stanza.Stanza.Err. An
// answer counts only with the id and from the address that was asked (RFC 6120 §8.1.2.1). Where the id is "", it gets one.
func (c *Client) Ask(ctx context.Context, q *stanza.Stanza) (*stanza.Stanza, error) {
	if !q.Request() {
		return nil, errors.New("only an iq of type get or set is answered")
	}
	if q.ID == "" {
		q = q.Clone()
		q.ID = stanza.NewID()
	}
	r := &request{q.To, make(chan *stanza.Stanza, 1)}
	c.mu.Lock()
	if c.pending == nil {
		err := c.err
		c.mu.Unlock()
		return nil, err
	}
	if c.pending[q.ID] != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("a request with the id %q is under way", q.ID)
	}
	c.pending[q.ID] = r
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, q.ID)
		c.mu.Unlock()
	}()
	if err := c.Send(q); err != nil {
		return nil, err
	}
	select {
	case a := <-r.reply:
		return a, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		select {
		case a := <-r.reply:
			return a, nil
		default:
			return nil, c.Err()
		}
	}
}

// Request is Ask for a payload, and returns that of the answer, which may be nil. An error answer is a *stanza.Error.
func (c *Client) Request(ctx context.Context, typ string, to jid.JID, payload *xmlstream.Element) (*xmlstream.Element, error) {
	a, err := c.Ask(ctx, stanza.NewIQ(typ, jid.JID{}, to, payload))
	if err != nil {
		return nil, err
	}
	if e := a.Err(); e != nil {
		return nil, e
	}
	return a.Payload(), nil
}

// Ping sends a ping (XEP-0199) and waits for the answer; the zero JID asks the server. An error answer is an answer too:
// somebody lives (XEP-0199#c2s).
func (c *Client) Ping(ctx context.Context, to jid.JID) error {
	if to.IsZero() {
		to = c.s.jid.DomainJID()
	}
	_, err := c.Ask(ctx, stanza.NewIQ(stanza.TypeGet, jid.JID{}, to, xmlstream.El(nsPing, "ping")))
	return err
}

// Close ends the stream and waits until the server has done the same, at most as long as ctx lasts. Stanzas for which
// Stanzas() has no room then are dropped.
func (c *Client) Close(ctx context.Context) error {
	c.quitter.Do(func() { close(c.quit) })
	c.mu.Lock()
	first := !c.ending && c.pending != nil
	c.ending = true
	c.mu.Unlock()
	var err error
	if first {
		if c.m != nil { // XEP-0198#acking: or the server would take it that we have not got them
			err = c.m.answer(c.s)
		}
		if err == nil {
			err = c.s.Conn.CloseStream()
		}
	}
	if err == nil {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, quietClose(c.s.Conn))
}

// Abort ends the connection without a word, as a network does that fails.
func (c *Client) Abort() error {
	c.quitter.Do(func() { close(c.quit) })
	return quietClose(c.s.Conn)
}

// read is the goroutine of the session.
func (c *Client) read() {
	var err error
	for {
		var f *xmlstream.Frame
		if f, err = c.s.Next(); err != nil {
			break
		}
		if c.cfg.PingInterval > 0 {
			c.last.Store(time.Now().UnixNano())
			c.pinged.Store(false)
		}
		if c.m != nil && f.Name().Space == sm.NS {
			if _, err = c.m.Handle(c.s, f); err != nil {
				break
			}
			continue
		}
		c.take(f)
		if c.m != nil {
			if _, err = c.m.Handle(c.s, f); err != nil {
				break
			}
		}
	}
	c.end(err)
}

func (c *Client) end(err error) {
	c.mu.Lock()
	if errors.Is(err, io.EOF) && !c.ending { // the server ends: RFC 6120 §4.4 asks for an answer
		if werr := c.s.Conn.CloseStream(); werr != nil {
			c.cfg.log().Debug("closing the stream", "err", werr)
		}
	}
	switch {
	case c.err != nil: // set by watch
	case c.ending:
		c.err = ErrClosed
	default:
		c.err = err
	}
	c.pending = nil
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if err := quietClose(c.s.Conn); err != nil {
		c.cfg.log().Debug("closing the connection", "err", err)
	}
	if c.stanzas != nil {
		close(c.stanzas)
	}
	close(c.done)
}

func (c *Client) take(f *xmlstream.Frame) {
	s, bad := stanza.FromFrame(f)
	if s == nil {
		if c.cfg.HandleFrame != nil {
			c.cfg.HandleFrame(c, f)
		}
		return
	}
	if bad != nil {
		c.cfg.log().Debug("a faulty stanza came", "err", bad)
		if s.Request() {
			c.reply(s.ErrorReply(bad))
			return
		}
	}
	if s.Kind == stanza.IQ && !s.Request() && c.answer(s) {
		return
	}
	if c.cfg.Handle == nil {
		select {
		case c.stanzas <- s:
		case <-c.quit:
		}
		return
	}
	if c.cfg.Handle(c, s) || !s.Request() {
		return
	}
	if s.Type == stanza.TypeGet && s.PayloadName() == (xmlstream.Name{Space: nsPing, Local: "ping"}) {
		c.reply(s.Result(nil))
		return
	}
	c.reply(s.ErrorReply(stanza.Err(stanza.ServiceUnavailable, ""))) // RFC 6120 §8.4
}

func (c *Client) reply(s *stanza.Stanza) {
	if s == nil {
		return
	}
	s.From = jid.JID{} // the server stamps it
	if err := c.Send(s); err != nil {
		c.cfg.log().Debug("sending a reply", "err", err)
	}
}

// answer hands a reply to the Ask that waits for it, and tells whether there is one.
func (c *Client) answer(s *stanza.Stanza) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pending[s.ID]
	if r == nil || !c.from(s.From, r.to) {
		return false
	}
	delete(c.pending, s.ID)
	r.reply <- s
	return true
}

// from tells whether an answer may come from this address, where to was asked. Without an address the account itself was
// asked, in whose name the server answers from the bare JID, the full JID or none (RFC 6120 §8.1.2.1, §10.3.3).
func (c *Client) from(from, to jid.JID) bool {
	if from == to {
		return true
	}
	own := c.s.jid
	if to.IsZero() || to == own.Bare() {
		return from.IsZero() || from == own.Bare() || from == own || to.IsZero() && from == own.DomainJID()
	}
	return false
}

// watch pings a server from which nothing came for long, and gives it up where the ping changed nothing.
func (c *Client) watch() {
	idle := time.Since(time.Unix(0, c.last.Load()))
	wait := c.cfg.PingInterval - idle
	switch {
	case wait > 0:
	case c.pinged.Load():
		c.mu.Lock()
		if c.err == nil {
			c.err = ErrDead
		}
		c.mu.Unlock()
		if err := quietClose(c.s.Conn); err != nil {
			c.cfg.log().Debug("closing a dead connection", "err", err)
		}
		return
	default:
		c.pinged.Store(true)
		wait = c.cfg.PingInterval
		ping := stanza.NewIQ(stanza.TypeGet, jid.JID{}, c.s.jid.DomainJID(), xmlstream.El(nsPing, "ping"))
		c.mu.Lock()
		if c.pending != nil { // its answer is to be nobody else's
			c.pending[ping.ID] = &request{ping.To, make(chan *stanza.Stanza, 1)}
		}
		c.mu.Unlock()
		if err := c.Send(ping); err != nil {
			c.cfg.log().Debug("sending a ping", "err", err)
		}
	}
	c.mu.Lock()
	if c.pending != nil {
		c.timer.Reset(wait)
	}
	c.mu.Unlock()
}
