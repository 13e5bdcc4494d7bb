// Package s2s owns the streams between servers (RFC 6120, RFC 7590): those that others open to us, those that we open, how
// each side proves its domain (SASL EXTERNAL by certificate, XEP-0178; dialback, XEP-0220), and the queues of what waits
// for other domains.
//
// A stanza from another server comes by inStream, is checked by a receiver against the pairs of domains that were proved on
// its stream, and goes to routing in a batch. A stanza for another server goes into the link of its pair of domains, whose
// goroutine connects where there is no stream, writes, and tells the sender where that cannot be. Each stanza is delivered
// or answered with an error; a message that was accepted is on disk until it has left.
package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"sabir/internal/config"
	"sabir/internal/listen"
	"sabir/internal/route"
	"sabir/mod"
	"sabir/xmpp/dial"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/stream"
)

// Metrics counts what streams do. internal/observe implements it.
type Metrics interface {
	StreamError(condition string)
	// RemoteStream counts open streams whose domain was proved: direction is in or out, delta 1 or -1.
	RemoteStream(direction string, delta int)
}

// Certificates are those of our hosts. *listen.Certificates implements it.
type Certificates interface {
	listen.TLSSource
	// Client returns the certificate that we show as this domain to the servers to which we connect.
	Client(domain string) *tls.Certificate
}

// Options say what a Server works with.
type Options struct {
	DB      mod.DB
	Log     *slog.Logger
	Clock   mod.Clock
	TLS     Certificates
	Dialer  *dial.Dialer
	Roots   *x509.CertPool // nil for the authorities of the system
	Metrics Metrics
	// Trace, where it is not nil, remembers what became of messages.
	Trace route.Tracer
	// Settings are those at the start. See Configure.
	Settings Settings
	// Default is the host in whose name a stream to an unknown one is refused.
	Default jid.JID
}

// Settings are what may change while the server runs.
type Settings struct {
	Federation config.Federation
	Limits     config.Limits
}

// pair is a domain of ours and one of others.
type pair struct{ local, remote jid.JID }

// Server talks to other servers. It is the route.Remote of its router.
type Server struct {
	o      Options
	router *route.Router // set by Use
	keys   *dialbackKeys
	set    atomic.Pointer[Settings]
	policy atomic.Pointer[policy]
	ctx    context.Context // ends when connections must not be opened any more
	cancel context.CancelFunc
	lastID atomic.Int64 // of s2s_outgoing
	reaper reaper
	checks chan struct{} // one place for each key of dialback that is being checked

	mu      sync.Mutex
	blocked []string // by command
	links   map[pair]*link
	senders map[*sender]struct{} // that run
	streams map[*inStream]struct{}
	resume  map[string]*resumable // by the hash of the id
	rates   map[jid.JID]*rate
	dirs    map[jid.JID]cached
	closing bool           // nothing is taken in for other servers any more
	ending  bool           // and nothing is begun any more
	wg      sync.WaitGroup // streams, links and keys that are being checked
}

var _ route.Remote = (*Server)(nil)

// maxChecks bounds the keys of dialback that are checked at a time: each is a connection that a stranger makes us open.
const maxChecks = 64

// New returns a server that does nothing before Start.
func New(o Options) *Server {
	s := &Server{
		o: o, keys: newDialbackKeys(), checks: make(chan struct{}, maxChecks),
		links: make(map[pair]*link), senders: make(map[*sender]struct{}), streams: make(map[*inStream]struct{}), resume: make(map[string]*resumable), rates: make(map[jid.JID]*rate), dirs: make(map[jid.JID]cached),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.reaper.init(s)
	s.set.Store(&o.Settings)
	s.policy.Store(newPolicy(o.Settings.Federation, o.Roots, nil))
	return s
}

// Configure puts settings in force, on open streams too.
func (s *Server) Configure(set Settings) {
	s.mu.Lock()
	s.set.Store(&set)
	s.policy.Store(newPolicy(set.Federation, s.o.Roots, s.blocked))
	s.mu.Unlock()
	s.enforce()
}

// enforce ends the streams of domains that the policy refuses, and answers what waits for them.
func (s *Server) enforce() {
	p := s.policy.Load()
	for _, c := range s.inStreams() {
		if slices.ContainsFunc(c.remotes(), func(j jid.JID) bool { return p.refuses(j.Domain()) }) {
			c.end(stream.Err(stream.PolicyViolation, "this server does not talk to that domain"))
		}
	}
	for _, l := range s.allLinks() {
		if p.refuses(l.remote.Domain()) {
			l.refuse(refusedByPolicy())
		}
	}
}

func refusedByPolicy() *stanza.Error {
	return stanza.Err(stanza.NotAllowed, "this server does not talk to that domain")
}

func (s *Server) settings() *config.Federation { return &s.set.Load().Federation }

// Accept implements route.Remote: it tells whether a message may go on its way and, where that is to survive a restart, what
// must be committed before.
func (s *Server) Accept(_ context.Context, st *stanza.Stanza) (route.Departure, *stanza.Error) {
	l, e := s.link(st)
	if e != nil {
		return nil, e
	}
	return l.accept(st)
}

// Send implements route.Remote, for what need not survive a restart.
func (s *Server) Send(_ context.Context, st *stanza.Stanza) *stanza.Error {
	l, e := s.link(st)
	if e != nil {
		return e
	}
	d, e := l.accept(st)
	if e != nil {
		return e
	}
	d.(*item).volatile = true
	d.Go()
	return nil
}

// link returns the way of a stanza, or the error that its sender is owed.
func (s *Server) link(st *stanza.Stanza) (*link, *stanza.Error) {
	p := pair{st.From.DomainJID(), st.To.DomainJID()}
	if !s.settings().Enabled {
		return nil, stanza.Err(stanza.RemoteServerNotFound, "this server does not talk to other servers")
	}
	if s.policy.Load().refuses(p.remote.Domain()) {
		return nil, refusedByPolicy()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, stanza.Err(stanza.RemoteServerTimeout, "this server is stopping")
	}
	return s.linkOf(p), nil
}

// linkOf returns the link of a pair. s.mu is held.
func (s *Server) linkOf(p pair) *link {
	l := s.links[p]
	if l == nil {
		l = newLink(s, p)
		s.links[p] = l
	}
	return l
}

func (s *Server) allLinks() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*link, 0, len(s.links))
	for _, l := range s.links {
		all = append(all, l)
	}
	return all
}

// register enters a sender in the books, as long as it runs.
func (s *Server) register(snd *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.senders[snd] = struct{}{}
}

func (s *Server) unregister(snd *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.senders, snd)
}

func (s *Server) allSenders() []*sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.senders))
}

func (s *Server) inStreams() []*inStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*inStream, 0, len(s.streams))
	for c := range s.streams {
		all = append(all, c)
	}
	return all
}

// add enters a stream in the books. It returns false while the server stops.
func (s *Server) add(c *inStream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.streams[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) remove(c *inStream) {
	s.mu.Lock()
	delete(s.streams, c)
	s.mu.Unlock()
	s.wg.Done()
}

// goes runs f on a goroutine for which Shutdown waits. It returns false while the server stops.
func (s *Server) goes(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.wg.Go(f)
	return true
}

// hosted tells whether a domain is ours.
func (s *Server) hosted(j jid.JID) bool { return s.router.Serves(j) }
