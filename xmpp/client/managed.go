package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// ErrNoSM says that the server offers no stream management, or that the Client does without.
var ErrNoSM = errors.New("there is no stream management")

// SMError is the server's answer to a refused <enable/> or <resume/> (XEP-0198#errors).
type SMError struct {
	Condition stanza.Condition
	// H is how many stanzas the server has handled in the session that cannot be resumed, where Known.
	H     uint32
	Known bool
}

// Error names the condition.
func (e *SMError) Error() string { return "stream management failed: " + string(e.Condition) }

// Managed is the state of stream management of one session (XEP-0198). It outlives the connection: Resume goes on with it on
// another. Its methods may be called from any goroutine.
type Managed struct {
	cfg *Config

	mu      sync.Mutex
	id      string // "" where the session cannot be resumed
	max     time.Duration
	full    jid.JID
	handled uint32
	unacked sm.Unacked[*stanza.Stanza]
	waiting []waiter
	early   int // stanzas that came before <enabled/> and were not handled yet: they do not count
}

// waiter waits until as many stanzas are acknowledged.
type waiter struct {
	h    uint32
	done chan struct{}
}

// JID returns the full JID of the session.
func (m *Managed) JID() jid.JID { return m.full }

// ID returns the SM-ID, by which the server knows the session; "" where it cannot be resumed.
func (m *Managed) ID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Resumable tells whether the server agreed to resume the session, and for how long after a loss; 0 where it does not say.
func (m *Managed) Resumable() (max time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.max, m.id != ""
}

// Handled returns how many stanzas of the server were handled.
func (m *Managed) Handled() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handled
}

// Unacked returns the stanzas that the server has not acknowledged, in order.
func (m *Managed) Unacked() []*stanza.Stanza {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*stanza.Stanza
	m.unacked.Each(func(s **stanza.Stanza) { all = append(all, *s) })
	return all
}

// acked takes an acknowledgement of h stanzas and tells Config.Acked.
func (m *Managed) acked(h uint32) error {
	m.mu.Lock()
	var done []*stanza.Stanza
	err := m.unacked.Ack(h, func(s *stanza.Stanza) { done = append(done, s) })
	at := m.unacked.Acked()
	kept := m.waiting[:0]
	for _, w := range m.waiting {
		if int32(at-w.h) >= 0 {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	m.waiting = kept
	m.mu.Unlock()
	if m.cfg.Acked != nil {
		for _, s := range done {
			m.cfg.Acked(s)
		}
	}
	return err
}

// EnableSM enables stream management after Bind, with resume for a session that can be resumed on another connection. The
// error is an *SMError where the server refused, and ErrNoSM where it offers none. From then on the caller owes a call of
// Handle for each element that Next returns, and sends stanzas by m.
func (s *Stream) EnableSM(ctx context.Context, resume bool) (*Managed, error) {
	if s.Features.Element.Child(sm.NS, "sm") == nil {
		return nil, ErrNoSM
	}
	m := &Managed{cfg: s.cfg, full: s.jid}
	x, err := s.managed(ctx, sm.Enable(resume, 0), "enabled")
	if err != nil {
		return nil, err
	}
	var max uint32
	m.id, max = sm.ParseEnabled(x)
	m.early = len(s.early)
	m.max = time.Duration(max) * time.Second
	return m, nil
}

// Resume resumes a session in place of Bind and sends again what the server has not got. The error is an *SMError where the
// server refused; then a resource can be bound.
func (s *Stream) Resume(ctx context.Context, m *Managed) error {
	m.mu.Lock()
	id, h := m.id, m.handled
	m.mu.Unlock()
	if id == "" {
		return ErrNoSM
	}
	x, err := s.managed(ctx, sm.Resume(id, h), "resumed")
	var refused *SMError
	if errors.As(err, &refused) && refused.Known {
		return errors.Join(err, m.acked(refused.H))
	}
	if err != nil {
		return err
	}
	return s.resumed(m, x)
}

// resumed goes on with a session after <resumed/>.
func (s *Stream) resumed(m *Managed, x *xmlstream.Element) error {
	_, theirs, bad := sm.ParseResumption(x)
	if bad != nil {
		return bad
	}
	if err := m.acked(theirs); err != nil {
		return s.closing(err)
	}
	s.jid = m.full
	for _, st := range m.Unacked() {
		if err := s.Send(st); err != nil {
			return err
		}
	}
	return nil
}

// managed asks for x and waits for the answer of this name. Stanzas that come before are kept for Next.
func (s *Stream) managed(ctx context.Context, x *xmlstream.Element, name string) (*xmlstream.Element, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	defer cancel()
	var answer *xmlstream.Element
	err := s.guard(ctx, func() error {
		if err := s.SendElement(x); err != nil {
			return err
		}
		for {
			f, err := s.fresh()
			if err != nil {
				return err
			}
			switch n := f.Name(); {
			case n.Space != sm.NS:
				s.early = append(s.early, f)
			case n.Local == name:
				answer = f.Element()
				return nil
			case n.Local == "failed":
				c, h, known := sm.ParseFailed(f.Element())
				return &SMError{Condition: c, H: h, Known: known}
			default:
				return fmt.Errorf("the server answered <%s/> with <%s/>", x.Name.Local, n.Local)
			}
		}
	})
	return answer, err
}

// Send sends a stanza on s and keeps it until it is acknowledged. An error says that the connection failed: the stanza is
// kept all the same, for Resume.
func (m *Managed) Send(s *Stream, st *stanza.Stanza) error {
	m.mu.Lock()
	defer m.mu.Unlock() // so that the order on the wire is that of the account
	m.unacked.Sent(st)
	return s.Send(st)
}

// Request asks the server what it has got.
func (m *Managed) Request(s *Stream) error { return s.Conn.Write([]byte(sm.Request)) }

// Handle sees to an element that came on s: it counts stanzas, answers requests and takes acknowledgements. It tells whether
// the element was one of stream management. Of a stanza it is told after the stanza was handled.
func (m *Managed) Handle(s *Stream, f *xmlstream.Frame) (nonza bool, err error) {
	n := f.Name()
	if n.Space == stanza.NSClient {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.early > 0 {
			m.early--
		} else {
			m.handled++
		}
		return false, nil
	}
	if n.Space != sm.NS {
		return false, nil
	}
	switch n.Local {
	case "r":
		return true, m.answer(s)
	case "a":
		h, ok := sm.ParseH(f.Attr("h"))
		if !ok {
			return true, fmt.Errorf("the server acknowledged %q stanzas", f.Attr("h"))
		}
		err := m.acked(h)
		var high *sm.TooHigh
		if errors.As(err, &high) {
			return true, s.closing(high.Stream())
		}
		return true, err
	}
	return true, nil
}

// answer tells the server what was handled.
func (m *Managed) answer(s *Stream) error {
	return s.Conn.Write(sm.AppendAck(nil, m.Handled()))
}

// wait returns a channel that is closed when all that was sent is acknowledged.
func (m *Managed) wait() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := waiter{m.unacked.Count(), make(chan struct{})}
	if m.unacked.Len() == 0 {
		close(w.done)
		return w.done
	}
	m.waiting = append(m.waiting, w)
	return w.done
}

// Resume goes on with a session whose connection was lost, and sends again what the server has not got. The error is an
// *SMError where the server knows the session no more: then what Unacked returns may be lost, and Dial makes a new one.
func Resume(ctx context.Context, cfg *Config, m *Managed) (*Client, error) {
	s, err := open(ctx, &Stream{cfg: cfg, resume: m}, true)
	if err != nil {
		return nil, err
	}
	if _, err := s.session(ctx, m); err != nil {
		return nil, errors.Join(err, quietClose(s.Conn))
	}
	m.cfg = cfg
	return newClient(cfg, s, m, true), nil
}

// Resumed tells whether the session is one of before, which goes on.
func (c *Client) Resumed() bool { return c.resumed }

// Lost returns what Run has sent in the session before, where that could not be resumed, and the server has not
// acknowledged: to be sent again, or to be shown as failed (XEP-0198#acking).
func (c *Client) Lost() []*stanza.Stanza { return c.lost }

// Managed returns the state of stream management, for Resume; nil where Config.Manage is false or the server has none.
func (c *Client) Managed() *Managed { return c.m }

// Flush asks the server for an acknowledgement of all that was sent, and waits for it: then the server has accepted it.
func (c *Client) Flush(ctx context.Context) error {
	if c.m == nil {
		return ErrNoSM
	}
	done := c.m.wait()
	if err := c.m.Request(c.s); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.Err()
	}
}
