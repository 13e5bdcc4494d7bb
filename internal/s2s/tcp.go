package s2s

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"sabir/internal/config"
	"sabir/internal/incoming"
	"sabir/internal/listen"
	"sabir/xmpp/dial"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// tcp carries a stream that a peer has opened, with TLS from the start or by STARTTLS.
type tcp struct {
	incoming.TCP
	srv    *Server
	stream *inStream
	login  time.Time // when a domain must be proved at the latest
	last   time.Time // until when what is under way is handled, where we have closed our half

	came lastCame

	wmu  sync.Mutex
	held []byte // our header, which goes out with what follows it
}

var _ incoming.Handler = (*tcp)(nil)

// ServeTCP serves a connection until it ends.
func (s *Server) ServeTCP(ctx context.Context, lc *listen.Conn) {
	limits := &s.set.Load().Limits
	t := &tcp{srv: s, login: time.Now().Add(time.Duration(limits.AuthTimeout))}
	if err := t.Take(lc, time.Duration(limits.WriteTimeout), t, stanza.NSServer, s.o.Log); err != nil {
		s.o.Log.Error("connection not served", "error", err)
		lc.Close()
		return
	}
	t.stream = &inStream{srv: s, t: t, ctx: ctx, done: make(chan struct{}), since: s.o.Clock.Now(), certErr: errNoCertificate}
	t.stream.in = newReceiver(s)
	if err := t.Conn.SetReadDeadline(t.login); err != nil {
		lc.Close()
		return
	}
	if lc.Purpose == config.S2STLS && !t.handshake("") {
		return
	}
	t.Dec = xmlstream.NewDecoder(incoming.Limits(limits.BeforeAuth, 0))
	if !s.add(t.stream) {
		t.Close()
		return
	}
	t.serve()
}

// handshake does the TLS handshake. Where it fails the connection is closed.
func (t *tcp) handshake(domain string) bool {
	if t.Handshake(t.stream.ctx, t.srv.o.TLS, domain, time.Duration(t.srv.set.Load().Limits.HandshakeTimeout), nil) != nil {
		return false
	}
	if err := t.Conn.SetReadDeadline(t.login); err != nil { // the handshake has lifted it
		t.Close()
		return false
	}
	return true
}

// serve reads and handles until the stream ends.
func (t *tcp) serve() {
	for {
		err := t.stream.raise()
		if err == nil && t.Ended() {
			err = errEnd // looked at after the deadline was set: see wake
		}
		if err == nil {
			err = t.Step()
		}
		if err != nil {
			t.stream.finish(err)
			t.Linger(incoming.LingerTimeout)
			return
		}
	}
}

// Failed implements incoming.Handler. It tells why waiting has ended: somebody wants the reader to look, the peer took too
// long, or it is gone.
func (t *tcp) Failed(err error) error {
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		return err
	}
	switch {
	case t.stream.said && time.Now().Before(t.last): // wake has come late
		return t.Conn.SetReadDeadline(t.last)
	case t.Ended() || t.stream.said:
		return errEnd
	}
	deadline := t.login
	if t.stream.trusted.Load() {
		deadline = time.Time{}
	} else if !time.Now().Before(t.login) {
		return stream.Err(stream.ConnectionTimeout, "no domain was proved in time")
	}
	return t.Conn.SetReadDeadline(deadline)
}

// wake makes the reader look at what has changed before: it sets the deadline first and looks then.
func (t *tcp) wake() {
	if err := t.Conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Close()
	}
}

// Ended implements incoming.Handler.
func (t *tcp) Ended() bool { return t.stream.reason.Load() != nil && !t.stream.said }

// Came implements incoming.Handler. Idle streams are the business of who has opened them.
func (t *tcp) Came(time.Time) { t.came.begins() }

// Header implements incoming.Handler.
func (t *tcp) Header(h stream.Header, bad *stream.Error) error { return t.stream.header(h, bad) }

// Element implements incoming.Handler.
func (t *tcp) Element(f *xmlstream.Frame) error { return t.stream.element(f) }

// Oversize implements incoming.Handler.
func (t *tcp) Oversize(f *xmlstream.Frame) error {
	if f.Name().Space == stanza.NSServer {
		t.stream.attach()
	}
	return t.stream.in.oversize(f)
}

// Flush implements incoming.Handler.
func (t *tcp) Flush() {
	t.stream.in.flush()
	t.came.ends()
}

// Handled implements incoming.Handler.
func (t *tcp) Handled(n int, _ time.Time) error {
	stanzas := t.stream.in.fresh()
	if !t.stream.trusted.Load() {
		return nil
	}
	wait := t.srv.take(*t.stream.remote.Load(), n, stanzas)
	if wait <= 0 || t.stream.said { // what is under way is read within the time for it
		return nil
	}
	t.stream.in.flush()
	if !incoming.Pause(wait, t.srv.ctx.Done()) {
		return errEnd
	}
	return nil
}

// StartTLS implements incoming.Handler.
func (t *tcp) StartTLS() error {
	if !t.handshake(t.stream.local.Domain()) {
		return errors.New("the TLS handshake failed")
	}
	t.stream.opened, t.stream.answered = false, false
	t.Dec = xmlstream.NewDecoder(incoming.Limits(t.srv.set.Load().Limits.BeforeAuth, 0))
	return nil
}

// hold keeps bytes until the next write, so that they leave together.
func (t *tcp) hold(b []byte) {
	t.wmu.Lock()
	t.held = append(t.held, b...)
	t.wmu.Unlock()
}

func (t *tcp) write(b []byte) error {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.held != nil {
		b = append(t.held, b...)
		t.held = nil
	}
	_, err := t.Conn.Write(b)
	return err
}

// parseAddress reads an address of the configuration: host:port, with tls:// before it for direct TLS.
func parseAddress(s string) (dial.Target, error) {
	const scheme = "tls://"
	direct := len(s) > len(scheme) && s[:len(scheme)] == scheme
	if direct {
		s = s[len(scheme):]
	}
	t, err := dial.ParseTarget(s, 0)
	t.DirectTLS = direct
	return t, err
}
