package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sabir/xmpp/xmlstream"
)

// Conn is the initiating entity's end of a stream: what a client holds. One goroutine opens and reads; any may write.
type Conn interface {
	// Open sends the opening of a stream and waits for the peer's. It is called again where the stream restarts
	// (RFC 6120 §4.3.3).
	Open(h Header) (Header, error)
	// Next waits for the next top-level element. It returns io.EOF after the peer has closed the stream, and
	// io.ErrUnexpectedEOF where the connection ended without that.
	Next() (*xmlstream.Frame, error)
	// Write sends one top-level element in wire form, as a whole. ContentNS says what must be declared in it.
	Write(p []byte) error
	// ContentNS returns "jabber:client" where a stanza declares its namespace itself (RFC 7395 §3.3.3), else "": what
	// stanza.Append takes.
	ContentNS() string
	// CloseStream sends the end of the stream; the peer answers with its own (RFC 6120 §4.4).
	CloseStream() error
	// Close ends the connection. Next returns.
	Close() error
	// TLS returns the state of the encryption, or nil where there is none.
	TLS() *tls.ConnectionState
}

// ErrTrailing says that the server sent something between its consent to TLS and the handshake: an injection.
var ErrTrailing = errors.New("the server sent data in the clear after it had agreed to TLS")

const (
	readSize     = 4096
	writeTimeout = 30 * time.Second
)

// TCP is a stream over TCP or TLS.
type TCP struct {
	conn net.Conn
	dec  *xmlstream.Decoder
	ns   string
	buf  []byte
	wmu  sync.Mutex
	rest func() // see OnRest
}

var _ Conn = (*TCP)(nil)

// NewTCP returns a stream on a connection. ns is the content namespace: jabber:client, jabber:server or that of
// components. Limits are those on what the peer sends.
func NewTCP(c net.Conn, ns string, limits xmlstream.Limits) *TCP {
	return &TCP{conn: c, dec: xmlstream.NewDecoder(limits), ns: ns, buf: make([]byte, readSize)}
}

// Open implements Conn.
func (t *TCP) Open(h Header) (Header, error) { return t.OpenWith(h, nil) }

// OpenWith is Open with bytes that are sent together with the opening (XEP-0509). Their answers come after it.
func (t *TCP) OpenWith(h Header, more []byte) (Header, error) {
	h.ContentNS = t.ns
	t.dec.Restart()
	if err := t.Write(append(h.AppendTCP(nil), more...)); err != nil {
		return Header{}, err
	}
	ev, err := t.event()
	if err != nil {
		return Header{}, err
	}
	if ev.Kind != xmlstream.StreamStart {
		return Header{}, Err(BadFormat, "the server did not open its stream")
	}
	got, bad := ParseTCP(ev.Header, t.ns)
	if bad != nil {
		return got, bad
	}
	return got, nil
}

// Next implements Conn.
func (t *TCP) Next() (*xmlstream.Frame, error) {
	ev, err := t.event()
	switch {
	case err != nil:
		return nil, err
	case ev.Kind == xmlstream.FrameEvent:
		return ev.Frame, nil
	case ev.Kind == xmlstream.StreamEnd:
		return nil, io.EOF
	}
	return nil, Err(BadFormat, "the server opened its stream twice")
}

// event reads until the decoder has something.
func (t *TCP) event() (xmlstream.Event, error) {
	for {
		ev, err := t.dec.Next()
		if err == nil {
			return ev, nil
		}
		if !errors.Is(err, xmlstream.ErrMore) {
			var bad *xmlstream.Error
			if errors.As(err, &bad) {
				return ev, FromXML(bad)
			}
			return ev, err
		}
		if t.rest != nil {
			t.rest()
		}
		n, err := t.conn.Read(t.buf)
		if n > 0 {
			t.dec.Feed(t.buf[:n])
			continue
		}
		if errors.Is(err, io.EOF) {
			return ev, io.ErrUnexpectedEOF
		}
		if err != nil {
			return ev, err
		}
	}
}

// Write implements Conn. Over TCP p may hold several elements or parts of one.
func (t *TCP) Write(p []byte) error {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if err := t.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := t.conn.Write(p)
	return err
}

// ContentNS implements Conn.
func (t *TCP) ContentNS() string { return "" }

// CloseStream implements Conn.
func (t *TCP) CloseStream() error { return t.Write([]byte(CloseTCP)) }

// Close implements Conn.
func (t *TCP) Close() error { return t.conn.Close() }

// TLS implements Conn.
func (t *TCP) TLS() *tls.ConnectionState {
	if c, ok := t.conn.(*tls.Conn); ok {
		s := c.ConnectionState()
		return &s
	}
	return nil
}

// SetLimits changes the limits on what the peer sends, from the next element on.
func (t *TCP) SetLimits(l xmlstream.Limits) { t.dec.SetLimits(l) }

// OnRest has f called by Next whenever all whole elements that were read have been returned, before it reads on: what was gathered from
// them waits for no more, though a part of another may be there.
func (t *TCP) OnRest(f func()) { t.rest = f }

// NetConn returns the connection, for tests that write past the stream.
func (t *TCP) NetConn() net.Conn { return t.conn }

// StartTLS asks for TLS, waits for <proceed/> and makes the handshake (RFC 6120 §5.4.2, §5.4.3). The caller opens the
// stream anew after it. conf is from dial.TLSConfig.
func (t *TCP) StartTLS(ctx context.Context, conf *tls.Config) error {
	if err := t.Write([]byte("<starttls xmlns='" + NSTLS + "'/>")); err != nil {
		return err
	}
	f, err := t.Next()
	if err != nil {
		return err
	}
	switch n := f.Name(); {
	case n.Space == NSTLS && n.Local == "proceed":
	case n.Space == NSTLS && n.Local == "failure": // RFC 6120 §5.4.2.2
		return errors.New("the server failed to start TLS")
	default:
		return fmt.Errorf("the server answered the request for TLS with <%s/>", n.Local)
	}
	if t.dec.Buffered() > 0 {
		return ErrTrailing
	}
	s := tls.Client(t.conn, conf)
	if err := s.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	t.wmu.Lock()
	t.conn = s
	t.wmu.Unlock()
	return nil
}
