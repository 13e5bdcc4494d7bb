//go:build unix

// Package conn owns a TCP connection, with or without TLS on it, that costs little while it is idle: it waits for data
// without a buffer, and borrows one only while there is something to read.
//
// How: under the tls.Conn sits a net.Conn whose Read never blocks but returns an error of type net.Error whose
// Temporary() is true. crypto/tls keeps the part of a record that it has read and does not make such an error sticky. Waiting
// happens in Wait, below TLS.
package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// bufferSize is that of the buffers that are borrowed for reading: one TLS record.
const bufferSize = 16 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// errAgain is returned by Read where nothing can be read now. The deprecated Temporary is what crypto/tls asks for.
type errAgain struct{}

func (errAgain) Error() string   { return "nothing to read yet" }
func (errAgain) Timeout() bool   { return false }
func (errAgain) Temporary() bool { return true }

// ErrAgain is returned by Conn.Read where nothing can be read now: call Wait.
var ErrAgain net.Error = errAgain{}

// Conn is a connection. Read and Wait belong to one goroutine; Write to one at a time; the rest to any.
type Conn struct {
	raw *raw
	tls *tls.Conn // nil before TLS
	// fresh: there was a handshake and no Wait since.
	fresh bool
	lent  *[lentSize]byte // to tls
	bare  bool            // tls has nothing: it was all taken back
}

// New takes a connection over. writeTimeout bounds how long a write waits for the peer.
func New(c net.Conn, writeTimeout time.Duration) (*Conn, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.New("the connection is not a socket")
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &raw{Conn: c, rc: rc, timeout: writeTimeout}
	r.try, r.put = r.read, r.writeOnce
	return &Conn{raw: r}, nil
}

// Read returns what can be read now, or ErrAgain.
func (c *Conn) Read(p []byte) (int, error) {
	if c.tls == nil {
		return c.raw.Read(p)
	}
	if c.bare && c.raw.dry() {
		return 0, ErrAgain
	}
	c.lend()
	n, err := c.tls.Read(p)
	if err != nil || c.drained() { // not only when it is asked again: until then what was read is handled, which takes its time
		c.takeBack()
	}
	return n, err
}

// Waiting returns how many bytes of the socket have been read and wait to be read from the connection, those of records included;
// what crypto/tls has taken already does not count.
func (c *Conn) Waiting() int {
	if c.raw.buf == nil {
		return 0
	}
	return c.raw.n - c.raw.r
}

// Wait blocks until something can be read, the connection fails, or the read deadline passes.
func (c *Conn) Wait() error {
	if c.fresh {
		// What came together with the end of the handshake lies within the tls.Conn already.
		c.fresh = false
		return nil
	}
	return c.raw.wait()
}

// Write writes p whole, behind what TryWrite has left, or fails. It may wait for the peer as long as the write timeout.
// With nothing in p it writes what was left.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.raw.flush(); err != nil || len(p) == 0 {
		return 0, err
	}
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.raw.Write(p)
}

// TryWrite takes p whole, or fails, without waiting for the peer. Where left is true a part of it is kept: the next call
// must be to Write, which may wait.
func (c *Conn) TryWrite(p []byte) (left bool, err error) {
	c.raw.lazy.Store(true)
	if c.tls != nil {
		_, err = c.tls.Write(p)
	} else {
		_, err = c.raw.Write(p)
	}
	c.raw.lazy.Store(false)
	return c.raw.left(), err
}

// SetReadDeadline bounds Wait. A zero time lifts the bound.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// Close closes the socket at once.
func (c *Conn) Close() error { return c.raw.Close() }

// CloseWrite tells the peer that nothing more will be written: a TLS close_notify where there is TLS, then FIN.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		// The alert has its own short deadline within crypto/tls; the FIN matters more than its error.
		if err := c.tls.CloseWrite(); err != nil {
			return err
		}
	}
	if h, ok := c.raw.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Pending tells whether bytes were read from the socket that nobody has read from the connection: before a STARTTLS
// handshake there must be none, or they were injected (CVE-2011-0411).
func (c *Conn) Pending() bool { return c.Waiting() > 0 }

// Gate bounds how many handshakes work at a time.
type Gate interface {
	// Enter waits for a turn. begun says that the handshake has had one. An error ends the handshake.
	Enter(begun bool) error
	// Leave ends the turn.
	Leave()
}

// Handshake starts TLS as a server and waits until its handshake is done.
func (c *Conn) Handshake(ctx context.Context, cfg *tls.Config, timeout time.Duration) error {
	return c.HandshakeBy(ctx, cfg, timeout, nil)
}

// HandshakeBy is Handshake that works only while it has a turn at the gate, and not while it waits for the peer. timeout
// bounds how long it waits for the peer; the time at the gate is not the peer's.
func (c *Conn) HandshakeBy(ctx context.Context, cfg *tls.Config, timeout time.Duration, gate Gate) error {
	r := c.raw
	r.blocking, r.gate, r.patience = true, gate, timeout
	defer func() { r.blocking, r.gate = false, nil }()
	if err := r.turn(false); err != nil {
		return err
	}
	defer func() {
		if r.gate != nil && r.inside {
			r.gate.Leave()
		}
		r.inside = false
	}()
	// Where ctx can end, HandshakeContext has a goroutine wait for that in each handshake.
	defer context.AfterFunc(ctx, func() { r.Close() })()
	t := tls.Server(r, cfg)
	err := t.HandshakeContext(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	c.tls, c.fresh = t, true
	return r.SetDeadline(time.Time{})
}

// turn waits until the peer has sent something, and then for a turn at the gate.
func (r *raw) turn(begun bool) error {
	if r.inside {
		r.gate.Leave()
		r.inside = false
	}
	if r.buf == nil {
		start := time.Now()
		if err := r.SetReadDeadline(start.Add(r.patience)); err != nil {
			return err
		}
		if err := r.rc.Read(r.readable); err != nil {
			return err
		}
		r.patience -= time.Since(start)
	}
	if r.gate != nil {
		if err := r.gate.Enter(begun); err != nil {
			return err
		}
		r.inside = true
	}
	return r.SetDeadline(time.Now().Add(max(r.patience, 0)))
}

// readable tells whether there is something to read, the end of it included, and leaves it there.
func (r *raw) readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		if err == syscall.EINTR {
			continue
		}
		return err != syscall.EAGAIN
	}
}

// TLS returns the state of the TLS connection, or nil.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// raw is the socket as crypto/tls sees it.
type raw struct {
	net.Conn
	rc       syscall.RawConn
	blocking bool // during a handshake
	// What follows is for a handshake, too.
	gate     Gate
	inside   bool          // it has a turn at the gate
	patience time.Duration // that is left for the peer

	try  func(fd uintptr) bool // read, kept so that no closure is made for each call
	buf  *[bufferSize]byte     // what was read from the socket, nil while idle
	r, n int
	more bool // the last read filled the buffer: there may be more
	err  error

	// Writes come from one goroutine at a time, but for what crypto/tls itself answers while it reads.
	timeout time.Duration
	lazy    atomic.Bool // within TryWrite
	wmu     sync.Mutex
	rest    []byte                // what TryWrite has left
	put     func(fd uintptr) bool // writeOnce, kept likewise
	out     []byte                // for writeOnce
	written int
	werr    error
}

// Write takes p whole or fails. Within TryWrite it does not wait.
func (r *raw) Write(p []byte) (int, error) {
	r.wmu.Lock()
	defer r.wmu.Unlock()
	n := 0
	if len(r.rest) == 0 {
		var err error
		if n, err = r.writeNow(p); err != nil || n == len(p) {
			return n, err
		}
	}
	if r.lazy.Load() {
		r.rest = append(r.rest, p[n:]...)
		return len(p), nil
	}
	if err := r.writeSlow(p[n:]); err != nil {
		return n, err
	}
	return len(p), nil
}

// writeNow writes what the socket takes at once.
func (r *raw) writeNow(p []byte) (int, error) {
	r.out, r.written, r.werr = p, 0, nil
	err := r.rc.Write(r.put)
	r.out = nil
	if err == nil {
		err = r.werr
	}
	return r.written, err
}

// writeOnce never asks to be called again: a full socket is no reason to wait here.
func (r *raw) writeOnce(fd uintptr) bool {
	for len(r.out) > r.written {
		n, err := writeSocket(fd, r.out[r.written:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			r.werr = err
			return true
		default:
			r.written += n
		}
	}
	return true
}

// writeSlow writes what was left and p, and waits for the peer.
func (r *raw) writeSlow(p []byte) error {
	if err := r.SetWriteDeadline(time.Now().Add(r.timeout)); err != nil {
		return err
	}
	for _, b := range [][]byte{r.rest, p} {
		if len(b) == 0 {
			continue
		}
		if _, err := r.Conn.Write(b); err != nil {
			return err
		}
	}
	r.rest = nil
	return r.SetWriteDeadline(time.Time{})
}

func (r *raw) flush() error {
	r.wmu.Lock()
	defer r.wmu.Unlock()
	if len(r.rest) == 0 {
		return nil
	}
	return r.writeSlow(nil)
}

func (r *raw) left() bool {
	r.wmu.Lock()
	defer r.wmu.Unlock()
	return len(r.rest) > 0
}

// Read hands out what wait has read. It blocks only during a handshake.
func (r *raw) Read(p []byte) (int, error) {
	for {
		if r.buf != nil {
			n := copy(p, r.buf[r.r:r.n])
			if r.r += n; r.r == r.n {
				r.release()
			}
			return n, nil
		}
		if !r.blocking && !r.more {
			return 0, ErrAgain
		}
		r.more = false
		if r.blocking {
			if err := r.turn(true); err != nil {
				return 0, err
			}
			if err := r.wait(); err != nil {
				return 0, err
			}
			continue
		}
		if err := r.now(); err != nil {
			return 0, err
		}
	}
}

// dry tells whether Read has nothing to hand out before the next wait.
func (r *raw) dry() bool { return r.buf == nil && !r.more }

func (r *raw) release() {
	buffers.Put(r.buf)
	r.buf, r.r, r.n = nil, 0, 0
}

// wait reads something into a borrowed buffer, and blocks until there is something.
func (r *raw) wait() error {
	if r.buf != nil {
		return nil
	}
	if err := r.rc.Read(r.try); err != nil {
		return err
	}
	return r.err
}

// now reads what is there without waiting.
func (r *raw) now() error {
	again := false
	err := r.rc.Read(func(fd uintptr) bool {
		again = !r.read(fd)
		return true
	})
	if err != nil {
		return err
	}
	if again {
		return ErrAgain
	}
	return r.err
}

// read makes one system call. It returns false where there is nothing to read yet, and holds no buffer then.
func (r *raw) read(fd uintptr) bool {
	b := buffers.Get().(*[bufferSize]byte)
	for {
		n, err := readSocket(fd, b[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			buffers.Put(b)
			return false
		case err != nil:
			r.err = err
		case n == 0:
			r.err = io.EOF
		default:
			r.buf, r.r, r.n, r.err = b, 0, n, nil
			r.more = n == len(b)
			return true
		}
		buffers.Put(b)
		return true
	}
}
