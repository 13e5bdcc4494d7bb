// Package incoming owns what the streams have in common that clients and other servers open to us, below the meaning of their
// elements: TLS, the loop that reads and handles in batches, the refusal of what stands before a handshake, and the end of a
// connection. internal/c2s and internal/s2s say by a Handler what the elements mean.
package incoming

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
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

// ErrEnd is returned by handlers when the peer has closed the stream or the server has.
var ErrEnd = errors.New("the stream has ended")

// Handler gives meaning to what a connection brings. The reader of the connection calls it, one call at a time, but for
// Ended. An error ends the stream: ErrEnd in good order, a *stream.Error with that error, any other because the connection
// is broken.
type Handler interface {
	// Ended tells whether the server has ended the stream: nothing that comes is handled any more.
	Ended() bool
	// Came notes that something has come; what it is follows.
	Came(now time.Time)
	// Header handles a stream header; bad is what is wrong with it by itself.
	Header(h stream.Header, bad *stream.Error) error
	// Element handles a top-level element.
	Element(f *xmlstream.Frame) error
	// Oversize handles the start of an element that was too large, where the limits let the rest of it be skipped.
	Oversize(f *xmlstream.Frame) error
	// Flush ends the batch.
	Flush()
	// Handled notes that n bytes were handled, and may wait before more are read.
	Handled(n int, now time.Time) error
	// Failed tells what an error of waiting or reading means, which may be one of the deadline; nil goes on.
	Failed(err error) error
	// StartTLS does the handshake that was promised (see TCP.Proceed), and makes ready for a stream header.
	StartTLS() error
}

// TCP is a connection that carries a stream, with TLS from the start, by STARTTLS or without. Its methods belong to the
// reader, but for Write, Finish, Close and those that only tell.
type TCP struct {
	Conn *conn.Conn
	// Dec has the limits of the stream.
	Dec  *xmlstream.Decoder
	From *listen.Conn

	h    Handler
	ns   string // of the content
	log  *slog.Logger
	want bool // <proceed/> was sent
	leaf func() *x509.Certificate

	finished sync.Once
}

// Take takes a connection over, whose stream has content of namespace ns. writeTimeout bounds how long a write waits for
// the peer.
func (t *TCP) Take(lc *listen.Conn, writeTimeout time.Duration, h Handler, ns string, log *slog.Logger) error {
	c, err := conn.New(lc, writeTimeout)
	if err != nil {
		return err
	}
	t.Conn, t.From, t.h, t.ns, t.log = c, lc, h, ns, log
	return nil
}

// Limits makes the limits of a decoder from those of the configuration. Of an element that is too large, up to skip bytes
// more are read and thrown away.
func Limits(l config.StreamLimits, skip int) xmlstream.Limits {
	return xmlstream.Limits{Bytes: l.Bytes, Depth: l.Depth, Attrs: l.Attributes, Children: l.Elements, Name: l.Name, Skip: skip}
}

// Handshake does the TLS handshake of a domain, or of any that the peer names where it is "". Where it fails the connection
// is closed. gate may be nil.
func (t *TCP) Handshake(ctx context.Context, source listen.TLSSource, domain string, timeout time.Duration, gate conn.Gate) error {
	var cfg *tls.Config
	cfg, t.leaf = source.For(t.From.Purpose, domain)
	err := t.Conn.HandshakeBy(ctx, cfg, timeout, gate)
	if err != nil {
		t.log.Debug("TLS handshake failed", "address", t.Addr().String(), "purpose", string(t.From.Purpose), "error", fmt.Sprintf("%.200q", err.Error()))
		t.Close()
	}
	return err
}

// maxBatch is about how many bytes of stanzas wait for one commit.
const maxBatch = 256 << 10

// What was read is borrowed until it is handled, which may wait for the database. Most of what comes is short: where thousands log
// in at once, each holds a short buffer.
const (
	shortBuffer = 2 << 10
	longBuffer  = 16 << 10
)

var (
	shortBuffers = sync.Pool{New: func() any { return new([shortBuffer]byte) }}
	longBuffers  = sync.Pool{New: func() any { return new([longBuffer]byte) }}
)

// Step waits until something has come, and handles all that can be read then. Where that ends with the promise of a handshake
// it does the handshake, while which nothing is borrowed: when all clients come at once, all of them may wait in there.
func (t *TCP) Step() error {
	if err := t.Conn.Wait(); err != nil {
		return t.h.Failed(err)
	}
	if err := t.drain(); err != nil || !t.want {
		return err
	}
	return t.upgrade()
}

// drain handles all that can be read now, as one batch or as several of bounded size.
func (t *TCP) drain() error {
	defer t.h.Flush() // with nothing borrowed any more, as a commit takes its time
	if t.Conn.Waiting() <= shortBuffer {
		buf := shortBuffers.Get().(*[shortBuffer]byte)
		defer shortBuffers.Put(buf)
		return t.read(buf[:])
	}
	buf := longBuffers.Get().(*[longBuffer]byte)
	defer longBuffers.Put(buf)
	return t.read(buf[:])
}

// read handles all that can be read now by way of a buffer.
func (t *TCP) read(buf []byte) error {
	batch := 0
	for {
		n, err := t.Conn.Read(buf)
		if n > 0 {
			if batch += n; batch > maxBatch {
				t.h.Flush()
				batch = n
			}
			now := time.Now()
			t.h.Came(now)
			t.Dec.Feed(buf[:n])
			if err := t.handle(); err != nil {
				return err
			}
			if err := t.h.Handled(n, now); err != nil {
				return err
			}
		}
		switch {
		case t.want:
			return nil // what comes now is TLS
		case errors.Is(err, conn.ErrAgain):
			return nil
		case err != nil:
			return t.h.Failed(err)
		}
	}
}

// handle handles the complete elements that the decoder has.
func (t *TCP) handle() (err error) {
	defer Recover(t.log, &err)
	for {
		if t.h.Ended() {
			return ErrEnd
		}
		ev, err := t.Dec.Next()
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
			h, bad := stream.ParseTCP(ev.Header, t.ns)
			err = t.h.Header(h, bad)
		case xmlstream.FrameEvent:
			err = t.h.Element(ev.Frame)
		case xmlstream.Oversize:
			err = t.h.Oversize(ev.Frame)
		case xmlstream.StreamEnd:
			err = ErrEnd
		}
		if err != nil {
			return err
		}
		if t.want {
			return t.nothingBehind()
		}
	}
}

// Proceed makes the reader do a handshake before it handles anything else. <proceed/> must be on its way by then, or the
// peer waits for it.
func (t *TCP) Proceed() { t.want = true }

// nothingBehind closes the connection where something has come behind the wish for TLS, before the handshake.
func (t *TCP) nothingBehind() error {
	// COMPAT go-xmpp 2022 (go-sendxmpp of Debian 12), 2026-11: it sends a newline behind <starttls/>, against RFC 6120 §5.3.3.
	// Next drops white space; anything else stays or is an event.
	if _, err := t.Dec.Next(); !errors.Is(err, xmlstream.ErrMore) || t.Dec.Buffered() > 0 || t.Conn.Pending() {
		// What came before the handshake could have been put in by anybody (CVE-2011-0411).
		t.Close()
		return errors.New("data before the TLS handshake")
	}
	return nil
}

// upgrade does the handshake that <proceed/> has promised (RFC 6120 §5.4.3).
func (t *TCP) upgrade() (err error) {
	defer Recover(t.log, &err)
	t.want = false
	return t.h.StartTLS()
}

// Finally handles what was read and is not handled yet, and what still comes, until the stream ends.
func (t *TCP) Finally() {
	err := t.handle()
	t.h.Flush()
	for err == nil {
		err = t.Step()
	}
}

// Linger waits for the peer's end of the stream, at most as long as max, and closes.
func (t *TCP) Linger(max time.Duration) {
	deadline := time.Now().Add(max)
	var b [512]byte
	for time.Now().Before(deadline) {
		if err := t.Conn.Wait(); err != nil {
			break
		}
		for {
			if _, err := t.Conn.Read(b[:]); err != nil {
				if !errors.Is(err, conn.ErrAgain) {
					deadline = time.Time{}
				}
				break
			}
		}
	}
	t.Close()
}

// TLS returns the state of TLS and the certificate that was shown, or nil.
func (t *TCP) TLS() (*tls.ConnectionState, *x509.Certificate) {
	s := t.Conn.TLS()
	if s == nil {
		return nil, nil
	}
	return s, t.leaf()
}

// Encrypted tells whether there was a handshake.
func (t *TCP) Encrypted() bool { return t.leaf != nil }

// Addr returns the address of the peer.
func (t *TCP) Addr() netip.Addr { return t.From.Client().Addr() }

// LingerTimeout is how long a peer may take to close after it was told that the stream has ended (RFC 6120 §4.4).
const LingerTimeout = 3 * time.Second

// Finish says that nothing more will be written: the peer is told so, and has a short time to close.
func (t *TCP) Finish() {
	t.finished.Do(func() {
		// The peer may be gone already; then the reader has noticed or will at the deadline.
		if err := t.Conn.CloseWrite(); err != nil {
			t.Close()
			return
		}
		if err := t.Conn.SetReadDeadline(time.Now().Add(LingerTimeout)); err != nil {
			t.Close()
		}
	})
}

// Close cuts the connection.
func (t *TCP) Close() {
	if err := t.Conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.log.Debug("closing a connection", "error", err)
	}
}
