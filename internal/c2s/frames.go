package c2s

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
)

// errLongFrame says that a WebSocket frame was announced that is longer than a message may be.
var errLongFrame = errors.New("a WebSocket frame is too long")

// watched is the connection below a WebSocket. The WebSocket library bounds what has come of a message; watched looks at
// the lengths in the headers of frames (RFC 6455 §5.2) and refuses one as soon as it is announced, instead of waiting for
// what will be refused.
type watched struct {
	net.Conn
	limit func() int // of the payload of one frame

	head [14]byte // of the frame that has begun
	n    int      // bytes of head
	left uint64   // of its payload
	err  error
}

// Read implements net.Conn. One goroutine reads.
func (w *watched) Read(p []byte) (int, error) {
	if w.err != nil {
		// What the peer still sends is of no interest. It is read, since closing a socket with unread data could take back
		// what the peer has yet to read.
		_, err := io.Copy(io.Discard, w.Conn)
		return 0, errors.Join(w.err, err)
	}
	n, err := w.Conn.Read(p)
	if w.scan(p[:n]); w.err != nil {
		return 0, w.err
	}
	return n, err
}

// scan follows the frames.
func (w *watched) scan(b []byte) {
	for len(b) > 0 && w.err == nil {
		if w.left > 0 {
			skip := min(w.left, uint64(len(b)))
			w.left -= skip
			b = b[skip:]
			continue
		}
		w.head[w.n] = b[0]
		w.n++
		b = b[1:]
		if w.n < w.headLen() {
			continue
		}
		w.left, w.n = w.length(), 0
		if w.left > uint64(max(w.limit(), 0)) {
			w.err = errLongFrame
		}
	}
}

// headLen returns the length of the header, as far as its second byte tells.
func (w *watched) headLen() int {
	if w.n < 2 {
		return 2
	}
	n := 2
	switch w.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if w.head[1]&0x80 != 0 {
		n += 4 // the mask
	}
	return n
}

// length returns the length of the payload.
func (w *watched) length() uint64 {
	switch n := w.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(w.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(w.head[2:])
	default:
		return uint64(n)
	}
}

// hijacker hands out a watched connection where an http.ResponseWriter is asked for its own.
type hijacker struct {
	http.ResponseWriter
	limit func() int
}

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w := &watched{Conn: c, limit: h.limit}
	early, err := rw.Reader.Peek(rw.Reader.Buffered()) // frames that came with the request
	if err == nil {
		w.scan(early)
		err = w.err
	}
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return w, rw, nil
}
