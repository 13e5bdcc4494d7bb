package s2s

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
	"sabir/xmpp/dial"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// tcp carries a stream that a peer has opened, with TLS from the start or by STARTTLS.
type tcp struct {
	srv    *Server
	conn   *conn.Conn
	dec    *xmlstream.Decoder
	from   *listen.Conn
	want   bool // <proceed/> was sent
	leaf   func() *x509.Certificate
	stream *inStream
	login  time.Time // when a domain must be proved at the latest

	wmu      sync.Mutex
	held     []byte // our header, which goes out with what follows it
	finished sync.Once
}

// ServeTCP serves a connection until it ends.
func (s *Server) ServeTCP(ctx context.Context, lc *listen.Conn) {
	limits := &s.set.Load().Limits
	c, err := conn.New(lc, time.Duration(limits.WriteTimeout))
	if err != nil {
		s.o.Log.Error("connection not served", "error", err)
		lc.Close()
		return
	}
	t := &tcp{srv: s, conn: c, from: lc, login: time.Now().Add(time.Duration(limits.AuthTimeout))}
	t.stream = &inStream{srv: s, t: t, done: make(chan struct{}), since: s.o.Clock.Now(), certErr: errNoCertificate}
	t.stream.in = newReceiver(s, t.stream)
	if err := c.SetReadDeadline(t.login); err != nil {
		lc.Close()
		return
	}
	if lc.Purpose == config.S2STLS && !t.handshake(ctx, "") {
		return
	}
	t.dec = xmlstream.NewDecoder(xmlLimits(limits.BeforeAuth, 0))
	if !s.add(t.stream) {
		t.close()
		return
	}
	t.serve(ctx)
}

// handshake does the TLS handshake. Where it fails the connection is closed.
func (t *tcp) handshake(ctx context.Context, domain string) bool {
	var cfg *tls.Config
	cfg, t.leaf = t.srv.o.TLS.For(t.from.Purpose, domain)
	err := t.conn.Handshake(ctx, cfg, time.Duration(t.srv.set.Load().Limits.HandshakeTimeout))
	if err == nil {
		err = t.conn.SetReadDeadline(t.login) // the handshake has lifted it
	}
	if err != nil {
		t.srv.o.Log.Debug("TLS handshake of a server failed", "address", t.addr().String(), "error", fmt.Sprintf("%.200q", err.Error()))
		t.close()
		return false
	}
	return true
}

// serve reads and handles until the stream ends.
func (t *tcp) serve(ctx context.Context) {
	for {
		err := t.stream.raise()
		if err == nil && t.stream.reason.Load() != nil {
			err = errEnd // looked at after the deadline was set: see wake
		}
		if err == nil {
			if err = t.conn.Wait(); err != nil {
				err = t.readError(err)
			} else {
				err = t.drain(ctx)
			}
		}
		if err != nil {
			t.stream.finish(err)
			t.linger()
			return
		}
	}
}

// readError tells why waiting has ended: somebody wants the reader to look, the peer took too long, or it is gone.
func (t *tcp) readError(err error) error {
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		return err
	}
	if t.stream.reason.Load() != nil {
		return errEnd
	}
	deadline := t.login
	if t.stream.trusted.Load() {
		deadline = time.Time{}
	} else if !time.Now().Before(t.login) {
		return stream.Err(stream.ConnectionTimeout, "no domain was proved in time")
	}
	return t.conn.SetReadDeadline(deadline)
}

// wake makes the reader look at what has changed before: it sets the deadline first and looks then.
func (t *tcp) wake() {
	if err := t.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.close()
	}
}

const (
	readBuffer = 32 << 10
	// maxBatch is about how many bytes of stanzas wait for one commit.
	maxBatch = 256 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// drain handles all that can be read now, as one batch or as several of bounded size, with a borrowed buffer.
func (t *tcp) drain(ctx context.Context) error {
	buf := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buf)
	defer t.stream.in.flush()
	batch := 0
	for {
		n, err := t.conn.Read(buf[:])
		if n > 0 {
			if batch += n; batch > maxBatch {
				t.stream.in.flush()
				batch = n
			}
			t.dec.Feed(buf[:n])
			if err := t.handle(ctx); err != nil {
				return err
			}
			if wait := t.srv.take(t.stream, n); wait > 0 {
				t.stream.in.flush()
				if !t.pause(wait) {
					return errEnd
				}
			}
		}
		switch {
		case errors.Is(err, conn.ErrAgain):
			return nil
		case err != nil:
			return t.readError(err)
		}
	}
}

// pause leaves the connection unread for a while. It returns false where the server ends.
func (t *tcp) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.srv.ctx.Done():
		return false
	}
}

// handle handles the complete elements that the decoder has.
func (t *tcp) handle(ctx context.Context) (err error) {
	defer t.srv.recovered(&err)
	for {
		if t.stream.reason.Load() != nil {
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
			h, bad := stream.ParseTCP(ev.Header, "jabber:server")
			err = t.stream.header(h, bad)
		case xmlstream.FrameEvent:
			err = t.stream.element(ev.Frame)
		case xmlstream.Oversize:
			err = t.stream.in.oversize(ev.Frame)
		case xmlstream.StreamEnd:
			err = errEnd
		}
		if err != nil {
			return err
		}
		if t.want {
			if err := t.upgrade(ctx); err != nil {
				return err
			}
		}
	}
}

// upgrade does the handshake that <proceed/> has promised (RFC 6120 §5.4.3).
func (t *tcp) upgrade(ctx context.Context) error {
	t.want = false
	if _, err := t.dec.Next(); !errors.Is(err, xmlstream.ErrMore) || t.dec.Buffered() > 0 || t.conn.Pending() {
		t.close()
		return errors.New("data before the TLS handshake") // CVE-2011-0411
	}
	if !t.handshake(ctx, t.stream.local.Domain()) {
		return errors.New("the TLS handshake failed")
	}
	t.stream.opened, t.stream.answered = false, false
	t.dec = xmlstream.NewDecoder(xmlLimits(t.srv.set.Load().Limits.BeforeAuth, 0))
	return nil
}

// linger waits for the peer's end of the stream, and closes.
func (t *tcp) linger() {
	deadline := time.Now().Add(lingerTimeout)
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

func (t *tcp) secure() bool { return t.leaf != nil }

func (t *tcp) addr() netip.Addr { return t.from.Client().Addr() }

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
