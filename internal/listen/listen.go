// Package listen owns the sockets of the server and what a connection passes before anybody speaks XMPP or HTTP on it: the accept
// loop, the bounds on connections, the header of a proxy (the PROXY protocol of HAProxy, versions 1 and 2) and TLS with its
// certificates, which are read from files again when these change.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sabir/internal/config"
	"sabir/internal/observe"
)

// Conn is an accepted connection. Its addresses are those of the client itself, also where a proxy stands between.
type Conn struct {
	*net.TCPConn
	// Purpose is that of the socket.
	Purpose config.Purpose
	// Secured says that a proxy on the way has taken TLS off already (PROXY v2, PP2_TYPE_SSL) and the client has used it.
	Secured bool

	client, server netip.AddrPort
	closed         atomic.Bool
	release        func()
}

// Client returns the address of the client.
func (c *Conn) Client() netip.AddrPort { return c.client }

// RemoteAddr returns the address of the client as a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.client) }

// LocalAddr returns the address that the client has connected to as a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.server) }

// Close closes the connection and gives its place among the limits back. Further calls return net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	defer c.release()
	return c.TCPConn.Close()
}

// Options are those of a Listener.
type Options struct {
	Log     *slog.Logger
	Metrics *observe.Metrics
	// Limiter is shared by all sockets that count together; nil for no limits.
	Limiter *Limiter
}

// Listener is one open socket. It is a net.Listener, for net/http; others use Serve. Only one of Serve and Accept is used.
type Listener struct {
	purpose config.Purpose
	proxy   bool
	trusted []netip.Prefix
	ln      *net.TCPListener
	o       Options

	reserve *os.File // given up for a moment when the process is out of descriptors
	done    chan struct{}
	once    sync.Once
	accept  sync.Once
	queue   chan *Conn
	failed  chan error

	refusals seldom
}

var _ net.Listener = (*Listener)(nil)

// Open opens a socket of the configuration. Errors name the address and what can be done.
func Open(ctx context.Context, l config.Listen, o Options) (*Listener, error) {
	trusted, err := l.TrustedProxies()
	if err != nil {
		return nil, err
	}
	// Dead clients are found by pings of XMPP; the probes of TCP are for those that die in the handshake, and rare since
	// each one wakes a telephone.
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 3}}
	ln, err := lc.Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("opening %s for %s: %w%s", l.Address, l.Purpose, err, cure(err))
	}
	reserve, err := os.Open(os.DevNull)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", os.DevNull, err), ln.Close())
	}
	return &Listener{
		purpose: l.Purpose, proxy: l.Proxy, trusted: trusted,
		ln: ln.(*net.TCPListener), o: o, reserve: reserve,
		done: make(chan struct{}), queue: make(chan *Conn), failed: make(chan error, 1),
	}, nil
}

// cure says what to do about an error of listening.
func cure(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (another program has this port: stop it, or choose another port)"
	case errors.Is(err, syscall.EACCES):
		return " (ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (this machine has no such address)"
	}
	return ""
}

// Addr returns the actual address of the socket.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Purpose returns what the socket is for.
func (l *Listener) Purpose() config.Purpose { return l.purpose }

// Close closes the socket, so that Serve and Accept end; the connections stay open.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = errors.Join(l.ln.Close(), l.reserve.Close())
	})
	return err
}

// Serve accepts connections until Close, and calls handle for each on a goroutine of its own; handle closes the connection. Serve
// returns nil after Close, without waiting for the handlers.
func (l *Listener) Serve(handle func(c *Conn)) error {
	var delay time.Duration
	for {
		tc, err := l.ln.AcceptTCP()
		if err == nil {
			delay = 0
			go l.greet(tc, handle)
			continue
		}
		select {
		case <-l.done:
			return nil
		default:
		}
		if !temporary(err) {
			return fmt.Errorf("accepting on %s: %w", l.ln.Addr(), err)
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.shed()
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		l.o.Log.Error("cannot accept connections", "address", l.ln.Addr().String(), "error", err, "again_in", delay)
		select {
		case <-time.After(delay):
		case <-l.done:
			return nil
		}
	}
}

// temporary tells whether accepting may succeed later.
func temporary(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// shed gives the reserved descriptor up to take one waiting connection and close it, so that its client learns at once that there is
// no room instead of hanging in the backlog. Only the accept loop calls it.
func (l *Listener) shed() {
	if err := l.reserve.Close(); err != nil {
		return // it was lost before, and could not be opened again yet
	}
	if err := l.ln.SetDeadline(time.Now().Add(time.Millisecond)); err == nil {
		if c, err := l.ln.AcceptTCP(); err == nil {
			l.o.Metrics.Refused("descriptors")
			c.Close()
		}
		if err := l.ln.SetDeadline(time.Time{}); err != nil {
			l.o.Log.Error("resetting the deadline of a socket", "error", err)
		}
	}
	if f, err := os.Open(os.DevNull); err == nil {
		l.reserve = f
	}
}

// proxyTimeout is the time for the header of a proxy.
const proxyTimeout = 5 * time.Second

// greet takes a connection as far as the handler may have it.
func (l *Listener) greet(tc *net.TCPConn, handle func(*Conn)) {
	c := &Conn{TCPConn: tc, Purpose: l.purpose}
	c.client = unmap(tc.RemoteAddr())
	c.server = unmap(tc.LocalAddr())
	if l.proxy {
		if err := l.readProxy(c); err != nil {
			l.o.Metrics.Refused("proxy")
			l.refusals.say(func(more int) {
				l.o.Log.Warn("connection without a good PROXY header", "from", c.client.String(), "error", err, "others_since_last", more)
			})
			tc.Close()
			return
		}
	}
	release, reason := l.o.Limiter.take(c.client.Addr())
	if reason != "" {
		l.o.Metrics.Refused(reason)
		l.refusals.say(func(more int) {
			l.o.Log.Warn("connection refused", "reason", reason, "from", c.client.Addr().String(), "others_since_last", more)
		})
		tc.Close()
		return
	}
	done := l.o.Metrics.Connection(string(l.purpose))
	c.release = func() { release(); done() }
	handle(c)
}

// seldom lets something be said once in ten seconds, however often strangers give reason to.
type seldom struct {
	mu      sync.Mutex
	next    time.Time
	skipped int
}

// say calls f with the number of calls that were left out since the last one, or leaves it out.
func (s *seldom) say(f func(more int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		s.skipped++
		return
	}
	f(s.skipped)
	s.next, s.skipped = now.Add(10*time.Second), 0
}

func unmap(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// readProxy reads the header that a proxy sends first.
func (l *Listener) readProxy(c *Conn) error {
	if len(l.trusted) > 0 {
		known := false
		for _, p := range l.trusted {
			known = known || p.Contains(c.client.Addr())
		}
		if !known {
			return errors.New("it is not in proxy_from")
		}
	}
	if err := c.SetReadDeadline(time.Now().Add(proxyTimeout)); err != nil {
		return err
	}
	h, err := ReadProxyHeader(c.TCPConn)
	if err != nil {
		return err
	}
	if h.Client.IsValid() {
		c.client, c.server, c.Secured = h.Client, h.Server, h.TLS
	}
	return c.SetReadDeadline(time.Time{})
}

// Accept returns the next connection as a *Conn, for net/http.
func (l *Listener) Accept() (net.Conn, error) {
	l.accept.Do(func() {
		go func() {
			l.failed <- l.Serve(func(c *Conn) {
				select {
				case l.queue <- c:
				case <-l.done:
					c.Close()
				}
			})
		}()
	})
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case err := <-l.failed:
		if err == nil { // the socket was closed
			err = net.ErrClosed
		}
		return nil, err
	}
}

var _ io.ReadWriteCloser = (*Conn)(nil)
