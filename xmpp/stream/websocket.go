package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/coder/websocket"

	"sabir/xmpp/xmlstream"
)

// WebSocket is a client's stream over WebSocket (RFC 7395).
type WebSocket struct {
	conn   *websocket.Conn
	state  *tls.ConnectionState
	limits xmlstream.Limits
	closed atomic.Bool // <close/> was sent
}

var _ Conn = (*WebSocket)(nil)

// DialWebSocket connects to a wss:// or ws:// URL with the client that dial.Dialer.HTTPClient made; it must be free to
// use HTTP/1.1. ctx bounds the handshake only.
func DialWebSocket(ctx context.Context, url string, h *http.Client, limits xmlstream.Limits) (*WebSocket, error) {
	c, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:      h,
		Subprotocols:    []string{"xmpp"}, // RFC 7395 §3.1
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	if c.Subprotocol() != "xmpp" {
		return nil, errors.Join(errors.New("the server does not speak XMPP over WebSocket"), c.CloseNow())
	}
	c.SetReadLimit(int64(limits.Bytes))
	return &WebSocket{conn: c, state: resp.TLS, limits: limits}, nil
}

// Open implements Conn.
func (w *WebSocket) Open(h Header) (Header, error) {
	if err := w.Write(h.AppendWS(nil)); err != nil {
		return Header{}, err
	}
	f, err := w.Next()
	if err != nil {
		return Header{}, err
	}
	got, bad := ParseWS(f)
	if bad != nil {
		return got, bad
	}
	return got, nil
}

// Next implements Conn.
func (w *WebSocket) Next() (*xmlstream.Frame, error) {
	kind, b, err := w.conn.Read(context.Background())
	if err != nil {
		if websocket.CloseStatus(err) != -1 || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
		return nil, err
	}
	if kind != websocket.MessageText { // RFC 7395 §3.2
		return nil, Err(BadFormat, "a binary WebSocket message")
	}
	f, err := xmlstream.ParseFrame(b, w.limits)
	if err != nil {
		var bad *xmlstream.Error
		if errors.As(err, &bad) {
			return nil, FromXML(bad)
		}
		return nil, err
	}
	if n := f.Name(); n.Space == NSFraming && n.Local == "close" {
		return nil, io.EOF
	}
	return f, nil
}

// Write implements Conn: p is one frame.
func (w *WebSocket) Write(p []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageText, p)
}

// ContentNS implements Conn.
func (w *WebSocket) ContentNS() string { return nsClient }

// CloseStream implements Conn.
func (w *WebSocket) CloseStream() error {
	if w.closed.Swap(true) {
		return nil
	}
	return w.Write([]byte(CloseWS))
}

// Close implements Conn. It does not wait for the closing handshake of WebSocket: the streams have said what there is to
// say.
func (w *WebSocket) Close() error { return w.conn.CloseNow() }

// TLS implements Conn.
func (w *WebSocket) TLS() *tls.ConnectionState { return w.state }
