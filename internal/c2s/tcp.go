package c2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"sabir/internal/config"
	"sabir/internal/conn"
	"sabir/internal/listen"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// lingerTimeout is how long a peer may take to close after it was told that the stream has ended (RFC 6120 §4.4).
const lingerTimeout = 3 * time.Second

// tcp carries a stream over TCP, with TLS from the start, by STARTTLS, or without.
type tcp struct {
	srv    *Server
	conn   *conn.Conn
	dec    *xmlstream.Decoder
	from   *listen.Conn
	direct bool
	want   bool // <proceed/> was sent
	limits xmlstream.Limits
	leaf   func() *x509.Certificate
	rate   bucket
	stream *clientStream
	// start is when the connection came, later by what it has waited for a handshake; login is when a resource must be bound
	// at the latest.
	start, login time.Time
	// batches counts those since a resource was bound, as far as serve needs to know.
	batches int

	finished sync.Once
}

// ServeTCP serves a connection until it ends. With direct it starts with a TLS handshake (XEP-0368).
func (s *Server) ServeTCP(ctx context.Context, lc *listen.Conn) {
	c, err := conn.New(lc, time.Duration(s.limits().WriteTimeout))
	if err != nil {
		s.o.Log.Error("connection not served", "error", err)
		lc.Close()
		return
	}
	t := &tcp{srv: s, conn: c, from: lc, direct: lc.Purpose == config.C2STLS, limits: xmlLimits(s.limits().BeforeAuth)}
	t.rate = newBucket(s.limits().ByteRate, s.limits().ByteBurst)
	t.stream = s.newStream(ctx, t)
	t.start = time.Now()
	t.login = t.start.Add(time.Duration(s.limits().AuthTimeout))
	if err := c.SetReadDeadline(t.login); err != nil {
		lc.Close()
		return
	}
	s.logins.do(func() {
		if t.direct && !t.handshake(ctx, "") {
			return
		}
		t.dec = xmlstream.NewDecoder(t.limits)
		if t.stream.begin() {
			t.serve()
		}
	})
}

// handshake does the TLS handshake. Where it fails the connection is closed.
func (t *tcp) handshake(ctx context.Context, domain string) bool {
	var cfg *tls.Config
	cfg, t.leaf = t.srv.o.TLS.For(t.from.Purpose, domain)
	turn := &turns{gate: t.srv.gate}
	err := t.conn.HandshakeBy(ctx, cfg, time.Duration(t.srv.limits().HandshakeTimeout), turn)
	// The time at the gate is not the client's. start moves too: named counts from it when another header comes.
	t.start, t.login = t.start.Add(turn.waited), t.login.Add(turn.waited)
	t.srv.o.Metrics.HandshakeWait(turn.waited)
	if errors.Is(err, errBusy) {
		t.srv.o.Metrics.Refused("busy")
	}
	if err != nil {
		t.srv.o.Log.Debug("TLS handshake failed", "address", t.from.Client().Addr().String(), "error", fmt.Sprintf("%.200q", err.Error()))
		t.close()
		return false
	}
	if err := t.conn.SetReadDeadline(t.login); err != nil { // the handshake has lifted it
		t.close()
		return false
	}
	return true
}

// serve reads and handles until the stream ends. A while after the login it goes on with a new goroutine, whose stack is
// small, and leaves the one that has grown to the next login.
func (t *tcp) serve() {
	for {
		err := t.conn.Wait()
		if err != nil {
			err = t.readError(err)
		} else {
			err = t.drain()
		}
		if err == nil && t.stream.state == bound && t.batches == 0 {
			err = t.loggedIn()
		}
		if err != nil {
			t.stream.finish(err)
			t.linger()
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
	if err := t.conn.SetReadDeadline(time.Time{}); err != nil || !t.stream.ended.Load() {
		return err
	}
	return t.conn.SetReadDeadline(time.Now().Add(lingerTimeout)) // finish may have set its own before
}

// readError tells a client that took too long; another error means that the connection is gone.
func (t *tcp) readError(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() && !t.stream.bound.Load() {
		// The deadline has passed: linger needs another, to wait until the client has been told.
		if err := t.conn.SetReadDeadline(time.Now().Add(lingerTimeout)); err != nil {
			return err
		}
		return stream.Err(stream.ConnectionTimeout, "the login took too long")
	}
	return err
}

// maxBatch is about how many bytes of stanzas wait for one commit.
const maxBatch = 256 << 10

// drain handles all that can be read now, as one batch or as several of bounded size, with a borrowed buffer.
func (t *tcp) drain() error {
	buf := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buf)
	defer t.stream.flush()
	batch := 0
	for {
		n, err := t.conn.Read(buf[:])
		if n > 0 {
			if batch += n; batch > maxBatch {
				t.stream.flush()
				batch = n
			}
			now := time.Now()
			t.stream.touch(now)
			t.dec.Feed(buf[:n])
			if err := t.handle(); err != nil {
				return err
			}
			if wait := t.rate.take(n, now); wait > 0 {
				t.stream.flush()
				t.stream.pause(wait)
			}
			t.stream.yield()
		}
		switch {
		case errors.Is(err, conn.ErrAgain):
			return nil
		case err != nil:
			return err
		}
	}
}

const readBuffer = 16 << 10

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// handle handles the complete elements that the decoder has.
func (t *tcp) handle() (err error) {
	defer t.stream.recovered(&err)
	for {
		if t.stream.ended.Load() {
			return errEnd
		}
		ev, err := t.dec.Next()
		if errors.Is(err, xmlstream.ErrMore) {
			return nil
		}
		if err != nil {
			var xe *xmlstream.Error
			if errors.As(err, &xe) {
				return stream.FromXML(xe)
			}
			return err
		}
		switch ev.Kind {
		case xmlstream.StreamStart:
			h, bad := stream.ParseTCP(ev.Header, "jabber:client")
			err = t.stream.header(h, bad)
		case xmlstream.FrameEvent:
			err = t.stream.element(ev.Frame)
		case xmlstream.StreamEnd:
			err = errEnd
		}
		if err != nil {
			return err
		}
		if t.want {
			if err := t.upgrade(); err != nil {
				return err
			}
		}
	}
}

// upgrade does the handshake that <proceed/> has promised (RFC 6120 §5.4.3).
func (t *tcp) upgrade() error {
	t.want = false
	// COMPAT go-xmpp 2022 (go-sendxmpp of Debian 12), 2026-11: it sends a newline behind <starttls/>, against RFC 6120 §5.3.3.
	// Next drops white space; anything else stays or is an event.
	if _, err := t.dec.Next(); !errors.Is(err, xmlstream.ErrMore) || t.dec.Buffered() > 0 || t.conn.Pending() {
		// What came before the handshake could have been put in by anybody (CVE-2011-0411).
		t.close()
		return errors.New("data before the TLS handshake")
	}
	if !t.handshake(t.stream.ctx, t.stream.host.Load().Domain().Domain()) {
		return errors.New("the TLS handshake failed")
	}
	t.stream.state, t.stream.answered = wantHeader, false
	t.dec = xmlstream.NewDecoder(t.limits)
	return nil
}

// linger waits for the peer's end of the stream, and closes.
func (t *tcp) linger() {
	deadline := time.Now().Add(time.Duration(t.srv.limits().WriteTimeout))
	var b [512]byte
	for time.Now().Before(deadline) {
		if err := t.conn.Wait(); err != nil {
			break
		}
		for {
			if _, err := t.conn.Read(b[:]); err != nil {
				if !errors.Is(err, conn.ErrAgain) {
					deadline = time.Time{}
				}
				break
			}
		}
	}
	t.close()
}

func (t *tcp) name() string {
	if t.direct {
		return "tls"
	}
	return "tcp"
}

func (t *tcp) framed() bool { return false }

func (t *tcp) write(b []byte) error {
	_, err := t.conn.Write(b)
	return err
}

func (t *tcp) tls() (*tls.ConnectionState, *x509.Certificate) {
	s := t.conn.TLS()
	if s == nil {
		return nil, nil
	}
	return s, t.leaf()
}

func (t *tcp) secure() bool { return t.leaf != nil || t.from.Secured }

func (t *tcp) addr() netip.Addr { return t.from.Client().Addr() }

func (t *tcp) startTLS() bool {
	t.want = !t.secure()
	return t.want
}

func (t *tcp) named(l *config.HostLimits) {
	t.limits = xmlLimits(l.BeforeAuth)
	t.dec.SetLimits(t.limits)
	t.rate.set(l.ByteRate, l.ByteBurst)
	login := t.start.Add(time.Duration(l.AuthTimeout))
	if login.Equal(t.login) {
		return
	}
	t.login = login
	if err := t.conn.SetReadDeadline(login); err != nil {
		t.close()
	}
}

func (t *tcp) restart(l xmlstream.Limits) {
	t.dec.SetLimits(l)
	t.dec.Restart()
	t.stream.answered = false
}

func (t *tcp) limit(l xmlstream.Limits) { t.dec.SetLimits(l) }

func (t *tcp) finish() {
	t.finished.Do(func() {
		// The peer may be gone already; then the reader has noticed or will at the deadline.
		if err := t.conn.CloseWrite(); err != nil {
			t.close()
			return
		}
		if err := t.conn.SetReadDeadline(time.Now().Add(lingerTimeout)); err != nil {
			t.close()
		}
	})
}

func (t *tcp) close() {
	if err := t.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.srv.o.Log.Debug("closing a connection", "error", err)
	}
}
