package c2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"sabir/internal/config"
	"sabir/internal/incoming"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// webSocket carries a stream over a WebSocket (RFC 7395).
type webSocket struct {
	srv    *Server
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	state  *tls.ConnectionState
	leaf   *x509.Certificate
	remote netip.Addr
	limits atomic.Pointer[xmlstream.Limits]
	rate   incoming.Bucket
	stream *clientStream
	// start is when the connection came, login when a resource must be bound at the latest.
	start, login time.Time

	finished sync.Once
}

// WebSocketOptions say what a handler accepts.
type WebSocketOptions struct {
	// Origins are the origins whose pages may connect besides the server's own; "*" for all.
	Origins []string
	// Leaf returns the certificate that was shown for a server name.
	Leaf func(name string) *x509.Certificate
}

// WebSocket returns the handler of /xmpp-websocket.
func (s *Server) WebSocket(o WebSocketOptions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := &webSocket{srv: s, state: r.TLS}
		l := incoming.Limits(s.limits().BeforeAuth, 0)
		t.limits.Store(&l)
		ws, err := websocket.Accept(hijacker{w, func() int { return t.limits.Load().Bytes }}, r, &websocket.AcceptOptions{
			Subprotocols:    []string{"xmpp"}, // RFC 7395 §3.1
			OriginPatterns:  o.Origins,
			CompressionMode: websocket.CompressionDisabled,
		})
		if err != nil {
			s.o.Log.Debug("WebSocket refused", "error", err)
			return
		}
		if ws.Subprotocol() != "xmpp" {
			s.closeWS(ws, websocket.StatusPolicyViolation, "the subprotocol is xmpp")
			return
		}
		t.ws = ws
		t.rate = incoming.NewBucket(s.limits().ByteRate, s.limits().ByteBurst)
		if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			t.remote = ap.Addr().Unmap()
		}
		if r.TLS != nil && o.Leaf != nil {
			t.leaf = o.Leaf(r.TLS.ServerName)
		}
		// The request's context ends with the handler; a hijacked connection lives on within it.
		t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(r.Context()))
		defer t.cancel()
		t.setLimits(l)
		t.stream = s.newStream(t.ctx, t)
		if t.stream.begin() {
			t.stream.finish(t.serve())
			t.linger()
		}
	})
}

func (t *webSocket) setLimits(l xmlstream.Limits) {
	t.limits.Store(&l)
	t.ws.SetReadLimit(int64(l.Bytes) + 1)
}

func (t *webSocket) serve() error {
	t.start = time.Now()
	t.login = t.start.Add(time.Duration(t.srv.limits().AuthTimeout))
	for {
		b, err := t.read()
		if err != nil {
			return err
		}
		now := time.Now()
		t.stream.touch(now)
		if err := t.handle(b); err != nil {
			return err
		}
		t.stream.flush()
		if wait := t.rate.Take(len(b), now); wait > 0 {
			t.stream.pause(wait)
		}
		t.stream.yield()
	}
}

// read returns the next message. Before a resource is bound there is a deadline.
func (t *webSocket) read() ([]byte, error) {
	ctx := t.ctx
	if !t.stream.bound.Load() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, t.login)
		defer cancel()
	}
	typ, b, err := t.ws.Read(ctx)
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig), errors.Is(err, errLongFrame):
		return nil, stream.Err(stream.PolicyViolation, "the stanza is too large")
	case err != nil:
		return nil, err
	case typ != websocket.MessageText: // RFC 7395 §3.2
		t.srv.closeWS(t.ws, websocket.StatusUnsupportedData, "XMPP is text")
		return nil, errors.New("a binary message")
	}
	return b, nil
}

func (t *webSocket) handle(b []byte) (err error) {
	defer incoming.Recover(t.srv.o.Log, &err)
	if t.stream.ended.Load() {
		return errEnd
	}
	if blank(b) {
		return nil // a keepalive of clients that know TCP only
	}
	f, err := xmlstream.ParseFrame(b, *t.limits.Load())
	if err != nil {
		var xe *xmlstream.Error
		if errors.As(err, &xe) {
			return stream.FromXML(xe)
		}
		return err
	}
	if n := f.Name(); n.Space == stream.NSFraming {
		if n.Local == "close" { // RFC 7395 §3.6
			return errEnd
		}
		if n.Local != "open" {
			return stream.Err(stream.UnsupportedStanzaType, "")
		}
	} else if t.stream.state != wantHeader {
		return t.stream.element(f)
	}
	if t.stream.state != wantHeader {
		return stream.Err(stream.BadFormat, "a stream has one header")
	}
	h, bad := stream.ParseWS(f)
	return t.stream.header(h, bad)
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// linger waits for the peer to close, and closes.
func (t *webSocket) linger() {
	ctx, cancel := context.WithTimeout(t.ctx, incoming.LingerTimeout)
	defer cancel()
	for {
		if _, _, err := t.ws.Read(ctx); err != nil {
			break
		}
	}
	t.close()
}

func (t *webSocket) name() string { return "websocket" }

func (t *webSocket) framed() bool { return true }

func (t *webSocket) write(b []byte) error {
	ctx, cancel := context.WithTimeout(t.ctx, time.Duration(t.srv.limits().WriteTimeout))
	defer cancel()
	return t.ws.Write(ctx, websocket.MessageText, b)
}

func (t *webSocket) tls() (*tls.ConnectionState, *x509.Certificate) { return t.state, t.leaf }

// secure: the listener speaks HTTPS, or stands behind a proxy that does.
func (t *webSocket) secure() bool { return true }

func (t *webSocket) addr() netip.Addr { return t.remote }

// startTLS: a WebSocket has its TLS below it (RFC 7395 §3.8).
func (t *webSocket) startTLS() bool { return false }

func (t *webSocket) named(l *config.HostLimits) {
	t.setLimits(incoming.Limits(l.BeforeAuth, 0))
	t.rate.Set(l.ByteRate, l.ByteBurst)
	t.login = t.start.Add(time.Duration(l.AuthTimeout))
}

func (t *webSocket) restart(l xmlstream.Limits) {
	t.setLimits(l)
	t.stream.answered = false
}

func (t *webSocket) limit(l xmlstream.Limits) { t.setLimits(l) }

func (t *webSocket) finish() {
	t.finished.Do(func() {
		go t.srv.closeWS(t.ws, websocket.StatusNormalClosure, "")
	})
}

func (t *webSocket) close() {
	if err := t.ws.CloseNow(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.srv.o.Log.Debug("closing a WebSocket", "error", err)
	}
	t.cancel()
}

// closeWS does the closing handshake of the WebSocket. That the peer is gone already is no news.
func (s *Server) closeWS(ws *websocket.Conn, code websocket.StatusCode, why string) {
	if err := ws.Close(code, why); err != nil {
		s.o.Log.Debug("closing a WebSocket", "error", err)
	}
}
