package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// shaken is a listener of connections whose TLS handshake is done. See Server.Handshakes.
type shaken struct {
	net.Listener
	srv    *Server
	cfg    *tls.Config
	start  sync.Once
	ready  chan net.Conn
	failed chan error
	quit   chan struct{}
	once   sync.Once
}

// Handshakes returns a listener for net/http that does the TLS handshakes of ln itself: they take turns at the gate as those of other
// clients do, so that a rush of web clients is no other. Connections that fail it, or come when too many wait, are closed.
func (s *Server) Handshakes(ln net.Listener, cfg *tls.Config) net.Listener {
	return &shaken{Listener: ln, srv: s, cfg: cfg, ready: make(chan net.Conn), failed: make(chan error), quit: make(chan struct{})}
}

// Accept implements net.Listener. It returns a *tls.Conn.
func (l *shaken) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.accept() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *shaken) Close() error {
	l.once.Do(func() { close(l.quit) })
	return l.Listener.Close()
}

func (l *shaken) accept() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			go l.shake(c)
			continue
		}
		select {
		case l.failed <- err:
		case <-l.quit:
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// shake does a handshake and hands the connection to Accept.
func (l *shaken) shake(nc net.Conn) {
	r := &shaking{Conn: nc, turns: turns{gate: l.srv.gate}, patience: time.Duration(l.srv.limits().HandshakeTimeout)}
	c := tls.Server(r, l.cfg)
	err := c.HandshakeContext(context.Background())
	r.leave()
	r.done = true
	l.srv.o.Metrics.HandshakeWait(r.turns.waited)
	if errors.Is(err, errBusy) {
		l.srv.o.Metrics.Refused("busy")
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err == nil {
		select {
		case l.ready <- c:
			return
		case <-l.quit:
			err = errStopping
		}
	}
	l.srv.o.Log.Debug("TLS handshake failed", "address", nc.RemoteAddr().String(), "error", fmt.Sprintf("%.200q", err.Error()))
	if err := nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		l.srv.o.Log.Debug("closing a connection", "error", err)
	}
}

// shaking is a connection during its handshake, which has a turn at the gate but while it waits for its peer. Until done is set
// one goroutine uses it.
type shaking struct {
	net.Conn
	turns    turns
	begun    bool          // it has had a turn
	inside   bool          // it has one
	patience time.Duration // that is left for the peer
	done     bool
}

func (r *shaking) leave() {
	if r.inside {
		r.turns.Leave()
		r.inside = false
	}
}

// Read waits for the peer, and then for a turn. The time at the gate is not the peer's.
func (r *shaking) Read(p []byte) (int, error) {
	if r.done {
		return r.Conn.Read(p)
	}
	r.leave()
	start := time.Now()
	if err := r.SetDeadline(start.Add(max(r.patience, 0))); err != nil {
		return 0, err
	}
	n, err := r.Conn.Read(p)
	r.patience -= time.Since(start)
	if err != nil {
		return n, err
	}
	if err := r.turns.Enter(r.begun); err != nil {
		return n, err
	}
	r.begun, r.inside = true, true
	return n, r.SetDeadline(time.Now().Add(max(r.patience, 0))) // for what is written now
}
