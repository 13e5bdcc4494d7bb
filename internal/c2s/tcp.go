package c2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"time"

	"sabir/internal/config"
	"sabir/internal/incoming"
	"sabir/internal/listen"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// tcp carries a stream over TCP, with TLS from the start, by STARTTLS, or without.
type tcp struct {
	incoming.TCP
	srv    *Server
	direct bool
	limits xmlstream.Limits
	rate   incoming.Bucket
	stream *clientStream
	// start is when the connection came, later by what it has waited for a handshake; login is when a resource must be bound
	// at the latest.
	start, login time.Time
	// batches counts those since a resource was bound, as far as serve needs to know.
	batches  int
	settling settling
}

var _ incoming.Handler = (*tcp)(nil)

// ServeTCP serves a connection until it ends. With direct it starts with a TLS handshake (XEP-0368).
func (s *Server) ServeTCP(ctx context.Context, lc *listen.Conn) {
	t := &tcp{srv: s, direct: lc.Purpose == config.C2STLS, limits: incoming.Limits(s.limits().BeforeAuth, 0)}
	if err := t.Take(lc, time.Duration(s.limits().WriteTimeout), t, stanza.NSClient, s.o.Log); err != nil {
		s.o.Log.Error("connection not served", "error", err)
		lc.Close()
		return
	}
	t.rate = incoming.NewBucket(s.limits().ByteRate, s.limits().ByteBurst)
	t.stream = s.newStream(ctx, t)
	t.start = time.Now()
	t.login = t.start.Add(time.Duration(s.limits().AuthTimeout))
	if err := t.Conn.SetReadDeadline(t.login); err != nil {
		lc.Close()
		return
	}
	s.logins.do(func() {
		if t.direct && !t.handshake(ctx, "") {
			return
		}
		t.Dec = xmlstream.NewDecoder(t.limits)
		if t.stream.begin() {
			t.serve()
		}
	})
}

// handshake does the TLS handshake. Where it fails the connection is closed.
func (t *tcp) handshake(ctx context.Context, domain string) bool {
	turn := &turns{gate: t.srv.gate}
	err := t.Handshake(ctx, t.srv.o.TLS, domain, time.Duration(t.srv.limits().HandshakeTimeout), turn)
	// The time at the gate is not the client's. start moves too: named counts from it when another header comes.
	t.start, t.login = t.start.Add(turn.waited), t.login.Add(turn.waited)
	t.srv.o.Metrics.HandshakeWait(turn.waited)
	if errors.Is(err, errBusy) {
		t.srv.o.Metrics.Refused("busy")
	}
	if err != nil {
		return false
	}
	if err := t.Conn.SetReadDeadline(t.login); err != nil { // the handshake has lifted it
		t.Close()
		return false
	}
	return true
}

// serve reads and handles until the stream ends. A while after the login it goes on with a new goroutine, whose stack is
// small, and leaves the one that has grown to the next login.
func (t *tcp) serve() {
	for {
		err := t.Step()
		if err == nil && t.settling.done {
			t.settling.done = false
			go t.serve()
			return
		}
		if err == nil && t.stream.state == bound && t.batches == 0 {
			err = t.loggedIn()
		}
		if err != nil {
			t.stream.finish(err)
			t.settling.stop(t)
			t.Linger(time.Duration(t.srv.limits().WriteTimeout))
			return
		}
		if t.stream.state == bound {
			if t.batches++; t.batches == 4 || t.batches == 64 {
				go t.serve()
				return
			}
		}
	}
}

// loggedIn lifts the deadline of the login.
func (t *tcp) loggedIn() error {
	if err := t.Conn.SetReadDeadline(time.Time{}); err != nil || !t.stream.ended.Load() {
		return err
	}
	return t.Conn.SetReadDeadline(time.Now().Add(incoming.LingerTimeout)) // finish may have set its own before
}

// Failed implements incoming.Handler. It tells a client that took too long; another error means that the connection is gone,
// or nothing but that the reader is to settle.
func (t *tcp) Failed(err error) error {
	var ne net.Error
	timeout := errors.As(err, &ne) && ne.Timeout()
	if timeout && t.settled() {
		return t.loggedIn()
	}
	if timeout && !t.stream.bound.Load() {
		// The deadline has passed: linger needs another, to wait until the client has been told.
		if err := t.Conn.SetReadDeadline(time.Now().Add(incoming.LingerTimeout)); err != nil {
			return err
		}
		return stream.Err(stream.ConnectionTimeout, "the login took too long")
	}
	return err
}

// Ended implements incoming.Handler.
func (t *tcp) Ended() bool { return t.stream.ended.Load() }

// Came implements incoming.Handler.
func (t *tcp) Came(now time.Time) {
	t.settling.due.Store(true)
	t.stream.touch(now)
}

// Header implements incoming.Handler.
func (t *tcp) Header(h stream.Header, bad *stream.Error) error { return t.stream.header(h, bad) }

// Element implements incoming.Handler.
func (t *tcp) Element(f *xmlstream.Frame) error { return t.stream.element(f) }

// Oversize implements incoming.Handler. The limits of clients let nothing be skipped.
func (t *tcp) Oversize(*xmlstream.Frame) error { return stream.Err(stream.PolicyViolation, "") }

// Flush implements incoming.Handler.
func (t *tcp) Flush() { t.stream.flush() }

// Handled implements incoming.Handler.
func (t *tcp) Handled(n int, now time.Time) error {
	if wait := t.rate.Take(n, now); wait > 0 {
		t.stream.flush()
		t.stream.pause(wait)
	}
	t.stream.yield()
	return nil
}

// StartTLS implements incoming.Handler.
func (t *tcp) StartTLS() error {
	if !t.handshake(t.stream.ctx, t.stream.host.Load().Domain().Domain()) {
		return errors.New("the TLS handshake failed")
	}
	t.stream.state, t.stream.answered = wantHeader, false
	t.Dec = xmlstream.NewDecoder(t.limits)
	return nil
}

func (t *tcp) name() string {
	if t.direct {
		return "tls"
	}
	return "tcp"
}

func (t *tcp) framed() bool { return false }

func (t *tcp) write(b []byte) error {
	_, err := t.Conn.Write(b)
	return err
}

func (t *tcp) tls() (*tls.ConnectionState, *x509.Certificate) { return t.TLS() }

func (t *tcp) secure() bool { return t.Encrypted() || t.From.Secured }

func (t *tcp) addr() netip.Addr { return t.Addr() }

func (t *tcp) startTLS() bool {
	if t.secure() {
		return false
	}
	t.Proceed()
	return true
}

func (t *tcp) named(l *config.HostLimits) {
	t.limits = incoming.Limits(l.BeforeAuth, 0)
	t.Dec.SetLimits(t.limits)
	t.rate.Set(l.ByteRate, l.ByteBurst)
	login := t.start.Add(time.Duration(l.AuthTimeout))
	if login.Equal(t.login) {
		return
	}
	t.login = login
	if err := t.Conn.SetReadDeadline(login); err != nil {
		t.Close()
	}
}

func (t *tcp) restart(l xmlstream.Limits) {
	t.Dec.SetLimits(l)
	t.Dec.Restart()
	t.stream.answered = false
}

func (t *tcp) limit(l xmlstream.Limits) { t.Dec.SetLimits(l) }

func (t *tcp) finish() { t.Finish() }

func (t *tcp) close() { t.Close() }
