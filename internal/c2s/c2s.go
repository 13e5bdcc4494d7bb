// Package c2s owns the streams of clients (RFC 6120, RFC 7395): negotiation, the loop that reads stanzas and hands them
// to routing in batches, and the end of a stream.
//
// A stream has one goroutine, which reads and handles. What is sent to the client waits in the session's queue, which
// has a goroutine only while it writes.
package c2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sabir/engine/lru"
	"sabir/internal/auth"
	"sabir/internal/config"
	"sabir/internal/host"
	"sabir/internal/listen"
	"sabir/internal/resume"
	"sabir/internal/route"
	"sabir/internal/session"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stream"
	"sabir/xmpp/xmlstream"
)

// Metrics counts what streams do. internal/observe implements it.
type Metrics interface {
	Session(transport string, delta int)
	StreamError(condition string)
	// Refused counts a connection that was closed at once, by reason.
	Refused(reason string)
	// HandshakeWait records how long a TLS handshake has waited for its turn.
	HandshakeWait(d time.Duration)
}

// Authenticator are the credentials of a host. *auth.Host implements it.
type Authenticator interface {
	// Offer is the same for streams to which the same mechanisms, bindings and upgrades are offered.
	Offer(c auth.Conn) auth.Offer
	Mechanisms(c auth.Conn) []string
	Bindings(c auth.Conn) []string
	Start(mechanism string, c auth.Conn) (*auth.Exchange, error)
	Stale(p *auth.Principal) bool

	// What follows is for SASL2.
	TokenMechanisms(c auth.Conn) []string
	Start2(mechanism string, c auth.Conn, r auth.Request) (*auth.Exchange, error)
	Upgrades() []string
	Upgrade(ctx context.Context, p *auth.Principal, asked []string) (*auth.Upgrade, error)
	Settle(ctx context.Context, p *auth.Principal, r auth.Request, token string) (*auth.Token, error)
	Resource(p *auth.Principal, tag string) string
}

// Names of the crash points, where a test may end the process.
const (
	// BeforeAck: it is durable how many stanzas of the client were handled, and the client is not told.
	BeforeAck = "c2s.before-ack"
	// BeforeResumed: a session was taken over by a new stream, whose client does not know it yet.
	BeforeResumed = "c2s.before-resumed"
)

// Options say what a Server works with.
type Options struct {
	Router *route.Router
	// DB and Resume keep the sessions that can be resumed. Without Resume they do not survive the process.
	DB     mod.DB
	Resume *resume.Store
	Log    *slog.Logger
	Clock  mod.Clock
	// CrashPoint is called at the named points below; nil for none.
	CrashPoint func(name string)
	// Settings are those at the start. See Configure.
	Settings Settings
	// Auth returns the authenticator of a host.
	Auth func(domain jid.JID) Authenticator
	// TLS gives the settings of a handshake and the certificate that was shown in it.
	TLS listen.TLSSource
	// Default is the host in whose name a stream to an unknown one is refused.
	Default jid.JID
	// Insecure makes TLS optional.
	Insecure bool
	Metrics  Metrics
}

// Settings are what may change while the server runs. A change holds for connections that come after it, and for the
// pings of all.
type Settings struct {
	Limits config.Limits
	// Hosts are the limits of the streams of each host, from their header on.
	Hosts map[jid.JID]*config.HostLimits
	// Attempts is how many failed logins end a stream; at least 2 (RFC 6120 §6.4.5).
	Attempts int
}

// Server serves the streams of clients.
type Server struct {
	o      Options
	set    atomic.Pointer[Settings]
	queued atomic.Int64
	held   session.HoldStats
	logins *workers
	gate   *gate
	offers *lru.Cache[offerKey, offer]

	sessions *registry // those that can be resumed

	mu      sync.Mutex
	streams map[*clientStream]struct{}
	closing bool
	work    int           // streams in the books, and ends of sessions that are under way
	idle    chan struct{} // closed when there is none; nil while nobody waits for that
}

// New returns a server without streams.
func New(o Options) *Server {
	if o.CrashPoint == nil {
		o.CrashPoint = func(string) {}
	}
	s := &Server{o: o, logins: newWorkers(), offers: lru.New[offerKey, offer](maxOffers), sessions: newRegistry(),
		streams: make(map[*clientStream]struct{})}
	s.Configure(o.Settings)
	s.gate = newGate(handshakesAtOnce(), func() int { return s.limits().HandshakesWaiting }, s.logins.quit)
	return s
}

// Configure puts settings in force.
func (s *Server) Configure(set Settings) { s.set.Store(&set) }

// limits are those of connections, and of streams of which the host is not known yet. See clientStream.limits.
func (s *Server) limits() *config.Limits { return &s.set.Load().Limits }

// limitsOf are those of the streams of a host.
func (s *Server) limitsOf(domain jid.JID) *config.HostLimits {
	set := s.set.Load()
	if l, ok := set.Hosts[domain]; ok {
		return l
	}
	return &set.Limits.HostLimits
}

// limits are those of the stream's host, as soon as it is known.
func (c *clientStream) limits() *config.HostLimits {
	if h := c.host.Load(); h != nil {
		return c.srv.limitsOf(h.Domain())
	}
	return &c.srv.set.Load().Limits.HostLimits
}

// QueuedBytes returns how many bytes wait for clients to read them.
func (s *Server) QueuedBytes() int64 { return s.queued.Load() }

// HeldBack returns how many stanzas had to wait because their user did not look, how often those that had waited were sent, and
// the bytes of those that never were.
func (s *Server) HeldBack() (held, flushes, saved int64) {
	return s.held.Held.Load(), s.held.Flushes.Load(), s.held.Saved.Load()
}

// transport is what carries a stream: TCP or a WebSocket.
type transport interface {
	// name is for metrics: tcp, tls or websocket.
	name() string
	// framed tells whether each element stands alone (RFC 7395).
	framed() bool
	// write writes b whole. With framing b is one element.
	write(b []byte) error
	// tls returns the state of TLS and the certificate that was shown, or nil.
	tls() (*tls.ConnectionState, *x509.Certificate)
	// secure tells whether the transport is encrypted, by itself or by what stands before it.
	secure() bool
	addr() netip.Addr
	// startTLS makes the reader do a handshake before it reads on. It returns false where that cannot be.
	startTLS() bool
	// named puts the limits of the host in force that the header has named.
	named(l *config.HostLimits)
	// restart makes ready for a new stream header, with new limits.
	restart(l xmlstream.Limits)
	// limit sets new limits for what comes on the same stream.
	limit(l xmlstream.Limits)
	// finish is called when nothing more will be written: the peer is told so, and has a short time to close.
	finish()
	// close cuts the connection.
	close()
}

// add enters a stream in the books. It returns false while the server stops.
func (s *Server) add(c *clientStream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.streams[c] = struct{}{}
	s.work++
	return true
}

func (s *Server) remove(c *clientStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, c)
	s.worked()
}

// later runs what is owed for the end of a session on a goroutine of its own. Await waits for it.
func (s *Server) later(f func()) {
	s.mu.Lock()
	s.work++
	s.mu.Unlock()
	go func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.worked()
		}()
		f()
	}()
}

// worked takes one from the work. s.mu is held.
func (s *Server) worked() {
	if s.work--; s.work == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Await waits until no stream is left, what sessions that have ended held has found its places, and nothing more of that is
// under way. It is for a server that stops: no streams come any more.
func (s *Server) Await() {
	for {
		s.mu.Lock()
		if s.work == 0 {
			s.mu.Unlock()
			return
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		<-idle
	}
}

func (s *Server) all() []*clientStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*clientStream, 0, len(s.streams))
	for c := range s.streams {
		all = append(all, c)
	}
	return all
}

// Shutdown ends all streams with system-shutdown (RFC 6120 §4.9.3.21) and waits until their clients have been told and what
// those have not got has found its places. When ctx ends the connections are cut, and there is less to wait for.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		close(s.logins.quit)
	}
	s.mu.Unlock()
	// Those that end first are seen to by those that wait for their clients.
	all := s.all()
	for _, c := range all {
		if c.managed.Load() == nil {
			c.end(stream.Err(stream.SystemShutdown, ""))
		}
	}
	for _, c := range all {
		c.lose(stream.Err(stream.SystemShutdown, ""))
	}
	done := make(chan struct{})
	go func() { s.Await(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		for _, c := range s.all() {
			c.t.close()
		}
		<-done
	}
}

// CloseHost ends all streams of a host.
func (s *Server) CloseHost(domain jid.JID) {
	for _, c := range s.all() {
		if h := c.host.Load(); h != nil && h.Domain() == domain {
			c.end(stream.Err(stream.HostGone, ""))
		}
	}
	for _, m := range s.sessions.all() {
		if m.s.JID().DomainJID() == domain {
			m.close(stream.Err(stream.HostGone, ""))
		}
	}
}

// sweepEvery is how often idle streams are looked for.
const sweepEvery = 5 * time.Second

// Sweep pings clients that have been silent and ends streams whose client does not answer (XEP-0199#c2s, RFC 6120 §4.6),
// until ctx ends. One goroutine does so for all, so that a session needs no timer.
func (s *Server) Sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := s.o.Clock.Now()
			s.sweep(now)
			s.sessions.expire(now)
		}
	}
}

func (s *Server) sweep(now time.Time) {
	for _, c := range s.all() {
		l := c.limits()
		if c.ended.Load() { // its last bytes are being written
			continue
		}
		after, timeout := time.Duration(l.PingAfter), time.Duration(l.PingTimeout)
		read := time.Unix(0, c.lastRead.Load())
		silent := now.Sub(read)
		switch {
		case after > 0 && c.unanswered(read, timeout):
			c.lose(stream.Err(stream.ConnectionTimeout, "no answer to a request for acknowledgement"))
		case !c.bound.Load() || silent < after || after <= 0:
			c.pinged.Store(0)
		case c.pinged.Load() == 0:
			c.pinged.Store(now.UnixNano())
			c.ping()
		case now.Sub(time.Unix(0, c.pinged.Load())) > timeout:
			c.lose(stream.Err(stream.ConnectionTimeout, "no answer to a ping"))
		}
	}
}

// unanswered tells whether a client was asked what it has got and has been silent since, for long.
func (c *clientStream) unanswered(read time.Time, timeout time.Duration) bool {
	s := c.session.Load()
	if s == nil {
		return false
	}
	asked := s.Queue.Asked()
	return !asked.IsZero() && read.Before(asked) && time.Since(asked) > timeout
}

// hostOf returns the host that a stream header asks for.
func (s *Server) hostOf(to string) *host.Host {
	j, err := jid.Parse(to)
	if err != nil || !j.IsDomain() {
		return nil
	}
	return s.o.Router.Host(j)
}
